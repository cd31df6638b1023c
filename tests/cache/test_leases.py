"""A lease belongs to one living holder; the dead lose theirs at once, those who hang after some seconds."""

import fcntl
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cache.errors import StoreUnavailableError
from cache.leases import DiskLeases, NoLeases
from tests.helpers import some_key

ROOT = Path(__file__).parents[2]
KEYS = [some_key(number) for number in range(5)]

HOLDER = """
import sys
from pathlib import Path
from cache.leases import DiskLeases
from tests.helpers import some_key
leases = DiskLeases(Path(sys.argv[1]))
assert leases.claim([some_key(number) for number in range(5)])
print("held", flush=True)
sys.stdin.read()
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def holder(place: Path) -> Iterator[Callable[..., DiskLeases]]:
    """Makes holders of leases in one place; all leave in the end."""
    holders: list[DiskLeases] = []

    def make(**changes: Any) -> DiskLeases:  # noqa: ANN401 - any argument
        holders.append(DiskLeases(place, **changes))
        return holders[-1]

    yield make
    for one in holders:
        one.close()


@contextmanager
def other_process(place: Path) -> Generator["subprocess.Popen[str]"]:
    """A process that holds all leases."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lease_is_given_to_one(holder: Callable[..., DiskLeases]) -> None:
    first, second = holder(), holder()
    assert first.claim(KEYS[:3]) == set(KEYS[:3])
    assert second.claim(KEYS) == set(KEYS[3:])
    assert first.claim(KEYS) == set(KEYS[:3])  # its own stay its own


def test_a_lease_that_was_given_back_is_free(holder: Callable[..., DiskLeases]) -> None:
    first, second = holder(), holder()
    first.claim(KEYS)
    first.release(KEYS[:2])
    second.release(KEYS)  # those of others stay
    assert second.claim(KEYS) == set(KEYS[:2])


def test_leases_of_who_has_left_are_free(holder: Callable[..., DiskLeases]) -> None:
    first, second = holder(), holder()
    first.claim(KEYS)
    first.close()
    assert second.claim(KEYS) == set(KEYS)


def test_leases_of_a_killed_process_are_free_at_once(place: Path, holder: Callable[..., DiskLeases]) -> None:
    clock = Clock()
    with other_process(place) as process:
        leases = holder(clock=clock)
        assert leases.claim(KEYS) == set()
        process.kill()
        process.wait()
        assert leases.claim(KEYS) == set(KEYS)
        assert clock.now == 0


def test_a_holder_whose_beat_stands_still_for_long_loses_its_leases(
    holder: Callable[..., DiskLeases],
) -> None:
    clock = Clock()
    hanging, other = holder(), holder(patience_seconds=5, clock=clock)
    hanging.claim(KEYS)
    for _ in range(10):
        assert other.claim(KEYS) == set()
        clock.now += 0.5
    clock.now += 0.1
    assert other.claim(KEYS) == set(KEYS)
    hanging.release(KEYS)  # too late: they are not its own any more
    assert hanging.claim(KEYS) == set()


def test_a_holder_that_beats_keeps_its_leases_for_as_long_as_it_wants(
    holder: Callable[..., DiskLeases],
) -> None:
    clock = Clock()
    working, other = holder(), holder(patience_seconds=5, clock=clock)
    working.claim(KEYS)
    for _ in range(20):
        assert other.claim(KEYS) == set()
        clock.now += 4
        working.beat()


def test_a_holder_that_held_nothing_for_long_is_not_taken_for_hanging(
    holder: Callable[..., DiskLeases],
) -> None:
    clock = Clock()
    idle, other = holder(), holder(patience_seconds=5, clock=clock)
    idle.claim(KEYS)
    assert other.claim(KEYS) == set()
    idle.release(KEYS)
    clock.now += 1000
    idle.claim(KEYS)
    assert other.claim(KEYS) == set()


def test_a_clock_that_jumps_back_frees_nothing_and_holds_nothing_for_ever(
    holder: Callable[..., DiskLeases],
) -> None:
    clock = Clock()
    clock.now = 1e9
    hanging, other = holder(), holder(patience_seconds=5, clock=clock)
    hanging.claim(KEYS)
    assert other.claim(KEYS) == set()
    clock.now = 0
    assert other.claim(KEYS) == set()
    clock.now = 6
    assert other.claim(KEYS) == set(KEYS)


def test_what_killed_processes_left_is_swept_by_the_next_who_is_alone(
    place: Path, holder: Callable[..., DiskLeases]
) -> None:
    with other_process(place):
        pass
    assert len(list(place.glob("*.alive"))) == 1
    leases = holder()
    assert len(list(place.glob("*.alive"))) == 1  # its own
    assert list(leases._table) == []  # pyright: ignore[reportPrivateUsage]
    leases.close()
    assert list(place.glob("*.alive")) == []


def test_who_is_there_before_its_lock_is_taken_is_not_buried_alive(
    holder: Callable[..., DiskLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, lock = holder(), fcntl.flock
    seen: list[set[str]] = []

    def late(file: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not seen:
            seen.append(set())
            holder()  # somebody else begins just now, and looks who is dead
            seen[0] |= other.claim(KEYS[:1])
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    newborn = holder()
    assert newborn.claim(KEYS) == set(KEYS[1:])
    assert other.claim(KEYS) == set(KEYS[:1])
    newborn.close()
    assert other.claim(KEYS) == set(KEYS)


def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        DiskLeases(tmp_path / "file" / "leases")


def test_the_folder_is_its_owner_s_alone(place: Path, holder: Callable[..., DiskLeases]) -> None:
    holder()
    assert place.stat().st_mode & 0o777 == 0o700


def test_without_sharing_every_lease_is_ours() -> None:
    assert NoLeases().claim(KEYS) == set(KEYS)
