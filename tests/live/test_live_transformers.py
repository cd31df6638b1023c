"""With real torch and transformers: rows together answer as rows alone, and as a vLLM server nearly does."""

import json
import os
import subprocess
import sysconfig
from typing import Any

import pytest

from backends.canary import TOLERANCE, distance
from backends.messages import Label
from backends.vllm_server import VLLMServer
from tests.flows.running import PROJECT
from tests.helpers import responses_of
from tests.live.conftest import LiveServer
from tests.live.engine_requests import claims, texts, written

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

SAME = 1e-3
"""Nat; float32."""
NEAR = 0.15
"""Nat; between float32 here and bfloat16 there. The canary allows 0.10 in the mean."""
SECONDS = 600


@pytest.fixture(scope="module")
def found(live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    python = os.environ.get("VLLM_TEST_PYTHON")
    if not python:
        pytest.skip("needs VLLM_TEST_PYTHON, the Python of a vLLM environment on this machine")
    file = tmp_path_factory.mktemp("local") / "found.json"
    script = [PROJECT / "tests" / "live" / "local_model.py", live_server.directory, file]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [python, *map(str, script), sysconfig.get_paths()["purelib"]], check=True, timeout=SECONDS, env=env
    )
    return json.loads(file.read_text())


def test_what_stands_beside_a_prompt_changes_nothing(found: dict[str, Any]) -> None:
    for together, alone in zip(found["together"], found["alone"], strict=True):
        assert together["text"] == alone["text"]
        assert together["label_logprobs"] == pytest.approx(alone["label_logprobs"], abs=SAME)
        for (token, logprob, top), (other, other_logprob, other_top) in zip(
            together["token_logprobs"], alone["token_logprobs"], strict=True
        ):
            assert token == other
            assert logprob == pytest.approx(other_logprob, abs=SAME)
            assert top == pytest.approx(other_top, abs=SAME)


async def test_it_answers_as_the_server_up_to_rounding(
    live_server: LiveServer, found: dict[str, Any]
) -> None:
    labels = [Label(text=text, token_ids=tuple(ids)) for text, ids in found["labels"]]
    greedy = [one for one in texts(live_server.model) if not one.sampling.temperature]
    requests = [*greedy, *claims(live_server.model, labels, 4)]
    async with VLLMServer(live_server.base_url) as backend:
        served = [written(one) for one in await responses_of(backend, requests)]
        canary = await backend.canary(live_server.model)
    mine = [*found["together"][: len(greedy)], *found["together"][-4:]]
    assert [one["text"].split()[:2] for one in mine[: len(greedy)]] == [
        one["text"].split()[:2] for one in served[: len(greedy)]
    ]
    for here, there in zip(mine[-4:], served[-4:], strict=True):
        assert here["label_logprobs"] == pytest.approx(there["label_logprobs"], abs=NEAR)
    assert canary is not None
    local = tuple({int(token): value for token, value in one.items()} for one in found["canary"])
    assert distance(local, canary) < TOLERANCE


def test_stop_strings_end_an_answer_and_are_no_part_of_it(found: dict[str, Any]) -> None:
    stopped = found["together"][4]
    assert stopped["finish_reason"] == "stop"
    assert " six" not in stopped["text"]


def test_a_seed_draws_the_same_again_and_another_draw_is_another(found: dict[str, Any]) -> None:
    first, again, other = found["drawn"]
    assert first == again != other


def test_a_schema_is_refused(found: dict[str, Any]) -> None:
    assert "follows no JSON schema" in found["refused"]
