"""When the server stays away, another model answers only if the user asked for it, and the report says so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import ICMProcess, JsonObject, Outcome, Place, asked_of, free_port

ROWS = 5


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(ROWS)))
    return path


def models_of(outcome: Outcome) -> set[str]:
    lines = Path(str(outcome.summary["output"])).read_text().splitlines()
    return {json.loads(line)["model"] for line in lines}


@pytest.mark.timeout(200)
def test_the_fallback_answers_for_a_server_that_is_away_and_is_named_in_the_report(
    new_process: Callable[[], ICMProcess], tmp_path: Path, prompts: Path
) -> None:
    parameters: JsonObject = {"input_path": str(prompts), "max_wait_seconds": 0, "revision": "first"}
    with FakeVLLMProcess(models=["other"]) as api:
        more = {"OPENAI_COMPATIBLE_BASE_URL": api.v1_url, "OPENAI_COMPATIBLE_API_KEY": "sk-other"}
        process = new_process()
        with FakeVLLMProcess() as vllm:
            place = Place(base_url=vllm.base_url, model="fake-model", folder=tmp_path, more=more)
            # Once with the server, so that its weights are known.
            process.run(place, {**parameters, "max_requests": 0}, flow="batch")
        away = Place(
            base_url=f"http://127.0.0.1:{free_port()}", model="fake-model", folder=tmp_path, more=more
        )
        refused = process.run(away, parameters, flow="batch")
        assert refused.state == "Failed"
        assert "VLLM_BASE_URL" in refused.message
        assert not asked_of(api.stats())

        wanted = {**parameters, "fallback": "openai-compatible:other"}
        outcome = process.run(away, wanted, flow="batch").require_completed()
        assert sum(asked_of(api.stats()).values()) == ROWS
        cost = outcome.summary["cost"]
        assert cost["stand_ins"] == {"openai-compatible:other": ROWS}
        assert (cost["prompts"], cost["sent"], cost["failed"], cost["requests"]) == (ROWS, ROWS, 0, ROWS)
        assert cost["usage"]["input_tokens"] > 0
        assert models_of(outcome) == {"openai-compatible:other"}
        assert any("fallback" in warning for warning in outcome.summary["warnings"])
        assert "fallback" in (outcome.directory / "report.html").read_text()

        with FakeVLLMProcess() as vllm:
            back = Place(base_url=vllm.base_url, model="fake-model", folder=tmp_path, more=more)
            outcome = process.run(back, wanted, flow="batch").require_completed()
            assert sum(asked_of(vllm.stats()).values()) == ROWS  # none of the other's answers was its own
        assert sum(asked_of(api.stats()).values()) == ROWS
        assert models_of(outcome) == {"fake-model"}
