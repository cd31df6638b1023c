"""Several vLLM servers as one backend: what begins alike goes to the same one, nothing waits for a dead one.

Each server keeps its own batching, limit and breaker. Prompts wait here and not there: a server gets what it
can work on and a little ahead, so that one that is slow holds no tail, one that is idle can take from the
longest queue, and one that dies has little to give back.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

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
"""How often a prompt may change its server: one that kills each server that it meets must end somewhere."""

SICK_AFTER = 3
"""Times in a row that others answered what a server had failed, and it nothing, before it is ejected. What
fails everywhere is the prompt's own fault, and speaks against no server."""


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
    failed: "list[_Seat]" = field(default_factory=list["_Seat"])
    """Who was there and failed it, once for each time."""
    rested_seconds: float = 0.0
    error: BackendError | None = None
    """The last of these failures."""

    def reluctance(self, seat: "_Seat") -> tuple[bool, int]:
        """Say how little a server is wanted for this; the least first."""
        return seat is self.avoid, self.failed.count(seat)


@dataclass(eq=False, slots=True)
class _Seat:
    """A server and what is meant for it."""

    member: Member
    queue: deque[_Item] = field(default_factory=deque[_Item])
    with_it: int = 0
    """Prompts handed over and not yet answered."""
    outdone: int = 0
    """How often others answered what it had failed, since it last answered."""

    @property
    def server(self) -> VLLMServer:
        return self.member.server

    @property
    def is_open(self) -> bool:
        return self.member.is_open

    @property
    def room(self) -> int:
        if self.member.on_trial:
            return 1 - self.with_it
        limit = self.server.limit.limit
        return int(limit + min(limit, AHEAD)) - self.with_it

    @property
    def idle_room(self) -> int:
        """Room for what belongs to others."""
        if self.queue:
            return 0
        return self.room if self.member.on_trial else int(self.server.limit.limit) - self.with_it


class Replicas:
    """Asks several vLLM servers that serve the same, as if they were one.

    A server that is away gets nothing, and what it has not answered goes to the others at once; it is looked
    for all the while, and asked again when it is back and `on_contact` has passed. Only when all are away is
    there a wait, for as long as the most patient of the servers would have been waited for; then everything
    fails with ServerGoneError, until one of them is there again.

    A prompt that one server fails, and that may be tried again, goes to another; one that all fail is tried
    as often as by a server alone, and ends with its own error. A server that fails what others answer is
    ejected for a while, and then gets a single prompt as a trial.

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
        self._sleep = sleep
        self._rng = random.Random()
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
        self._resting: dict[asyncio.Task[None], list[_Item]] = {}
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
        running = [*self._handed, *self._resting]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for server in self.servers:
            await server.__aexit__(kind, error, traceback)

    @property
    def backlog(self) -> int:
        """Prompts that wait, here or with a server."""
        waiting = len(self._stranded) + sum(len(items) for items in self._resting.values())
        return waiting + sum(len(seat.queue) + seat.with_it for seat in self._seats)

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

    async def count_text(self, model: str, text: str) -> int:
        """Count the tokens of a text by itself, at any server.

        Raises:
            BackendError: None of them can be asked.
        """
        return await self._ask_any(lambda server: server.count_text(model, text))

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

    def _eject(self, seat: _Seat, reason: BackendError) -> None:
        """Spare the others' prompts a server that keeps failing; the last one there is never ejected."""
        if seat.member.relapses and not seat.is_open:  # it is ejected
            return
        if any(other.is_open for other in self._seats if other is not seat):
            seat.outdone = 0
            self._attendance.eject(seat.member, reason)
            self._place_anew([seat.queue])
        elif seat.member.on_trial:
            self._attendance.acquit(seat.member)

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
            home = min(order, key=item.reluctance)
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
        longest.extend(item for item in taken if any(item.reluctance(idle)))
        return [item for item in taken if not any(item.reluctance(idle))]

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
        """Pass on what a server answered, and give what it lost or failed to another."""
        passed: list[tuple[int, Outcome]] = []
        answered: list[_Item] = []
        lost: list[_Item] = []
        failed: list[_Item] = []
        reason: BackendError | None = None
        for place, outcome in arrival.outcomes:
            item = left.pop(place)
            if not isinstance(outcome, BackendError):
                answered.append(item)
            elif _is_lost(outcome, seat):
                if item.moves < MAX_MOVES:
                    item.moves, item.avoid, reason = item.moves + 1, seat, outcome
                    lost.append(item)
                    continue
            elif outcome.retryable:
                item.failed.append(seat)
                item.error = outcome
                if self._is_worth_another(item, outcome):
                    item.moves += 1
                    failed.append(item)
                    continue
            passed.append((item.index, outcome))
        seat.with_it -= len(arrival.outcomes)
        asked.arrivals.put_nowait(replace(arrival, outcomes=tuple(passed)))
        if lost and seat.is_open:
            self._send_away(seat, reason)
        self._judge(seat, answered, failed)
        self._place([*lost, *self._without_those_who_rest(failed)], first=True)
        self._feed()

    def _is_worth_another(self, item: _Item, error: BackendError) -> bool:
        """Whether a prompt that was failed is to be asked again, elsewhere or as by a server alone."""
        if self._has_another(item):
            return True
        policy = self._attendance.policy
        if error.patient:
            return item.rested_seconds < policy.max_away_seconds
        return len(item.failed) <= min(policy.max_attempts - 1, error.max_retries or MAX_MOVES)

    def _has_another(self, item: _Item) -> bool:
        untried = any(seat.is_open and seat not in item.failed for seat in self._seats)
        return untried and item.moves < MAX_MOVES

    def _judge(self, seat: _Seat, answered: Sequence[_Item], failed: Sequence[_Item]) -> None:
        """Learn which server is sick from what another one answers."""
        if answered:
            seat.outdone = 0
            if seat.member.on_trial:
                self._attendance.acquit(seat.member)
        elif failed and seat.member.on_trial:
            self._eject(seat, _error(failed[0]))
        outdone = {other: _error(item) for item in answered for other in item.failed if other is not seat}
        for other, error in outdone.items():
            other.outdone += 1
            if other.outdone >= SICK_AFTER:
                self._eject(other, error)

    def _without_those_who_rest(self, failed: Sequence[_Item]) -> list[_Item]:
        """Return what another server can have at once; what all have failed is placed again after a pause."""
        tired = [item for item in failed if not self._has_another(item)]
        if tired:
            tries = max(len(item.failed) for item in tired)
            pause = self._attendance.policy.wait_seconds(tries, tired[0].error, self._rng)
            for item in tired:
                item.rested_seconds += pause
            rest = asyncio.create_task(self._rest(tired, pause))
            self._resting[rest] = tired
        return [item for item in failed if self._has_another(item)]

    async def _rest(self, items: Sequence[_Item], seconds: float) -> None:
        await self._sleep(seconds)
        self._resting.pop(cast("asyncio.Task[None]", asyncio.current_task()))
        self._place(items, first=True)
        self._feed()

    async def _forget(self, asked: _Asked) -> None:
        for queue in [*(seat.queue for seat in self._seats), self._stranded]:
            staying = [item for item in queue if item.asked is not asked]
            queue.clear()
            queue.extend(staying)
        for items in self._resting.values():
            items[:] = [item for item in items if item.asked is not asked]
        handed = list(asked.handed)
        for task in handed:
            task.cancel()
        await asyncio.gather(*handed, return_exceptions=True)


def _is_lost(outcome: BackendError, seat: _Seat) -> bool:
    """Whether no server is to be blamed: the connection broke, or this one was not even asked."""
    return isinstance(outcome, BackendConnectionError) or (seat.server.is_away and not outcome.retryable)


def _error(item: _Item) -> BackendError:
    return item.error or BackendError("no reason given")


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
