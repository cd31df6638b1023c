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

from backends.base import Arrival, Exchange, Hooks, Outcome
from backends.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from backends.errors import BackendConnectionError, BackendError, ReplicasDifferError, ServerGoneError
from backends.messages import Label, Request, prompt_text
from backends.rendezvous import prefix_group, ranked
from backends.shared_call import SharedCall
from backends.vllm_server import Capabilities, VLLMServer

T = TypeVar("T")

AHEAD = 64
"""Prompts that a server has beyond its limit, two lists: enough for it to find the next list at once."""

MAX_MOVES = 8
"""How often a prompt may lose its server: one that kills each server that it meets must end somewhere."""

MEETING_SECONDS = 1.0
"""At the beginning, how long those that are there wait for the others."""

REFUSED_PAUSE_SECONDS = 60.0
"""Before a server is checked again that is there and not to be asked: the check may cost it some prompts."""

SILENT_SECONDS = 15.0
"""A server that answers nothing for so long is asked for its health; twice, since a busy one may be late."""


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

    server: VLLMServer
    queue: deque[_Item] = field(default_factory=deque[_Item])
    with_it: int = 0
    """Prompts handed over and not yet answered."""
    is_open: bool = False
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is known whether the server is there."""
    search: asyncio.Task[None] | None = None
    reason: Exception | None = None
    """Why it is not open."""
    away_since: float | None = None
    told: bool = False
    """Whether the user has heard that it is away."""
    heard_at: float = 0.0

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
        self._sleep = sleep
        self._clock = clock
        self._seats = [_Seat(server) for server in servers]
        self._cards: dict[str, str] = {}  # {address: what it serves, in words}
        self._agreed: tuple[str, str] | None = None
        self._handed: set[asyncio.Task[None]] = set()
        self._stranded: deque[_Item] = deque()
        self._gone: BackendError | None = None
        self._patience: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None
        self._meeting = SharedCall(self._meet)
        self._max_away_seconds = max(server.join(partial(self._check, server.root)) for server in servers)
        for server in servers:
            server.hooks = _both(server.hooks, self.hooks)

    async def __aenter__(self) -> Self:
        """Open nothing yet: a run whose answers are all stored needs no server."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel what is under way on all servers, and close connections."""
        for seat in self._seats:
            seat.is_open = False
        tasks = [*(seat.search for seat in self._seats), self._patience, self._guard, *self._handed]
        running = [task for task in tasks if task is not None]
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
                    await self._meeting()
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

    async def capabilities(self) -> Capabilities:
        """Return what the servers serve and what they can do, which is the same for all.

        Raises:
            BackendError: None of them answers, or they differ.
        """
        return await self._ask_any(lambda server: server.capabilities())

    async def _ask_any(self, ask: Callable[[VLLMServer], Awaitable[T]]) -> T:
        await self._meeting()
        *others, last = sorted(self._seats, key=lambda seat: seat.is_open, reverse=True)
        for seat in others:
            try:
                return await ask(seat.server)
            except BackendConnectionError:
                continue
        return await ask(last.server)

    # --- who is there -----------------------------------------------------------------------------------

    async def _meet(self) -> None:
        """Look for all servers; go on with those that are there, if they agree."""
        for seat in self._seats:
            if not seat.is_open:
                seat.reason = None
                self._search(seat)
        looks = [asyncio.ensure_future(seat.looked.wait()) for seat in self._seats]
        try:
            _, pending = await asyncio.wait(looks, timeout=MEETING_SECONDS)
            while pending and not any(seat.is_open for seat in self._seats):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            self._agree()
        except BaseException:
            for seat in self._seats:
                seat.is_open = False
                if seat.search is not None:
                    seat.search.cancel()
            raise
        finally:
            for look in looks:
                look.cancel()
        for seat in self._seats:
            if not seat.is_open:
                seat.away_since, seat.told = self._clock(), True
                self.hooks.tell(f"{seat.server.root} is not there{_because(seat.reason)}; the others answer")

    def _agree(self) -> None:
        """Settle what all serve: what most of them do.

        Raises:
            BackendError: One is refused, one differs, or none is there.
        """
        reasons = [seat.reason for seat in self._seats if seat.reason is not None]
        for reason in reasons:
            if _is_refusal(reason):
                raise reason
        there = [seat.server.root for seat in self._seats if seat.is_open]
        if not there:
            first = reasons[0]
            raise first if len(self._seats) == 1 else BackendConnectionError(f"no server is there: {first}")
        every = [self._cards[root] for root in there]
        self._agreed = max(zip(there, every, strict=True), key=lambda one: every.count(one[1]))
        for root in there:
            self._compare(root)

    def _check(self, root: str, card: Capabilities) -> None:
        """Compare what a server says of itself with what was agreed; before anything is sent to it."""
        self._cards[root] = _in_words(card)
        self._compare(root)

    def _compare(self, root: str) -> None:
        if self._agreed is not None and self._cards[root] != self._agreed[1]:
            other, what = self._agreed
            raise ReplicasDifferError(
                f"{root} serves {self._cards[root]}, but {other} serves {what}; "
                "replicas serve the same: restart the odd one, or take it off the list"
            )

    def _search(self, seat: _Seat) -> None:
        seat.looked.clear()
        seat.search = asyncio.ensure_future(self._look_for(seat))

    async def _look_for(self, seat: _Seat) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._look_at(seat)
            except Exception as error:  # noqa: BLE001 - whatever keeps it from being asked, others may answer
                seat.reason = error
                self._tell_away(seat)
            else:
                self._open(seat)
                return
            finally:
                seat.looked.set()
            self._give_up_if_all_are_refused()
            await self._sleep(REFUSED_PAUSE_SECONDS if _is_refusal(seat.reason) else pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _look_at(self, seat: _Seat) -> None:
        server = seat.server
        if isinstance(seat.reason, BackendError) and not server.is_away and not await server.is_healthy():
            server.take_for_away(seat.reason)  # else one broken connection, as when it was idle
        await server.ready()

    def _tell_away(self, seat: _Seat) -> None:
        if seat.told or seat.away_since is None:
            return
        seat.told = True
        if any(one.is_open for one in self._seats):
            what = "the others answer in its place"
        else:
            what = f"no server is left, waiting up to {self._max_away_seconds:.0f} s for one"
        self.hooks.tell(f"{seat.server.root} is away{_because(seat.reason)}; {what}")

    def _open(self, seat: _Seat) -> None:
        seat.is_open, seat.reason, self._gone = True, None, None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if seat.told and seat.away_since is not None:
            self.hooks.tell(f"{seat.server.root} is back after {self._clock() - seat.away_since:.0f} s")
        seat.away_since, seat.told = None, False
        self._place_anew([one.queue for one in self._seats] + [self._stranded])
        self._feed()

    def _send_away(self, seat: _Seat, reason: Exception | None) -> None:
        seat.is_open, seat.reason, seat.away_since = False, reason, self._clock()
        self._search(seat)
        if not any(one.is_open for one in self._seats):
            self._patience = asyncio.ensure_future(self._wait_for_any())
        self._place_anew([seat.queue])

    async def _wait_for_any(self) -> None:
        await self._sleep(self._max_away_seconds)
        reason = next((seat.reason for seat in self._seats if seat.reason is not None), None)
        many = "the server" if len(self._seats) == 1 else f"all {len(self._seats)} servers"
        self._patience = None
        self._give_up(
            ServerGoneError(f"{many} stayed away for {self._max_away_seconds:.0f} s{_because(reason)}")
        )

    def _give_up_if_all_are_refused(self) -> None:
        reasons = [seat.reason for seat in self._seats if not seat.is_open]
        refused = [reason for reason in reasons if isinstance(reason, BackendError) and _is_refusal(reason)]
        if self._patience is not None and len(refused) == len(self._seats):
            self._patience.cancel()
            self._patience = None
            self._give_up(refused[0])

    def _give_up(self, error: BackendError) -> None:
        """Fail what waits and what will come, until a server is there again."""
        self._gone = error
        self._place_anew([self._stranded])

    async def _keep_guard(self) -> None:
        """Break off what a server will never answer: one whose machine is gone closes no connection."""
        while any(seat.with_it for seat in self._seats):
            await self._sleep(SILENT_SECONDS)
            for seat in self._seats:
                silent = self._clock() - seat.heard_at >= SILENT_SECONDS
                if seat.with_it and silent and not await self._shows_life(seat.server):
                    seat.server.hang_up()

    async def _shows_life(self, server: VLLMServer) -> bool:
        return await server.is_healthy() or await server.is_healthy()

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
        if self._gone is None:
            self._stranded.append(item)
        else:
            item.asked.arrivals.put_nowait(Arrival(outcomes=((item.index, self._gone),), requests_sent=0))

    def _feed(self) -> None:
        """Hand over as much as each server can take now."""
        for seat in self._seats:
            if seat.is_open and seat.server.is_away:
                self._send_away(seat, seat.reason)
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
        if not seat.with_it:
            seat.heard_at = self._clock()
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
        if self._guard is None or self._guard.done():
            self._guard = asyncio.create_task(self._keep_guard())

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
        seat.heard_at = self._clock()
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


def _is_refusal(reason: Exception) -> bool:
    """Whether a server is there and is not to be asked, which waiting does not change."""
    away = isinstance(reason, BackendError) and (reason.retryable or isinstance(reason, ServerGoneError))
    return not away


def _because(reason: Exception | None) -> str:
    return f" ({reason})" if reason is not None else ""


def _in_words(card: Capabilities) -> str:
    models = [
        f"{model} from {root} with {card.max_model_lens.get(model, 'unknown')} tokens"
        for model, root in sorted(card.roots.items())
    ]
    return f"{', '.join(models) or 'nothing'} by vLLM {card.version}"


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
