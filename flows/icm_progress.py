"""What people see while an ICM run goes on: names of task runs, a moving bar, a line in the log."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.logging import get_run_logger

from tasks.icm.claims import Claim
from tasks.icm.evaluation import accuracy
from tasks.icm.search import Step

EVALUATE_POOL = "evaluate pool"
LOG_SECONDS = 10.0
ARTIFACT_SECONDS = 1.0
SEARCH_SHARE = 80.0
"""Per cent of the bar; the rest is the evaluation on the test split."""


@dataclass(kw_only=True)
class Progress:
    """Follows one search; the clock is given, so that a test needs none."""

    claims: tuple[Claim, ...]
    iterations: int
    clock: Callable[[], float] = time.monotonic
    _evaluations: int = 0
    _done: int = 0
    _artifact: UUID | None = None
    _started: float = 0.0
    _batch: str = ""
    _batch_started: float = 0.0
    _shown: dict[str, float] = field(default_factory=dict[str, float])

    def title(self, purpose: str) -> str:
        """Name a task run; evaluations of the pool are numbered, with a guess of how many there will be."""
        if not purpose.startswith(EVALUATE_POOL):
            return purpose
        self._evaluations += 1
        return f"{EVALUATE_POOL} {self._evaluations} of about {self._expected_evaluations()}"

    async def start(self) -> None:
        """Put an empty bar into the UI."""
        self._started = self.clock()
        self._artifact = await acreate_progress_artifact(0.0, key="icm-progress", description="the seeds")

    async def show(self, step: Step) -> None:
        """Move the bar and say where the search stands; not more often than people can read."""
        self._done = step.iteration
        last = step.iteration == self.iterations
        if self._is_due("artifact", ARTIFACT_SECONDS) or last:
            await self._move(SEARCH_SHARE * step.iteration / max(1, self.iterations), self.line(step))
        if self._is_due("log", LOG_SECONDS) or last:
            get_run_logger().info(self.line(step))

    async def show_test(self, method: str, number: int, *, of: int) -> None:
        """Say that evaluation `number` (from 0) on the test split begins."""
        share = SEARCH_SHARE + (100.0 - SEARCH_SHARE) * number / of
        await self._move(share, f"testing: {method}")

    async def finish(self) -> None:
        """Fill the bar."""
        await self._move(100.0, "done")

    def watch(self, purpose: str, done: int, total: int) -> None:
        """Log how far a long batch has come, with an estimate of the time left."""
        if done == total or purpose != self._batch:
            self._batch, self._batch_started = purpose, self.clock()
            self._shown["batch"] = self.clock()
        elif self._is_due("batch", LOG_SECONDS):
            left = (self.clock() - self._batch_started) / done * (total - done)
            get_run_logger().info(f"{purpose}: {done} of {total} prompts answered{_about(left)}")

    async def _move(self, share: float, description: str) -> None:
        if self._artifact:
            await aupdate_progress_artifact(self._artifact, progress=share, description=description)

    def line(self, step: Step) -> str:
        """Say where the search stands, with an estimate of the time left."""
        right = accuracy(self.claims, step.state.assigned)
        told = "" if right is None else f", accuracy {right:.2f}"
        return (
            f"iteration {step.iteration} of {self.iterations}: {len(step.state.assigned)} of "
            f"{len(self.claims)} claims labelled, energy {step.state.energy:.2f}{told}{self._time_left()}"
        )

    def _time_left(self) -> str:
        if not self._done or self._done == self.iterations:
            return ""
        return _about((self.clock() - self._started) / self._done * (self.iterations - self._done))

    def _expected_evaluations(self) -> int:
        # Before the search has shown its pace: every claim is added once, and some proposals are rejected.
        rate = self._evaluations / self._done if self._done >= 10 else 0.5  # noqa: PLR2004
        return max(self._evaluations, round(rate * self.iterations))

    def _is_due(self, what: str, seconds: float) -> bool:
        now = self.clock()
        if now - self._shown.get(what, -seconds) < seconds:
            return False
        self._shown[what] = now
        return True


def _about(seconds: float) -> str:
    return f", about {seconds:.0f} s left" if seconds < 120 else f", about {seconds / 60:.0f} min left"  # noqa: PLR2004
