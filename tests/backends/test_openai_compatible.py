"""An external API is asked one prompt at a time, within the limits of an account."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import SecretStr

from backends import wire
from backends.errors import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    GatewayError,
    RateLimitError,
    ServerError,
)
from backends.limiting import Limits
from backends.messages import Label, Response
from backends.openai_compatible import OpenAICompatible, for_openai, refuse_error
from backends.retrying import RetryPolicy
from tests.fake_vllm import CHAT, COMPLETIONS, FakeVLLM
from tests.helpers import (
    Naps,
    arrivals_of,
    chat,
    completion,
    completions,
    error_of,
    outcomes_of,
    responses_of,
    sampling,
    scoring,
    until,
)

FAST = 1_000_000  # requests per minute
LABELS = (Label(text="True"), Label(text="False"))


def backend_of(server: FakeVLLM, naps: Naps | None = None, **changes: Any) -> OpenAICompatible:  # noqa: ANN401
    retrier = (naps or Naps()).retrier(RetryPolicy(max_attempts=3, max_away_seconds=0.0))
    given: dict[str, Any] = {"api_key": None, "timeout_seconds": 20.0, "retrier": retrier}
    limits = Limits(**{"requests_per_minute": FAST, **changes.pop("limits", {})})
    return OpenAICompatible(server.v1_url, limits=limits, **{**given, **changes})


async def test_every_prompt_is_a_request_of_its_own(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        responses = await responses_of(backend, [*completions(3), chat("hi"), chat("there")])
    assert all(response.text for response in responses)
    assert server.stats()["by_path"] == {COMPLETIONS: 3, CHAT: 2}
    assert server.stats()["max_list"] == 1


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_requests_are_open_than_allowed(server: FakeVLLM, limit: int) -> None:
    server.config(latency_seconds=0.1)
    async with backend_of(server, limits={"max_in_flight": limit}) as backend:
        await responses_of(backend, completions(6))
    assert server.stats()["max_in_flight"] == limit


async def test_no_request_starts_before_its_time(server: FakeVLLM) -> None:
    server.config(latency_seconds=0.2)  # so that a second request would be seen beside the first
    backend = backend_of(server, limits={"requests_per_minute": 1, "max_in_flight": 8})
    async with backend, aclosing(backend.answer(completions(8))) as arrivals:
        await anext(arrivals)
        assert server.stats()["requests"] == 1


async def test_a_retry_waits_for_its_time_too(server: FakeVLLM) -> None:
    server.faults([{"kind": "status", "status": 503}])
    naps = Naps()
    backend = backend_of(server, naps, limits={"requests_per_minute": 1})
    async with backend, aclosing(backend.answer(completions(1))) as arrivals:
        reader = asyncio.ensure_future(anext(arrivals))
        await until(lambda: bool(naps.seconds))
        done, _ = await asyncio.wait([reader], timeout=0.3)
        assert not done
        assert server.stats()["requests"] == 1
        reader.cancel()
        await asyncio.wait([reader])


async def test_labels_are_scored_by_their_text(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        labels = await backend.find_labels("any", ["True", "False"])
        (response,) = await responses_of(backend, [scoring("Claim.\nI think this claim is", labels)])
    assert labels == LABELS
    assert all(-20 < value < 0 for value in response.label_logprobs.values())


async def test_nothing_is_sent_before_it_is_needed(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        await backend.find_labels("any", ["True"])
        assert await arrivals_of(backend, []) == []
    assert server.stats()["all_requests"] == 0


async def test_a_bad_prompt_spoils_no_other_and_is_not_sent_again(server: FakeVLLM) -> None:
    server.faults([{"kind": "status", "status": 400, "match": "question 1", "times": -1}])
    async with backend_of(server) as backend:
        outcomes = await outcomes_of(backend, completions(3))
    assert [type(outcome) for outcome in outcomes] == [Response, BadRequestError, Response]
    assert server.stats()["requests"] == 3


async def test_an_api_wants_the_key(server: FakeVLLM) -> None:
    server.config(api_key="sk-very-secret")
    async with backend_of(server, api_key=SecretStr("sk-very-secret")) as backend:
        assert await responses_of(backend, completions(1))
        assert "sk-very-secret" not in repr(backend) + repr(vars(backend))
    async with backend_of(server) as backend:
        error = await error_of(backend, completion("hi"))
    assert type(error) is AuthenticationError


# --- what each API has of its own -----------------------------------------------------------------------


async def test_openai_is_sent_no_prompt_for_a_model_that_takes_messages_only() -> None:
    backend = OpenAICompatible("https://api.openai.com/v1", api_key=None)
    async with backend:
        error = await error_of(backend, completion("hi", model="gpt-4.1"))
    assert type(error) is BadRequestError
    assert "give messages" in str(error)
    assert error.status_code is None  # nobody was asked


def test_openai_s_own_api_calls_the_length_of_an_answer_otherwise() -> None:
    body = for_openai(wire.chat_body(chat("hi")))
    assert body["max_completion_tokens"] == 8
    assert set(body) == set(wire.chat_body(chat("hi"))) - {"max_tokens"} | {"max_completion_tokens"}


async def test_a_request_larger_than_the_budget_fails_alone_and_is_never_sent(server: FakeVLLM) -> None:
    large = completion("long", sampling=sampling(2000))
    async with backend_of(server, limits={"tokens_per_minute": 1000}) as backend:
        outcomes = await outcomes_of(backend, [*completions(2), large])
    assert [type(outcome) for outcome in outcomes] == [Response, Response, BadRequestError]
    assert server.stats()["requests"] == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, RateLimitError),
        ({"error": {"code": 502, "message": "no provider"}}, GatewayError),
        ({"error": {"code": "odd"}}, ServerError),
        ({"choices": [{"index": 0, "error": {"code": 403, "message": "flagged"}}]}, AuthenticationError),
    ],
)
def test_an_error_in_a_reply_of_success_is_an_error(reply: object, kind: type[BackendError]) -> None:
    with pytest.raises(kind):
        refuse_error(reply)


@pytest.mark.parametrize(
    "reply", [{}, {"choices": []}, {"choices": [{"error": None}]}, [], "x", {"error": None}]
)
def test_a_reply_without_an_error_passes(reply: object) -> None:
    refuse_error(reply)
