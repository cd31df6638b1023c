"""Terminal: what a waiting user sees; one line that moves on a terminal, a line now and then in a log."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

LOG_INTERVAL_SECONDS = 15.0


class Terminal:
    """Says what happens, and during a wait how long it has been and how long it will take about.

    A context manager: the moving line is gone when it ends.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        """Start with nothing on the moving line."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the moving line away."""
        self._clear()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        self._console.print(Text(text), soft_wrap=True)

    def wait(self, what: str, elapsed_seconds: float, expected_seconds: float | None = None) -> None:
        """Show what is being waited for; call it again and again."""
        estimate = f" of about {expected_seconds:.0f}" if expected_seconds else ""
        text = f"{what} ({elapsed_seconds:.0f}{estimate} s)"
        if self._console.is_terminal:
            self._move(text)
        elif time.monotonic() - self._logged_at >= LOG_INTERVAL_SECONDS:
            self._logged_at = time.monotonic()
            self._console.print(Text(f"  {text}"), soft_wrap=True)

    def _move(self, text: str) -> None:
        if self._status is None:
            self._status = self._console.status(Text(text))
            self._status.start()
        else:
            self._status.update(Text(text))

    def _clear(self) -> None:
        self._logged_at = time.monotonic()
        if self._status is not None:
            self._status.stop()
            self._status = None
