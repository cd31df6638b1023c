"""A local vLLM server: start it, watch it come up, see whether it answers."""

import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from backends.addresses import Address, address_of, sent_headers, without_credentials
from backends.errors import CertificateError
from backends.failures import connection_error, trust
from backends.serving.config import ServerConfig, command
from backends.serving.errors import ServerStartError, ServerUnavailableError
from backends.serving.process import ProcessId, is_running, require_free_port, set_aside, start

POLL_SECONDS = 0.5
ANSWER_TIMEOUT_SECONDS = 5.0
LOG_TAIL_BYTES = 200_000
REFUSALS = (401, 403)

PHASES = (
    ("Starting vLLM server", "opening the port"),
    ("init engine", "warming up"),
    ("KV cache size", "reserving the KV cache"),
    ("Loading weights took", "preparing the engine"),
    ("Starting to load model", "loading the weights"),
    ("LLM engine", "starting the engine"),
    ("Resolved architecture", "reading the model's configuration"),
    ("non-default args", "reading the model's configuration"),
)
"""What vLLM 0.32 logs, latest first, and what it is doing then."""

CAUSE = re.compile(r"(?:\b[A-Za-z_.]*(?:Error|Exception|Exit|Interrupt)|\berror): \S.*")
CONSEQUENCE = re.compile(r"Engine core initialization failed|See (?:root cause|stack trace)|WorkerProc")
REPORT = re.compile(r"\b(?:INFO|WARNING|DEBUG) \d")
LOG_PREFIX = re.compile(
    r"\x1b\[[0-9;]*m|^\([A-Za-z_0-9-]+ pid=\d+\) ?|^(?:ERROR|INFO|WARNING) \d\S* \S+ \[\S+\] ?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartProgress:
    """How far a server has come."""

    elapsed_seconds: float
    expected_seconds: float
    phase: str


def start_server(
    config: ServerConfig, *, python: Path, port: int, env: Mapping[str, str], log: Path, variable: str
) -> ProcessId:
    """Start a vLLM server on the loopback address and return at once.

    Args:
        config: What to serve.
        python: The interpreter of a vLLM environment.
        port: Where it listens.
        env: The environment of the process; what `config` sets goes on top.
        log: Where its output goes; an older log is set aside.
        variable: The environment variable that chooses the port, for the message when it is taken.

    Raises:
        PortInUseError: Somebody listens there already.
        ServerStartError: The program cannot be started.
    """
    require_free_port(port, variable=variable)
    set_aside(log)
    try:
        return start(command(config, python, port), env={**env, **config.env}, log=log)
    except OSError as error:
        raise ServerStartError(
            f"{python} cannot be started: {error.strerror}; run `make vllm-env`."
        ) from error


def wait_until_ready(
    process: ProcessId,
    *,
    config: ServerConfig,
    base_url: str,
    api_key: str | None,
    log: Path,
    on_progress: Callable[[StartProgress], None],
    timeout_seconds: float,
) -> None:
    """Wait until the server is healthy and lists its model.

    Raises:
        ServerStartError: It died, with the cause from its log, or `timeout_seconds` passed.
    """
    begin = time.monotonic()
    while not is_ready(base_url, config.served_model_name, api_key):
        elapsed = time.monotonic() - begin
        if not is_running(process):
            raise ServerStartError(
                f"the vLLM server died while starting: {cause_of_death(log)}; its log: {log}"
            )
        if elapsed > timeout_seconds:
            message = f"the vLLM server did not answer within {timeout_seconds:.0f} s"
            raise ServerStartError(f"{message} ({phase_of(log)}); its log: {log}")
        phase = phase_of(log)
        on_progress(
            StartProgress(elapsed_seconds=elapsed, expected_seconds=config.start_seconds, phase=phase)
        )
        time.sleep(POLL_SECONDS)


def is_ready(base_url: str, model: str, api_key: str | None) -> bool:
    """Tell whether a server is healthy and lists a model."""
    try:
        with _client(base_url, api_key) as client:
            return client.get("/health").is_success and model in _listed(client)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def served_models(place: str | Address, api_key: str | None) -> list[str]:
    """Return the names that a server serves.

    Args:
        place: The server's address, with or without the closing `/v1`.
        api_key: What to show the server, if it wants a key.

    Raises:
        ServerUnavailableError: It does not answer, or not with a list of models.
    """
    base_url = without_credentials(address_of(place).base_url)
    try:
        opened = _client(place, api_key)
    except ValueError as error:
        raise ServerUnavailableError(f"{base_url} is not asked: {error}") from error
    try:
        with opened as client:
            return _listed(client)
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        hint = "set VLLM_API_KEY to its key" if code in REFUSALS else "is it a vLLM server?"
        raise ServerUnavailableError(f"{base_url} answers {code} to GET /v1/models; {hint}") from error
    except httpx.HTTPError as error:
        if isinstance(known := connection_error(base_url, error), CertificateError):
            raise ServerUnavailableError(f"{known}.") from error
        message = f"nothing answers at {base_url} ({error or type(error).__name__})"
        raise ServerUnavailableError(f"{message}; start that server or correct VLLM_BASE_URL.") from error
    except (ValueError, KeyError, TypeError) as error:
        message = f"{base_url} does not answer GET /v1/models with a list of models"
        raise ServerUnavailableError(f"{message}; is it a vLLM server?") from error


def _client(place: str | Address, api_key: str | None) -> httpx.Client:
    address = address_of(place)
    root = without_credentials(address.base_url).rstrip("/").removesuffix("/v1")
    headers = sent_headers(address, SecretStr(api_key) if api_key else None)
    # A proxy from the environment has no business between this machine and itself.
    return httpx.Client(
        base_url=root,
        headers=headers,
        verify=trust(address.verify),
        timeout=ANSWER_TIMEOUT_SECONDS,
        trust_env=not is_local(root),
    )


def _listed(client: httpx.Client) -> list[str]:
    answer = client.get("/v1/models").raise_for_status()
    return [str(model["id"]) for model in answer.json()["data"]]


def is_local(base_url: str) -> bool:
    """Tell whether an address is this machine's own."""
    return httpx.URL(base_url).host in {"127.0.0.1", "localhost", "::1"}


def phase_of(log: Path) -> str:
    """Say what a starting server is doing, from what it has logged."""
    text = _tail(log)
    return next((phase for mark, phase in PHASES if mark in text), "importing vLLM")


def cause_of_death(log: Path) -> str:
    """Return the line of a log that says why the server died, or its last lines.

    vLLM logs one traceback for each of its processes; the first one is the cause, the later ones only say
    that another process died.
    """
    raw = [line for line in _tail(log).splitlines() if not REPORT.search(line)]
    # Two prefixes: the name of the process, then level and time.
    lines = [line for line in (LOG_PREFIX.sub("", LOG_PREFIX.sub("", text)).strip() for text in raw) if line]
    for line, following in itertools.pairwise([*lines, ""]):
        if (match := CAUSE.search(line)) and not CONSEQUENCE.search(line):
            # pydantic says on the next line what was wrong.
            cause = following if "validation error" in line else match[0]
            return cause.partition(" [type=")[0].partition(". ")[0]
    return " / ".join(lines[-3:]) or "it logged nothing"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(max(0, size_bytes - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
