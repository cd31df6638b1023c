"""Keys and headers are nowhere in what a run writes: store, journal, reports, artifacts, logs, database."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import ICMProcess, Place, PrefectServer

SECRETS = {
    "VLLM_API_KEY": "sk-planted-key-1",
    "VLLM_HEADERS": json.dumps({"X-Team": "planted-header-2"}),
    "OPENAI_API_KEY": "sk-planted-openai-3",
    "ANTHROPIC_API_KEY": "sk-planted-anthropic-4",
}
PLANTED = (b"sk-planted-key-1", b"planted-header-2", b"sk-planted-openai-3", b"sk-planted-anthropic-4")


def holding(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in PLANTED)
    ]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("fault", [None, 401, 500])
def test_no_secret_is_in_anything_that_is_written(
    new_process: Callable[[], ICMProcess],
    prefect_server: PrefectServer,
    tmp_path: Path,
    fault: int | None,
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(3)))
    with FakeVLLMProcess(api_key="sk-planted-key-1") as fake:
        if fault:
            words = "your key sk-planted-key-1 and your team planted-header-2 are bad"
            fake.faults([{"kind": "status", "status": fault, "times": -1, "message": words}])
        place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path, more=SECRETS)
        outcome = new_process().run(place, {"input_path": str(prompts), "max_wait_seconds": 0}, flow="batch")
    assert outcome.state == ("Failed" if fault else "Completed")
    assert fault or (tmp_path / "store" / "cache.db").exists()
    assert holding(tmp_path) == []
    assert not any(secret.decode() in outcome.log for secret in PLANTED)
    assert holding(Path(prefect_server.environment["PREFECT_HOME"])) == []
    if fault:
        assert "your key *** and your team *** are bad" in outcome.log
