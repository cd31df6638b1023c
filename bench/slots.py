"""The arithmetic of a server that answers so many prompts at once: each holds a slot for a fixed time.

No HTTP and no clock of its own, so that its arithmetic can be tested without waiting.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

CallLater = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds; `asyncio.AbstractEventLoop.call_later` is one."""


@dataclass(kw_only=True, eq=False)
class Job:
    """A list of prompts that is answered as a whole."""

    waiting: int
    """Prompts without a slot yet."""
    on_done: Callable[[], None]
    running: int = 0


class Slots:
    """Hands slots to prompts, first come first served.

    Args:
        count: Prompts that are answered at once.
        seconds: How long each of them holds its slot.
        call_later: The clock.
    """

    def __init__(self, count: int, seconds: float, call_later: CallLater) -> None:
        self.free = count
        self._count = count
        self._seconds = seconds
        self._call_later = call_later
        self._queue: deque[Job] = deque()

    @property
    def running(self) -> int:
        """Prompts that hold a slot."""
        return self._count - self.free

    @property
    def waiting(self) -> int:
        """Prompts that wait for one."""
        return sum(job.waiting for job in self._queue)

    def submit(self, prompts: int, on_done: Callable[[], None]) -> Job:
        """Queue a list of prompts; `on_done` is called when the last of them is done."""
        job = Job(waiting=prompts, on_done=on_done)
        self._queue.append(job)
        self._start()
        return job

    def abandon(self, job: Job) -> None:
        """Forget what waits of a job; what runs holds its slots to the end."""
        job.waiting = 0
        job.on_done = lambda: None
        if job in self._queue:
            self._queue.remove(job)

    def _start(self) -> None:
        started: list[tuple[Job, int]] = []
        while self.free and self._queue:
            job = self._queue[0]
            number = min(self.free, job.waiting)
            job.waiting -= number
            job.running += number
            self.free -= number
            started.append((job, number))
            if not job.waiting:
                self._queue.popleft()
        if started:  # all that start together end together: one timer for them
            self._call_later(self._seconds, lambda: self._finish(started))

    def _finish(self, ended: list[tuple[Job, int]]) -> None:
        for job, number in ended:
            job.running -= number
            self.free += number
        self._start()
        for job, _ in ended:
            if not job.waiting and not job.running:
                job.on_done()
