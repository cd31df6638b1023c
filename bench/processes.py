"""Starts the programs of a benchmark, measures what they cost, and talks to the slots server.

Only the standard library: Linux counts what the starting process holds into the peak memory of its child.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

PROJECT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 120.0
KIB_PER_MB = 1000 / 1.024


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a process cost from its start to its end."""

    wall_seconds: float
    cpu_seconds: float
    """User and system, of all its threads."""
    peak_mb: float
    exit_code: int
    """Minus the number of the signal that ended it, as in subprocess."""


def measure(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[int], None] = lambda pid: None,  # noqa: ARG005
) -> Cost:
    """Run `python ARGUMENTS` to its end.

    Args:
        arguments: Of this Python.
        environment: All variables of the process; None for those of this one.
        meanwhile: Called with the process's id when it was started.

    Raises:
        RuntimeError: It ran longer than two minutes.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=PROJECT, env=environment)  # noqa: S603 - our own programs
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(LIMIT_SECONDS, end)
    timer.start()
    try:
        meanwhile(process.pid)
    finally:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
    if late.is_set():
        raise RuntimeError(f"{' '.join(arguments[:3])} ran longer than {LIMIT_SECONDS:.0f} s and was stopped")
    return Cost(
        wall_seconds=wall,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / KIB_PER_MB,
        exit_code=process.returncode,
    )


class SlotsClient:
    """Reads the counts of a slots server."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def counts(self) -> dict[str, Any]:
        """Return everything that was counted."""
        return self._get("/slots/counts")

    def prompts(self) -> dict[str, tuple[int, int]]:
        """Return {digest of a prompt: (times asked, times answered)}."""
        return self._get("/slots/prompts")

    def wait_until_answered(self, prompts: int) -> None:
        """Return as soon as so many different prompts are answered."""
        self._get(f"/slots/wait?answered={prompts}")

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection(self.base_url.removeprefix("http://"), timeout=LIMIT_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def running_slots(
    *, slots: int = 64, seconds: float = 0.15, fault_fraction: float = 0.0, seed: int = 0
) -> Generator[SlotsClient]:
    """Run a slots server of one's own."""
    command = [
        sys.executable, "-m", "bench.slots_server", "--slots", str(slots), "--seconds", str(seconds),
        "--fault-fraction", str(fault_fraction), "--seed", str(seed),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            yield SlotsClient(cast("IO[str]", process.stdout).readline().strip())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
