"""What people see while an ICM run goes on: names of task runs, a moving bar, a line in the log."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
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
    """Follows the searches of one run, whose batches are numbered from 0; the clock is given for tests."""

    batches: Sequence[Sequence[Claim]]
    iterations: int
    """Of each search."""
    clock: Callable[[], float] = time.monotonic
    _evaluations: Counter[int] = field(default_factory=Counter[int])
    _done: Counter[int] = field(default_factory=Counter[int])
    _artifact: UUID | None = None
    _share: float = 0.0
    """Per cent that the bar shows; it never goes back, in whatever order parts begin."""
    _started: float = 0.0
    _lists: dict[str, float] = field(default_factory=dict[str, float])
    """{purpose: when its first answers arrived}"""
    _shown: dict[str, float] = field(default_factory=dict[str, float])

    def name(self, batch: int) -> str:
        """Say which batch is spoken of, where there are several."""
        return f"batch {batch + 1} of {len(self.batches)}: " if len(self.batches) > 1 else ""

    def title(self, purpose: str, batch: int = 0) -> str:
        """Name a task run; evaluations of the pool are numbered, with a guess of how many there will be."""
        name = self.name(batch)
        if not purpose.removeprefix(name).startswith(EVALUATE_POOL):
            return purpose
        self._evaluations[batch] += 1
        return (
            f"{name}{EVALUATE_POOL} {self._evaluations[batch]} of about {self._expected_evaluations(batch)}"
        )

    async def start(self) -> None:
        """Put an empty bar into the UI."""
        self._started = self.clock()
        self._artifact = await acreate_progress_artifact(0.0, key="icm-progress", description="the seeds")

    async def show(self, step: Step, batch: int = 0) -> None:
        """Move the bar and say where a search stands; not more often than people can read."""
        self._done[batch] = step.iteration
        last = step.iteration == self.iterations
        if self._is_due("artifact", ARTIFACT_SECONDS) or last:
            share = self._done.total() / max(1, self._all_iterations)
            await self._move(SEARCH_SHARE * share, self.line(step, batch))
        if self._is_due("log", LOG_SECONDS) or last:
            get_run_logger().info(self.line(step, batch))

    async def show_test(self, method: str, number: int, *, of: int) -> None:
        """Say that evaluation `number` (from 0) on the test split begins."""
        share = SEARCH_SHARE + (100.0 - SEARCH_SHARE) * number / of
        await self._move(share, f"testing: {method}")

    async def show_baseline(self, what: str) -> None:
        """Say that a baseline begins."""
        await self._move(SEARCH_SHARE, what)

    async def finish(self) -> None:
        """Fill the bar."""
        await self._move(100.0, "done")

    def watch(self, purpose: str, done: int, total: int) -> None:
        """Log how far a long list of prompts has come, with an estimate of the time left."""
        now = self.clock()
        if done == total:
            self._lists.pop(purpose, None)
        elif now - self._lists.setdefault(purpose, now) >= LOG_SECONDS and self._is_due("list", LOG_SECONDS):
            left = (now - self._lists[purpose]) / done * (total - done)
            get_run_logger().info(f"{purpose}: {done} of {total} prompts answered{_about(left)}")

    async def _move(self, share: float, description: str) -> None:
        self._share = max(self._share, share)
        if self._artifact:
            await aupdate_progress_artifact(self._artifact, progress=self._share, description=description)

    def line(self, step: Step, batch: int = 0) -> str:
        """Say where a search stands, with an estimate of the time left for all."""
        claims = self.batches[batch]
        right = accuracy(claims, step.state.assigned)
        told = "" if right is None else f", accuracy {right:.2f}"
        return (
            f"{self.name(batch)}iteration {step.iteration} of {self.iterations}: "
            f"{len(step.state.assigned)} of {len(claims)} claims labelled, "
            f"energy {step.state.energy:.2f}{told}{self._time_left()}"
        )

    @property
    def _all_iterations(self) -> int:
        return self.iterations * len(self.batches)

    def _time_left(self) -> str:
        done = self._done.total()
        if not done or done == self._all_iterations:
            return ""
        return _about((self.clock() - self._started) / done * (self._all_iterations - done))

    def _expected_evaluations(self, batch: int) -> int:
        # Before the search has shown its pace: every claim is added once, and some proposals are rejected.
        done, evaluations = self._done[batch], self._evaluations[batch]
        rate = evaluations / done if done >= 10 else 0.5  # noqa: PLR2004
        return max(evaluations, round(rate * self.iterations))

    def _is_due(self, what: str, seconds: float) -> bool:
        now = self.clock()
        if now - self._shown.get(what, -seconds) < seconds:
            return False
        self._shown[what] = now
        return True


def _about(seconds: float) -> str:
    return f", about {seconds:.0f} s left" if seconds < 120 else f", about {seconds / 60:.0f} min left"  # noqa: PLR2004
