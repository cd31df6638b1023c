"""Against a real vLLM server: a small file of prompts, with a schema and log-probabilities."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.running import ICMProcess, JsonObject, Place
from tests.live.conftest import LiveServer

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]  # the first test may have to start a server

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
    "additionalProperties": False,
}
THINGS = ("grass", "the sky", "blood", "the sea", "a leaf", "a ripe tomato", "a frog", "a rose")


def test_prompts_with_a_schema_and_logprobs_are_answered_once(
    live_server: LiveServer, new_process: Callable[[], ICMProcess], tmp_path: Path
) -> None:
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text("".join(json.dumps({"id": one, "thing": one}) + "\n" for one in THINGS))
    parameters: JsonObject = {
        "input_path": str(prompts),
        "output_path": str(output),
        "template": "Which colour has {thing}? Answer as JSON with colour and sure.",
        "chat": True,
        "json_schema": SCHEMA,
        "logprobs": 2,
        "max_output_tokens": 120,
        "batch_size": 4,
    }
    place = Place(base_url=live_server.base_url, model=live_server.model, folder=tmp_path)
    with new_process() as process:
        first = process.run(place, parameters, flow="batch").require_completed()
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        written = output.read_bytes()
        second = process.run(place, parameters, flow="batch").require_completed()
    assert [row["id"] for row in rows] == list(THINGS)
    assert first.summary["cost"]["sent"] == len(THINGS)
    for row in rows:
        assert row["json"]["colour"] in {"red", "green", "blue"}
        assert row["json"] == json.loads(row["text"])
        assert len(row["logprobs"]) > 3
        for token in row["logprobs"]:
            assert token["logprob"] is None or 0 <= math.exp(token["logprob"]) <= 1.0001
            assert 1 <= len(token["top"]) <= 3
    assert second.summary["cost"]["sent"] == 0
    assert output.read_bytes() == written
