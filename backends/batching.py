"""Collects what is asked at the same time and sends it as lists that share a body and, mostly, a prefix."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from backends.base import Arrival, Indexed
from backends.concurrency import AdaptiveLimit, Permit
from backends.errors import BackendError
from backends.messages import Request, prompt_text
from backends.wire import body_key

CHARACTERS_PER_TOKEN = 3
"""A low guess for English, so that a list's tokens are rather overestimated."""


ANSWER_TOKEN_WEIGHT = 24
"""Prompt tokens that one of an answer counts as: each is a step of its own, and all that a list is answered
with arrives with its slowest answer, or is lost with the process that waits for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListBounds:
    """How much one HTTP request holds at most, and how long to wait for company."""

    max_prompts: int = 32
    max_tokens: int = 65_536
    """Tokens of a list, estimated; of answers, all that they may have, weighted. A long list is one failure,
    one timeout and one progress report."""
    window_seconds: float = 0.003


@dataclass(eq=False, slots=True)
class _Asked:
    """One call of `answer`, and what has come back for it."""

    arrivals: asyncio.Queue[Arrival | BaseException] = field(
        default_factory=asyncio.Queue[Arrival | BaseException]
    )
    left: bool = False
    """Whoever called has gone away."""


@dataclass(frozen=True, eq=False, slots=True)
class _Item:
    """One request of one call."""

    asked: _Asked
    index: int
    request: Request
    text: str
    body: object

    @property
    def tokens(self) -> int:
        prompt = len(self.text) // CHARACTERS_PER_TOKEN
        return prompt + ANSWER_TOKEN_WEIGHT * self.request.sampling.max_tokens


SendList = Callable[[Sequence[Indexed], Permit], Awaitable[Arrival]]
"""Answers one list; the permit is for its first attempt, and is taken back in any case when it returns."""


class Batcher:
    """Forms lists from all calls that are open, late: when the server has room for one more.

    Lists hold what shares a body. Requests that came together are sorted by their text, so that those with a
    common prefix travel in one list or in neighbouring ones, and a server with a prefix cache computes it
    once. Whoever closes its generator early takes its requests out of the queue; a list that nobody waits
    for any more is cancelled, and the server drops it.

    Args:
        send: Answers one list.
        limit: Says when there is room.
        bounds: How long a list may be.
    """

    def __init__(self, send: SendList, limit: AdaptiveLimit, bounds: ListBounds) -> None:
        self._send = send
        self._limit = limit
        self._bounds = bounds
        self._fresh: list[_Item] = []
        self._queues: dict[object, deque[_Item]] = {}  # {body: its requests}, the longest waiting body first
        self._halves: deque[list[_Item]] = deque()
        self._open: set[_Asked] = set()
        self._pump: asyncio.Task[None] | None = None
        self._sending: dict[asyncio.Task[None], list[_Item]] = {}

    @property
    def backlog(self) -> int:
        """Prompts that wait here or are with the server."""
        queued = sum(len(queue) for queue in self._queues.values()) + sum(len(half) for half in self._halves)
        return len(self._fresh) + queued + sum(len(items) for items in self._sending.values())

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive.

        Raises:
            BackendError: All was closed before every request had its outcome.
            TypeError: A request holds something that has no hash.
            Exception: Whatever else went wrong in here, so that nobody waits for what cannot come.
        """
        asked = _Asked()
        fresh = [
            _Item(asked, index, request, prompt_text(request), body_key(request))
            for index, request in enumerate(requests)
        ]
        hash(tuple(item.body for item in fresh))  # here, so that what has no hash fails its own caller alone
        self._fresh += fresh
        self._open.add(asked)
        self._start()
        missing = len(requests)
        try:
            while missing:
                arrival = await asked.arrivals.get()
                if isinstance(arrival, BaseException):
                    raise arrival
                missing -= len(arrival.outcomes)
                yield arrival
        finally:
            asked.left = True
            self._open.discard(asked)
            if missing:
                await self._forget_those_who_left()

    async def close(self) -> None:
        """Cancel everything; who still waits is told so."""
        tasks = [*self._sending, *([self._pump] if self._pump else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self) -> None:
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
            self._pump.add_done_callback(self._pump_ended)

    async def _run(self) -> None:
        try:
            while self._fresh or self._queues or self._halves:
                if not self._queues and not self._halves:
                    await asyncio.sleep(self._bounds.window_seconds)
                await self._limit.room()
                self._admit()
                if items := self._next_list():
                    self._send_off(items)
        finally:
            self._pump = None  # before anybody else runs, so that what comes later starts another

    def _pump_ended(self, pump: asyncio.Task[None]) -> None:
        """Let nobody wait for a pump that failed: its error ends all calls that are open."""
        if error := _failure(pump):
            self._fresh.clear()
            self._queues.clear()
            self._halves.clear()
            _hand_out(error, self._open)

    def _admit(self) -> None:
        """Sort what has come since the last look into the queues."""
        fresh, self._fresh = self._fresh, []
        for item in sorted(fresh, key=lambda item: item.text):
            if not item.asked.left:
                self._queues.setdefault(item.body, deque()).append(item)

    def _next_list(self) -> list[_Item]:
        if self._halves:
            return [item for item in self._halves.popleft() if not item.asked.left]
        if not self._queues:
            return []
        body, queue = next(iter(self._queues.items()))
        items: list[_Item] = []
        tokens = 0
        while queue and len(items) < self._bounds.max_prompts:
            tokens += queue[0].tokens
            if items and tokens > self._bounds.max_tokens:
                break
            items.append(queue.popleft())
        del self._queues[body]
        if queue:
            self._queues[body] = queue  # at the end: the bodies take turns
        return items

    def _send_off(self, items: list[_Item]) -> None:
        permit = self._limit.take(len(items))
        task = asyncio.create_task(self._answer(items, permit))
        self._sending[task] = items

        def done(task: asyncio.Task[None]) -> None:
            self._sending.pop(task)
            self._limit.give_back(permit)  # also of a task that was cancelled before it began
            if error := _failure(task):
                _hand_out(error, {item.asked for item in items})

        task.add_done_callback(done)

    async def _answer(self, items: list[_Item], permit: Permit) -> None:
        arrival = await self._send([(place, item.request) for place, item in enumerate(items)], permit)
        _deliver(items, arrival)
        if arrival.halves:
            self._halves.extend([items[place] for place, _ in half] for half in arrival.halves)
            self._start()

    async def _forget_those_who_left(self) -> None:
        for body, queue in list(self._queues.items()):
            staying = deque(item for item in queue if not item.asked.left)
            if staying:
                self._queues[body] = staying
            else:
                del self._queues[body]
        idle = [task for task, items in self._sending.items() if all(item.asked.left for item in items)]
        for task in idle:
            task.cancel()
        await asyncio.gather(*idle, return_exceptions=True)


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    if task.cancelled():
        return BackendError("the backend was closed before it had answered")
    return task.exception()


def _hand_out(error: BaseException, calls: Iterable[_Asked]) -> None:
    """Let calls hear of an error, whatever it is."""
    for asked in calls:
        asked.arrivals.put_nowait(error)


def _deliver(items: Sequence[_Item], arrival: Arrival) -> None:
    """Hand each call its part of what came back for a list."""
    parts: dict[_Asked, list[_Item]] = {}
    for item in items:
        parts.setdefault(item.asked, []).append(item)
    if len(parts) == 1:
        usages = [arrival.usage]
    else:
        usages = arrival.usage.split([sum(len(item.text) + 1 for item in part) for part in parts.values()])
    outcomes = {id(items[place]): outcome for place, outcome in arrival.outcomes}
    for first, (asked, part) in enumerate(parts.items()):
        asked.arrivals.put_nowait(
            Arrival(
                outcomes=tuple((item.index, outcomes[id(item)]) for item in part if id(item) in outcomes),
                usage=usages[first],
                requests_sent=0 if first else arrival.requests_sent,
            )
        )
