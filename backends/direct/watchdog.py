"""Ends what an engine left behind when its owner died without a word: SIGKILL, or SIGTERM without a handler.

vLLM 0.32 lets its EngineCore live on then, with the memory of the GPU (vLLM issue 55510). So a small process
of its own watches the owner: it imports nothing but the standard library, is in no process group with it, and
ends with it. Linux only (`/proc`, pidfd).

    python -I watchdog.py OWNER
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOOK_SECONDS = 1.0
GRACE_SECONDS = 5.0
TITLE = b"VLLM::"
"""How the title of each of vLLM's processes begins."""

Found = dict[int, str]
"""{process id: when it started}; the two together name one process only."""


def start(owner: int) -> "subprocess.Popen[bytes] | None":
    """Have a process watched; None where this system cannot."""
    if not hasattr(os, "pidfd_open") or not Path("/proc/self/stat").exists():
        return None
    return subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, "-I", str(Path(__file__).resolve()), str(owner)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def watch(owner: int) -> None:
    """Wait for a process to end, then end vLLM's processes below it."""
    try:
        handle = os.pidfd_open(owner)
    except ProcessLookupError:
        return
    found: Found = {}
    while not select.select([handle], [], [], LOOK_SECONDS)[0]:
        found = engines_below(owner)
    end(found)


def engines_below(owner: int) -> Found:
    """Return vLLM's processes among all that descend from one."""
    return {
        pid: started
        for pid in _descendants(owner)
        if _title(pid).startswith(TITLE) and (started := _start(pid))
    }


def end(found: Found) -> None:
    """Ask these processes to end, and end those that do not."""
    deadline = time.monotonic() + GRACE_SECONDS
    _signal(found, signal.SIGTERM)
    while living(found) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS / 10)
    _signal(found, signal.SIGKILL)


def _signal(found: Found, number: signal.Signals) -> None:
    for pid in living(found):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def living(found: Found) -> list[int]:
    """Return those that still run."""
    return [pid for pid, started in found.items() if _start(pid) == started]


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in below:
            yield child
            yield from _descendants(child)


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _start(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks; None where it is gone, or dead and unburied."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


if __name__ == "__main__":
    watch(int(sys.argv[1]))
