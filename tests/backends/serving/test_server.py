import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from backends.serving.config import ServerConfig
from backends.serving.errors import ServerStartError, ServerUnavailableError
from backends.serving.process import start, stop
from backends.serving.server import (
    StartProgress,
    cause_of_death,
    is_ready,
    phase_of,
    served_models,
    start_server,
    wait_until_ready,
)
from tests.flows.running import free_port

CONFIG = ServerConfig(model="/models/tiny", served_model_name="tiny")
NOWHERE = "http://127.0.0.1:9"


class Answers(BaseHTTPRequestHandler):
    """A server with one model and the key "secret"."""

    models: ClassVar[object] = {"data": [{"id": "tiny"}]}

    def do_GET(self) -> None:
        authorised = self.headers["Authorization"] == "Bearer secret" or self.path == "/health"
        self.send_response(200 if authorised else 401)
        self.end_headers()
        self.wfile.write(b"" if self.path == "/health" else json.dumps(self.models).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Be quiet."""


@pytest.fixture(name="url")
def _url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_models_are_listed_with_and_without_v1(url: str) -> None:
    assert served_models(url, "secret") == ["tiny"]
    assert served_models(f"{url}/v1/", "secret") == ["tiny"]


def test_a_missing_key_is_named(url: str) -> None:
    with pytest.raises(ServerUnavailableError, match=r"answers 401 .*set VLLM_API_KEY"):
        served_models(url, None)


def test_an_absent_server_is_one_sentence() -> None:
    with pytest.raises(ServerUnavailableError, match=f"nothing answers at {NOWHERE} .*correct VLLM_BASE_URL"):
        served_models(NOWHERE, None)


def test_a_server_without_models_is_no_vllm_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "models", {"detail": "hello"})
    with pytest.raises(ServerUnavailableError, match="is it a vLLM server"):
        served_models(url, "secret")


def test_ready_means_healthy_and_with_the_right_model(url: str) -> None:
    assert is_ready(url, "tiny", "secret")
    assert not is_ready(url, "other", "secret")
    assert not is_ready(NOWHERE, "tiny", None)


def test_a_server_that_dies_is_reported_at_once_with_its_cause(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    process = start(["sh", "-c", "echo 'ValueError: no such model'"], env=dict(os.environ), log=log)
    psutil.Process(process.pid).wait(timeout=5)
    with pytest.raises(ServerStartError, match="died while starting: ValueError: no such model; its log: "):
        wait_until_ready(
            process,
            config=CONFIG,
            base_url=NOWHERE,
            api_key=None,
            log=log,
            on_progress=lambda _: None,
            timeout_seconds=30,
        )


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    process = start(["sleep", "60"], env=dict(os.environ), log=log)
    seen: list[StartProgress] = []
    with pytest.raises(ServerStartError, match="did not answer within 0 s"):
        wait_until_ready(
            process,
            config=CONFIG,
            base_url=NOWHERE,
            api_key=None,
            log=log,
            on_progress=seen.append,
            timeout_seconds=0.4,
        )
    assert seen[0].phase == "importing vLLM"
    assert seen[0].expected_seconds == CONFIG.start_seconds
    stop(process, grace_seconds=5)


def test_the_log_of_a_server_that_died_is_kept_beside_the_next(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("why it died")
    process = start_server(
        CONFIG, python=Path("/bin/true"), port=free_port(), env={}, log=log, variable="VLLM_PORT"
    )
    stop(process, grace_seconds=5)
    assert (tmp_path / "vllm.log.old").read_text() == "why it died"


def test_a_missing_environment_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match=r"cannot be started: No such file.*make vllm-env"):
        start_server(
            CONFIG,
            python=tmp_path / "python",
            port=18199,
            env={},
            log=tmp_path / "vllm.log",
            variable="VLLM_PORT",
        )


def test_the_phase_is_the_latest_that_was_logged(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    assert phase_of(log) == "importing vLLM"
    line = "(Worker pid=1) INFO 11-21 10:28:04 [x.py:68] Starting to load model /m\n"
    log.write_text(line, encoding="utf-8")
    assert phase_of(log) == "loading the weights"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "usage: x\napi_server.py: error: unrecognized arguments: --x\n",
            "error: unrecognized arguments: --x",
        ),
        (
            (
                "(APIServer pid=1) WARNING 11-21 10:27:39 [s.py:255] cf. `OSError: [Errno 24] Too many`\n"
                "(EngineCore pid=2) ERROR 11-21 11:02:03 [core.py:1] Traceback (most recent call last):\n"
                "(EngineCore pid=2) ERROR 11-21 11:02:03 [core.py:1] ValueError: too little memory (1 GiB)\n"
                "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
            ),
            "ValueError: too little memory (1 GiB)",
        ),
        (
            (
                "pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
                "  Value error, max_model_len is too large. Try less. [type=value_error]\n"
            ),
            "Value error, max_model_len is too large",
        ),
        ("loading\nKilled\n", "loading / Killed"),
        ("", "it logged nothing"),
    ],
)
def test_the_cause_of_death_is_the_first_error_and_not_its_consequences(
    tmp_path: Path, text: str, cause: str
) -> None:
    log = tmp_path / "vllm.log"
    log.write_text(text, encoding="utf-8")
    assert cause_of_death(log) == cause
