"""Runs an ASGI application on 127.0.0.1 in a thread, with or without TLS, as long as a test needs it."""

import threading
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
from starlette.types import ASGIApp

from tests.fake_vllm import SHUTDOWN_SECONDS, listen


class Served:
    """An application that answers at `port` inside a `with` block.

    Args:
        app: What answers.
        options: For uvicorn, as `ssl_certfile`.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        self.port = 0
        config = uvicorn.Config(app, log_config=None, lifespan="off", **options)
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start serving; requests are accepted when this returns."""
        sock = listen()
        self.port = cast("tuple[str, int]", sock.getsockname())[1]
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread:
            self._thread.join(SHUTDOWN_SECONDS)
