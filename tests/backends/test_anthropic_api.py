"""Anthropic's API is asked in its own way: the system apart, turns that alternate, and no label scores."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from backends import anthropic_api
from backends.anthropic_api import AnthropicAPI, body_of, parse
from backends.errors import (
    AuthenticationError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    ConnectionLostError,
    ContentFilterError,
    RateLimitError,
    ResponseFormatError,
    ServerError,
    ServerUnavailableError,
)
from backends.limiting import Limits
from backends.messages import Label, Message, Request, Response, Role, Usage
from backends.retrying import RetryPolicy
from tests.fake_anthropic import FakeAnthropic, Fault
from tests.fake_vllm import listen
from tests.helpers import (
    Naps,
    arrivals_of,
    chat,
    completion,
    error_of,
    outcomes_of,
    responses_of,
    sampling,
    scoring,
)
from tests.serving import Served

FAST = Limits(requests_per_minute=1_000_000, max_in_flight=4)


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture
def server(shared_fake: FakeAnthropic) -> FakeAnthropic:
    shared_fake.reset()
    return shared_fake


def backend_of(server: FakeAnthropic, **changes: Any) -> AnthropicAPI:  # noqa: ANN401 - any argument
    given: dict[str, Any] = {
        "api_key": None,
        "limits": FAST,
        "timeout_seconds": 20.0,
        "retrier": Naps().retrier(RetryPolicy(max_attempts=3, max_away_seconds=0.0)),
    }
    return AnthropicAPI(server.base_url, **{**given, **changes})


def turns(*pairs: tuple[Role, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in pairs)


def own_sampling(text: str, **changes: Any) -> Request:  # noqa: ANN401 - any field
    return chat(text, sampling=sampling(temperature=1.0), **changes)


# --- what is sent ---------------------------------------------------------------------------------------


async def test_a_conversation_is_answered(server: FakeAnthropic) -> None:
    async with backend_of(server) as backend:
        (arrival,) = await arrivals_of(backend, [own_sampling("hello")])
    ((_, response),) = arrival.outcomes
    expected = Response(text="to hello", finish_reason="stop", served_by="fake-model-20260101")
    assert response == expected
    assert arrival.usage == Usage(input_tokens=5, output_tokens=3)
    assert server.seen[0].body == {
        "model": "fake-model",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_the_system_goes_apart_and_neighbours_of_one_role_are_joined() -> None:
    messages = turns(
        ("system", "Be brief."), ("system", "Be kind."),
        ("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"),
    )  # fmt: skip
    body = body_of(own_sampling("", messages=messages))
    assert body["system"] == "Be brief.\n\nBe kind."
    assert body["messages"] == [
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (completion("hi"), "give messages"),
        (scoring("hi", [Label(text="True")]), "give messages"),
        (chat("hi", logprobs=3), "no log-probabilities"),
        (chat("hi", sampling=sampling(temperature=1.5)), "temperature is 1.5; Anthropic takes 0 to 1"),
        (chat("", messages=turns(("assistant", "a"))), "first turn is not the user's"),
        (chat("", messages=turns(("system", "a"))), "first turn is not the user's"),
        (chat("", messages=turns(("user", "a"), ("system", "b"))), "comes after a turn"),
        (chat("hi", sampling=sampling(extra_body={"messages_": 1, "max_tokens_": 2, "system": "x"}),
              messages=turns(("system", "a"), ("user", "b"))), "extra_body holds 'system'"),
    ],
)  # fmt: skip
async def test_what_it_has_not_is_refused_before_anything_is_sent(
    server: FakeAnthropic, request_: Request, words: str
) -> None:
    async with backend_of(server) as backend:
        error = await error_of(backend, request_)
    assert type(error) is BadRequestError
    assert words in str(error)
    assert "\n" not in str(error)
    assert server.seen == []


async def test_it_has_no_label_scores(server: FakeAnthropic) -> None:
    async with backend_of(server) as backend:
        with pytest.raises(BadRequestError, match="no log-probabilities"):
            await backend.find_labels("claude", ["True"])


@pytest.mark.parametrize(
    ("changes", "sent", "version"),
    [
        ({"temperature": 1.0}, {}, "2026-10-21"),
        ({"temperature": 0.0}, {"temperature": 0.0}, "2023-06-01"),
        ({"temperature": 1.0, "top_p": 0.5}, {"top_p": 0.5}, "2023-06-01"),
        ({"temperature": 1.0, "extra_body": {"top_k": 5}}, {"top_k": 5}, "2023-06-01"),
    ],
)
async def test_sampling_is_sent_under_the_version_that_takes_it(
    server: FakeAnthropic, changes: dict[str, Any], sent: dict[str, Any], version: str
) -> None:
    async with backend_of(server) as backend:
        await responses_of(backend, [chat("hi", sampling=sampling(**changes))])
    (seen,) = server.seen
    named = {"temperature", "top_p", "top_k", "seed"}
    assert {name: value for name, value in seen.body.items() if name in named} == sent
    assert seen.headers["anthropic-version"] == version


async def test_a_model_that_takes_no_temperature_says_so_and_we_say_what_it_takes(
    server: FakeAnthropic,
) -> None:
    async with backend_of(server) as backend:
        error = await error_of(backend, chat("hi", model="claude-new"))
        assert await responses_of(backend, [own_sampling("hi", model="claude-new")])
    assert type(error) is BadRequestError
    assert "deprecated for this model" in str(error)
    assert "temperature=1 and top_p=1" in str(error)


async def test_stops_schemas_and_extras_are_sent_as_it_calls_them(server: FakeAnthropic) -> None:
    extra = {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}
    wanted = sampling(temperature=1.0, stop=("END",), extra_body=extra)
    async with backend_of(server) as backend:
        await responses_of(backend, [chat("hi", sampling=wanted, json_schema='{"type": "object"}')])
    body = server.seen[0].body
    assert body["stop_sequences"] == ["END"]
    assert body["thinking"] == {"type": "adaptive"}
    format_ = {"type": "json_schema", "schema": {"type": "object"}}
    assert body["output_config"] == {"effort": "low", "format": format_}


# --- what comes back ------------------------------------------------------------------------------------


def reply(**changes: object) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 2}
    text = [{"type": "text", "text": "yes"}]
    whole = {"type": "message", "model": "m", "content": text, "stop_reason": "end_turn", "usage": usage}
    return {**whole, **changes}


def test_thoughts_are_kept_apart_from_the_text() -> None:
    content: Sequence[object] = [
        {"type": "thinking", "thinking": "Let me see.", "signature": "x"},
        {"type": "redacted_thinking", "data": "?"},
        {"type": "text", "text": "ye"},
        {"type": "text", "text": "s"},
    ]
    response, _ = parse(reply(content=content))
    assert (response.text, response.reasoning) == ("yes", "Let me see.")
    assert parse(reply(content=[{"type": "thinking", "thinking": ""}]))[0].reasoning is None


@pytest.mark.parametrize(
    ("reason", "finish"), [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length")]
)
def test_a_whole_answer_says_why_it_ended(reason: str, finish: str) -> None:
    assert parse(reply(stop_reason=reason))[0].finish_reason == finish


def test_cached_tokens_count_among_those_of_the_prompt() -> None:
    tokens = {
        "input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 7
    }  # fmt: skip
    expected = Usage(input_tokens=102, output_tokens=2, cached_tokens=90)
    assert parse(reply(usage=tokens))[1] == expected
    nulls = {**tokens, "cache_read_input_tokens": None, "cache_creation_input_tokens": None}
    assert parse(reply(usage=nulls))[1] == Usage(input_tokens=5, output_tokens=2)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (reply(stop_reason="refusal"), ContentFilterError),
        (reply(stop_reason="tool_use"), ResponseFormatError),
        (reply(stop_reason="model_context_window_exceeded"), ResponseFormatError),
        (reply(stop_reason=None), ResponseFormatError),
        (reply(content="yes"), ResponseFormatError),
        (reply(content=[{"type": "text", "text": "\ud800"}]), ResponseFormatError),
        (reply(model="\ud800"), ResponseFormatError),
        (reply(stop_reason="\ud800"), ResponseFormatError),
        (reply(usage={"input_tokens": -1, "output_tokens": 2}), ResponseFormatError),
        (reply(usage={"input_tokens": 1, "output_tokens": 10**400}), ResponseFormatError),
        (reply(type="error"), ResponseFormatError),
        ([], ResponseFormatError),
    ],
    ids=str,
)
def test_what_is_no_whole_answer_is_an_error(payload: object, kind: type[BackendError]) -> None:
    with pytest.raises(kind):
        parse(payload)


# --- failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "times"),
    [
        (Fault(status=400, match="hi"), BadRequestError, 1),
        (Fault(status=401, match="hi"), AuthenticationError, 1),
        (Fault(status=402, match="hi"), AuthenticationError, 1),
        (Fault(status=429, match="hi"), RateLimitError, 3),
        (Fault(status=500, match="hi"), ServerError, 2),
        (Fault(status=529, match="hi"), ServerUnavailableError, 3),
        (Fault(cut=True, match="hi"), ConnectionLostError, 3),
        (Fault(text="{not json", match="hi"), ResponseFormatError, 2),
        (Fault(text="[]", match="hi"), ResponseFormatError, 2),
        (Fault(text="[" * 200_000, match="hi"), ResponseFormatError, 2),
        (Fault(text=f"[{'1' * 5000}]", match="hi"), ResponseFormatError, 2),
    ],
    ids=lambda each: str(each)[:20],
)
async def test_every_failure_has_our_name_and_is_tried_again_as_it_deserves(
    server: FakeAnthropic, fault: Fault, kind: type[BackendError], times: int
) -> None:
    server.faults = [fault]
    async with backend_of(server) as backend:
        spoilt, good = await outcomes_of(backend, [chat("hi"), chat("there")])
    assert type(spoilt) is kind
    assert isinstance(good, Response)
    assert len(server.seen) == times + 1


async def test_a_failure_that_passes_is_survived(server: FakeAnthropic) -> None:
    server.faults = [Fault(status=529), Fault(cut=True)]
    async with backend_of(server) as backend:
        (response,) = await responses_of(backend, [chat("hi")])
    assert response.text == "to hi"
    assert len(server.seen) == 3


async def test_retry_after_is_heeded(server: FakeAnthropic) -> None:
    server.faults = [Fault(status=429, headers={"retry-after": "0.1"})]
    naps = Naps()
    async with backend_of(server, retrier=naps.retrier()) as backend:
        assert await responses_of(backend, [chat("hi")])
    assert naps.seconds == [0.1]


async def test_the_server_s_words_are_in_the_error(server: FakeAnthropic) -> None:
    server.faults = [Fault(status=400)]
    async with backend_of(server) as backend:
        assert str(await error_of(backend, chat("hi"))) == "the server said (HTTP 400): as told"


async def test_a_silent_server_is_a_timeout(server: FakeAnthropic) -> None:
    server.faults = [Fault(seconds=5, match="hi")]
    policy = RetryPolicy(max_attempts=1)
    async with backend_of(server, timeout_seconds=0.1, retrier=Naps().retrier(policy)) as backend:
        assert type(await error_of(backend, chat("hi"))) is BackendTimeoutError


async def test_the_key_is_sent_and_none_of_the_environment(
    server: FakeAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api_key = "sk-ant-given"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-other")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "sk-ant-token")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Other: sk-ant-header")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    async with backend_of(server, api_key=SecretStr("sk-ant-given")) as backend:
        assert await responses_of(backend, [chat("hi")])
    async with backend_of(server) as backend:
        assert type(await error_of(backend, chat("hi"))) is AuthenticationError
    assert "sk-ant-other" not in json.dumps([dict(seen.headers) for seen in server.seen])
    assert "sk-ant-header" not in json.dumps([dict(seen.headers) for seen in server.seen])


async def test_an_api_that_takes_connections_and_says_nothing_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anthropic_api, "GLANCE_SECONDS", 0.05)
    with listen() as frozen:
        address = f"http://127.0.0.1:{frozen.getsockname()[1]}"
        async with AnthropicAPI(address, api_key=None) as backend:
            assert not await cast("Any", backend)._is_there()


@pytest.mark.parametrize(("status", "is_there"), [(401, True), (404, True), (500, True), (529, False)])
async def test_any_answer_but_overloaded_is_a_sign_of_life(status: int, is_there: bool) -> None:  # noqa: FBT001
    async def says(_: object) -> JSONResponse:
        return JSONResponse({"error": {"message": "no"}}, status_code=status)

    with Served(Starlette(routes=[Route("/v1/models", says)])) as served:
        async with AnthropicAPI(f"http://127.0.0.1:{served.port}", api_key=None) as backend:
            assert await cast("Any", backend)._is_there() is is_there
