"""A run is watched without being touched: nothing of it waits, fails or is sent because of that."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from backends.gpu import GPUMonitor, Watched
from backends.gpu_alerts import Alert
from backends.load import Load
from backends.vllm_engine import EngineModel, VLLMEngine
from flows import gpu_progress
from flows.gpu_progress import Watch, watch_of, watching
from flows.gpu_samples import Samples
from tests.fake_engine import FakeLibrary, fake_engine
from tests.fake_nvml import GIB, FakeGPU, FakeNVML, NVMLError

FULL = Load(waiting=3, kv_use=0.97, preemptions=0, running=8)
CALM = Load(waiting=0, kv_use=0.25, preemptions=0, running=8)


@dataclass
class Server:
    """Says what it is told to."""

    root: str = "http://127.0.0.1:8000"
    says: Load | None = FULL
    looks: int = 0
    before: Callable[[], Any] = lambda: None

    async def load(self) -> Load | None:
        self.looks += 1
        if awaited := self.before():
            await awaited
        return self.says


@dataclass
class UI:
    """What was shown."""

    moved: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    tables: list[list[dict[str, object]]] = field(default_factory=list[list[dict[str, object]]])
    made: int = 0
    is_broken: bool = False

    async def create(self, progress: float, *, key: str, description: str) -> UUID:
        assert key == "gpu-now"
        self.made += 1
        await self.update(uuid4(), progress=progress, description=description)
        return uuid4()

    async def update(self, artifact: UUID, *, progress: float, description: str) -> None:
        del artifact
        if self.is_broken:
            raise RuntimeError("the Prefect server is away")
        self.moved.append((progress, description))

    async def table(self, *, key: str, table: list[dict[str, object]], description: str) -> None:
        assert (key, bool(description)) == ("gpu", True)
        if self.is_broken:
            raise RuntimeError("the Prefect server is away")
        self.tables.append(table)


@pytest.fixture
def ui(monkeypatch: pytest.MonkeyPatch) -> UI:
    shown = UI()
    monkeypatch.setattr(gpu_progress, "acreate_progress_artifact", shown.create)
    monkeypatch.setattr(gpu_progress, "aupdate_progress_artifact", shown.update)
    monkeypatch.setattr(gpu_progress, "acreate_table_artifact", shown.table)
    return shown


@dataclass
class Heard:
    """Warnings and alarms of a run."""

    warnings: list[str] = field(default_factory=list[str])
    alerts: list[Alert] = field(default_factory=list[Alert])

    def watch(self, asked: Sequence[Watched], fake: FakeNVML | None = None) -> Watch:
        monitor = GPUMonitor(library=fake.library()) if fake else GPUMonitor(reads_gpus=False)
        return Watch(
            servers=lambda: asked,
            monitor=monitor,
            samples=Samples(),
            warn=self.warnings.append,
            note=self.alerts.append,
        )


async def test_what_is_read_is_shown_and_what_is_alarming_is_told_once(ui: UI) -> None:
    heard, server = Heard(), Server()
    watch = heard.watch([server])
    for says in (FULL, FULL, CALM, FULL):
        server.says = says
        await watch.look()
    assert [alert.kind for alert in heard.alerts] == ["kv-cache", "kv-cache"]
    assert heard.warnings == [alert.sentence for alert in heard.alerts]
    assert "the KV cache of http://127.0.0.1:8000 is 97% full and 3 requests wait" in heard.warnings[0]
    assert [progress for progress, _ in ui.moved] == pytest.approx([97, 97, 25, 97])
    assert ui.moved[2][1] == "http://127.0.0.1:8000: KV cache 25% full, 0 waiting, 8 running"
    assert ui.made == 1
    await watch.publish()
    ((row, *_),) = ui.tables
    assert (row["what"], row["least"], row["median"], row["most"]) == ("KV cache, %", 25, 97, 97)


async def test_a_gpu_that_is_lost_is_told_once(ui: UI) -> None:
    heard, fake = Heard(), FakeNVML(gpus=[FakeGPU(used=40 * GIB)])
    watch = heard.watch([Server(says=None)], fake)
    await watch.look()
    assert ui.moved == [(50, "GPU 0: 40.0 GiB of 80.0 GiB, 50% busy, 61 °C")]
    assert heard.warnings == []
    fake.gpus.append(FakeGPU())
    fake.gpus[0].used = NVMLError("GPU is lost")
    await watch.look()
    await watch.look()
    assert heard.warnings == ["GPU 0 cannot be read: NVML says 'GPU is lost'"]


async def test_nobody_is_looked_at_before_somebody_was_asked_and_nothing_is_shown(ui: UI) -> None:
    heard, fake = Heard(), FakeNVML(gpus=[FakeGPU()])
    watch = heard.watch([], fake)
    async with watching(watch, seconds=0.001):
        await asyncio.sleep(0.05)
    assert (fake.calls, ui.moved, ui.tables, heard.warnings) == ({}, [], [], [])


async def test_a_server_that_tells_nothing_shows_nothing(ui: UI) -> None:
    watch = Heard().watch([Server(says=None)])
    await watch.look()
    await watch.publish()
    assert (ui.moved, ui.tables) == ([], [])


@pytest.mark.parametrize("seconds", [0, 0.001])
async def test_a_run_without_servers_or_that_does_not_want_it_is_not_watched(ui: UI, seconds: float) -> None:
    server = Server()
    async with watching(None if seconds else Heard().watch([server]), seconds=seconds):
        await asyncio.sleep(0.02)
    assert (server.looks, ui.moved, ui.tables) == (0, [], [])


async def test_a_run_that_fails_is_watched_to_its_end_and_fails_as_it_would(ui: UI) -> None:
    server = Server()

    async def run() -> None:
        async with watching(Heard().watch([server]), seconds=0.001):
            while not ui.moved:  # noqa: ASYNC110 - the watch tells nobody
                await asyncio.sleep(0.001)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()
    assert len(ui.tables) == 1
    looks = server.looks
    await asyncio.sleep(0.02)
    assert server.looks == looks


async def test_a_run_that_is_cancelled_waits_for_no_table(ui: UI) -> None:
    async def run() -> None:
        async with watching(Heard().watch([Server()]), seconds=0.001):
            await asyncio.sleep(60)

    running = asyncio.create_task(run())
    while not ui.moved:  # noqa: ASYNC110 - the watch tells nobody
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ui.tables == []


async def test_a_ui_that_is_away_fails_no_run(ui: UI) -> None:
    ui.is_broken = True
    server, heard = Server(), Heard()
    async with watching(heard.watch([server]), seconds=0.001):
        while server.looks < 3:  # noqa: ASYNC110 - the watch tells nobody
            await asyncio.sleep(0.001)
    assert len(heard.alerts) == 1
    assert ui.tables == []


async def test_a_server_that_hangs_delays_no_end(ui: UI) -> None:
    asked = asyncio.Event()

    def hang() -> object:
        asked.set()
        return asyncio.sleep(3600)

    async with asyncio.timeout(30):
        async with watching(Heard().watch([Server(before=hang)]), seconds=0.001):
            await asked.wait()
    assert ui.tables == []


async def test_a_ui_that_hangs_delays_no_end_for_long(ui: UI, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(**_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(gpu_progress, "acreate_table_artifact", hang)
    monkeypatch.setattr(gpu_progress, "PUBLISH_SECONDS", 0.01)
    async with asyncio.timeout(30):
        async with watching(Heard().watch([Server()]), seconds=0.001):
            while not ui.moved:  # noqa: ASYNC110 - the watch tells nobody
                await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("addresses", "reads"),
    [
        (["http://127.0.0.1:8000"], True),
        (["http://10.0.0.7:8000"], False),
        (["http://10.0.0.7:8000", "http://localhost:8001"], True),
    ],
)
def test_the_gpus_of_this_machine_matter_where_a_server_is_here(addresses: list[str], *, reads: bool) -> None:
    servers = [Server(root=address) for address in addresses]
    heard = Heard()
    watch = watch_of(servers, lambda: servers, Samples(), heard.warnings.append, heard.alerts.append)
    assert ("not watched" not in watch.monitor.why_not) is reads


def test_the_gpus_of_this_machine_matter_to_an_engine_of_this_process() -> None:
    engine = VLLMEngine(EngineModel(path="/models/small"), engine=fake_engine(FakeLibrary()))
    watch = watch_of([engine], lambda: [engine], Samples(), Heard().warnings.append, Heard().alerts.append)
    assert "not watched" not in watch.monitor.why_not
