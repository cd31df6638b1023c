"""Against a real vLLM server: its own counters tell what a run made it do."""

import pytest

from backends.messages import Request, SamplingParams
from backends.vllm_server import VLLMServer
from tests.helpers import responses_of
from tests.live.conftest import LiveServer

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]  # the first test may have to start a server


async def test_the_servers_counters_grow_by_what_was_asked(live_server: LiveServer) -> None:
    sampling = SamplingParams(max_tokens=4)
    shared = "The usual colour of things in the cupboard of the house is often told in a list. " * 8
    requests = [
        Request(model=live_server.model, sampling=sampling, prompt=f"{shared} Number {number}:")
        for number in range(4)
    ]
    async with VLLMServer(live_server.base_url) as backend:
        before = await backend.counters()
        await responses_of(backend, requests)
        after = await backend.counters()
    assert before is not None
    assert after is not None
    grown = after.since(before)  # others may ask the same server: at least ours
    assert grown["prompts_answered"] >= 4
    assert grown["generation_tokens"] >= 4
    assert grown["prompt_tokens"] >= 4 * 100
    assert grown["prompt_tokens_cached"] > 0
    sources = ("prompt_tokens_computed", "prompt_tokens_cached", "prompt_tokens_transferred")
    assert grown["prompt_tokens"] == sum(grown[name] for name in sources)
