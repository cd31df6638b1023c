"""Requests to responses: the one place where a store and a backend meet."""

import collections.abc
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

import anyio.to_thread

from backends.base import Arrival, Backend, Exchange, Outcome
from backends.errors import (
    AbortedError,
    BackendError,
    BackendTimeoutError,
    ContentFilterError,
    LostLogprobsError,
    ResponseFormatError,
    ServerGoneError,
)
from backends.messages import Label, Request, Response
from cache.journal import Journal, NoJournal
from cache.keys import Key, make_key
from cache.leases import Leases, NoLeases
from cache.lookup import CacheMode, Lookup
from tasks.budget import Budget, CostOf, free
from tasks.codec import decode_entry, decode_labels, encode_entry, encode_labels
from tasks.journal_rows import CallRow, call_row, failure, request_row
from tasks.keys import KeyedRequest, key_requests
from tasks.single_flight import Landed, SingleFlight
from tasks.tally import Tally

Landings = Mapping[Key, Landed]

WORKED_IN_VAIN = frozenset(
    kind.__name__
    for kind in (
        AbortedError, BackendTimeoutError, ContentFilterError, LostLogprobsError, ResponseFormatError
    )
)  # fmt: skip
"""Outcomes of HTTP requests that a server has most likely worked on, and may want money for."""


async def _be_ready() -> None:
    pass


@dataclass(kw_only=True)
class Fallback:
    """Who answers when the server is gone, because the user asked for it."""

    generator: "Generator"
    """Asks the other model; has the same store."""
    name: str
    """`provider:model`, as it is shown."""
    translate: Callable[[Request], Request]
    """Puts a question to the other model: under its own name, so that answers never mix."""
    say: Callable[[str], None] = lambda sentence: None  # noqa: ARG005
    """Told when it takes over."""


@dataclass(kw_only=True)
class Generator:
    """Answers requests from a store, and asks a backend for the rest; satisfies `Ask`.

    Each answer is stored when the list that it came in arrives, so a run that dies loses nothing answered.
    """

    backend: Backend
    lookup: Lookup
    leases: Leases = field(default_factory=NoLeases)
    """Shared by all who use the store, so that nothing is asked twice at the same time."""
    budget: Budget = field(default_factory=Budget)
    cost_of: CostOf = free
    """US dollars for tokens of this backend."""
    journal: Journal = field(default_factory=NoJournal)
    fallback: Fallback | None = None
    prepare: Callable[[], Awaitable[object]] = _be_ready
    """Awaited before anything is sent; raises to send nothing."""
    keep_text: bool = False
    """Keep the text of label-scoring prompts too; that of generations is always kept."""
    tally: Tally = field(default_factory=Tally)
    watch: Callable[[str, int, int], None] = lambda purpose, done, total: None  # noqa: ARG005
    """Called with (purpose, prompts done, prompts asked) whenever answers arrive."""
    spent: Callable[[str, Tally], None] = lambda purpose, growth: None  # noqa: ARG005
    """Called with (purpose, what the tally has grown by) when answers arrive and when questions are done."""

    def __post_init__(self) -> None:
        """Share flights among all calls; a run that does not read what others store has leases of its own."""
        leases = self.leases if self.lookup.mode is CacheMode.USE else NoLeases()
        self._flights = SingleFlight(self.lookup, leases)
        self._waiters = 0
        self._waiting_since = 0.0

    async def __call__(self, requests: Sequence[Request], *, purpose: str = "") -> list[Response]:
        """Answer requests, in their order; equal requests are asked once.

        Raises:
            ExceptionGroup: Of the BackendErrors of the requests without an answer; the others are stored.
            CacheError: The store cannot be used, or a replay found nothing.
        """
        return await self.answer(await anyio.to_thread.run_sync(key_requests, requests), purpose)

    async def answer(self, keyed: Sequence[KeyedRequest], purpose: str = "") -> list[Response]:
        """Answer requests whose keys are known; otherwise as calling this object."""
        return all_answered(keyed, await self.outcomes(keyed, purpose), purpose)

    async def each(self, requests: Sequence[Request], *, purpose: str = "") -> list[Outcome]:
        """Return an answer or a reason for each request, in their order; satisfies `AskEach`."""
        return await self.outcomes(await anyio.to_thread.run_sync(key_requests, requests), purpose)

    async def outcomes(self, keyed: Sequence[KeyedRequest], purpose: str = "") -> list[Outcome]:
        """Return an answer or a reason for each request, in their order.

        Raises:
            CacheError: The store cannot be used, or a replay found nothing.
        """
        written: set[Key] = set()

        def ask(missing: Sequence[KeyedRequest]) -> AsyncGenerator[Mapping[Key, Outcome], None]:
            written.update(one.key for one in missing)
            return self._ask(missing, purpose)

        landed = await self._flights.land(keyed, ask)
        self._count(keyed, landed, purpose, written)
        outcomes = [landed[one.key].outcome for one in keyed]
        return await self._stood_in(keyed, outcomes, purpose) if self.fallback else outcomes

    async def find_labels(
        self, model: str, texts: Sequence[str], *, revision: str | None = None, exact: bool = True
    ) -> tuple[Label, ...]:
        """Say how the labels are scored with this model; asked of a server once and then stored.

        Args:
            model: The served name.
            texts: The labels.
            revision: Which weights, where the name does not say it.
            exact: False takes the 20 most likely tokens in any case, as the reference of ICM does.

        Raises:
            BackendError: Not stored, and the server cannot be asked.
            CacheError: The store cannot be used, or a replay found nothing.
        """
        if not exact:
            return tuple(Label(text=text) for text in texts)
        key = make_key("labels", 2, [model, revision, list(texts)])
        stored = self.lookup.find([key], decode_labels)
        if key in stored:
            return stored[key]
        labels = await self.backend.find_labels(model, texts)
        if all(label.token_ids for label in labels):  # else a newer server may do better
            return self.lookup.keep({key: encode_labels(labels)}, decode_labels).get(key, labels)
        return labels

    def record(self, exchange: Exchange) -> None:
        """Write an HTTP request into the journal, and count it if it was worked on in vain."""
        self.journal.write([request_row(exchange)])
        if exchange.outcome in WORKED_IN_VAIN:
            self.budget.waste(exchange.prompts, exchange.usage, self.cost_of)

    async def _ask(
        self, missing: Sequence[KeyedRequest], purpose: str
    ) -> AsyncGenerator[dict[Key, Outcome], None]:
        waiting = list(missing)
        under_way: dict[Key, KeyedRequest] = {}
        started = time.monotonic()
        try:
            await self.prepare()
            while waiting:
                admitted = await self.budget.admitted([one.request for one in waiting], self.cost_of)
                if not admitted:
                    yield self._refused(waiting, purpose)
                    return
                sent, waiting = waiting[:admitted], waiting[admitted:]
                under_way.update((one.key, one) for one in sent)
                async with aclosing(self._arrivals([one.request for one in sent])) as arrivals:
                    async for arrival in arrivals:
                        arrived = {sent[index]: outcome for index, outcome in arrival.outcomes}
                        landed = await self._land(arrived, arrival, purpose, time.monotonic() - started)
                        for key in landed:
                            del under_way[key]
                        left = len(waiting) + len(under_way)
                        self.watch(purpose, len(missing) - left, len(missing))
                        yield landed
        finally:
            self.budget.release([one.request for one in under_way.values()])  # nobody waits for them any more

    def _refused(self, waiting: Sequence[KeyedRequest], purpose: str) -> dict[Key, Outcome]:
        refusal = self.budget.refusal()
        self.tally.failed += len(waiting)
        self._write_asked(dict.fromkeys(waiting, refusal), purpose, 0.0)
        return {one.key: refusal for one in waiting}

    async def _arrivals(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        with self._waiting():
            async with aclosing(self.backend.answer(requests)) as arrivals:
                async for arrival in arrivals:
                    yield arrival

    async def _land(
        self, arrived: Mapping[KeyedRequest, Outcome], arrival: Arrival, purpose: str, seconds: float
    ) -> dict[Key, Outcome]:
        """Store what arrived, and then write everything down; what others stored first is the answer."""
        good = {one: outcome for one, outcome in arrived.items() if isinstance(outcome, Response)}
        outcomes = {**arrived, **await anyio.to_thread.run_sync(self._keep, good)}
        failures = [outcome for outcome in arrived.values() if isinstance(outcome, BackendError)]
        self._settle(purpose, arrival, sent=len(good), failures=failures)
        self.budget.settle([one.request for one in good], arrival.usage, self.cost_of)
        self.budget.release([one.request for one in arrived])
        self._write_asked(outcomes, purpose, seconds)
        return {one.key: outcome for one, outcome in outcomes.items()}

    @contextmanager
    def _waiting(self) -> collections.abc.Generator[None]:
        """Count the time in which somebody waits."""
        if not self._waiters:
            self._waiting_since = time.monotonic()
        self._waiters += 1
        try:
            yield
        finally:
            self._waiters -= 1
            if not self._waiters:
                self.tally.waited_seconds += time.monotonic() - self._waiting_since

    async def _stood_in(
        self, keyed: Sequence[KeyedRequest], outcomes: Sequence[Outcome], purpose: str
    ) -> list[Outcome]:
        """Have the fallback answer what failed because the server is gone."""
        fallback = self.fallback
        gone = [place for place, one in enumerate(outcomes) if isinstance(one, ServerGoneError)]
        if fallback is None or not gone:
            return list(outcomes)
        why = outcomes[gone[0]]
        fallback.say(f"{len(gone)} of {len(keyed)} questions go to the fallback {fallback.name}: {why}")
        asked = [fallback.translate(keyed[place].request) for place in gone]
        answers = await fallback.generator.outcomes(
            await anyio.to_thread.run_sync(key_requests, asked), purpose
        )
        result = list(outcomes)
        for place, answer in zip(gone, answers, strict=True):
            is_answer = isinstance(answer, Response)
            result[place] = replace(answer, stand_in=fallback.name) if is_answer else answer
        answered = sum(isinstance(answer, Response) for answer in answers)
        self.tally.stand_ins[fallback.name] = self.tally.stand_ins.get(fallback.name, 0) + answered
        self.journal.write([{"event": "stand-in", "model": fallback.name, "answered": answered}])
        return result

    def _keep(self, answered: Mapping[KeyedRequest, Response]) -> dict[KeyedRequest, Response]:
        """Store answers, and return those that others stored first: a replay will find these."""
        entries = {
            one.key: encode_entry(
                one.request, one.digests, response, keep_text=self.keep_text or not one.request.labels
            )
            for one, response in answered.items()
        }
        if not entries:
            return {}
        first = self.lookup.keep(entries, decode_entry)
        return {one: first[one.key] for one in answered if one.key in first}

    def _settle(self, purpose: str, arrival: Arrival, *, sent: int, failures: Sequence[BackendError]) -> None:
        growth = Tally(
            sent=sent,
            failed=len(failures),
            overflows=sum(error.overflows for error in failures),
            requests=arrival.requests_sent,
            usage=arrival.usage,
        )
        self.tally.sent += growth.sent
        self.tally.failed += growth.failed
        self.tally.overflows += growth.overflows
        self.tally.requests += growth.requests
        self.tally.usage += growth.usage
        self.spent(purpose, growth)

    def _count(
        self, keyed: Sequence[KeyedRequest], landed: Landings, purpose: str, written: set[Key]
    ) -> None:
        """Count and write what this call has not asked itself; `written` are the keys that it has."""
        rows: list[CallRow] = []
        for one in keyed:
            if one.key in written:
                written.discard(one.key)  # whoever puts it twice shares it the second time
                continue
            how, outcome = landed[one.key].how, landed[one.key].outcome
            how = "shared" if how == "computed" else how
            self.tally.hits += how == "hit"
            self.tally.shared += how == "shared"
            row = call_row(purpose, one.key, how)
            rows.append({**row, **failure(outcome)} if isinstance(outcome, BackendError) else row)
        self.tally.prompts += len(keyed)
        self.spent(purpose, Tally(prompts=len(keyed)))
        self.journal.write(rows)

    def _write_asked(self, arrived: Mapping[KeyedRequest, Outcome], purpose: str, seconds: float) -> None:
        rows: list[CallRow] = []
        for one, outcome in arrived.items():
            if isinstance(outcome, Response):
                row = call_row(purpose, one.key, "computed", seconds=seconds)
                rows.append({**row, "damaged": True} if one.key in self.lookup.damaged else row)
            else:
                row = call_row(purpose, one.key, "failed", seconds=seconds)
                rows.append({**row, **failure(outcome)})
        self.journal.write(rows)


class UnansweredError(ExceptionGroup[BackendError]):
    """Prompts without an answer; the message says how many, of which kinds, and what the first one says."""


def all_answered(keyed: Sequence[KeyedRequest], outcomes: Sequence[Outcome], purpose: str) -> list[Response]:
    """Return the responses, if all outcomes are responses.

    Raises:
        UnansweredError: Holds the errors of those that are not.
    """
    errors = {
        one: outcome
        for one, outcome in zip(keyed, outcomes, strict=True)
        if isinstance(outcome, BackendError)
    }
    if errors:
        what = f"{len(errors)} of {len(keyed)} prompts have no answer ({purpose or 'asked'})"
        kinds = Counter(type(error).__name__ for error in errors.values()).most_common()
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds)
        first = next(iter(errors.values()))
        raise UnansweredError(f"{what}: {counted}; the first: {first}", _noted(errors))
    return [outcome for outcome in outcomes if isinstance(outcome, Response)]


def _noted(errors: Mapping[KeyedRequest, BackendError]) -> list[BackendError]:
    """Return one error for each request, noted with how the first of its requests ends."""
    for error in {id(error): error for error in errors.values()}.values():
        first = next(one.request for one, same in errors.items() if same is error)
        text = first.prompt if first.prompt is not None else first.messages[-1].content
        error.add_note(f"asked of {first.model!r} with a prompt that ends in {text[-80:]!r}")
    return list(errors.values())
