"""Watches the memory of this machine's GPUs and of vLLM servers, and waits until a GPU has room."""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

from backends.errors import GPUMemoryError
from backends.gpu_alerts import ALERT_FRACTION, Alarms, Alert
from backends.load import Load
from backends.nvml import Devices, Library
from backends.readings import GPUReading, Readings, ServerReading, gib

T = TypeVar("T")

READ_SECONDS = 5.0
"""How long NVML may take: with a GPU that is about to fail its calls may never come back."""
CLOSE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Watched(Protocol):
    """A server that tells its load, as `VLLMServer` does."""

    @property
    def root(self) -> str:
        """Its address."""
        ...

    async def load(self) -> Load | None:
        """Return how busy it is; None where it does not say so at once."""
        ...


class GPUMonitor:
    """Reads when asked to; an async context manager, which lets go of NVML in the end.

    A machine without a GPU, a driver or the right to ask, a GPU that is divided (MIG) or lost in the middle
    are no errors: what cannot be read is not among the readings, and `why_not` says why.

    Args:
        servers: Servers to ask too, which may be others for each reading.
        alert_fraction: See `Alarms`.
        reads_gpus: Whether the GPUs of this machine are of interest.
        library: Stands in for nvidia-ml-py.
        sleep: Waits, in `wait_for_memory`.
        clock: Seconds, of a clock that never goes back.

    Raises:
        ValueError: `alert_fraction` is no share.
    """

    def __init__(
        self,
        servers: Sequence[Watched] = (),
        *,
        alert_fraction: float = ALERT_FRACTION,
        reads_gpus: bool = True,
        library: Library | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.servers = servers
        self.new_alerts: tuple[Alert, ...] = ()
        """What became alarming with the last reading, so that each alarm is told once."""
        self._alarms = Alarms(alert_fraction)
        self._devices = Devices(library) if reads_gpus else None
        self._turn = asyncio.Lock()
        self._under_way: concurrent.futures.Future[tuple[GPUReading, ...]] | None = None
        self._sleep = sleep
        self._clock = clock

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of NVML, unless it is stuck; then it is left to the end of the process."""
        if self._devices and self._under_way:
            with contextlib.suppress(TimeoutError):
                await _within(_in_thread(self._devices.close), CLOSE_SECONDS)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """What is alarming now."""
        return self._alarms.standing

    @property
    def why_not(self) -> str:
        """Why GPUs are missing in the last reading, in a sentence; empty if none is."""
        if self._devices is None:
            return "the GPUs of this machine are not watched"
        if self._under_way and not self._under_way.done():
            return f"no GPU can be read: NVML does not answer within {READ_SECONDS:g} s"
        return self._devices.why_not

    async def read(self) -> Readings:
        """Read everything once, and look for what is alarming."""
        loads = asyncio.gather(*(_load_of(one) for one in self.servers))
        gpus, servers = await asyncio.gather(self._gpus(), loads)
        readings = Readings(gpus=gpus, servers=tuple(one for one in servers if one))
        self.new_alerts = self._alarms.look(readings)
        return readings

    async def wait_for_memory(
        self,
        bytes_needed: int | None = None,
        *,
        fraction: float | None = None,
        timeout_seconds: float,
        gpu: int | None = None,
    ) -> GPUReading | None:
        """Wait until a GPU has so much memory free; looks again after 1, 2, 4 … at most 30 seconds.

        Args:
            bytes_needed: How much.
            fraction: How much, as a share of the GPU's memory, above 0 and up to 1; in place of bytes.
            timeout_seconds: How long at most; 0 looks once.
            gpu: Which one; else any will do.

        Returns:
            The GPU with the most free memory; None where there is none to wait for, which `why_not` explains.

        Raises:
            GPUMemoryError: It took too long, or no GPU is as large.
            ValueError: Not one of `bytes_needed` and `fraction` is given, or it is no amount.
        """
        _check_needed(bytes_needed, fraction)
        started, pause = self._clock(), FIRST_PAUSE_SECONDS
        while True:
            gpus = [one for one in await self._gpus() if gpu is None or one.index == gpu]
            if not gpus:
                return None
            best = max(gpus, key=lambda one: one.free_bytes - _needed(one, bytes_needed, fraction))
            needed = _needed(best, bytes_needed, fraction)
            if best.free_bytes >= needed:
                return best
            waited = self._clock() - started
            is_too_small = all(one.total_bytes < _needed(one, bytes_needed, fraction) for one in gpus)
            if is_too_small or waited >= timeout_seconds:
                raise _no_room(best, needed, waited, is_too_small=is_too_small)
            await self._sleep(min(pause, timeout_seconds - waited))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _gpus(self) -> tuple[GPUReading, ...]:
        if self._devices is None:
            return ()
        async with self._turn:
            if self._under_way and not self._under_way.done():
                return ()
            self._under_way = _in_thread(self._devices.read)
            with contextlib.suppress(TimeoutError):
                return await _within(self._under_way, READ_SECONDS)
            return ()


async def _load_of(server: Watched) -> ServerReading | None:
    load = await server.load()
    if load is None:
        return None
    return ServerReading(
        server=server.root,
        kv_cache_usage=load.kv_use,
        requests_waiting=load.waiting,
        requests_running=load.running,
        preemptions=load.preemptions,
    )


def _check_needed(bytes_needed: int | None, fraction: float | None) -> None:
    if (bytes_needed is None) == (fraction is None):
        raise ValueError("say how much memory to wait for, with either bytes_needed or fraction")
    if bytes_needed is not None and bytes_needed < 0:
        raise ValueError(f"bytes_needed is {bytes_needed}; give a number of bytes")
    if fraction is not None and not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction is {fraction:g}; give a share of a GPU's memory, above 0 and up to 1")


def _needed(gpu: GPUReading, bytes_needed: int | None, fraction: float | None) -> int:
    return bytes_needed if bytes_needed is not None else round((fraction or 0.0) * gpu.total_bytes)


def _no_room(gpu: GPUReading, needed: int, waited: float, *, is_too_small: bool) -> GPUMemoryError:
    has = f"GPU {gpu.index} ({gpu.name}) has {gib(gpu.free_bytes)} free of {gib(gpu.total_bytes)}"
    helps = (
        "that is more than it has at all: take a smaller model, or several GPUs"
        if is_too_small
        else f"after {waited:.0f} s of waiting: stop what holds the rest, or ask for less"
    )
    return GPUMemoryError(
        f"{gib(needed)} are needed and {has}; {helps}",
        needed_bytes=needed,
        free_bytes=gpu.free_bytes,
        waited_seconds=waited,
    )


def _in_thread(call: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Call in a thread of its own, which keeps neither the event loop nor the process from ending."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()  # so that whoever gives up waiting cancels nothing

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            done.set_exception(error)

    threading.Thread(target=run, name="nvml", daemon=True).start()
    return done


async def _within(future: concurrent.futures.Future[T], seconds: float) -> T:
    return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
