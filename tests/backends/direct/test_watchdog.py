"""What an owner leaves behind when it is killed is ended; nobody else's processes are touched."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.direct import watchdog
from backends.direct.watchdog import Found, living

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists() or not hasattr(os, "pidfd_open"), reason="Linux only"
)

PATIENCE_SECONDS = 30.0

ENGINE = "import sys, time; print('up', flush=True); time.sleep(600)"
OWNER = f"""
import os, subprocess, sys, time
one = subprocess.Popen(["VLLM::EngineCore", "-c", {ENGINE!r}], executable=sys.executable,
                       start_new_session=True, stdout=subprocess.PIPE)
two = subprocess.Popen(["other", "-c", {ENGINE!r}], executable=sys.executable,
                       start_new_session=True, stdout=subprocess.PIPE)
one.stdout.readline(), two.stdout.readline()
print(one.pid, two.pid, flush=True)
time.sleep(600)
"""
"""Has a child with the title of an engine, and another one; both survive it."""


def gone(found: Found) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while living(found) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not living(found)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_ends_with_its_owner_and_other_children_do_not(how: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE)
    watcher = watchdog.start(owner.pid)
    assert owner.stdout
    assert watcher
    engine, other = map(int, owner.stdout.readline().split())
    try:
        found = watchdog.engines_below(owner.pid)
        assert list(found) == [engine]
        time.sleep(2 * watchdog.LOOK_SECONDS)  # so that it has seen the engine
        owner.send_signal(how)
        owner.wait()
        assert gone(found)
        assert watcher.wait(PATIENCE_SECONDS) == 0
        os.kill(other, 0)
    finally:
        os.kill(other, signal.SIGKILL)
        owner.stdout.close()


def test_it_ends_at_once_where_the_owner_has_gone() -> None:
    owner = subprocess.Popen([sys.executable, "-c", ""])
    owner.wait()
    watcher = watchdog.start(owner.pid)
    assert watcher
    assert watcher.wait(PATIENCE_SECONDS) == 0


def test_a_process_that_has_the_number_of_another_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ENGINE], stdout=subprocess.DEVNULL)
    try:
        watchdog.end({process.pid: "1"})
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
