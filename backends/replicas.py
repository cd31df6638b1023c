"""Several vLLM servers as one backend: what begins alike goes to the same one, nothing waits for a dead one.

Each server keeps its own batching, limit and breaker. Prompts wait here and not there: a server gets what it
can work on and a little ahead, so that one that is slow holds no tail, one that is idle can take from the
longest queue, and one that dies has little to give back.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import anyio

from backends.attendance import Attendance, Member
from backends.base import Arrival, Exchange, Hooks, Outcome
from backends.capabilities import Capabilities
from backends.errors import BackendConnectionError, BackendError
from backends.messages import Label, Request, prompt_text
from backends.rendezvous import prefix_group, ranked
from backends.vllm_server import VLLMServer

T = TypeVar("T")

AHEAD = 64
"""Prompts that a server has beyond its limit, two lists: enough for it to find the next list at once."""

MAX_MOVES = 8
"""How often a prompt may lose its server: one that kills each server that it meets must end somewhere."""


@dataclass(eq=False, slots=True)
class _Asked:
    """One call of `answer`, and what has come back for it."""

    arrivals: asyncio.Queue[Arrival | Exception] = field(default_factory=asyncio.Queue[Arrival | Exception])
    handed: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    left: bool = False


@dataclass(eq=False, slots=True)
class _Item:
    """One request of one call."""

    asked: _Asked
    index: int
    request: Request
    group: bytes
    moves: int = 0
    avoid: "_Seat | None" = None
    """Who lost it last."""


@dataclass(eq=False, slots=True)
class _Seat:
    """A server and what is meant for it."""

    member: Member
    queue: deque[_Item] = field(default_factory=deque[_Item])
    with_it: int = 0
    """Prompts handed over and not yet answered."""

    @property
    def server(self) -> VLLMServer:
        return self.member.server

    @property
    def is_open(self) -> bool:
        return self.member.is_open

    @property
    def room(self) -> int:
        limit = self.server.limit.limit
        return int(limit + min(limit, AHEAD)) - self.with_it

    @property
    def idle_room(self) -> int:
        """Room for what belongs to others."""
        return 0 if self.queue else int(self.server.limit.limit) - self.with_it


class Replicas:
    """Asks several vLLM servers that serve the same, as if they were one.

    A server that is away gets nothing, and what it has not answered goes to the others at once; it is looked
    for all the while, and asked again when it is back and `on_contact` has passed. Only when all are away is
    there a wait, for as long as the most patient of the servers would have been waited for; then everything
    fails with ServerGoneError, until one of them is there again.

    Args:
        servers: At least one, each with an address of its own; they belong to this object from now on.
        hooks: What the owner wants to hear of, of all servers. `on_contact` is called for each of them and
            does not say which; set it on one of `servers` to check that one.
        sleep: Waits; given, so that tests need no time.
        clock: Seconds that only go up.

    Raises:
        ValueError: There is no server, or two have the same address.
    """

    def __init__(
        self,
        servers: Sequence[VLLMServer],
        *,
        hooks: Hooks | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        roots = [server.root for server in servers]
        if not roots or len(set(roots)) < len(roots):
            raise ValueError(f"replicas are several servers with different addresses, not {roots}")
        self.servers = tuple(servers)
        self.hooks = hooks or Hooks()
        self._attendance = Attendance(
            servers,
            tell=self._tell,
            on_open=self._start_anew,
            on_gone=self._fail_what_waits,
            sleep=sleep,
            clock=clock,
        )
        self._seats = [_Seat(member) for member in self._attendance.members]
        self._handed: set[asyncio.Task[None]] = set()
        self._stranded: deque[_Item] = deque()
        for server in servers:
            server.hooks = _both(server.hooks, self.hooks)

    async def __aenter__(self) -> Self:
        """Open nothing yet: a run whose answers are all stored needs no server."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel what is under way on all servers, and close connections."""
        await self._attendance.close()
        running = list(self._handed)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for server in self.servers:
            await server.__aexit__(kind, error, traceback)

    @property
    def backlog(self) -> int:
        """Prompts that wait, here or with a server."""
        return len(self._stranded) + sum(len(seat.queue) + seat.with_it for seat in self._seats)

    @property
    def there(self) -> tuple[str, ...]:
        """The addresses of the servers that are asked now."""
        return tuple(seat.server.root for seat in self._seats if seat.is_open)

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive."""
        asked = _Asked()
        missing = len(requests)
        try:
            if requests:
                try:
                    await self._attendance.meet()
                except BackendError as error:
                    missing = 0
                    outcomes = tuple((index, error) for index in range(len(requests)))
                    yield Arrival(outcomes=outcomes, requests_sent=0)
                    return
            self._admit(asked, requests)
            while missing:
                arrival = await asked.arrivals.get()
                if isinstance(arrival, Exception):
                    raise arrival
                missing -= len(arrival.outcomes)
                yield arrival
        finally:
            asked.left = True
            if missing:
                await self._forget(asked)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Find the token ids of each label, at any server that is there.

        Raises:
            BackendError: No server can be asked, or a label is no single token.
        """
        return await self._ask_any(lambda server: server.find_labels(model, texts))

    async def count_tokens(self, request: Request) -> int:
        """Count the tokens of a prompt or a conversation, at any server that is there.

        Raises:
            BackendError: No server can be asked.
        """
        return await self._ask_any(lambda server: server.count_tokens(request))

    async def capabilities(self) -> Capabilities:
        """Return what the servers serve and what they can do, which is the same for all.

        Raises:
            BackendError: None of them answers, or they differ.
        """
        return await self._ask_any(lambda server: server.capabilities())

    async def _ask_any(self, ask: Callable[[VLLMServer], Awaitable[T]]) -> T:
        await self._attendance.meet()
        *others, last = sorted(self._seats, key=lambda seat: seat.is_open, reverse=True)
        for seat in others:
            try:
                return await ask(seat.server)
            except BackendConnectionError:
                continue
        return await ask(last.server)

    # --- who is there -----------------------------------------------------------------------------------

    def _start_anew(self) -> None:
        """Divide what waits among those that are there now."""
        self._place_anew([*(seat.queue for seat in self._seats), self._stranded])
        self._feed()

    def _tell(self, sentence: str) -> None:  # the hooks may still be changed
        self.hooks.tell(sentence)

    def _fail_what_waits(self) -> None:
        self._place_anew([self._stranded])

    def _send_away(self, seat: _Seat, reason: Exception | None) -> None:
        self._attendance.lose(seat.member, reason)
        self._place_anew([seat.queue])

    # --- who gets what ----------------------------------------------------------------------------------

    def _admit(self, asked: _Asked, requests: Sequence[Request]) -> None:
        texts = [prompt_text(request) for request in requests]
        order = sorted(range(len(requests)), key=texts.__getitem__)
        items = [_Item(asked, place, requests[place], prefix_group(requests[place])) for place in order]
        self._place(items)
        self._feed()

    def _place(self, items: Sequence[_Item], *, first: bool = False) -> None:
        """Put each item into the queue of the open server that its group belongs to."""
        seats = [seat for seat in self._seats if seat.is_open]
        roots = [seat.server.root for seat in seats]
        orders: dict[bytes, list[int]] = {}
        for item in reversed(items) if first else items:
            if item.asked.left:
                continue
            if not seats:
                self._strand(item)
                continue
            if item.group not in orders:
                orders[item.group] = ranked(item.group, roots)
            order = [seats[place] for place in orders[item.group]]
            home = order[1] if order[0] is item.avoid and len(order) > 1 else order[0]
            if first:
                home.queue.appendleft(item)
            else:
                home.queue.append(item)

    def _place_anew(self, queues: Sequence[deque[_Item]]) -> None:
        items = [item for queue in queues for item in queue]
        for queue in queues:
            queue.clear()
        self._place(items)

    def _strand(self, item: _Item) -> None:
        if self._attendance.gone is None:
            self._stranded.append(item)
        else:
            outcome = (item.index, self._attendance.gone)
            item.asked.arrivals.put_nowait(Arrival(outcomes=(outcome,), requests_sent=0))

    def _feed(self) -> None:
        """Hand over as much as each server can take now."""
        for seat in self._seats:
            if seat.is_open and seat.server.is_away:
                self._send_away(seat, seat.member.reason)
        for seat in self._seats:
            if seat.is_open:
                own = [seat.queue.popleft() for _ in range(min(seat.room, len(seat.queue)))]
                self._hand_over(seat, own)
        for seat in self._seats:
            if seat.is_open and seat.idle_room > 0:
                self._hand_over(seat, self._from_the_longest_queue(seat))

    def _from_the_longest_queue(self, idle: _Seat) -> list[_Item]:
        """Take neighbours from the end of the longest queue: the rest of a group, or whole groups.

        Its server has as much as it can take and more is waiting; half of that, so that both end together.
        """
        longest = max(self._seats, key=lambda seat: len(seat.queue)).queue
        count = min(idle.idle_room, (len(longest) + 1) // 2)
        taken = [longest.pop() for _ in range(count)][::-1]
        longest.extend(item for item in taken if item.avoid is idle)
        return [item for item in taken if item.avoid is not idle]

    def _hand_over(self, seat: _Seat, items: Sequence[_Item]) -> None:
        if not items:
            return
        seat.with_it += len(items)
        by_call: dict[_Asked, list[_Item]] = {}
        for item in items:
            by_call.setdefault(item.asked, []).append(item)
        for asked, part in by_call.items():
            left = dict(enumerate(part))
            task = asyncio.create_task(self._answer(seat, asked, left))
            asked.handed.add(task)
            self._handed.add(task)
            task.add_done_callback(partial(self._handed_back, seat, asked, left))

    async def _answer(self, seat: _Seat, asked: _Asked, left: dict[int, _Item]) -> None:
        try:
            async with aclosing(seat.server.answer([item.request for item in left.values()])) as arrivals:
                async for arrival in arrivals:
                    self._landed(seat, asked, left, arrival)
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits must hear of it
            asked.arrivals.put_nowait(error)

    def _handed_back(
        self, seat: _Seat, asked: _Asked, left: dict[int, _Item], task: asyncio.Task[None]
    ) -> None:
        asked.handed.discard(task)
        self._handed.discard(task)
        if left:  # the caller has gone away
            seat.with_it -= len(left)
            self._feed()

    def _landed(self, seat: _Seat, asked: _Asked, left: dict[int, _Item], arrival: Arrival) -> None:
        """Pass on what a server answered, and give what it lost to another."""
        passed: list[tuple[int, Outcome]] = []
        lost: list[_Item] = []
        reason: BackendError | None = None
        for place, outcome in arrival.outcomes:
            item = left.pop(place)
            if isinstance(outcome, BackendError) and item.moves < MAX_MOVES and _is_lost(outcome, seat):
                item.moves, item.avoid, reason = item.moves + 1, seat, outcome
                lost.append(item)
            else:
                passed.append((item.index, outcome))
        seat.with_it -= len(arrival.outcomes)
        asked.arrivals.put_nowait(replace(arrival, outcomes=tuple(passed)))
        if lost and seat.is_open:
            self._send_away(seat, reason)
        self._place(lost, first=True)
        self._feed()

    async def _forget(self, asked: _Asked) -> None:
        for queue in [*(seat.queue for seat in self._seats), self._stranded]:
            staying = [item for item in queue if item.asked is not asked]
            queue.clear()
            queue.extend(staying)
        handed = list(asked.handed)
        for task in handed:
            task.cancel()
        await asyncio.gather(*handed, return_exceptions=True)


def _is_lost(outcome: BackendError, seat: _Seat) -> bool:
    """Whether another server may answer: the connection broke, or this server was not even asked."""
    return isinstance(outcome, BackendConnectionError) or seat.server.is_away


def _both(one: Hooks, other: Hooks) -> Hooks:
    """Tell two owners; the second one's hooks may still be changed."""
    on_exchange, tell, on_contact = one.on_exchange, one.tell, one.on_contact

    def tell_exchange(exchange: Exchange) -> None:
        on_exchange(exchange)
        other.on_exchange(exchange)

    def tell_both(sentence: str) -> None:
        tell(sentence)
        other.tell(sentence)

    async def contact() -> None:
        await on_contact()
        await other.on_contact()

    return Hooks(on_exchange=tell_exchange, tell=tell_both, on_contact=contact)
