"""Two backends of the same model: one that is preferred, and one that answers while the first is away.

Each request fails over on its own: what the first one lost goes to the second, what it refused or failed does
not. Meanwhile the first one is tried again, a bounded number of times, and asked again when it is back.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio

from backends.base import Arrival, Exchange, HookedBackend, Hooks, Outcome
from backends.capabilities import Capabilities
from backends.errors import BackendConnectionError, BackendError, ModelNotLoadedError
from backends.messages import Label, Request

T = TypeVar("T")

LOST = (BackendConnectionError, ModelNotLoadedError)
"""After these nobody has seen the question, or whoever has is dead."""

MAX_MOVES = 2
"""Of one request: to the second backend, and back to the first where the second is away too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Return:
    """How often a backend that went away is tried again in one run, and after which pauses."""

    max_tries: int = 5
    first_pause_seconds: float = 1.0
    max_pause_seconds: float = 60.0

    def pause_seconds(self, tries: int) -> float:
        """Return the pause before the next try, doubled with each."""
        return min(self.max_pause_seconds, self.first_pause_seconds * 2.0**tries)


class Counting(HookedBackend, Protocol):
    """A backend that knows its model and can count its tokens."""

    async def capabilities(self) -> Capabilities:
        """Say what is served."""
        ...

    async def count_tokens(self, request: Request) -> int:
        """Count the tokens of a prompt or a conversation."""
        ...

    async def count_text(self, model: str, text: str) -> int:
        """Count the tokens of a text by itself."""
        ...


class Revivable(Counting, Protocol):
    """A backend that can be brought back."""

    @property
    def root(self) -> str:
        """What it is called in messages."""
        ...

    async def ready(self) -> None:
        """Bring it back; raises a BackendError where it stays away."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """Requests that are asked together, and how often they were moved."""

    requests: Mapping[int, Request]
    """{place in the call: request}"""
    moves: int = 0

    def moved(self, place: int) -> "_Part":
        return _Part({place: self.requests[place]}, self.moves + 1)


class _Call:
    """One call of `answer`: what has arrived, and who is still asked for it."""

    def __init__(self) -> None:
        self.arrivals: asyncio.Queue[Arrival | Exception] = asyncio.Queue()
        self._asking: set[asyncio.Task[None]] = set()

    def ask(self, pump: Callable[[], Awaitable[None]]) -> None:
        async def pumped() -> None:
            try:
                await pump()
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits must hear of it
                self.arrivals.put_nowait(error)

        task = asyncio.create_task(pumped())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


class Failover:
    """Asks the first backend, and the second while the first is away.

    Args:
        first: Preferred.
        second: Answers in its place; a server of the same model.
        second_name: What the second one is called in messages.
        hooks: What the owner wants to hear of; both backends tell it.
        policy: How the first one is tried again.
        sleep: Waits; given, so that tests need no time.
    """

    def __init__(
        self,
        first: Revivable,
        second: Counting,
        *,
        second_name: str,
        hooks: Hooks | None = None,
        policy: Return | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.hooks = hooks or Hooks()
        self.first = first
        self.second = second
        self._second_name = second_name
        self._policy = policy or Return()
        self._sleep = sleep
        self._tries = 0
        self._return: asyncio.Task[bool] | None = None
        self._is_given_up = False
        self._stack = AsyncExitStack()
        for one in (first, second):
            one.hooks.on_exchange = self._note
            one.hooks.tell = self._tell
            one.hooks.on_contact = self._contact

    async def __aenter__(self) -> Self:
        """Open both."""
        await self._stack.enter_async_context(self.second)
        await self._stack.enter_async_context(self.first)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop trying, and close both."""
        if self._return is not None:
            self._return.cancel()
            await asyncio.gather(self._return, return_exceptions=True)
        await self._stack.__aexit__(kind, error, traceback)

    @property
    def is_on_first(self) -> bool:
        """Whether the preferred backend is asked for now."""
        return self._return is None and not self._is_given_up

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive."""
        call = _Call()
        left = len(requests)
        self._ask(call, _Part(dict(enumerate(requests))))
        try:
            while left:
                arrival = await call.arrivals.get()
                if isinstance(arrival, Exception):
                    raise arrival
                left -= len(arrival.outcomes)
                yield arrival
        finally:
            await call.close()

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Find the token ids of each label, at whichever backend is there.

        Raises:
            BackendError: Neither can be asked, or a label is no single token.
        """
        return await self._ask_either(lambda one: one.find_labels(model, texts))

    async def count_tokens(self, request: Request) -> int:
        """Count the tokens of a prompt or a conversation, at whichever backend is there.

        Raises:
            BackendError: Neither can be asked.
        """
        return await self._ask_either(lambda one: one.count_tokens(request))

    async def count_text(self, model: str, text: str) -> int:
        """Count the tokens of a text by itself, at whichever backend is there.

        Raises:
            BackendError: Neither can be asked.
        """
        return await self._ask_either(lambda one: one.count_text(model, text))

    async def capabilities(self) -> Capabilities:
        """Return what is served, as whichever backend is there says.

        Raises:
            BackendError: Neither can be asked.
        """
        return await self._ask_either(lambda one: one.capabilities())

    # --- who is asked -----------------------------------------------------------------------------------

    def _ask(self, call: _Call, part: _Part) -> None:
        if self.is_on_first:
            call.ask(partial(self._from_first, call, part))
        else:
            call.ask(partial(self._from_second, call, part))

    async def _ask_either(self, ask: Callable[[Counting], Awaitable[T]]) -> T:
        if self.is_on_first:
            try:
                return await ask(self.first)
            except LOST as error:
                self._lose(error)
        return await ask(self.second)

    async def _from_first(self, call: _Call, part: _Part) -> None:
        async for place, outcome in _outcomes(call, self.first, part):
            self._lose(outcome)
            if part.moves < MAX_MOVES:
                call.ask(partial(self._from_second, call, part.moved(place)))
            else:
                _arrive(call, place, outcome)

    async def _from_second(self, call: _Call, part: _Part) -> None:
        async for place, outcome in _outcomes(call, self.second, part):
            if part.moves < MAX_MOVES and not self._is_given_up:
                call.ask(partial(self._when_it_is_back, call, part.moved(place), outcome))
            else:
                _arrive(call, place, outcome)

    async def _when_it_is_back(self, call: _Call, part: _Part, outcome: BackendError) -> None:
        """Both are away: wait for the first one's return, which somebody works on."""
        if self._return is None or await asyncio.shield(self._return):
            await self._from_first(call, part)
        else:
            _arrive(call, next(iter(part.requests)), outcome)

    # --- leaving and coming back ------------------------------------------------------------------------

    def _lose(self, reason: BackendError) -> None:
        if not self.is_on_first:
            return
        self._tell(f"{self.first.root} is away ({reason}); {self._second_name} answers until it is back")
        self._return = asyncio.ensure_future(self._bring_back(reason))

    async def _bring_back(self, reason: BackendError) -> bool:
        try:
            while self._tries < self._policy.max_tries:
                await self._sleep(self._policy.pause_seconds(self._tries))
                self._tries += 1
                try:
                    await self.first.ready()
                except BackendError as error:
                    reason = error
                    continue
                self._tell(f"{self.first.root} is back, and asked again")
                return True
            self._give_up(reason)
            return False
        finally:
            self._return = None

    def _give_up(self, reason: BackendError) -> None:
        self._is_given_up = True
        self._tell(
            f"{self.first.root} is given up after {self._tries} tries ({reason}); {self._second_name} answers"
        )

    # --- what is told -----------------------------------------------------------------------------------

    def _note(self, exchange: Exchange) -> None:  # the hooks may still be changed
        self.hooks.on_exchange(exchange)

    def _tell(self, sentence: str) -> None:
        self.hooks.tell(sentence)

    async def _contact(self) -> None:
        await self.hooks.on_contact()


async def _outcomes(
    call: _Call, backend: HookedBackend, part: _Part
) -> AsyncGenerator[tuple[int, BackendError], None]:
    """Have a part answered; pass on what arrives, and yield what was lost, by its place in the call."""
    places = list(part.requests)
    async with aclosing(backend.answer(list(part.requests.values()))) as arrivals:
        async for arrival in arrivals:
            placed = [(places[index], outcome) for index, outcome in arrival.outcomes]
            passed = tuple((place, one) for place, one in placed if not isinstance(one, LOST))
            call.arrivals.put_nowait(replace(arrival, outcomes=passed))
            for place, outcome in placed:
                if isinstance(outcome, LOST):
                    yield place, outcome


def _arrive(call: _Call, place: int, outcome: Outcome) -> None:
    call.arrivals.put_nowait(Arrival(outcomes=((place, outcome),), requests_sent=0))
