"""What people see while a batch of prompts goes on: a moving bar, and a line in the log with the rate."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.logging import get_run_logger

SHOW_SECONDS = 2.0
LOG_SECONDS = 10.0
RATE_SECONDS = 60.0
"""The rate is that of the last minute: what comes from the store says nothing about the rest."""


@dataclass(kw_only=True)
class BatchProgress:
    """Counts prompts that are done; the clock is given, so that a test needs none."""

    total: int
    key: str = "batch-progress"
    """Of the artifact in the UI."""
    clock: Callable[[], float] = time.monotonic
    _finished: int = 0
    _within: dict[str, int] = field(default_factory=dict[str, int])
    """{batch that goes on: prompts of it that are answered}"""
    _seen: deque[tuple[float, float]] = field(default_factory=deque[tuple[float, float]])
    _logged: float | None = None

    @property
    def done(self) -> float:
        """Prompts that are answered or have failed."""
        return min(self.total, self._finished + sum(self._within.values()))

    def watch(self, purpose: str, done: int, total: int) -> None:
        """Take note of answers of a batch that goes on."""
        del total
        self._within[purpose] = done

    def finish(self, purpose: str, prompts: int) -> None:
        """Take note of a batch that is finished."""
        self._within.pop(purpose, None)
        self._finished += prompts

    def line(self) -> str:
        """Say how far it is, how fast, and how long it will take."""
        now, done = self.clock(), self.done
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_SECONDS:  # noqa: PLR2004
            self._seen.popleft()
        since, before = self._seen[0]
        text = self.counted(done)
        if done in {before, self.total} or now <= since:
            return text
        rate = (done - before) / (now - since)
        return f"{text}, {rate:.1f} a second, about {_duration((self.total - done) / rate)} left"

    def counted(self, done: float) -> str:
        """Say how many are done."""
        return f"{done:g} of {self.total} prompts answered"

    @asynccontextmanager
    async def shown(self) -> AsyncGenerator[None]:
        """Keep the bar moving for as long as the block takes."""
        artifact = await acreate_progress_artifact(0.0, key=self.key, description=self.line())
        following = asyncio.create_task(self._follow(artifact))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await self._show(artifact)

    async def _follow(self, artifact: UUID) -> None:
        while True:
            await asyncio.sleep(SHOW_SECONDS)
            await self._show(artifact)

    async def _show(self, artifact: UUID) -> None:
        line, now = self.line(), self.clock()
        share = 100.0 * self.done / max(1, self.total)
        await aupdate_progress_artifact(artifact, progress=share, description=line)
        if self._logged is None or now - self._logged >= LOG_SECONDS or self.done == self.total:
            self._logged = now
            get_run_logger().info(line)


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004
