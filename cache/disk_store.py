"""A store on diskcache (SQLite): bytes only, never evicted, each entry sealed with its digest."""

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

import diskcache

from cache.errors import StoreUnavailableError
from cache.format import check_format, mark
from cache.keys import Key
from cache.places import Mount, mounted, warn_of_network
from cache.reading import Row
from cache.sealing import seal, unseal
from cache.sqlite_files import DATABASE, connect_reading, connect_writing, explained
from cache.store import Found

_RAW = 1  # diskcache's mode of a value that is stored as it is; the others are files, text and pickles

_REMOVED_AT_ONCE = 1000
"""Rows in one transaction: others can write in between."""


class BytesDisk(diskcache.Disk):
    """Knows text keys and bytes values only.

    diskcache's own Disk unpickles what another program has put into the database (CVE-2025-69872).
    """

    def put(self, key: object) -> tuple[str, bool]:
        """Refuse keys that are not text."""
        if type(key) is not str:
            raise TypeError(f"a key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Refuse pickled keys."""
        if not raw or not isinstance(key, str):
            raise StoreUnavailableError("the store holds a row that this program did not write")
        return key

    def store(
        self, value: object, read: object, key: object = None
    ) -> tuple[int, int, None, memoryview]:  # diskcache's signature
        """Keep bytes inside the database: a file of their own could be lost on its own."""
        del read, key
        if not isinstance(value, bytes):
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        return 0, _RAW, None, memoryview(value)

    def remove(self, file_path: object) -> None:
        """Remove no file: none of our values has one, and a foreign row may name any."""
        del file_path

    def fetch(self, mode: object, filename: object, value: object, read: object) -> bytes:
        """Return the bytes; a pickled or foreign row is no entry of ours and yields none."""
        del filename, read
        return value if mode == _RAW and isinstance(value, bytes) else b""


class DiskStore:
    """Entries in one SQLite database, shared by threads and processes of one machine.

    Every entry is written as a 16-byte BLAKE2b digest of key and value, followed by the value.

    Args:
        directory: Made when missing; for its owner only, also if it was there and open to others.
        wait_seconds: How long to wait for another process that is writing; one that makes a large store
            smaller writes for minutes.
        mounts: The file systems of this machine, to warn of one that a network is behind.

    Raises:
        StoreUnavailableError: There is no such place, or it holds something else, or a newer version's store.
    """

    def __init__(
        self,
        directory: Path,
        *,
        wait_seconds: float = 300.0,
        mounts: Callable[[], Sequence[Mount]] = mounted,
    ) -> None:
        self.directory = directory
        self._wait_seconds = wait_seconds
        with explained(directory, "opened"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_marked = check_format(directory)
            if (directory / DATABASE).exists():
                # A look at the schema only: diskcache would read whatever has the names of its tables.
                connect_reading(directory / DATABASE).close()
            if directory.stat().st_mode & 0o077:
                directory.chmod(0o700)
            if not is_marked:
                mark(directory)
            self._cache = self._opened()
        warn_of_network(directory, mounts())

    def get(self, keys: Iterable[Key]) -> Found:
        """Return the entries that are there and intact."""
        entries: dict[Key, bytes] = {}
        damaged: list[Key] = []
        with explained(self.directory, "read"):
            for key in keys:
                sealed = self._sealed(key)
                if sealed is None:
                    continue
                value = unseal(key, sealed)
                if value is None:
                    damaged.append(key)
                else:
                    entries[key] = value
        return Found(entries=entries, damaged=tuple(damaged))

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Write all entries in one transaction."""
        with self._transaction():
            for key, value in entries.items():
                self._cache.set(key, seal(key, value))

    def add(self, entries: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
        """Write the entries that are not there, or are damaged there, in one transaction.

        Returns:
            The intact entries that were there, and stay.

        Raises:
            StoreUnavailableError: The store cannot be written.
        """
        with self._transaction():
            present = self.get(entries).entries
            for key, value in entries.items():
                if key not in present:
                    self._cache.set(key, seal(key, value))
        return present

    def delete(self, keys: Iterable[Key]) -> int:
        """Remove entries and say how many were there."""
        with self._transaction():
            return sum(bool(self._cache.delete(key)) for key in keys)

    def keys(self) -> Iterator[Key]:
        """Yield all keys in the order in which they were first written."""
        with explained(self.directory, "read"):
            for key in self._cache:
                yield Key(cast("str", key))

    def remove(self, rows: Iterable[Row]) -> int:
        """Remove rows that have not been written since they were listed, and say how many.

        Raises:
            StoreUnavailableError: The store cannot be written.
        """
        waiting, removed = iter(rows), 0
        with explained(self.directory, "written"), closing(self._connected()) as database:
            while some := list(islice(waiting, _REMOVED_AT_ONCE)):
                removed += _remove(database, some)
        return removed

    def compact(self) -> None:
        """Give the room of removed entries back to the file system.

        Raises:
            StoreUnavailableError: There is no room for the copy that SQLite makes, or it cannot be written.
        """
        with explained(self.directory, "made smaller"), closing(self._connected()) as database:
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Fold the write-ahead log into the database as far as others let it, and close the connection.

        Other threads' connections end with their threads, so SQLite would fold it in at some later time.
        """
        self._cache.close()
        with explained(self.directory, "closed"), closing(self._connected()) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _connected(self) -> sqlite3.Connection:
        return connect_writing(self.directory / DATABASE, self._wait_seconds)

    def _opened(self) -> diskcache.Cache:
        try:
            return diskcache.Cache(
                str(self.directory),
                timeout=self._wait_seconds,
                disk=BytesDisk,
                eviction_policy="none",  # the default drops entries past 1 GB, silently
                cull_limit=0,
                sqlite_mmap_size=0,  # a file that is cut short while it is mapped kills the process
            )
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            # diskcache reads its settings from the database and takes them for what it wrote there.
            raise sqlite3.DatabaseError(f"its settings are damaged ({error})") from error

    def _sealed(self, key: Key) -> object:
        try:
            return self._cache.get(key)
        except sqlite3.OperationalError:
            if self._is_of_bytes(key):
                raise
            return b""  # a row with text that is none: damaged like any other

    def _is_of_bytes(self, key: Key) -> bool:
        with closing(connect_reading(self.directory / DATABASE)) as database:
            found = database.execute(
                "SELECT typeof(value) = 'blob' AND filename IS NULL AND tag IS NULL"
                " FROM Cache WHERE key = ? AND raw = 1",
                (key,),
            ).fetchall()
        return all(each for (each,) in found)

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with explained(self.directory, "written"):
            try:
                with self._cache.transact():
                    yield
            except diskcache.Timeout:
                self._begin_and_end()  # diskcache does not say why it could not begin
                raise

    def _begin_and_end(self) -> None:
        with closing(connect_writing(self.directory / DATABASE, 0.0)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")


def _remove(database: sqlite3.Connection, rows: Sequence[Row]) -> int:
    database.execute("BEGIN IMMEDIATE")
    removed = sum(
        database.execute(
            "DELETE FROM Cache WHERE rowid = ? AND (store_time = ? OR typeof(store_time) != 'real'"
            " OR abs(store_time) > 1e300)",  # a damaged time is read as -inf
            (row.rowid, row.stored_at),
        ).rowcount
        for row in rows
    )
    database.execute("COMMIT")
    return removed
