import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backends.serving.errors import PortInUseError
from backends.serving.process import (
    ProcessId,
    Stopped,
    children_end,
    is_running,
    require_free_port,
    start,
    stop,
)

SLEEP = ["sleep", "60"]
IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
STUBBORN = [sys.executable, "-c", IGNORES_TERM]
WITH_CHILDREN = ["sh", "-c", "sleep 60 & sleep 60 & echo ready; wait"]


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "logs" / "x.log"
    for child in psutil.Process().children():
        child.kill()


def begin(command: list[str], log: Path, *, until: str | None = None) -> ProcessId:
    process = start(command, env=dict(os.environ), log=log)
    deadline = time.monotonic() + 10
    while until is not None and until not in log.read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def reap(process: ProcessId) -> None:
    psutil.Process(process.pid).wait(timeout=5)


def test_a_process_runs_in_a_session_of_its_own_and_writes_its_log(log: Path) -> None:
    process = begin(["sh", "-c", "echo hello; exec sleep 60"], log, until="hello")
    assert is_running(process)
    assert os.getsid(process.pid) == process.pid
    assert stop(process, grace_seconds=5) is Stopped.ASKED
    assert not is_running(process)


def test_another_process_with_the_same_number_is_left_alone(log: Path) -> None:
    """The system gives numbers out again: after a reboot the remembered one is anybody's."""
    bystander = begin(SLEEP, log)
    remembered = replace(bystander, create_time=bystander.create_time - 3600)
    assert not is_running(remembered)
    assert stop(remembered, grace_seconds=1) is Stopped.NOT_RUNNING
    assert is_running(bystander)


def test_another_process_with_the_same_number_keeps_its_children(log: Path) -> None:
    bystander = begin(WITH_CHILDREN, log, until="ready")
    remembered = replace(bystander, create_time=bystander.create_time - 3600)
    assert stop(remembered, grace_seconds=1) is Stopped.NOT_RUNNING
    assert len(psutil.Process(bystander.pid).children()) == 2


def test_a_process_that_is_gone_is_not_an_error(log: Path) -> None:
    process = begin(["true"], log)
    reap(process)
    assert stop(process, grace_seconds=1) is Stopped.NOT_RUNNING


def test_a_zombie_does_not_run(log: Path) -> None:
    process = begin(["true"], log)
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_running(process)


def test_who_ignores_the_request_is_killed_after_the_grace(log: Path) -> None:
    process = begin(STUBBORN, log, until="1")
    waits: list[float] = []
    assert stop(process, grace_seconds=1.2, on_wait=waits.append) is Stopped.KILLED
    assert not is_running(process)
    assert waits, "the user hears of the wait"


def test_children_are_stopped_too(log: Path) -> None:
    process = begin(WITH_CHILDREN, log, until="ready")
    children = psutil.Process(process.pid).children()
    assert stop(process, grace_seconds=0.5) is Stopped.KILLED
    assert [child for child in children if child.is_running()] == []


def test_what_a_killed_process_left_behind_is_killed(log: Path) -> None:
    """vLLM's engine survives its killed server and would keep the GPU."""
    process = begin(WITH_CHILDREN, log, until="ready")
    children = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    reap(process)
    assert all(child.is_running() for child in children)
    assert stop(process, grace_seconds=1) is Stopped.LEFTOVERS_KILLED
    assert [child for child in children if child.is_running()] == []


def test_waiting_for_children_asks_nobody_to_stop(log: Path) -> None:
    process = begin(["sh", "-c", "sleep 0.5 & echo ready; wait; exec sleep 60"], log, until="ready")
    assert not children_end(process, timeout_seconds=0.05)
    assert children_end(process, timeout_seconds=10)
    assert is_running(process)
    assert stop(process, grace_seconds=5) is Stopped.ASKED


def test_interrupts_reach_a_process_that_a_background_shell_started(log: Path) -> None:
    """A Prefect worker sends itself SIGINT to stop; with SIGINT ignored it would run for ever."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        show = "import signal; print(signal.getsignal(2) is signal.default_int_handler)"
        process = begin([sys.executable, "-c", show], log)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "this process keeps its own way"
    finally:
        signal.signal(signal.SIGINT, before)
    reap(process)
    assert log.read_text(encoding="utf-8").strip() == "True"


def test_a_port_in_use_names_its_holder_and_the_way_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError) as caught:
            require_free_port(port, variable="VLLM_PORT")
    message = str(caught.value)
    assert message.startswith(f"port {port} is in use")
    assert f"VLLM_PORT={port + 1} make up" in message
    assert f"(pid {os.getpid()})" in message
    require_free_port(port, variable="VLLM_PORT")
