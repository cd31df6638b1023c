"""How many prompts may be with a server at once: more while it keeps up, fewer when it does not.

Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms
for Congestion Avoidance in Computer Networks", 1989), after a slow start that doubles until the first sign of
congestion (Jacobson, "Congestion Avoidance and Control", 1988).
"""

import asyncio
from dataclasses import dataclass

from backends.errors import BackendError, BackendTimeoutError, RateLimitError, ServerUnavailableError
from backends.load import CROWDED_KV_USE, Load

CONGESTION = (RateLimitError, ServerUnavailableError, BackendTimeoutError)
"""A server that says it is too busy, or is."""

REFUSED_FACTOR = 0.5
CROWDED_FACTOR = 0.8
"""A server whose queue grows is told less often than one that refuses: nothing has failed yet."""


@dataclass(eq=False, slots=True)
class Permit:
    """Prompts that are with the server, and the round in which they were let through."""

    prompts: int
    round: int
    is_open: bool = True


class AdaptiveLimit:
    """Admits lists of prompts while fewer than `limit` prompts are with the server.

    Args:
        initial: Prompts at first: two lists of 64.
        smallest: Prompts that are always allowed.
        largest: Prompts that are never exceeded by more than one list; vLLM's usual `max_num_seqs` is 256
            on a GPU, and some must wait there for it to be always busy.
    """

    def __init__(self, *, initial: int = 128, smallest: int = 8, largest: int = 1024) -> None:
        self.limit = float(initial)
        self.in_flight = 0
        self._smallest = smallest
        self._largest = largest
        self._round = 0
        self._slow_start = True
        self._preemptions: int | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def has_room(self) -> bool:
        """Whether one more list may be sent now."""
        return self.in_flight < self.limit

    async def room(self) -> None:
        """Wait until one more list may be sent; the caller takes its permit before it awaits again."""
        while not self.has_room:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def take(self, prompts: int) -> Permit:
        """Count prompts as being with the server."""
        self.in_flight += prompts
        return Permit(prompts, self._round)

    def give_back(self, permit: Permit) -> None:
        """Count prompts as being there no more, once; says nothing of how they fared."""
        if permit.is_open:
            permit.is_open = False
            self.in_flight -= permit.prompts
            self._wake()

    def answered(self, permit: Permit, load: Load | None) -> None:
        """Learn from a list that was answered; call it before the permit is given back."""
        if load is not None and self._is_crowded(load):
            self._decrease(permit, CROWDED_FACTOR)
        elif self.in_flight >= self.limit and (load is None or load.waiting == 0):
            self._increase(permit)

    def failed(self, permit: Permit, error: BackendError) -> None:
        """Learn from a list that was not answered; call it before the permit is given back."""
        if isinstance(error, CONGESTION):
            self._decrease(permit, REFUSED_FACTOR)

    def _is_crowded(self, load: Load) -> bool:
        preempted = False
        if load.preemptions is not None:
            preempted = self._preemptions is not None and load.preemptions > self._preemptions
            self._preemptions = load.preemptions
        # More than half of what is there waits: to send that half later would cost nothing.
        queueing = load.waiting > self.in_flight / 2
        return preempted or queueing or (load.kv_use > CROWDED_KV_USE and load.waiting > 0)

    def _increase(self, permit: Permit) -> None:
        # In slow start a round trip doubles the limit, later it adds one list.
        step = permit.prompts if self._slow_start else permit.prompts**2 / self.limit
        self.limit = min(self._largest, self.limit + step)
        self._wake()

    def _decrease(self, permit: Permit, factor: float) -> None:
        if permit.round != self._round:  # sent before the last decrease: the same congestion
            return
        self._round += 1
        self._slow_start = False
        self.limit = max(self._smallest, self.limit * factor)

    def _wake(self) -> None:
        # All of them, in turn, and each looks again: the first may take all the room, or a part, or none.
        if self.has_room:
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)
