"""What GPUs and servers hold is shown on the command line; what cannot be read is a sentence."""

import json
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from backends.readings import GPUReading
from flows.cli import app
from flows.gpu_cli import gpu_table
from tests.fake_nvml import GIB, FakeGPU, FakeNVML, NVMLError
from tests.fake_vllm import FakeVLLM


def call(
    monkeypatch: pytest.MonkeyPatch,
    fake: FakeNVML,
    *arguments: str,
    settings: Mapping[str, Any] | None = None,
) -> str:
    monkeypatch.setitem(sys.modules, "pynvml", cast("ModuleType", fake.library()))
    with FakeVLLM(**settings or {}) as server:
        monkeypatch.setenv("VLLM_BASE_URL", server.base_url)
        result = CliRunner().invoke(app, ["gpu", *arguments], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_gpus_and_servers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNVML(gpus=[FakeGPU(used=20 * GIB)])
    shown = call(monkeypatch, fake, settings={"kv_use": 0.25, "others_waiting": 1234, "preemptions": 2})
    words = [[word for word in line.split() if word != "│"] for line in shown.splitlines()]
    assert "0 NVIDIA Fake 80GB 20.0 GiB 80.0 GiB 50% 61 not known".split() in words  # noqa: SIM905
    assert any(line[1:] == ["25%", "1,234", "1", "2"] for line in words)
    assert "no " not in shown
    assert not fake.is_open


def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNVML(init_error=NVMLError("Driver Not Loaded"))
    shown = call(monkeypatch, fake)  # the fake tells no load
    assert "no GPU here: NVML, which comes with NVIDIA's driver, says 'Driver Not Loaded'" in shown
    assert "no vLLM server tells its load at http://127.0.0.1:" in shown


def test_readings_are_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNVML(gpus=[FakeGPU(mig=1)])
    found = json.loads(call(monkeypatch, fake, "--json", settings={"preemptions": 0}))
    assert (found["gpus"], found["missing"]) == ([], ["GPU 0 is divided (MIG), and its parts are not read"])
    assert found["servers"][0]["requests_waiting"] == 0


def test_what_a_gpu_does_not_tell_is_a_dash() -> None:
    silent = GPUReading(index=0, name="[odd]", used_bytes=0, total_bytes=GIB)
    cells = [list(column.cells) for column in gpu_table([silent]).columns]
    assert cells == [["0"], ["\\[odd]"], ["0.0 GiB"], ["1.0 GiB"], ["-"], ["-"], ["not known"]]
