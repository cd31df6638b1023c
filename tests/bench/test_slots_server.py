"""Facts about what the slots server counts: they are the numbers that the benchmark prints."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backends.base import Outcome
from backends.messages import Label, Request, SamplingParams
from backends.vllm_server import VLLMServer
from bench.processes import PROJECT, SlotsClient, measure, running_slots
from bench.questions import answer_to, prompt_digest, questions
from bench.stored import stored_by_engine, stored_by_script
from tests.helpers import outcomes_of, responses_of, until


@pytest.fixture
def slots() -> Iterator[SlotsClient]:
    with running_slots(seconds=0.02) as client:
        yield client


def ask(prompt: str, **changes: object) -> Request:
    return Request(model="slots", sampling=SamplingParams(max_tokens=1), prompt=prompt, **changes)  # pyright: ignore[reportArgumentType]


async def test_128_prompts_on_64_slots_of_20_ms_take_40_ms_at_least(slots: SlotsClient) -> None:
    requests = [ask(prompt) for prompt in questions(128)]
    async with VLLMServer(slots.base_url) as backend:
        await backend.capabilities()
        started = time.monotonic()
        responses = await responses_of(backend, requests)
        assert time.monotonic() - started >= 0.04
    assert [response.text for response in responses] == [answer_to(prompt) for prompt in questions(128)]
    counts = slots.counts()
    assert (counts["prompts"], counts["answered"], counts["resent_though_answered"]) == (128, 128, 0)


async def test_an_answered_prompt_that_comes_again_is_counted(slots: SlotsClient) -> None:
    requests = [ask(prompt) for prompt in questions(8)]
    async with VLLMServer(slots.base_url) as backend:
        await responses_of(backend, requests)
        await responses_of(backend, requests[:3])
    assert slots.counts()["resent_though_answered"] == 3
    assert slots.prompts()[prompt_digest(questions(1)[0])] == [2, 2]


async def test_a_client_that_goes_away_is_not_answered(slots: SlotsClient) -> None:
    body = {"model": "slots", "prompt": questions(200), "max_tokens": 1}
    async with httpx.AsyncClient(base_url=slots.base_url, trust_env=False) as client:
        asking = asyncio.ensure_future(client.post("/v1/completions", json=body))
        await until(lambda: slots.counts()["requests"] == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: slots.counts()["abandoned"] == 1)
    assert slots.counts()["answered"] == 0


async def test_it_scores_labels_as_a_server_that_knows_token_ids(slots: SlotsClient) -> None:
    labels = (Label(text="a", token_ids=(1, 2)), Label(text="b", token_ids=(3,)))
    async with VLLMServer(slots.base_url) as backend:
        outcomes: list[Outcome] = await outcomes_of(backend, [ask("Which?", labels=labels)])
        [response] = await responses_of(backend, [ask("Which?", labels=labels)])
    assert outcomes == [response]
    assert set(response.label_logprobs) == {"a", "b"}


def test_it_says_how_loaded_it_is(slots: SlotsClient) -> None:
    assert "vllm:num_requests_waiting" in httpx.get(f"{slots.base_url}/metrics", trust_env=False).text
    body = {"model": "slots", "prompt": "x"}
    reply = httpx.post(
        f"{slots.base_url}/v1/completions",
        json=body,
        headers={"endpoint-load-metrics-format": "JSON"},
        trust_env=False,
    )
    kind, _, report = reply.headers["endpoint-load-metrics"].partition(" ")
    assert kind == "JSON"
    assert json.loads(report)["named_metrics"]["num_requests_waiting"] == 0.0


def test_a_fault_is_a_500_or_a_429_that_says_when_to_return() -> None:
    with running_slots(fault_fraction=1.0) as slots:
        url, body = f"{slots.base_url}/v1/completions", {"model": "slots", "prompt": "x"}
        replies = [httpx.post(url, json=body, trust_env=False) for _ in range(2)]
        assert slots.counts()["faults"] == {"429": 1, "500": 1}
    assert {reply.status_code: reply.headers.get("retry-after") for reply in replies} == {429: "1", 500: None}


@pytest.mark.parametrize("program", ["by_hand", "by_engine"])
def test_either_program_killed_at_half_asks_for_the_rest_only(program: str, tmp_path: Path) -> None:
    stored = stored_by_script if program == "by_hand" else stored_by_engine
    with running_slots(slots=16, seconds=0.1) as slots:
        command = ["-m", f"bench.{program}", slots.base_url, str(tmp_path), "256"]
        process = subprocess.Popen([sys.executable, *command], cwd=PROJECT)
        slots.wait_until_answered(128)
        process.kill()
        process.wait()
        kept, before = stored(tmp_path, 256), slots.prompts()
        cost = measure(command)
        asked_again = {
            name for name, (asked, _) in slots.prompts().items() if asked > before.get(name, (0,))[0]
        }
    assert cost.exit_code == 0
    assert 0 < len(kept) < 256
    assert not asked_again & set(kept)
    answers = json.loads((tmp_path / "result.json").read_text())
    assert answers == [answer_to(prompt) for prompt in questions(256)]
