"""Readings come without blocking, memory is waited for, and no GPU is no error."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from backends import gpu as module
from backends.errors import GPUMemoryError
from backends.gpu import GPUMonitor
from backends.load import Load
from backends.readings import ServerReading
from backends.vllm_server import VLLMServer
from tests.fake_nvml import GIB, FakeGPU, FakeNVML, NVMLError
from tests.fake_vllm import FakeVLLM
from tests.helpers import until


@dataclass
class Time:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list[float])
    after: Callable[[int], None] = lambda times: None  # noqa: ARG005
    """Called after each sleep with how many there were."""

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.after(len(self.slept))


@dataclass
class Told:
    """A server that says what it is told to."""

    root: str = "http://127.0.0.1:8000"
    says: Load | None = None

    async def load(self) -> Load | None:
        return self.says


def monitor_of(fake: FakeNVML, time: Time | None = None, *servers: Told) -> GPUMonitor:
    time = time or Time()
    return GPUMonitor(servers, library=fake.library(), sleep=time.sleep, clock=time)


async def test_gpus_and_servers_are_read_together() -> None:
    fake = FakeNVML(gpus=[FakeGPU(used=30 * GIB)])
    silent = Told("http://127.0.0.1:8001")
    busy = Told(says=Load(waiting=2, kv_use=0.5, preemptions=1, running=4))
    async with monitor_of(fake, None, busy, silent) as monitor:
        readings = await monitor.read()
    assert [one.used_bytes for one in readings.gpus] == [30 * GIB]
    assert readings.servers == (
        ServerReading(
            server=busy.root, kv_cache_usage=0.5, requests_waiting=2, requests_running=4, preemptions=1
        ),
    )
    assert fake.threads == {"nvml"}
    assert fake.calls == {"init": 1, "shutdown": 1}


async def test_a_server_is_read_through_its_metrics() -> None:
    with FakeVLLM(kv_use=0.75, others_waiting=5, preemptions=2) as server:
        async with VLLMServer(server.base_url) as backend, GPUMonitor([backend], reads_gpus=False) as monitor:
            readings = await monitor.read()
            assert monitor.why_not == "the GPUs of this machine are not watched"
        assert server.stats()["requests"] == 0
    (reading,) = readings.servers
    assert (reading.server, reading.kv_cache_usage, reading.requests_waiting) == (server.base_url, 0.75, 5)
    assert (reading.requests_running, reading.preemptions) == (1, 2)


async def test_servers_that_are_not_there_or_do_not_tell_are_left_out() -> None:
    with FakeVLLM() as server:
        pass
    async with VLLMServer(server.base_url) as gone, GPUMonitor([gone], reads_gpus=False) as monitor:
        assert not await monitor.read()


async def test_alarms_are_told_with_the_reading_that_shows_them() -> None:
    fake = FakeNVML(gpus=[FakeGPU(used=79 * GIB)])
    full = Told(says=Load(waiting=9, kv_use=0.99, preemptions=0))
    async with monitor_of(fake, None, full) as monitor:
        assert monitor.new_alerts == ()
        await monitor.read()
        assert [alert.kind for alert in monitor.new_alerts] == [
            "kv-cache"
        ]  # the GPU's memory is the server's
        await monitor.read()
        assert (monitor.new_alerts, len(monitor.alerts)) == ((), 1)


async def test_this_machine_is_read_or_says_why_not() -> None:
    async with GPUMonitor() as monitor:
        readings = await monitor.read()
        assert bool(readings.gpus) is not monitor.why_not.startswith("no GPU here")
        if not readings.gpus:
            assert await monitor.wait_for_memory(10**15, timeout_seconds=60) is None


async def test_a_monitor_that_reads_nothing_begins_nothing() -> None:
    fake = FakeNVML(gpus=[FakeGPU()])
    async with monitor_of(fake):
        pass
    assert fake.calls == {}


async def test_nvml_that_hangs_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.05)
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    go_on = threading.Event()
    fake = FakeNVML(gpus=[FakeGPU()], before_memory=go_on.wait)
    async with monitor_of(fake) as monitor:
        assert not await monitor.read()
        assert monitor.why_not == "no GPU can be read: NVML does not answer within 0.05 s"
        assert not await monitor.read()  # which asks no second time
        assert sum(thread.name == "nvml" for thread in threading.enumerate()) == 1
        go_on.set()
        await until(lambda: not monitor.why_not)
        assert len((await monitor.read()).gpus) == 1
        go_on.clear()
        assert not await monitor.read()
    assert fake.is_open  # it still hangs
    go_on.set()
    await until(lambda: not fake.is_open)


async def test_a_reading_that_is_cancelled_is_let_go_of() -> None:
    go_on, is_asked = threading.Event(), threading.Event()

    def hang() -> None:
        is_asked.set()
        go_on.wait()

    fake = FakeNVML(gpus=[FakeGPU()], before_memory=hang)
    async with monitor_of(fake) as monitor:
        reading = asyncio.create_task(monitor.read())
        await until(is_asked.is_set)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        go_on.set()
    assert not fake.is_open


# --- waiting for memory ---------------------------------------------------------------------------------


async def test_memory_that_is_there_is_not_waited_for() -> None:
    fake, time = FakeNVML(gpus=[FakeGPU(used=70 * GIB), FakeGPU(used=20 * GIB)]), Time()
    async with monitor_of(fake, time) as monitor:
        found = await monitor.wait_for_memory(60 * GIB, timeout_seconds=0)
        assert found
        assert found.index == 1
        half = await monitor.wait_for_memory(fraction=0.75, timeout_seconds=0)
        assert half == found
    assert time.slept == []


async def test_memory_is_waited_for_with_longer_and_longer_pauses() -> None:
    fake, time = FakeNVML(gpus=[FakeGPU(used=70 * GIB)]), Time()

    def free(times: int) -> None:
        if times == 7:
            fake.gpus[0].used = 0

    time.after = free
    async with monitor_of(fake, time) as monitor:
        found = await monitor.wait_for_memory(60 * GIB, timeout_seconds=1000)
    assert found
    assert time.slept == [1, 2, 4, 8, 16, 30, 30]


async def test_waiting_ends_with_what_was_needed_free_and_waited() -> None:
    fake, time = FakeNVML(gpus=[FakeGPU(used=70 * GIB), FakeGPU(used=75 * GIB)]), Time()
    async with monitor_of(fake, time) as monitor:
        with pytest.raises(GPUMemoryError) as caught:
            await monitor.wait_for_memory(60 * GIB, timeout_seconds=10)
    error = caught.value
    assert (error.needed_bytes, error.free_bytes, error.waited_seconds) == (60 * GIB, 10 * GIB, 10)
    assert str(error) == (
        "60.0 GiB are needed and GPU 0 (NVIDIA Fake 80GB) has 10.0 GiB free of 80.0 GiB; after 10 s of "
        "waiting: stop what holds the rest, or ask for less"
    )
    assert sum(time.slept) == 10


async def test_what_no_gpu_can_ever_have_is_not_waited_for() -> None:
    fake, time = FakeNVML(gpus=[FakeGPU()]), Time()
    async with monitor_of(fake, time) as monitor:
        with pytest.raises(GPUMemoryError, match=r"81\.0 GiB are needed .* more than it has at all"):
            await monitor.wait_for_memory(81 * GIB, timeout_seconds=1000)
    assert time.slept == []


async def test_one_gpu_can_be_named() -> None:
    fake, time = FakeNVML(gpus=[FakeGPU(), FakeGPU(used=80 * GIB)]), Time()
    async with monitor_of(fake, time) as monitor:
        with pytest.raises(GPUMemoryError, match="GPU 1"):
            await monitor.wait_for_memory(GIB, timeout_seconds=1, gpu=1)
        assert await monitor.wait_for_memory(GIB, timeout_seconds=1, gpu=2) is None


async def test_a_gpu_that_is_lost_is_waited_for_no_longer() -> None:
    fake, time = FakeNVML(gpus=[FakeGPU(used=70 * GIB)]), Time()

    def lose(times: int) -> None:
        if times == 2:
            fake.gpus[0].used = NVMLError("GPU is lost")

    time.after = lose
    async with monitor_of(fake, time) as monitor:
        assert await monitor.wait_for_memory(60 * GIB, timeout_seconds=1000) is None
        assert monitor.why_not == "GPU 0 cannot be read: NVML says 'GPU is lost'"
    assert len(time.slept) == 2


@pytest.mark.parametrize(
    ("bytes_needed", "fraction"), [(None, None), (1, 0.5), (-1, None), (None, 0.0), (None, 1.5)]
)
async def test_what_is_waited_for_is_one_amount(bytes_needed: int | None, fraction: float | None) -> None:
    async with monitor_of(FakeNVML()) as monitor:
        with pytest.raises(ValueError, match=r"bytes_needed|fraction"):
            await monitor.wait_for_memory(bytes_needed, fraction=fraction, timeout_seconds=1)
