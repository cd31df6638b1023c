"""Requests to responses: the one place where a store and a backend meet."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio.lowlevel
import anyio.to_thread

from backends.base import Arrival, Backend
from backends.errors import BackendError
from backends.messages import Label, Request, Response, Usage
from cache.keys import Key, make_key
from cache.lookup import Lookup
from tasks.codec import decode_entry, decode_labels, encode_entry, encode_labels
from tasks.keys import key_of_digests, request_digests


@dataclass(kw_only=True)
class Tally:
    """What a run has asked for and what it cost, counted as it goes."""

    prompts: int = 0
    """Questions put, repetitions included."""
    hits: int = 0
    """Questions whose answer was stored."""
    sent: int = 0
    """Prompts that a backend answered."""
    failed: int = 0
    requests: int = 0
    """HTTP requests, retries included."""
    usage: Usage = field(default_factory=Usage)
    waited_seconds: float = 0.0
    """Time in which a backend was waited for."""

    def count_stored(self, prompts: int) -> None:
        """Count questions that were answered without asking."""
        self.prompts += prompts
        self.hits += prompts


@dataclass(kw_only=True)
class Generator:
    """Answers requests from a store, and asks a backend for the rest; satisfies `Ask`.

    Each answer is stored when the list that it came in arrives, so a run that dies loses nothing answered.
    """

    backend: Backend
    lookup: Lookup
    keep_text: bool = False
    """Keep the text of label-scoring prompts too; that of generations is always kept."""
    tally: Tally = field(default_factory=Tally)
    watch: Callable[[str, int, int], None] = lambda purpose, done, total: None  # noqa: ARG005
    """Called with (purpose, prompts done, prompts asked) whenever answers arrive."""
    before_sending: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
    """Awaited whenever something is about to be sent; what it raises stops that. See `Identity.verify`."""

    async def __call__(self, requests: Sequence[Request], *, purpose: str = "") -> list[Response]:
        """Answer requests, in their order; equal requests are asked once.

        Raises:
            ExceptionGroup: Of the BackendErrors of the requests without an answer; the others are stored.
            CacheError: The store cannot be used, or a replay found nothing.
        """
        return await self.answer(await anyio.to_thread.run_sync(key_requests, requests), purpose)

    async def answer(self, keyed: Sequence["KeyedRequest"], purpose: str = "") -> list[Response]:
        """Answer requests whose keys are known; otherwise as calling this object."""
        stored = await anyio.to_thread.run_sync(self.lookup.find, dict.fromkeys(one.key for one in keyed))
        answers = {key: decode_entry(entry) for key, entry in stored.items()}
        missing = list({one.key: one for one in keyed if one.key not in answers}.values())
        self.tally.count_stored(len(keyed) - len(missing))
        self.tally.prompts += len(missing)
        if missing:
            answers |= await self._asked(missing, purpose)
        return [answers[one.key] for one in keyed]

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
        key = make_key("labels", 1, [model, revision, list(texts)])
        stored = self.lookup.find([key])
        if key in stored:
            return decode_labels(stored[key])
        await self.before_sending()
        labels = await self.backend.find_labels(model, texts)
        if all(label.token_ids for label in labels):  # else a newer server may do better
            self.lookup.keep({key: encode_labels(labels)})
        return labels

    async def _asked(self, missing: Sequence["KeyedRequest"], purpose: str) -> dict[Key, Response]:
        answers: dict[Key, Response] = {}
        errors: dict[KeyedRequest, BackendError] = {}
        await self.before_sending()
        started = time.monotonic()
        async with aclosing(self.backend.answer([one.request for one in missing])) as arrivals:
            async for arrival in arrivals:
                arrived = {missing[index]: outcome for index, outcome in arrival.outcomes}
                good = {one: outcome for one, outcome in arrived.items() if isinstance(outcome, Response)}
                await anyio.to_thread.run_sync(self._keep, good)
                answers |= {one.key: response for one, response in good.items()}
                errors |= {one: error for one, error in arrived.items() if isinstance(error, BackendError)}
                self._count(arrival, sent=len(good), failed=len(arrived) - len(good))
                self.watch(purpose, len(answers) + len(errors), len(missing))
        self.tally.waited_seconds += time.monotonic() - started
        if errors:
            what = f"{len(errors)} of {len(missing)} prompts have no answer ({purpose or 'asked'})"
            raise ExceptionGroup(f"{what}: {next(iter(errors.values()))}", _noted(errors))
        return answers

    def _keep(self, answered: Mapping["KeyedRequest", Response]) -> None:
        entries = {
            one.key: encode_entry(
                one.request, one.digests, response, keep_text=self.keep_text or not one.request.labels
            )
            for one, response in answered.items()
        }
        if entries:
            self.lookup.keep(entries)

    def _count(self, arrival: Arrival, *, sent: int, failed: int) -> None:
        self.tally.sent += sent
        self.tally.failed += failed
        self.tally.requests += arrival.requests_sent
        self.tally.usage += arrival.usage


@dataclass(frozen=True, slots=True, eq=False)
class KeyedRequest:
    """A request and its name in the store."""

    request: Request
    digests: Mapping[str, bytes]
    key: Key


def _noted(errors: Mapping[KeyedRequest, BackendError]) -> list[BackendError]:
    """Return one error for each request, noted with how the first of its requests ends."""
    for error in {id(error): error for error in errors.values()}.values():
        first = next(one.request for one, same in errors.items() if same is error)
        text = first.prompt if first.prompt is not None else first.messages[-1].content
        error.add_note(f"asked of {first.model!r} with a prompt that ends in {text[-80:]!r}")
    return list(errors.values())


def key_requests(requests: Sequence[Request]) -> list[KeyedRequest]:
    """Name requests; reads all their text once.

    Raises:
        UnencodableError: A request holds text that is no valid Unicode.
    """
    digests = [request_digests(request) for request in requests]
    return [
        KeyedRequest(request, digest, key_of_digests(digest))
        for request, digest in zip(requests, digests, strict=True)
    ]
