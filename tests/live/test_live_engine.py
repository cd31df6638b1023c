"""Against real vLLM in a process of its own: the direct engine answers as the server does, leaves nothing.

Needs VLLM_TEST_PYTHON, the Python of a vLLM environment, and a model on this machine.
"""

import json
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.canary import TOLERANCE, distance
from backends.direct.watchdog import Found, living
from backends.messages import Label, Response
from backends.vllm_server import VLLMServer
from tests.flows.running import PROJECT
from tests.helpers import responses_of
from tests.live.conftest import LiveServer
from tests.live.engine_requests import CALLERS, claims, structured, texts, written

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]  # starts an engine beside the server

NEAR = 0.05
"""Nat; what is in a batch beside a prompt moves its numbers a little (bfloat16)."""
START_SECONDS = 600.0
GONE_SECONDS = 90.0


def start(work: str, model: Path, found: Path) -> "subprocess.Popen[bytes]":
    python = os.environ.get("VLLM_TEST_PYTHON")
    if not python:
        pytest.skip("needs VLLM_TEST_PYTHON, the Python of a vLLM environment on this machine")
    cores = sorted(os.sched_getaffinity(0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    env = {
        **kept,
        "PYTHONPATH": str(PROJECT),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
    }
    client = sysconfig.get_paths()["purelib"]
    script = [PROJECT / "tests" / "live" / "direct_engine.py", work, model, found, client]
    with found.with_suffix(".log").open("wb") as log:
        return subprocess.Popen([python, *map(str, script)], env=env, cwd=PROJECT, stdout=log, stderr=log)


def wait_for(found: Path, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while not found.exists():
        log = found.with_suffix(".log")
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-4000:]
        time.sleep(0.5)
    return json.loads(found.read_text())


def assert_gone(processes: Mapping[str, str]) -> None:
    those: Found = {int(pid): started for pid, started in processes.items()}
    assert those  # there were some, or the test has looked for nothing
    deadline = time.monotonic() + GONE_SECONDS
    while living(those) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert living(those) == []


@pytest.fixture(scope="module")
def directory(live_server: LiveServer) -> Path:
    return live_server.directory


@pytest.fixture(scope="module")
def asked(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Everything that one process with an engine found; it has ended by itself when the tests look."""
    found = tmp_path_factory.mktemp("direct") / "found.json"
    process = start("all", directory, found)
    try:
        said = wait_for(found, process)
        yield {**said, "exit": process.wait(GONE_SECONDS)}
    finally:
        process.kill()


async def over_http(server: LiveServer, labels: list[Any]) -> list[Response]:
    given = [Label(text=text, token_ids=tuple(ids)) for text, ids in labels]
    requests = [*texts(server.model), *claims(server.model, given, 8), structured(server.model)]
    async with VLLMServer(server.base_url) as backend:
        assert await backend.find_labels(server.model, [text for text, _ in labels]) == tuple(given)
        return [(await responses_of(backend, [request]))[0] for request in requests]


async def test_the_engine_answers_as_the_server(live_server: LiveServer, asked: dict[str, Any]) -> None:
    served = [written(one) for one in await over_http(live_server, asked["labels"])]
    for direct, over in zip(asked["responses"], served, strict=True):
        assert (direct["text"], direct["finish_reason"]) == (over["text"], over["finish_reason"])
        assert direct["label_logprobs"] == pytest.approx(over["label_logprobs"], abs=NEAR)
        places = zip(direct["token_logprobs"], over["token_logprobs"], strict=True)
        for (token, logprob, top), (other, other_logprob, other_top) in places:
            assert token == other
            assert logprob == pytest.approx(other_logprob, abs=NEAR)
            assert top == pytest.approx(other_top, abs=NEAR)


def test_prompts_have_the_tokens_that_the_server_gives_them(
    live_server: LiveServer, asked: dict[str, Any]
) -> None:
    model = live_server.model
    labels = [Label(text=text, token_ids=tuple(ids)) for text, ids in asked["labels"]]
    requests = [*texts(model), *claims(model, labels, 8), structured(model)]
    for request, token_ids in zip(requests, asked["token_ids"], strict=True):
        question: dict[str, object] = {"prompt": request.prompt}
        if request.messages:
            question = {"messages": [{"role": one.role, "content": one.content} for one in request.messages]}
        assert live_server.post("/tokenize", model=model, **question).json()["tokens"] == token_ids


async def test_weights_are_pinned_as_the_servers_are(live_server: LiveServer, asked: dict[str, Any]) -> None:
    async with VLLMServer(live_server.base_url) as backend:
        assert asked["weights"] == await backend.weights(live_server.model)
        canary = await backend.canary(live_server.model)
    assert asked["weights"].startswith("dir:")
    assert canary is not None
    direct = tuple({int(token): value for token, value in one.items()} for one in asked["canary"])
    assert distance(direct, canary) < TOLERANCE


def test_json_follows_its_schema(asked: dict[str, Any]) -> None:
    assert json.loads(asked["responses"][-1]["text"]).keys() == {"name", "age"}


def test_what_the_engine_cannot_do_is_said(asked: dict[str, Any]) -> None:
    assert "'best_of'" in asked["refused"]
    assert asked["too_long"] == "ContextOverflowError"


def test_a_hundred_callers_run_together_and_lose_no_logprobs(asked: dict[str, Any]) -> None:
    """Two styles of log-probabilities take turns, so up to half of them run at the same time.

    One after the other, they would take a step of the engine for each token.
    """
    batch = asked["batch"]
    assert batch["answered"] == CALLERS
    assert batch["most_running"] >= CALLERS / 4
    assert batch["tokens"] / batch["steps"] >= CALLERS / 10


def test_a_caller_that_leaves_has_its_request_aborted(asked: dict[str, Any]) -> None:
    assert asked["left"] == {"ran": 1, "still_runs": 0}


def test_no_process_is_left_after_the_exit(asked: dict[str, Any]) -> None:
    assert asked["exit"] == 0
    assert_gone(asked["processes"])


def test_no_process_is_left_after_a_sigterm_that_nobody_handles(
    asked: dict[str, Any], directory: Path, tmp_path: Path
) -> None:
    assert asked  # which has ended: two engines at once want too much memory
    found = tmp_path / "found.json"
    process = start("wait", directory, found)
    try:
        said = wait_for(found, process)
        process.terminate()
        assert process.wait(GONE_SECONDS) == -signal.SIGTERM
        assert_gone(said["processes"])
    finally:
        process.kill()
