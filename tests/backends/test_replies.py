"""Whatever a server replies, only the prompts that it was asked for go without an answer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response as HTTPResponse
from starlette.routing import Route

from backends.errors import BackendError, BadRequestError, ResponseFormatError
from backends.limiting import Limits
from backends.messages import Response
from backends.openai_compatible import OpenAICompatible
from backends.retrying import RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from tasks.generate import Generator
from tasks.keys import key_requests
from tests.fake_vllm import FakeVLLM
from tests.helpers import Naps, chat, completions
from tests.serving import Served

GOOD = (
    '{"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}],'
    ' "usage": {"prompt_tokens": 1}}'
)
DEEP = "[" * 200_000
DIGITS = "1" * 5000

UNREADABLE = {
    "a number of 5,000 digits": GOOD.replace('"prompt_tokens": 1', f'"prompt_tokens": {DIGITS}'),
    "nested too deeply": DEEP,
    "half a character in the fingerprint": GOOD[:-1] + r', "system_fingerprint": "\ud800"}',
    "half a character in a name": GOOD[:-1] + r', "usage": {"\ud800": "\ud800"}}',
    "more tokens than there are": GOOD.replace('"prompt_tokens": 1', f'"prompt_tokens": {"1" * 400}'),
    "not UTF-8": "\udcff",
}


class Replies(Served):
    """Answers 200, or `status`, with `text` to what holds "bad", and well to all else."""

    def __init__(self) -> None:
        super().__init__(Starlette(routes=[Route("/v1/chat/completions", self._serve, methods=["POST"])]))
        self.text = ""
        self.status = 200

    def backend(self) -> OpenAICompatible:
        return OpenAICompatible(
            f"http://127.0.0.1:{self.port}",
            api_key=None,
            limits=Limits(requests_per_minute=1_000_000, max_in_flight=1),
            retrier=Naps().retrier(RetryPolicy(max_attempts=2)),
        )

    async def _serve(self, request: Request) -> HTTPResponse:
        if b"bad" in await request.body():
            content = self.text.encode(errors="surrogateescape")
            return HTTPResponse(content, status_code=self.status, media_type="application/json")
        return HTTPResponse(GOOD, media_type="application/json")


@pytest.fixture(scope="module")
def replies() -> Iterator[Replies]:
    with Replies() as served:
        yield served


async def spoilt_outcome(replies: Replies, folder: Path) -> BackendError:
    """Ask one bad question among good ones; check that these are answered and stored."""
    store = DiskStore(folder)
    asked = key_requests([chat(text) for text in ("good 1", "bad", "good 2", "good 3")])
    async with replies.backend() as backend:
        outcomes = await Generator(backend=backend, lookup=Lookup(store)).outcomes(asked)
    spoilt = outcomes.pop(1)
    assert [cast("Response", one).text for one in outcomes] == ["ok"] * 3
    assert len(list(store.keys())) == 3
    assert isinstance(spoilt, BackendError)
    str(spoilt).encode()  # for files
    return spoilt


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_reply_that_cannot_be_read_spoils_its_own_prompt_alone(
    replies: Replies, tmp_path: Path, text: str
) -> None:
    replies.text, replies.status = text, 200
    assert type(await spoilt_outcome(replies, tmp_path)) is ResponseFormatError


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        f"[{DIGITS}]",
        r'{"error": {"message": "\ud800"}}',
        '{"error": {"message": ' + "[" * 500 + "]" * 500 + "}}",
    ],
    ids=["deep", "digits", "half", "no text"],
)
@pytest.mark.parametrize("status", [200, 400])
async def test_an_error_that_cannot_be_read_spoils_its_own_prompt_alone(
    replies: Replies, tmp_path: Path, text: str, status: int
) -> None:
    replies.text, replies.status = text, status
    if status == 400:
        assert type(await spoilt_outcome(replies, tmp_path)) is BadRequestError
    else:
        await spoilt_outcome(replies, tmp_path)


async def test_a_choice_that_cannot_be_read_spoils_its_own_prompt_alone(
    server: FakeVLLM, tmp_path: Path
) -> None:
    store = DiskStore(tmp_path)
    asked = key_requests([replace(one, logprobs=1) for one in completions(8)])
    async with VLLMServer(server.base_url, retrier=Naps().retrier()) as backend:
        client = cast("Any", backend)._client
        honest = client.exchange

        async def spoiling(path: str, body: dict[str, object], headers: Any = None) -> Any:  # noqa: ANN401
            reply = await honest(path, body, headers)
            choices = reply.content["choices"]
            for choice, prompt in zip(choices, cast("Any", body["prompt"]), strict=True):
                if prompt == "question 3":
                    choice["logprobs"]["top_logprobs"][0] = {"\ud83d": -1.0}
            return reply

        client.exchange = spoiling
        outcomes = await Generator(backend=backend, lookup=Lookup(store)).outcomes(asked)
    assert type(outcomes.pop(3)) is ResponseFormatError
    assert all(isinstance(outcome, Response) for outcome in outcomes)
    assert len(list(store.keys())) == 7
