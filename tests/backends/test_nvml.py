"""GPUs are read as NVML tells of them; what it cannot tell is left out and said, and is never an error."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from backends.nvml import Devices
from backends.readings import GPUReading
from tests.fake_nvml import GIB, FakeGPU, FakeNVML, NVMLError

LOST = NVMLError("GPU is lost")


def test_a_gpu_is_read() -> None:
    fake = FakeNVML(gpus=[FakeGPU(name=b"NVIDIA Old", used=20 * GIB)])
    devices = Devices(fake.library())
    assert devices.read() == (
        GPUReading(
            index=0, name="NVIDIA Old", used_bytes=20 * GIB, total_bytes=80 * GIB, utilization=0.5,
            temperature=61.0,
        ),
    )  # fmt: skip
    assert devices.why_not == ""


def test_beginnings_and_ends_are_balanced() -> None:
    fake = FakeNVML(gpus=[FakeGPU()])
    devices = Devices(fake.library())
    assert [len(devices.read()) for _ in range(3)] == [1, 1, 1]
    assert fake.calls == {"init": 1}
    devices.close()
    devices.close()
    assert fake.calls == {"init": 1, "shutdown": 1}
    assert devices.read() == ()
    assert not fake.is_open


def test_what_was_never_begun_is_not_ended() -> None:
    fake = FakeNVML()
    Devices(fake.library()).close()
    assert fake.calls == {}


@pytest.mark.parametrize(
    "why", ["Driver Not Loaded", "NVML Shared Library Not Found", "Insufficient Permissions"]
)
def test_a_machine_without_nvml_is_asked_once_and_says_why(why: str) -> None:
    fake = FakeNVML(init_error=NVMLError(why))
    devices = Devices(fake.library())
    assert [devices.read(), devices.read()] == [(), ()]
    assert fake.calls == {"refused": 1}
    assert devices.why_not == f"no GPU here: NVML, which comes with NVIDIA's driver, says {why!r}"
    devices.close()
    assert fake.calls == {"refused": 1}


def test_a_machine_without_gpus_says_so() -> None:
    devices = Devices(FakeNVML().library())
    assert (devices.read(), devices.why_not) == ((), "no GPU here: NVML sees none")


def test_what_a_gpu_does_not_tell_is_none() -> None:
    silent = NVMLError("Not Supported")
    fake = FakeNVML(gpus=[FakeGPU(busy=silent, heat=silent, pids=silent)])
    (reading,) = Devices(fake.library()).read()
    assert (reading.utilization, reading.temperature, reading.vllm_holds) == (None, None, None)


def test_a_gpu_that_is_lost_in_the_middle_is_left_out_until_it_is_back() -> None:
    fake = FakeNVML(gpus=[FakeGPU(), FakeGPU()])
    devices = Devices(fake.library())
    assert len(devices.read()) == 2
    fake.gpus[0].used = LOST
    assert [one.index for one in devices.read()] == [1]
    assert devices.why_not == "GPU 0 cannot be read: NVML says 'GPU is lost'"
    fake.gpus[0].used = GIB
    assert len(devices.read()) == 2
    assert devices.why_not == ""
    assert fake.calls == {"init": 1}


@pytest.mark.parametrize("everywhere", [True, False])
def test_where_all_fails_nvml_is_begun_anew(*, everywhere: bool) -> None:
    fake = FakeNVML(gpus=[FakeGPU()])
    devices = Devices(fake.library())
    devices.read()
    if everywhere:
        fake.count_error = NVMLError("Unknown Error")
    else:
        fake.gpus[0].used = LOST
    assert devices.read() == ()
    assert "NVML says" in devices.why_not
    assert not fake.is_open
    fake.init_error = NVMLError("Driver Not Loaded")  # it is being updated
    assert devices.read() == ()
    fake.init_error = fake.count_error = None
    fake.gpus[0].used = GIB
    assert len(devices.read()) == 1
    devices.close()
    assert fake.calls == {"init": 2, "refused": 1, "shutdown": 2}


def test_a_gpu_that_is_divided_is_not_read() -> None:
    fake = FakeNVML(gpus=[FakeGPU(mig=1), FakeGPU(mig=0)])
    devices = Devices(fake.library())
    assert [one.index for one in devices.read()] == [1]
    assert devices.why_not == "GPU 0 is divided (MIG), and its parts are not read"


@pytest.fixture
def named() -> Iterator[dict[str, int]]:
    """Processes with the command lines of others: {name: process id}, one of which is gone."""
    waits = "import sys; print('there', flush=True); sys.stdin.read()"
    ends = {"server": ["/opt/bin/vllm", "serve", "m"], "ours": ["/home/vllm-flows/train.py"]}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", waits, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name, words in ends.items()
    }
    for process in running.values():
        assert process.stdout
        assert process.stdout.readline()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    yield {**{name: process.pid for name, process in running.items()}, "gone": gone.pid}
    for process in running.values():
        process.communicate()


@pytest.mark.parametrize(
    ("names", "holds"),
    [
        ([], None),
        (["gone"], None),
        (["ours", "gone"], None),
        (["ours"], False),
        (["server"], True),
        (["gone", "ours", "server"], True),
    ],
)
def test_a_process_of_vllm_is_told_by_its_command_line(
    named: dict[str, int], names: list[str], *, holds: bool | None
) -> None:
    fake = FakeNVML(gpus=[FakeGPU(pids=[named[name] for name in names])])
    (reading,) = Devices(fake.library()).read()
    assert reading.vllm_holds is holds


def test_the_real_library_is_there_or_says_why_not() -> None:
    """On a machine without a driver this is the absence itself; with one, real readings."""
    devices = Devices()
    found = devices.read()
    devices.close()
    assert bool(found) is not devices.why_not.startswith("no GPU here")
    assert all(0 <= one.used_bytes <= one.total_bytes for one in found)


def test_without_the_library_no_gpu_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    devices = Devices()
    assert (devices.read(), devices.why_not) == (
        (),
        "no GPU is watched: nvidia-ml-py is not installed",
    )
