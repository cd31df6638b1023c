"""A server behind TLS, a path, a proxy or a gate of headers is reached, and none of its secrets is shown."""

import base64
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backends.addresses import Address, is_loopback, secrets_of
from backends.anthropic_api import AnthropicAPI
from backends.errors import (
    BackendConnectionError,
    BackendError,
    BadRequestError,
    CertificateError,
    ResponseFormatError,
)
from backends.masking import Mask
from backends.openai_client import OpenAIClient
from backends.openai_compatible import OpenAICompatible
from backends.retrying import Retrier, RetryPolicy
from backends.serving.errors import ServerUnavailableError
from backends.serving.server import served_models
from backends.vllm_server import VLLMServer
from tests.helpers import Naps, chat, error_of
from tests.serving import Served

SECRETS = {
    "key": "sk-very-secret",
    "header": "token-very-secret",
    "password": "pw-very-secret",
    "environment": "env-very-secret",
}


Make = Callable[..., OpenAIClient | OpenAICompatible | AnthropicAPI | VLLMServer]


class Echo(Served):
    """Answers every request with what it saw of it, whatever the path."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        methods = ["GET", "POST"]
        routes = [
            Route("/away/{rest:path}", self._redirect, methods=methods),
            Route("/fails/{rest:path}", self._fail, methods=methods),
            Route("/repeats/{how}/{rest:path}", self._repeat, methods=methods),
        ]
        # Also for what a proxy is asked, which is a whole address.
        super().__init__(Starlette(routes=routes, exception_handlers={404: self._echo}), **options)
        self.seen: list[Request] = []

    def address(self, scheme: str = "http", path: str = "", credentials: str = "") -> str:
        return f"{scheme}://{credentials}127.0.0.1:{self.port}{path}"

    async def _echo(self, request: Request, _: Exception) -> Response:
        self.seen.append(request)
        return JSONResponse({"path": request.url.path})

    async def _redirect(self, request: Request) -> Response:
        self.seen.append(request)
        return RedirectResponse("/elsewhere", 307)

    async def _fail(self, request: Request) -> Response:
        self.seen.append(request)
        return JSONResponse({"error": {"message": "no"}}, status_code=500)

    async def _repeat(self, request: Request) -> Response:
        """Say in an error, or in what is no answer, what came in the headers."""
        self.seen.append(request)
        how = request.path_params["how"]
        words = " and ".join([request.headers["authorization"], request.headers["x-token"]])
        if how.isdecimal():
            return JSONResponse({"error": {"message": words}}, status_code=int(how))
        if how == "cut":  # as we cut long words
            long = {"message": "x" * (500 - len(words) + 1) + words}
            return JSONResponse({"error": long, "type": words}, status_code=200)
        if how == "text":
            return Response("x" * (500 - len(words) + 1) + words, status_code=502)
        message = {"content": None, "refusal": words}
        refused = {"index": 0, "message": message, "finish_reason": words if how == "reason" else "stop"}
        anthropic: dict[str, object] = {"type": "message", "model": "m", "content": [], "stop_reason": words}
        usage = {"prompt_tokens": 1, "input_tokens": 1, "output_tokens": 1}
        return JSONResponse({**anthropic, "choices": [refused], "usage": usage})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def tls_server(authority: trustme.CA) -> Iterator[Echo]:
    issued = authority.issue_cert("127.0.0.1")
    with issued.private_key_and_cert_chain_pem.tempfile() as pem, Echo(ssl_certfile=pem) as server:
        yield server


@pytest.fixture(scope="module")
def shared_echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


@pytest.fixture
def server(shared_echo: Echo) -> Echo:
    shared_echo.seen.clear()
    return shared_echo


def client_of(base_url: str, api_key: SecretStr | None = None, **way_in: Any) -> OpenAIClient:  # noqa: ANN401
    return OpenAIClient(Address(base_url=base_url, **way_in), api_key=api_key, timeout_seconds=20.0)


def one_attempt() -> Retrier:
    return Naps().retrier(RetryPolicy(max_attempts=1, max_away_seconds=0.0))


async def failure(client: OpenAIClient) -> BackendError:
    async with client:
        with pytest.raises(BackendError) as caught:
            await client.post("/v1/completions", {"prompt": "hi"})
    return caught.value


# --- TLS ------------------------------------------------------------------------------------------------


async def test_a_server_whose_authority_is_given_is_trusted(tls_server: Echo, ca_file: Path) -> None:
    async with client_of(tls_server.address("https"), verify=ca_file) as client:
        assert await client.get("/version") == {"path": "/version"}


async def test_a_server_that_nobody_vouches_for_is_not_asked_twice_and_the_setting_is_named(
    tls_server: Echo,
) -> None:
    error = await failure(client_of(tls_server.address("https")))
    assert type(error) is CertificateError
    assert not error.retryable
    assert "VLLM_CA_FILE" in str(error)
    assert tls_server.address("https") in str(error)
    assert "\n" not in str(error)


async def test_every_server_is_trusted_where_the_user_says_so(tls_server: Echo) -> None:
    async with client_of(tls_server.address("https"), verify=False) as client:
        assert await client.get("/version")


async def test_another_authority_is_not_enough(tls_server: Echo, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert type(await failure(client_of(tls_server.address("https"), verify=other))) is CertificateError


async def test_a_certificate_for_another_host_is_not_enough(tls_server: Echo, ca_file: Path) -> None:
    error = await failure(client_of(f"https://localhost:{tls_server.port}", verify=ca_file))
    assert type(error) is CertificateError


@pytest.mark.parametrize("text", [None, "no certificates"])
def test_a_file_without_certificates_is_refused_at_once(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"ca\.pem cannot be read as certificates"):
        client_of("https://127.0.0.1", verify=path)


async def test_a_server_that_speaks_no_tls_is_a_connection_error(server: Echo) -> None:
    assert type(await failure(client_of(server.address("https")))) is BackendConnectionError


async def test_every_backend_takes_an_authority(tls_server: Echo, ca_file: Path) -> None:
    retrier = Naps().retrier(RetryPolicy(max_attempts=1))
    for verify, trusted in ((ca_file, True), (True, False)):
        address = Address(base_url=tls_server.address("https"), verify=verify)
        backends = (
            VLLMServer(address, retrier=retrier),
            OpenAICompatible(address, api_key=None, retrier=retrier),
            AnthropicAPI(address, api_key=None, retrier=retrier),
        )
        for backend in backends:
            async with backend:
                error = await error_of(backend, chat("hi"))  # the echo is no model
            assert isinstance(error, CertificateError) != trusted


def test_what_a_server_serves_can_be_asked_through_all_of_it(authority: trustme.CA, ca_file: Path) -> None:
    async def models(request: Request) -> Response:
        known = request.headers.get("x-token") == "abc" and request.headers["authorization"].startswith(
            "Basic "
        )
        return JSONResponse({"data": [{"id": "tiny"}]} if known else {}, status_code=200 if known else 401)

    app = Starlette(routes=[Route("/team/v1/models", models)])
    issued = authority.issue_cert("127.0.0.1")
    with issued.private_key_and_cert_chain_pem.tempfile() as pem, Served(app, ssl_certfile=pem) as served:
        url = f"https://me:{SECRETS['password']}@127.0.0.1:{served.port}/team/v1"
        address = Address(base_url=url, headers={"X-Token": "abc"}, verify=ca_file)
        assert served_models(address, None) == ["tiny"]
        with pytest.raises(ServerUnavailableError, match="VLLM_CA_FILE") as untrusted:
            served_models(url, None)
        with pytest.raises(ServerUnavailableError, match="all mean the Authorization") as twice:
            served_models(address, "sk-1")
    for caught in (untrusted, twice):
        assert SECRETS["password"] not in "".join(traceback.format_exception(caught.value))


# --- addresses and headers ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/team/vllm/v1", "/team/vllm/v1/", "/team/vllm"])
async def test_a_base_url_may_have_a_path(server: Echo, path: str) -> None:
    async with client_of(server.address(path=path)) as client:
        assert await client.get("/version") == {"path": "/team/vllm/version"}
        assert await client.post("/v1/completions", {}) == {"path": "/team/vllm/v1/completions"}


async def test_extra_headers_arrive_with_every_request(server: Echo) -> None:
    headers = {"X-Team": "blue", "X-Token": SecretStr("abc")}
    async with client_of(server.address(), headers=headers, api_key=SecretStr("sk-1")) as client:
        await client.get("/version")
        await client.post("/v1/completions", {})
    assert len(server.seen) == 2
    for seen in server.seen:
        assert (seen.headers["x-team"], seen.headers["x-token"]) == ("blue", "abc")
        assert seen.headers["authorization"] == "Bearer sk-1"


async def test_a_user_and_password_in_the_address_are_sent_as_such(server: Echo) -> None:
    async with client_of(server.address(credentials="me:p%40ss@")) as client:
        await client.get("/version")
    expected = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert server.seen[0].headers["authorization"] == expected


async def test_an_authorization_of_one_s_own_replaces_ours_whatever_its_case(server: Echo) -> None:
    async with client_of(server.address(), headers={"authorization": "Custom abc"}) as client:
        await client.get("/version")
    assert server.seen[0].headers.getlist("authorization") == ["Custom abc"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"api_key": SecretStr("sk-1"), "headers": {"Authorization": "x"}},
            "header Authorization and the API",
        ),
        ({"api_key": SecretStr("sk-1"), "base_url": "http://me:pw@host"}, "the API key and the user"),
        ({"headers": {"X Team": "x"}}, "'X Team' is no name"),
        ({"headers": {"X-Team": "very-secret\n"}}, "value of the header X-Team .not shown."),
        ({"headers": {"X-Team": ""}}, "value of the header X-Team .not shown."),
        ({"api_key": SecretStr("very-secret\n")}, "value of the header Authorization .not shown."),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_showing_them(
    given: dict[str, Any], words: str
) -> None:
    way_in: dict[str, Any] = {"base_url": "http://host", **given}
    with pytest.raises(ValueError, match=words) as caught:
        client_of(**way_in)
    assert "very-secret" not in str(caught.value)


async def test_a_redirect_is_not_followed_for_it_would_take_the_headers_along(server: Echo) -> None:
    error = await failure(client_of(server.address(path="/away"), headers={"X-Token": "abc"}))
    assert type(error) is BadRequestError
    assert "HTTP 307" in str(error)
    assert [seen.url.path for seen in server.seen] == ["/away/v1/completions"]


@pytest.mark.parametrize("make", [OpenAICompatible, AnthropicAPI, VLLMServer])
async def test_no_backend_follows_a_redirect(server: Echo, make: Make) -> None:
    address = Address(base_url=server.address(path="/away"), headers={"X-Token": "abc"})
    async with make(address, api_key=None, retrier=one_attempt()) as backend:
        assert not isinstance(backend, OpenAIClient)
        error = await error_of(backend, chat("hi"))
    assert type(error) is BadRequestError
    assert "HTTP 307" in str(error)
    assert server.seen
    assert all(seen.url.path.startswith("/away/") for seen in server.seen)


async def test_variables_for_openai_are_not_sent_to_other_servers(
    server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = SECRETS["environment"]
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", secret)
    monkeypatch.setenv("OPENAI_ORG_ID", secret)
    monkeypatch.setenv("OPENAI_PROJECT_ID", secret)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Other: {secret}")
    async with client_of(server.address()) as client:
        await client.post("/v1/completions", {})
    assert not [pair for pair in server.seen[0].headers.items() if secret in pair[1]]


# --- proxies --------------------------------------------------------------------------------------------


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
async def test_a_proxy_of_the_environment_is_used_and_no_proxy_spares_a_host(
    server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.address())
    async with client_of("http://gpu-box.invalid/team") as client:  # a name that only the proxy can know
        await client.get("/version")
    assert server.seen[0].headers["host"] == "gpu-box.invalid"
    monkeypatch.setenv("NO_PROXY", "gpu-box.invalid")
    assert isinstance(await failure(client_of("http://gpu-box.invalid/team")), BackendConnectionError)
    assert len(server.seen) == 1


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LocalHost", "[::1]"])
async def test_no_proxy_is_shown_what_is_for_this_machine(
    server: Echo, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.setenv(variable, server.address())
    address = f"http://{host}:1/team"  # nobody is there: only a proxy could answer
    secret = SecretStr(SECRETS["key"])
    assert isinstance(await failure(client_of(address, secret)), BackendConnectionError)
    async with AnthropicAPI(address, api_key=secret, retrier=one_attempt()) as backend:
        assert isinstance(await error_of(backend, chat("hi")), BackendConnectionError)
    async with AnthropicAPI("http://gpu-box.invalid", api_key=None, retrier=one_attempt()) as backend:
        assert type(await error_of(backend, chat("hi"))) is ResponseFormatError  # of the proxy
    assert [seen.headers["host"] for seen in server.seen] == ["gpu-box.invalid"]


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.1.2.3/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000", True),
        ("http://192.168.0.7:8000", False),
        ("https://localhost.example.com", False),
        ("https://gpu-box", False),
    ],
)
def test_loopback_addresses_are_this_machine(base_url: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(base_url) is expected


# --- secrets --------------------------------------------------------------------------------------------

REPEATS = [f"/repeats/{how}" for how in ("401", "500", "cut", "text", "reason", "refusal")]


def openai_client(address: Address, **given: Any) -> OpenAIClient:  # noqa: ANN401 - any argument
    return OpenAIClient(address, api_key=given["api_key"], timeout_seconds=20.0)


@pytest.mark.parametrize("make", [openai_client, OpenAICompatible, AnthropicAPI, VLLMServer])
@pytest.mark.parametrize("fate", ["", "/fails", "/away", "refused", "untrusted", "cut off", *REPEATS])
@pytest.mark.parametrize("by", ["key", "password"])
async def test_no_secret_is_in_anything_that_is_logged_raised_or_shown(
    server: Echo,
    tls_server: Echo,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
    fate: str,
    by: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    credentials = f"me:{SECRETS['password']}@" if by == "password" else ""
    addresses = {
        "refused": f"http://{credentials}127.0.0.1:1/team",
        "untrusted": tls_server.address("https", "/team", credentials),
        "cut off": f"https://{credentials}127.0.0.1:{server.port}",
    }
    backend = make(
        address := Address(
            base_url=addresses.get(fate, server.address(path=fate, credentials=credentials)),
            headers={"X-Token": SECRETS["header"]},
        ),
        api_key=SecretStr(SECRETS["key"]) if by == "key" else None,
        retrier=Naps().retrier(RetryPolicy(max_attempts=2)),
    )
    shown = [repr(address), repr(backend), str(backend), repr(vars(backend))]
    async with backend:
        if isinstance(backend, OpenAIClient):
            try:
                await backend.post("/v1/completions", {})
            except BackendError as error:
                shown += _traces_of(error)
        else:
            shown += _traces_of(await error_of(backend, chat("hi")))
    records = [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]
    basic = base64.b64encode(f"me:{SECRETS['password']}".encode()).decode()
    assert records
    assert not [text for text in shown + records for secret in (*SECRETS.values(), basic) if secret in text]
    if fate in ("", "/fails", *REPEATS):  # else this test would hold of a client that sends nothing
        sent = server.seen[0].headers
        assert sent["x-token"] == SECRETS["header"]
        assert sent["authorization"] == (f"Basic {basic}" if credentials else f"Bearer {SECRETS['key']}")


def _traces_of(error: BackendError) -> list[str]:
    return [repr(error), *traceback.format_exception(error), repr(pickle.dumps(error)), repr(vars(error))]


@pytest.mark.parametrize("base_url", ["http://host/v1?key=very-secret", "http://host#very-secret"])
@pytest.mark.parametrize("make", [openai_client, OpenAICompatible, AnthropicAPI, VLLMServer])
def test_an_address_with_a_query_is_refused_without_showing_it(make: Make, base_url: str) -> None:
    with pytest.raises(ValueError, match="give a key as API key or as header") as caught:
        make(Address(base_url=base_url), api_key=None)
    assert "very-secret" not in "".join(traceback.format_exception_only(caught.value))


def test_a_secret_is_hidden_however_it_is_written() -> None:
    mask = Mask(secrets_of(Address(base_url="http://me:p%40ss%22w@host"), None))
    basic = base64.b64encode(b'me:p@ss"w').decode()
    for written in ('p@ss"w', 'p@ss\\"w', "p%40ss%22w", basic, f"Basic {basic}"):
        assert mask(f"the {written} is bad") == "the *** is bad"
    assert mask(f"cut: {basic[:-3]}") == "cut: ***"
    assert Mask(["", "a"])("a word") == "a word"


def test_what_follows_bearer_is_hidden_too() -> None:
    address = Address(base_url="http://host", headers={"Authorization": "Bearer tok-en"})
    assert Mask(secrets_of(address, None))("the tok-en is bad") == "the *** is bad"


async def test_the_cause_of_an_error_is_kept_where_it_shows_no_secret(server: Echo) -> None:
    harmless = await failure(client_of(server.address(path="/fails"), SecretStr(SECRETS["key"])))
    assert harmless.__cause__ is not None
