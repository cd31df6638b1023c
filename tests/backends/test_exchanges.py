"""What is told of each HTTP request: how it went, also where nobody waited for its end."""

import asyncio

import pytest

from backends.base import Exchange, Hooks
from backends.errors import RateLimitError
from backends.exchanges import exchange
from backends.messages import Request, Usage
from backends.vllm_server import VLLMServer
from tests.fake_vllm import FakeVLLM
from tests.helpers import completion, until


async def test_an_answer_an_error_and_a_cancelled_request_are_told_apart() -> None:
    seen: list[Exchange] = []
    hooks = Hooks(on_exchange=seen.append)
    async with exchange(hooks, "server", "/path", 2) as told:
        told.usage = Usage(input_tokens=3, output_tokens=1)
    with pytest.raises(RateLimitError):
        async with exchange(hooks, "server", "/path", 2):
            raise RateLimitError("later", status_code=429)
    with pytest.raises(asyncio.CancelledError):
        async with exchange(hooks, "server", "/path", 2):
            raise asyncio.CancelledError
    assert [(one.outcome, one.status_code) for one in seen] == [
        ("ok", None), ("RateLimitError", 429), ("Cancelled", None),
    ]  # fmt: skip


async def test_a_vllm_request_that_is_cancelled_is_told() -> None:
    seen: list[Exchange] = []
    with FakeVLLM(latency_seconds=600.0) as fake:

        async def ask(request: Request) -> None:
            async with VLLMServer(fake.base_url, hooks=Hooks(on_exchange=seen.append)) as backend:
                async for _ in backend.answer([request]):
                    pass

        asking = asyncio.create_task(ask(completion("a")))
        await until(lambda: fake.stats()["in_flight"] > 0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert [(one.outcome, one.prompts) for one in seen] == [("Cancelled", 1)]
