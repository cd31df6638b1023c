"""Processes that outlive the command that started them, known by more than their number.

The system gives a process number out again. So a process is remembered together with the time of its
creation, and nothing here signals a process for which both do not match.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from backends.serving.errors import PortInUseError

CLOCK_TOLERANCE_SECONDS = 2.0
"""How far two readings of one creation time may lie apart: it is derived from the wall clock, which gets
adjusted."""

KILL_TIMEOUT_SECONDS = 5.0
"""How long the system may take to end what was killed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessId:
    """One process, for good: its number and when it was created."""

    pid: int
    create_time: float
    """Seconds since the epoch."""


class Stopped(StrEnum):
    """How a process came to its end."""

    NOT_RUNNING = "was not running"
    ASKED = "stopped"
    KILLED = "killed, since not all of it stopped when asked"
    LEFTOVERS_KILLED = "was gone already; what it had left running is killed"


def start(command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None) -> ProcessId:
    """Start a program in a session of its own, its output appended to a log file.

    The session keeps it alive when the terminal closes and out of reach of the terminal's Ctrl-C.

    Raises:
        OSError: The program cannot be started or the log cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, _default_interrupt():
        process = subprocess.Popen(  # noqa: S603 - the command is the caller's own
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Nobody waits for it here. Without this, Python warns when the object goes away before the process.
    process.returncode = 0
    return ProcessId(pid=process.pid, create_time=psutil.Process(process.pid).create_time())


def set_aside(log: Path) -> None:
    """Keep the last log beside the new one: it may say why a process died."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_name(f"{log.name}.old"))


def is_running(process: ProcessId) -> bool:
    """Tell whether this very process is alive; a zombie is not."""
    return _find(process) is not None


def children_end(
    process: ProcessId, *, timeout_seconds: float, on_wait: Callable[[float], None] = lambda _: None
) -> bool:
    """Wait until nothing runs any more that a process started; tell whether it came to that.

    Args:
        process: Which one; it is not asked to do anything.
        timeout_seconds: How long to wait.
        on_wait: Is told each second how long the wait has been.
    """
    begin = time.monotonic()
    while (leader := _find(process)) is not None:
        children = [member for member in _family(process, leader) if member != leader]
        elapsed = time.monotonic() - begin
        if not children or elapsed >= timeout_seconds:
            return not children
        psutil.wait_procs(children, timeout=min(1.0, timeout_seconds - elapsed))
        on_wait(time.monotonic() - begin)
    return not _session_members(process)


def stop(
    process: ProcessId, *, grace_seconds: float, on_wait: Callable[[float], None] = lambda _: None
) -> Stopped:
    """Ask a process to end, wait for it and for all that it started, then kill what is left.

    Args:
        process: Which one. Another process that got its number is left alone.
        grace_seconds: How long to wait between asking and killing.
        on_wait: Is told each second how long the wait has been.

    Returns:
        What was necessary. A process that is gone may have left children; those are killed.
    """
    leader = _find(process)
    if leader is None:
        leftovers = _session_members(process)
        _kill(leftovers)
        return Stopped.LEFTOVERS_KILLED if leftovers else Stopped.NOT_RUNNING
    family = _family(process, leader)
    with contextlib.suppress(psutil.NoSuchProcess):
        leader.terminate()
    begin = time.monotonic()
    while family and (elapsed := time.monotonic() - begin) < grace_seconds:
        _, alive = psutil.wait_procs(family, timeout=min(1.0, grace_seconds - elapsed))
        # As long as it runs it may start others.
        family = _unique([*alive, *_family(process, leader)])
        on_wait(time.monotonic() - begin)
    _kill(family)
    return Stopped.KILLED if family else Stopped.ASKED


def require_free_port(port: int, *, variable: str, host: str = "127.0.0.1") -> None:
    """Refuse a port that somebody listens on.

    Args:
        port: The port that a server is to have.
        variable: The environment variable with which the user can choose another one.
        host: The address to bind.

    Raises:
        PortInUseError: Says who holds the port, where the system tells.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without this, connections that are still closing would count; a listener counts with it too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            message = f"port {port} is in use{_holder(port)}; stop that, or choose another port"
            raise PortInUseError(f"{message}: {variable}={port + 1} make up") from None


def _holder(port: int) -> str:
    """Return " by NAME (pid N)" for whoever listens on a port, or nothing."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # macOS asks for root
        return ""
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or connection.pid is None:
            continue
        if not connection.laddr or connection.laddr.port != port:
            continue
        with contextlib.suppress(psutil.Error):
            return f" by {psutil.Process(connection.pid).name()!r} (pid {connection.pid})"
    return ""


def _find(process: ProcessId) -> psutil.Process | None:
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.create_time) <= CLOCK_TOLERANCE_SECONDS
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _session_members(process: ProcessId) -> list[psutil.Process]:
    """Return the living members of the session that `start` opened for a process, apart from itself.

    The system gives a number out again only when no process and no session bears it. So a session with this
    number is ours, unless a process with this number is there and is another one.
    """
    if psutil.pid_exists(process.pid) and _find(process) is None and not _is_zombie(process.pid):
        return []
    members: list[psutil.Process] = []
    for candidate in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            in_session = os.getsid(candidate.pid) == process.pid != candidate.pid
            if in_session and candidate.create_time() >= process.create_time - CLOCK_TOLERANCE_SECONDS:
                members.append(candidate)
    return members


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _family(process: ProcessId, leader: psutil.Process) -> list[psutil.Process]:
    """Return a process, its descendants and its session, as far as they are alive."""
    try:
        # Flow runs have sessions of their own, and are only found as children.
        descendants = leader.children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    found = [leader, *descendants, *_session_members(process)]
    return [member for member in _unique(found) if _is_alive(member)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _unique(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return list(dict.fromkeys(processes))


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kill processes; psutil compares their creation times once more before each signal."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=KILL_TIMEOUT_SECONDS)


@contextlib.contextmanager
def _default_interrupt() -> Generator[None]:
    """Let a child get interrupts even where this process was started with them ignored.

    A shell script's `command &` ignores SIGINT, children inherit that, and a Prefect worker, which turns
    the first SIGTERM into a SIGINT for itself, would then never stop.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
