"""A run of an API that costs money stops at its caps, and goes on when they are raised."""

import json
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import ICMProcess, JsonObject, Place, asked_of

ROWS = 12


@pytest.mark.timeout(200)
def test_caps_on_tokens_and_money_stop_a_run_of_an_external_api(process: ICMProcess, tmp_path: Path) -> None:
    prompts, prices = tmp_path / "prompts.jsonl", tmp_path / "prices.json"
    prompts.write_text("".join(json.dumps({"prompt": f"Question number {n}?"}) + "\n" for n in range(ROWS)))
    prices.write_text(json.dumps({"openai-compatible:*": {"input": 100.0, "output": 1000.0}}))
    with FakeVLLMProcess() as api:
        more = {
            "OPENAI_COMPATIBLE_BASE_URL": api.v1_url,
            "OPENAI_COMPATIBLE_API_KEY": "sk-other",
            "VLLM_FLOWS_PRICES": str(prices),
        }
        place = Place(base_url="http://127.0.0.1:9", model="fake-model", folder=tmp_path, more=more)
        parameters: JsonObject = {
            "input_path": str(prompts),
            "model": "openai-compatible:fake-model",
            "max_output_tokens": 8,
        }
        answered = [0]
        for cap in ({"max_tokens": 60}, {"max_cost_usd": 0.06}):
            stopped = process.run(place, {**parameters, **cap}, flow="batch")
            assert stopped.state == "Failed"
            [(name, limit)] = cap.items()
            assert f"{name} ({limit:g})" in stopped.message
            answered.append(len(asked_of(api.stats())))
        assert answered[0] < answered[1] < answered[2] < ROWS

        done = process.run(place, parameters, flow="batch").require_completed()
        asked = asked_of(api.stats())
        assert (len(asked), set(asked.values())) == (ROWS, {1})
        assert done.summary["cost"]["cost_usd"] > 0
