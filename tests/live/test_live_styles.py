"""Against a real vLLM server: label scores and plain log-probabilities at once, and neither is lost."""

import asyncio
import math
from collections.abc import Mapping

import httpx
import pytest

from backends.base import Exchange, Hooks
from backends.batching import ListBounds
from backends.messages import Label, Request, Response, SamplingParams
from backends.vllm_server import VLLMServer
from backends.wire import completion_body
from tasks.icm.claims import LABEL_TEXTS
from tests.helpers import responses_of
from tests.live.conftest import LiveServer

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]  # the first test may have to start a server

OF_EACH = 16
TOLERANCE = 0.02
"""Of a probability: a prompt's numbers depend a little on what else is in its batch (bfloat16)."""
LOST = -9000.0


@pytest.fixture
async def labels(live_server: LiveServer) -> tuple[Label, ...]:
    async with VLLMServer(live_server.base_url) as backend:
        return await backend.find_labels(live_server.model, LABEL_TEXTS)


def mix(model: str, labels: tuple[Label, ...]) -> list[Request]:
    """Ask by turns for label scores and for the likeliest first tokens, of many places and colours."""
    one = SamplingParams(max_tokens=1)
    texts = [f"In room {number} of the house, the sky outside is" for number in range(OF_EACH)]
    claims = [f"{number} and {number} are {2 * number}. I think this claim is" for number in range(OF_EACH)]
    scores = [Request(model=model, prompt=text, sampling=one, labels=labels) for text in claims]
    likely = [Request(model=model, prompt=text, sampling=one, logprobs=5) for text in texts]
    return [request for pair in zip(scores, likely, strict=True) for request in pair]


async def test_fault_is_in_the_server_or_this_run_says_that_it_did_not_show(
    live_server: LiveServer, labels: tuple[Label, ...]
) -> None:
    """Raw requests, all in flight together, as a client that does not know of the fault would send them."""
    requests = mix(live_server.model, labels)
    async with httpx.AsyncClient(base_url=live_server.base_url, timeout=100, trust_env=False) as client:

        async def lowest(request: Request) -> float:
            answer = await client.post("/v1/completions", json=completion_body([request]))
            tops = answer.raise_for_status().json()["choices"][0]["logprobs"]["top_logprobs"]
            return min(value for top in tops for value in top.values())

        found = await asyncio.gather(*(lowest(request) for request in requests))
    lost = sum(value <= LOST for value in found)
    if not lost:
        pytest.skip(f"none of {OF_EACH} answers was lost: the fault did not show, if this server has it")
    assert lost <= OF_EACH  # never the label scores themselves


async def test_two_styles_at_once_lose_nothing_and_need_no_second_try(
    live_server: LiveServer, labels: tuple[Label, ...]
) -> None:
    requests = mix(live_server.model, labels)
    exchanges: list[Exchange] = []
    hooks = Hooks(on_exchange=exchanges.append)
    async with VLLMServer(live_server.base_url, hooks=hooks, bounds=ListBounds(max_prompts=4)) as backend:
        calls = [responses_of(backend, [request]) for request in requests]
        together = [response for (response,) in await asyncio.gather(*calls)]
        assert [exchange.outcome for exchange in exchanges] == ["ok"] * (2 * OF_EACH // 4)
        alone = [response for request in requests for response in await responses_of(backend, [request])]
    for response, right in zip(together, alone, strict=True):
        assert_near(numbers(response), numbers(right))


def numbers(response: Response) -> dict[str, float]:
    """Return what a response says of probabilities, as probabilities."""
    found = dict(response.label_logprobs)
    for place in response.token_logprobs:
        found |= place.top
    return {name: math.exp(value) for name, value in found.items()}


def assert_near(found: Mapping[str, float], right: Mapping[str, float]) -> None:
    """Compare what both name; the last of five likely tokens may be another one."""
    common = found.keys() & right.keys()
    assert len(common) >= len(right) - 1 > 0
    assert all(0 <= value <= 1 for value in found.values())
    assert {name: found[name] for name in common} == pytest.approx(
        {name: right[name] for name in common}, abs=TOLERANCE
    )
