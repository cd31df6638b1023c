"""Whatever goes wrong between here and a server has one of our names, and shows no key."""

import datetime as dt
import email.utils
import logging
import pickle
import socket
import traceback
from contextlib import ExitStack

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from backends.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    ConnectionLostError,
    GatewayError,
    RateLimitError,
    ResponseFormatError,
    ServerError,
    ServerUnavailableError,
    UnknownModelError,
)
from backends.openai_client import OpenAIClient
from tests.fake_vllm import FakeVLLM, listen
from tests.serving import Served

KEY = "sk-very-secret"
FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
BODY: dict[str, object] = {"model": "fake-model", "prompt": "hi", "max_tokens": 4}


def client_of(server: FakeVLLM, *, api_key: str | None = None, timeout_seconds: float = 20.0) -> OpenAIClient:
    key = SecretStr(api_key) if api_key else None
    return OpenAIClient(server.base_url, api_key=key, timeout_seconds=timeout_seconds)


async def failure(client: OpenAIClient, path: str = "/v1/completions") -> BackendError:
    async with client:
        with pytest.raises(BackendError) as caught:
            await client.post(path, BODY)
    return caught.value


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_an_address_may_end_as_it_likes(server: FakeVLLM, suffix: str) -> None:
    async with OpenAIClient(server.base_url + suffix, api_key=None, timeout_seconds=20) as client:
        assert await client.get("/version") == {"version": "0.32.0"}
        reply = await client.post("/v1/completions", BODY)
    assert isinstance(reply, dict)
    assert "choices" in reply


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, UnknownModelError),
        (413, BadRequestError),
        (422, BadRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (502, GatewayError),
        (503, ServerUnavailableError),
        (504, GatewayError),
    ],
)
async def test_every_status_has_its_error_with_the_server_s_words(
    server: FakeVLLM, status: int, kind: type[BackendError]
) -> None:
    server.faults([{"kind": "status", "status": status, "message": "because of the moon"}])
    error = await failure(client_of(server))
    assert type(error) is kind
    assert error.status_code == status
    assert str(error) == f"the server said (HTTP {status}): because of the moon"
    assert error.retry_after_seconds is None
    assert server.stats()["requests"] == 1


async def test_a_refusal_in_another_shape_is_shown_as_it_came(server: FakeVLLM) -> None:
    error = await failure(client_of(server), "/v1/embeddings")
    assert type(error) is UnknownModelError
    assert "Not Found" in str(error)


async def test_an_account_without_credit_is_no_account_that_asks_too_often() -> None:
    async def refuse(request: Request) -> JSONResponse:
        del request
        said = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
        return JSONResponse({"error": said}, 429)

    with Served(Starlette(routes=[Route("/v1/completions", refuse, methods=["POST"])])) as served:
        error = await failure(
            OpenAIClient(f"http://127.0.0.1:{served.port}", api_key=None, timeout_seconds=20)
        )
    assert type(error) is AuthenticationError
    assert "You exceeded your current quota" in str(error)


def _in_an_hour(sign: int) -> str:
    moment = dt.datetime.now(dt.UTC) + sign * dt.timedelta(hours=1)
    return email.utils.format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("header", "lowest", "highest"),
    [
        ("7", 7, 7),
        ("0.25", 0.25, 0.25),
        ("-3", 0, 0),
        (_in_an_hour(1), 2000, 3600),
        (_in_an_hour(-1), 0, 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_seconds_or_a_date(
    server: FakeVLLM, status: int, header: str, lowest: float, highest: float
) -> None:
    server.faults([{"kind": "status", "status": status, "retry_after": header}])
    error = await failure(client_of(server))
    assert error.retry_after_seconds is not None
    assert lowest <= error.retry_after_seconds <= highest


@pytest.mark.parametrize("header", ["soon", "", "nan", "inf", "Someday, 99 Foo 2026 99:99:99 GMT", FAR])
async def test_a_retry_after_that_cannot_be_read_is_left_out(server: FakeVLLM, header: str) -> None:
    server.faults([{"kind": "status", "status": 429, "retry_after": header}])
    assert (await failure(client_of(server))).retry_after_seconds is None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "reset"}, ConnectionLostError),
        ({"kind": "reset", "hard": True}, ConnectionLostError),
        ({"kind": "truncated"}, ConnectionLostError),
        ({"kind": "truncated", "declared": "cut"}, ResponseFormatError),
        ({"kind": "not_json"}, ResponseFormatError),
        ({"kind": "html"}, ResponseFormatError),
    ],
    ids=str,
)
async def test_a_broken_reply_has_our_name(
    server: FakeVLLM, fault: dict[str, object], kind: type[BackendError]
) -> None:
    server.faults([fault])
    assert type(await failure(client_of(server))) is kind


async def test_a_silent_server_is_a_timeout(server: FakeVLLM) -> None:
    server.faults([{"kind": "hang", "seconds": 60}])
    error = await failure(client_of(server, timeout_seconds=0.1))
    assert type(error) is BackendTimeoutError
    assert server.base_url in str(error)


async def test_no_server_is_a_connection_error_that_names_the_address() -> None:
    sock = listen()
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()
    error = await failure(OpenAIClient(address, api_key=None, timeout_seconds=20))
    assert type(error) is BackendConnectionError
    assert address in str(error)


async def test_an_address_that_takes_no_connection_is_no_slow_server() -> None:
    with listen() as full, ExitStack() as taken:
        full.listen(0)
        address = full.getsockname()
        for _ in range(2):  # what the queue of a backlog of 0 holds; more is neither taken nor refused
            waiting = taken.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        url = f"http://127.0.0.1:{address[1]}"
        error = await failure(OpenAIClient(url, api_key=None, timeout_seconds=0.2))
    assert type(error) is BackendConnectionError
    assert str(error) == f"no connection to {url}: nothing answers there"


def write_money(*_: object) -> str:
    return "\u20ac" * 400


async def test_a_reply_cut_within_a_character_is_unreadable_and_nothing_else() -> None:
    with FakeVLLM(writer=write_money) as server:
        server.faults([{"kind": "truncated", "declared": "cut", "times": -1}])
        for max_tokens in (400, 399):  # of three bytes each, so that one cut at least is within a character
            async with client_of(server) as client:
                with pytest.raises(ResponseFormatError):
                    await client.post("/v1/completions", {**BODY, "max_tokens": max_tokens})


# --- keys -----------------------------------------------------------------------------------------------


async def test_a_key_is_sent_and_shown_nowhere(server: FakeVLLM, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.config(api_key=KEY)
    async with client_of(server, api_key=KEY) as client:
        assert await client.post("/v1/completions", BODY)
        shown = [repr(client), str(client), repr(vars(client))]
    assert caplog.records
    assert not [text for text in (*shown, *_written(caplog)) if KEY in text]


async def test_a_refused_key_is_not_in_the_error(server: FakeVLLM, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.config(api_key="sk-another")
    error = await failure(client_of(server, api_key=KEY))
    assert type(error) is AuthenticationError
    assert error.status_code == 401
    shown = [repr(error), *traceback.format_exception(error), repr(pickle.dumps(error))]
    assert not [text for text in (*shown, *_written(caplog)) if KEY in text]


async def test_a_key_in_the_environment_is_not_sent_by_itself(
    server: FakeVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.config(api_key=KEY)
    assert type(await failure(client_of(server))) is AuthenticationError


def _written(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]


@pytest.mark.parametrize(
    ("tokens", "overflows"),
    [(7, False), (8, True), (9, True)],
    ids=["leaves room", "leaves room for no token", "too long"],
)
async def test_a_prompt_that_does_not_fit_the_context_is_told_apart(tokens: int, *, overflows: bool) -> None:
    with FakeVLLM(max_model_len=8) as server:
        prompt = list(range(1, tokens + 1))
        async with client_of(server) as client:
            if not overflows:
                await client.post("/v1/completions", {**BODY, "prompt": prompt, "max_tokens": 1})
                return
            with pytest.raises(BadRequestError) as caught:
                await client.post("/v1/completions", {**BODY, "prompt": prompt, "max_tokens": 1})
    twin = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (caught.value.overflows, twin.overflows) == (True, True)


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"max_tokens": -1}, {"temperature": -1}, {"model": "x"}]
)
async def test_another_refusal_is_no_overflow(server: FakeVLLM, wrong: dict[str, object]) -> None:
    async with client_of(server) as client:
        with pytest.raises(BadRequestError) as caught:
            await client.post("/v1/completions", {**BODY, **wrong})
    assert caught.value.overflows is (wrong == {"max_tokens": 0})  # vLLM says the same of a full context


async def test_the_code_of_openai_for_a_prompt_that_is_too_long_is_known() -> None:
    async def refuse(request: Request) -> JSONResponse:
        del request
        said = {
            "message": "This model's maximum context length is 8 tokens.",
            "type": "invalid_request_error",
        }
        return JSONResponse(
            {"error": {**said, "param": "messages", "code": "context_length_exceeded"}}, status_code=400
        )

    with Served(Starlette(routes=[Route("/v1/completions", refuse, methods=["POST"])])) as other:
        client = OpenAIClient(f"http://127.0.0.1:{other.port}", api_key=None, timeout_seconds=20)
        assert (await failure(client)).overflows
