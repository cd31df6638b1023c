"""Who is asking what, for all processes that share a store: a lease, not a lock for ever.

A holder that dies is noticed at once, by a file lock that the operating system takes from the dead. One that
lives but hangs is noticed by its beat, a number that it counts up every second: whoever sees the same number
for too long, by a clock of his own, takes over. No two clocks are ever compared, and none has to be right.
What goes wrong here costs a question asked twice and never a wrong answer, so nothing here is synced to disk.
"""

import fcntl
import sqlite3
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

import diskcache

from cache.disk_store import BytesDisk
from cache.errors import StoreUnavailableError
from cache.keys import Key

BEAT_SECONDS = 1.0
"""How often a holder should call `beat`."""

PATIENCE_SECONDS = 5.0
"""A holder whose beat stands still for this long hangs."""


class Leases(Protocol):
    """Leases on keys. Calls block and may come from any thread."""

    def claim(self, keys: Iterable[Key]) -> set[Key]:
        """Take all leases that nobody alive holds, and say which keys are ours now."""
        ...

    def release(self, keys: Iterable[Key]) -> None:
        """Give leases back; those of others stay."""
        ...

    def beat(self) -> None:
        """Show that this holder lives; wanted every BEAT_SECONDS while it holds anything."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class NoLeases:
    """Leases that everybody gets: for a store that nobody shares."""

    def claim(self, keys: Iterable[Key]) -> set[Key]:
        """Say that all are ours."""
        return set(keys)

    def release(self, keys: Iterable[Key]) -> None:
        """Do nothing."""

    def beat(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class DiskLeases:
    """Leases in one SQLite database, for the processes of one machine.

    Args:
        directory: Made when missing.
        patience_seconds: A holder whose beat stands still for this long loses its leases.
        clock: Seconds that only go up.

    Raises:
        StoreUnavailableError: The folder cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self._beats = 0
        self._seen: dict[str, tuple[bytes | None, float]] = {}
        with self._explained():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._life = self._born()
            self._table = diskcache.Cache(
                str(directory),
                timeout=60,
                disk=BytesDisk,
                eviction_policy="none",
                cull_limit=0,
                sqlite_synchronous=0,
            )
            self._bury_the_dead()

    def claim(self, keys: Iterable[Key]) -> set[Key]:
        """Take all leases that nobody alive holds, and say which keys are ours now."""
        ours: set[Key] = set()
        gone: dict[str, bool] = {}  # one look at each holder
        with self._explained(), self._table.transact(retry=True):
            self._count_beat()  # one that has held nothing for long must not be taken for hanging
            for key in keys:
                holder = (cast("bytes | None", self._table.get(key)) or b"").decode()
                if holder and holder != self._holder:
                    if holder not in gone:
                        gone[holder] = self._is_gone(holder)
                    if not gone[holder]:
                        continue
                if holder != self._holder:
                    self._table.set(key, self._holder.encode())
                ours.add(key)
        return ours

    def release(self, keys: Iterable[Key]) -> None:
        """Give leases back; those of others stay."""
        mine = self._holder.encode()
        with self._explained(), self._table.transact(retry=True):
            for key in keys:
                if self._table.get(key) == mine:
                    self._table.delete(key)

    def beat(self) -> None:
        """Show that this holder lives."""
        with self._explained(), self._table.transact(retry=True):
            self._count_beat()

    def close(self) -> None:
        """Leave; leases that are still held are anybody's."""
        with self._explained():
            with self._table.transact(retry=True):
                self._table.delete(_beat_row(self._holder))
            self._table.close()
            self._lock_file(self._holder).unlink(missing_ok=True)
            self._life.close()

    def _born(self) -> IO[str]:
        # Locked under a name that nobody looks at: a file that is there and not locked is of a dead holder.
        unborn = self._directory / f"{self._holder}.unborn"
        life = unborn.open("w")
        fcntl.flock(life, fcntl.LOCK_EX)
        unborn.rename(self._lock_file(self._holder))
        return life

    def _count_beat(self) -> None:
        self._beats += 1
        self._table.set(_beat_row(self._holder), str(self._beats).encode())

    def _bury_the_dead(self) -> None:
        """Remove what killed processes have left, if nobody but us is there."""
        with self._table.transact(retry=True):
            others = [path.stem for path in self._directory.glob("*.alive") if path.stem != self._holder]
            dead = [holder for holder in others if self._has_died(holder)]
            if len(dead) == len(others):
                for row in list(self._table):
                    self._table.delete(row)

    def _is_gone(self, holder: str) -> bool:
        if self._has_died(holder):
            return True
        beat = cast("bytes | None", self._table.get(_beat_row(holder)))
        now = self._clock()
        seen, since = self._seen.get(holder, (None, now))
        if holder not in self._seen or seen != beat or now < since:
            self._seen[holder] = (beat, now)
            return False
        return now - since > self._patience_seconds

    def _has_died(self, holder: str) -> bool:
        try:
            life: IO[str] = self._lock_file(holder).open("r+")
        except FileNotFoundError:
            return True
        with life:
            try:
                fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._lock_file(holder).unlink(missing_ok=True)
            return True

    def _lock_file(self, holder: str) -> Path:
        return self._directory / f"{holder}.alive"

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout, OSError) as error:
            raise StoreUnavailableError(
                f"the leases in {self._directory} cannot be used: {error or type(error).__name__}; "
                "make room, mend the permissions, or remove this folder while nothing runs"
            ) from error


def _beat_row(holder: str) -> str:
    return f"beat:{holder}"
