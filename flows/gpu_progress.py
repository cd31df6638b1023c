"""What people see of servers and GPUs while a run goes on: a line in the UI, warnings, a table in the end."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact

from backends.addresses import is_loopback
from backends.gpu import GPUMonitor, Watched
from backends.gpu_alerts import Alert, figures
from backends.readings import Readings
from backends.vllm_engine import VLLMEngine
from flows.gpu_samples import Samples

PUBLISH_SECONDS = 5.0
"""How long the end of a run may wait for the table to be taken."""

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Watch:
    """Reads now and then, as long as a run asks servers.

    Args:
        servers: Return those of the run's servers that are there and were asked something already.
        monitor: Reads.
        samples: Where readings are kept.
        warn: Told each alarm once.
        note: Called with each alarm, to have it counted.
        clock: Seconds, of a clock that never goes back.
    """

    servers: Callable[[], Sequence[Watched]]
    monitor: GPUMonitor
    samples: Samples
    warn: Callable[[str], None]
    note: Callable[[Alert], None]
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _artifact: UUID | None = None
    _warned: str = ""

    def __post_init__(self) -> None:
        """Count time from here on."""
        self._began = self.clock()

    async def follow(self, seconds: float) -> None:
        """Look every so many seconds until this is cancelled; whatever goes wrong, the run is not touched."""
        async with self.monitor:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await self.look()
                except Exception:
                    _logger.debug("the run's servers could not be watched", exc_info=True)

    async def look(self) -> None:
        """Read once, keep it, warn of what is alarming, and show it; nothing before somebody was asked."""
        servers = self.servers()
        if not servers:
            return
        self.monitor.servers = servers
        readings = await self.monitor.read()
        if not readings:
            return
        self.samples.add(self.clock() - self._began, readings)
        for alert in self.monitor.new_alerts:
            self.warn(alert.sentence)
            self.note(alert)
        self._warn_of_lost_gpus()
        await self._show(readings)

    async def publish(self) -> None:
        """Put the table into the UI, if there is anything to show and the UI takes it soon."""
        if not self.samples:
            return
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await acreate_table_artifact(
                    key="gpu",
                    table=[dict(row) for row in self.samples.rows()],
                    description="What servers and GPUs had to hold during the run",
                )
        except Exception:
            _logger.debug("the table of the GPUs was not taken", exc_info=True)

    def _warn_of_lost_gpus(self) -> None:
        had_gpus = any(where.startswith("GPU") for where, _ in self.samples.series)
        if had_gpus and self.monitor.why_not != self._warned:
            self._warned = self.monitor.why_not
            if self._warned:
                self.warn(self._warned)

    async def _show(self, readings: Readings) -> None:
        shares = [one.kv_cache_usage for one in readings.servers] or [
            one.used_fraction for one in readings.gpus
        ]
        full, line = 100 * min(1.0, max(shares)), "; ".join(figures(readings))
        if self._artifact is None:
            self._artifact = await acreate_progress_artifact(full, key="gpu-now", description=line)
        else:
            await aupdate_progress_artifact(self._artifact, progress=full, description=line)


def watch_of(
    servers: Sequence[Watched],
    asked: Callable[[], Sequence[Watched]],
    samples: Samples,
    warn: Callable[[str], None],
    note: Callable[[Alert], None],
) -> Watch:
    """Make the watch of a run; the GPUs of this machine are of interest where one of its servers is here.

    Args:
        servers: All of the run.
        asked: Return those that are there and were asked something already.
        samples: See `Watch`, as the rest.
        warn: Told each alarm once.
        note: Called with each alarm.
    """
    is_here = any(isinstance(server, VLLMEngine) or is_loopback(server.root) for server in servers)
    monitor = GPUMonitor(reads_gpus=is_here)
    return Watch(servers=asked, monitor=monitor, samples=samples, warn=warn, note=note)


@asynccontextmanager
async def watching(watch: Watch | None, *, seconds: float) -> AsyncGenerator[None]:
    """Watch for as long as the block takes, and show a table in the end, unless the run is cancelled.

    Args:
        watch: What is watched; None watches nothing.
        seconds: How often it looks, first after so many seconds; 0: never.
    """
    if watch is None or not seconds:
        yield
        return
    try:
        async with _following(watch, seconds):
            yield
    except Exception:
        await watch.publish()
        raise
    await watch.publish()


@asynccontextmanager
async def _following(watch: Watch, seconds: float) -> AsyncGenerator[None]:
    following = asyncio.create_task(watch.follow(seconds))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
