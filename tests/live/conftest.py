"""A real vLLM server: the one that is named, or one started here; and a Prefect server of our own.

VLLM_TEST_BASE_URL (and VLLM_TEST_MODEL_NAME, VLLM_TEST_MODEL) name a server that runs; otherwise
VLLM_TEST_PYTHON, the Python of a vLLM environment, and VLLM_TEST_MODEL, a model's folder, start one.
"""

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from backends.serving import config as server_config
from backends.serving.process import stop
from backends.serving.server import served_models, start_server, wait_until_ready
from tests.flows.conftest import new_process, prefect_server
from tests.flows.running import PROJECT, free_port

__all__ = ["new_process", "prefect_server"]  # the fixtures of the flows' tests, used here too
START_TIMEOUT_SECONDS = 300.0
STOP_SECONDS = 30.0
COUNTER = re.compile(
    r"^(vllm:request_success_total|vllm:prompt_tokens_total|http_requests_total)\{(.*)\} (\S+)$",
    re.MULTILINE,
)
UNCOUNTED = tuple(
    f'handler="{path}"'
    for path in ("/metrics", "/health", "/v1/models", "/version", "/openapi.json", "/tokenize")
)
"""Looks at the server that have it compute nothing: what it serves and can do, and whose template it has."""


@dataclass(frozen=True, kw_only=True)
class LiveServer:
    """A vLLM server with a model."""

    base_url: str
    model: str
    directory: Path
    """Where the model's files are on this machine."""

    def post(self, path: str, **body: object) -> httpx.Response:
        """Send one request, without the project's client."""
        return httpx.post(f"{self.base_url}{path}", json=body, timeout=100, trust_env=False)

    def counters(self) -> dict[str, float]:
        """Return what the server has counted of requests, other than looks at it."""
        text = httpx.get(f"{self.base_url}/metrics", timeout=20, trust_env=False).text
        found = {
            f"{name} {labels}": float(value)
            for name, labels, value in COUNTER.findall(text)
            if not any(one in labels for one in UNCOUNTED)
        }
        assert found, "the server's /metrics has none of the counters"
        return found


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    base_url = os.environ.get("VLLM_TEST_BASE_URL", "").rstrip("/").removesuffix("/v1")
    if base_url:
        yield _named_server(base_url)
        return
    with started_server(tmp_path_factory.mktemp("vllm")) as server:
        yield server


def _named_server(base_url: str) -> LiveServer:
    served = served_models(base_url, None)
    model = os.environ.get("VLLM_TEST_MODEL_NAME") or served[0]
    assert model in served, f"{base_url} serves {served}, not VLLM_TEST_MODEL_NAME={model}"
    cards = httpx.get(f"{base_url}/v1/models", timeout=20, trust_env=False).json()["data"]
    [root] = [card["root"] for card in cards if card["id"] == model]
    return LiveServer(
        base_url=base_url, model=model, directory=Path(os.environ.get("VLLM_TEST_MODEL") or root)
    )


@contextmanager
def started_server(folder: Path, directory: Path | None = None) -> Generator[LiveServer]:
    """Start a server, its log in `folder`, with the model in `directory` or else in VLLM_TEST_MODEL."""
    python, model = os.environ.get("VLLM_TEST_PYTHON"), directory or os.environ.get("VLLM_TEST_MODEL")
    if not python or not model:
        pytest.fail(
            "--live needs a server: set VLLM_TEST_BASE_URL, or VLLM_TEST_PYTHON (the Python of a vLLM "
            "environment) and VLLM_TEST_MODEL (a model's folder) to have one started"
        )
    directory, port, log = Path(model).absolute(), free_port(), folder / "vllm.log"
    path = PROJECT / "configs" / "vllm" / "cpu.yaml"
    config = server_config.load(path, models=directory.parent, cpus=sorted(os.sched_getaffinity(0)))
    config = config.model_copy(update={"model": str(directory)})
    env = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    env["PATH"] = os.pathsep.join([str(Path(python).parent), env.get("PATH", os.defpath)])
    process = start_server(
        config, python=Path(python), port=port, env=env, log=log, variable="VLLM_TEST_BASE_URL"
    )
    base_url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(
            process,
            config=config,
            base_url=base_url,
            api_key=None,
            log=log,
            on_progress=lambda _: None,
            timeout_seconds=START_TIMEOUT_SECONDS,
        )
        yield LiveServer(base_url=base_url, model=config.served_model_name, directory=directory)
    finally:
        stop(process, grace_seconds=STOP_SECONDS)
