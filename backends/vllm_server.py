"""A vLLM server: many prompts in one request, exact label scores, and what it can do found by asking."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio.to_thread
from pydantic import SecretStr

from backends import wire
from backends.addresses import Address, is_loopback
from backends.base import CANCELLED, Arrival, Exchange, Hooks, Indexed
from backends.batching import Batcher, ListBounds
from backends.breaker import Breaker
from backends.canary import Canary, ask_canary
from backends.capabilities import CONTACT_TIMEOUT_SECONDS, Capabilities, ask_capabilities, at
from backends.concurrency import AdaptiveLimit, Permit
from backends.errors import (
    BROKEN,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ConnectionLostError,
    GatewayError,
    ResponseFormatError,
    ServerSilentError,
    is_absence,
)
from backends.labels import labels_from_spellings, labels_from_tokenizer, tokenizer_file
from backends.load import ASK_FOR_LOAD, Load, load_from_header, load_from_metrics, process_start
from backends.messages import Label, Request, Response, Usage
from backends.one_style import OneStyle
from backends.openai_client import OpenAIClient
from backends.retrying import Retrier, RetryPolicy
from backends.server_counters import ServerCounters, read_counters
from backends.shared_call import SharedCall
from backends.silence import Listener
from backends.weights import pinned_weights, read_cards

T = TypeVar("T")

HEALTH_TIMEOUT_SECONDS = 5.0
LOOK_SECONDS = 5.0
"""How often `/metrics` is read while answers come."""
FIRST_CONTACT_ATTEMPTS = 4
FIRST_CONTACT_MAX_SECONDS = 2.0
"""A server that never was there, and is not expected, is most likely a wrong address: say so in seconds."""
LOOK_AT_ONCE = (*BROKEN, BackendTimeoutError)
"""After one of these the server is looked at before anything more is sent."""


def _accept_any(can: Capabilities) -> None:
    del can


async def _accept_silently() -> None:
    pass


@dataclass(slots=True)
class _Tries:
    """How often one list was sent, and since when it waits to be sent (again)."""

    made: int = 0
    since: float = field(default_factory=time.monotonic)


class VLLMServer:
    """Asks one vLLM server, with as much at once as it keeps up with.

    Args:
        base_url: The server's address, with or without the closing `/v1`; an Address where it takes more to
            get in.
        api_key: Where the server was started with one; never shown.
        bounds: How long a list may be; what is asked at the same time travels together. Lists of 32
            are 1.5 to 2.7 times faster than single requests where prompts are short, no list is faster,
            and long prompts do not mind (bench/results/lists.json).
        limit: How many prompts may be with the server; adapts itself.
        timeout_seconds: For one HTTP request; a list on a busy CPU takes minutes.
        retrier: How failures are tried again, and how long a server that was there may be away.
        waits_for_first_contact: The server is expected, as where somebody starts it beside the run: one that
            is not there yet is waited for as long as one that went away. Else an address where nobody ever
            answered is taken for a wrong one, and is an error within seconds.
        hooks: What the owner wants to hear of.
    """

    def __init__(  # noqa: PLR0913 - by keyword, and few are ever given
        self,
        base_url: str | Address,
        *,
        api_key: SecretStr | None = None,
        bounds: ListBounds | None = None,
        limit: AdaptiveLimit | None = None,
        timeout_seconds: float = 600.0,
        retrier: Retrier | None = None,
        waits_for_first_contact: bool = False,
        hooks: Hooks | None = None,
    ) -> None:
        self.hooks = hooks or Hooks()
        self.waits_for_first_contact = waits_for_first_contact
        self.limit = limit or AdaptiveLimit()
        self._client = OpenAIClient(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._retrier = retrier or Retrier()
        self._answering = self._retrier
        self._is_joined = False
        self._was_there = False
        self._suspended: BackendError | None = None
        self._styles = OneStyle()
        self._looked_at = -LOOK_SECONDS
        self._starts: set[float] = set()
        self._knows_start = False
        self._breaker = self._make_breaker(self._meet_again)
        self._expected = self._make_breaker(_accept_silently)
        self._batcher = Batcher(self._answer_list, self.limit, bounds or ListBounds())
        self._capabilities = SharedCall(self._first_contact)
        self._introduction = SharedCall(self._introduce)
        self._check: Callable[[Capabilities], None] = _accept_any
        self._listener = Listener(self._client.root, self.is_healthy, self._breaker.trip)

    async def __aenter__(self) -> Self:
        """Open nothing yet: a run whose answers are all stored needs no server."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel what is under way, and close connections."""
        await self._batcher.close()
        await self._listener.close()
        await self._breaker.close()
        await self._expected.close()
        await self._client.aclose()

    @property
    def backlog(self) -> int:
        """Prompts that wait for this server, here or there."""
        return self._batcher.backlog

    @property
    def root(self) -> str:
        """The server's address."""
        return self._client.root

    @property
    def is_away(self) -> bool:
        """Whether nothing is sent for now, since the server is believed to be away."""
        return self._breaker.is_away

    async def capabilities(self) -> Capabilities:
        """Ask the server once what it serves and what it can do.

        Raises:
            BackendError: It does not answer, or is no server of this kind.
        """
        return await self._capabilities()

    async def counters(self) -> ServerCounters | None:
        """Return what the server has counted since it started; None where it does not say so at once."""
        page = await self._metrics()
        return None if page is None else read_counters(page)

    async def load(self) -> Load | None:
        """Return how busy the server is; None where it does not say so at once."""
        page = await self._metrics()
        return None if page is None else load_from_metrics(page)

    async def _metrics(self) -> str | None:
        try:
            return await self._client.text("/metrics", timeout_seconds=HEALTH_TIMEOUT_SECONDS)
        except BackendError:
            return None

    def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive."""
        return self._batcher.answer(requests)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Find the token ids of each label: in the tokenizer of a model on this machine, else by `/tokenize`.

        For a server that cannot score chosen tokens the labels come back without ids.

        Raises:
            BackendError: The server cannot be asked, or a label is no single token.
        """
        can = await self.capabilities()
        await self._introduction()
        if not can.scores_token_ids:
            return tuple(Label(text=text) for text in texts)
        # What lies at a remote server's path here is another model's, or nobody knows whose.
        root = can.roots.get(model) if is_loopback(self._client.root) else None
        file = await anyio.to_thread.run_sync(tokenizer_file, root) if root else None
        if file:
            return await anyio.to_thread.run_sync(labels_from_tokenizer, file, texts)
        return await labels_from_spellings(lambda text: self._tokenize(model, text), texts)

    async def count_tokens(self, request: Request) -> int:
        """Count the tokens of a prompt, or of a conversation in the model's chat template; computes nothing.

        Raises:
            BackendError: The server cannot be asked, or has no chat template.
        """
        body: dict[str, object] = {"model": request.model, "prompt": request.prompt}
        if request.messages:
            body = {"model": request.model, "messages": [asdict(one) for one in request.messages]}
        return await self._count(body)

    async def count_text(self, model: str, text: str) -> int:
        """Count the tokens of a text by itself, without those that a server puts before a prompt.

        Raises:
            BackendError: The server cannot be asked.
        """
        return await self._count({"model": model, "prompt": text, "add_special_tokens": False})

    async def _count(self, body: dict[str, object]) -> int:
        count = at(await self._retrier.call(lambda: self._client.post("/tokenize", body)), "count")
        if not isinstance(count, int):
            raise ResponseFormatError("/tokenize answered without a count")
        return count

    async def weights(self, model: str, *, max_attempts: int = FIRST_CONTACT_ATTEMPTS) -> str | None:
        """Say what pins the weights that the server now serves under a name; see `pinned_weights`.

        Raises:
            BackendError: The server cannot be asked.
        """
        retrier = self._retrier.limited(max_attempts, FIRST_CONTACT_MAX_SECONDS)

        async def ask() -> object:
            return await self._client.get("/v1/models", timeout_seconds=CONTACT_TIMEOUT_SECONDS)

        is_awaited = max_attempts > 1  # whoever asks once wants to know at once
        cards = read_cards(await self._once_there(lambda: retrier.call(ask), is_awaited=is_awaited))
        here = is_loopback(self._client.root)
        return await anyio.to_thread.run_sync(partial(pinned_weights, model, cards, on_this_machine=here))

    async def canary(self, model: str) -> Canary | None:
        """Ask the canary's prompts; see `ask_canary`.

        Raises:
            BackendError: The server gives no answer.
        """
        return await ask_canary(model, self._post_completion, self._retrier.sleep)

    async def _post_completion(self, body: dict[str, object]) -> object:
        # One that goes silent over it is given up by whoever introduces it, and looked for.
        retrier = replace(self._retrier, leaves=(*self._retrier.leaves, ServerSilentError))
        async with self._styles.only("top"):
            return await retrier.call(lambda: self._post("/v1/completions", body))

    async def _post(self, path: str, body: dict[str, object]) -> object:
        async with self._listener.until_silent():
            return await self._client.post(path, body)

    # --- one of several ---------------------------------------------------------------------------------

    def join(self, check: Callable[[Capabilities], None]) -> RetryPolicy:
        """Be one of several: what fails here is an outcome at once, for another server to be asked.

        Args:
            check: Called at each contact before anything is sent; raises a BackendError to refuse.

        Returns:
            How this server alone would have tried again, and how long it would have been waited for.
        """
        self._check = check
        self._is_joined = True
        self._retrier = replace(self._retrier, leaves=(BackendConnectionError,))
        self._answering = replace(self._retrier, leaves=(BackendError,))
        self._breaker.wait_no_more()
        return self._retrier.policy

    def suspend(self, reason: BackendError) -> None:
        """Send nothing until the next `ready`: what waits here fails, as if there were no connection."""
        self._suspended = reason

    @property
    def _is_left_to_others(self) -> bool:
        """Whether prompts go to other servers at once; only `ready` then looks for this one."""
        return self._suspended is not None or (self._is_joined and self._breaker.is_away)

    def _refuse_what_others_get(self) -> None:
        # An introduction that fails stops a run; among several it only keeps this server from being asked.
        if self._is_left_to_others:
            raise BackendConnectionError(f"{self.root} is not asked for now")

    async def ready(self) -> None:
        """Look for the server if it was away or suspended, and make its acquaintance unless that was done.

        Raises:
            BackendError: It is not there, or is refused.
        """
        if self._suspended is not None and not await self.is_healthy():
            self.take_for_away(self._suspended)
        await self._breaker.ready()
        await self._capabilities()
        await self._introduction()
        self._suspended = None

    async def is_healthy(self) -> bool:
        """Ask the server for its health, once."""
        return await self._client.answers("/health", timeout_seconds=HEALTH_TIMEOUT_SECONDS)

    def take_for_away(self, reason: BackendError) -> None:
        """Send nothing until `ready` has seen the server again; what is under way may yet be answered."""
        self._breaker.trip(reason)

    # --- contact ----------------------------------------------------------------------------------------

    def _make_breaker(self, on_return: Callable[[], Awaitable[None]]) -> Breaker:
        return Breaker(
            self._client.root,
            self.is_healthy,
            wait_seconds=self._retrier.policy.max_away_seconds,
            on_return=on_return,
            tell=self._tell,
            sleep=self._retrier.sleep,
            clock=self._retrier.clock,
        )

    async def _first_contact(self) -> Capabilities:
        retrier = replace(self._retrier.limited(FIRST_CONTACT_ATTEMPTS, FIRST_CONTACT_MAX_SECONDS), leaves=())
        return await self._once_there(lambda: retrier.call(lambda: ask_capabilities(self._client)))

    async def _once_there(self, ask: Callable[[], Awaitable[T]], *, is_awaited: bool = True) -> T:
        """Ask; a server that is expected and was never there is waited for, and asked again.

        Raises:
            ServerGoneError: It did not come.
            BackendError: What the question raised.
        """
        try:
            answer = await ask()
        except BackendError as error:
            waits = self.waits_for_first_contact and not (self._was_there or self._is_joined)
            if not (waits and is_awaited and is_absence(error)):
                raise
            self._expected.trip(error)
            await self._expected.ready()
            answer = await ask()
        self._was_there = True
        return answer

    async def _introduce(self) -> None:
        self._check(await self._capabilities())
        self._knows_start = False
        self._looked_at = -LOOK_SECONDS  # so that the first answer is followed by a look
        await self.hooks.on_contact()

    async def _meet_again(self) -> None:
        self._capabilities.forget()
        self._introduction.forget()
        await self._capabilities()
        await self._introduction()

    def _tell(self, sentence: str) -> None:
        self.hooks.tell(sentence)

    # --- lists ------------------------------------------------------------------------------------------

    async def _answer_list(self, indexed: Sequence[Indexed], permit: Permit) -> Arrival:
        try:
            self._refuse_what_others_get()
            can = await self._capabilities()
            can.refuse_what_it_cannot(indexed[0][1])
            await self._introduction()
        except BackendError as error:
            return Arrival(outcomes=tuple((index, error) for index, _ in indexed), requests_sent=0)
        if indexed[0][1].messages and not can.has_batch_chat and len(indexed) > 1:
            return Arrival(outcomes=(), requests_sent=0, halves=tuple([one] for one in indexed))
        permits = [permit]
        tries = _Tries()

        async def send(requests: Sequence[Request]) -> tuple[list[Response], Usage]:
            tries.made += 1
            if not permits:  # between attempts the room is for others
                await self.limit.room()
                permits.append(self.limit.take(len(requests)))
            return await self._send(requests, permits.pop(), tries)

        return await self._answering.answer(indexed, send)

    async def _send(
        self, requests: Sequence[Request], permit: Permit, tries: "_Tries"
    ) -> tuple[list[Response], Usage]:
        try:
            while True:
                self._refuse_what_others_get()
                await self._breaker.ready()
                async with self._styles.only(wire.logprob_style(requests[0])):
                    is_there = not self._breaker.is_away and self._suspended is None
                    if is_there:  # else it has gone while this waited for its turn
                        return await self._exchange(requests, permit, tries)
        finally:
            tries.since = time.monotonic()
            self.limit.give_back(permit)

    async def _exchange(
        self, requests: Sequence[Request], permit: Permit, tries: "_Tries"
    ) -> tuple[list[Response], Usage]:
        path, body, parse = _call(requests)
        started = time.monotonic()
        waited = started - tries.since

        def report(outcome: str, usage: Usage, status_code: int | None = None) -> None:
            self.hooks.on_exchange(
                Exchange(
                    server=self._client.root,
                    path=path,
                    prompts=len(requests),
                    seconds=time.monotonic() - started,
                    outcome=outcome,
                    status_code=status_code,
                    usage=usage,
                    attempt=tries.made,
                    waited_seconds=waited,
                )
            )

        try:
            async with self._listener.until_silent():
                reply = await self._client.exchange(path, body, ASK_FOR_LOAD)
            with self._client.mask.errors():
                responses, usage = parse(requests, reply.content)
            load = await self._load(reply.headers)
        except BackendError as error:
            self.limit.failed(permit, error)
            # Of several, one whose gateway answers may as well be sick, which counting its failures shows.
            if isinstance(error, LOOK_AT_ONCE) and not (self._is_joined and isinstance(error, GatewayError)):
                self._breaker.trip(error)
            else:
                self._breaker.failed(error)
            report(type(error).__name__, Usage(), error.status_code)
            raise
        except asyncio.CancelledError:
            report(CANCELLED, Usage())
            raise
        self.limit.answered(permit, load)
        self._breaker.succeeded()
        report("ok", usage)
        return responses, usage

    async def _load(self, headers: Mapping[str, str]) -> Load | None:
        """Read the load in an answer's header, and now and then in `/metrics`, which tells of preemptions.

        Raises:
            ConnectionLostError: The server was started again since it was introduced; this answer may be
                another one's.
        """
        load, now = load_from_header(headers), time.monotonic()
        if load is None or now - self._looked_at < LOOK_SECONDS:  # without the header it is no vLLM
            return load
        self._looked_at = now
        page = await self._metrics()
        if page is None:
            return load
        self._notice_a_restart(process_start(page))
        return load_from_metrics(page) or load

    def _notice_a_restart(self, started: float | None) -> None:
        if started is None:
            return
        is_news = self._knows_start and started not in self._starts  # behind one address there may be several
        self._starts.add(started)
        self._knows_start = True
        if is_news:
            raise ConnectionLostError(f"{self.root} was started again")

    async def _tokenize(self, model: str, text: str) -> Sequence[int]:
        body: dict[str, object] = {"model": model, "prompt": text, "add_special_tokens": False}
        reply = await self._retrier.call(lambda: self._post("/tokenize", body))
        tokens = at(reply, "tokens")
        if not isinstance(tokens, list):
            raise ResponseFormatError("/tokenize answered without a list of tokens")
        return [token for token in cast("list[object]", tokens) if isinstance(token, int)]


def _call(requests: Sequence[Request]) -> tuple[str, wire.Body, Callable[..., wire.Parsed]]:
    """Choose the endpoint of a list."""
    if requests[0].prompt is not None:
        return "/v1/completions", wire.completion_body(requests), wire.parse_completion
    if len(requests) == 1:
        return "/v1/chat/completions", wire.chat_body(requests[0]), wire.parse_chat
    return "/v1/chat/completions/batch", wire.batch_chat_body(requests), wire.parse_chat
