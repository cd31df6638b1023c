"""A store on diskcache (SQLite): bytes only, never evicted, each entry sealed with its digest."""

import hashlib
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn, cast

import diskcache

from cache.errors import StoreUnavailableError
from cache.keys import Key
from cache.store import Found

_SEAL_BYTES = 16
_RAW = 1  # diskcache's mode of a value that is stored as it is; the others are files, text and pickles


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
        wait_seconds: How long to wait for another process that is writing.

    Raises:
        StoreUnavailableError: There is no such place, or it holds something else.
    """

    def __init__(self, directory: Path, *, wait_seconds: float = 60.0) -> None:
        self.directory = directory
        with self._explained("opened"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & 0o077:
                directory.chmod(0o700)
            self._cache = diskcache.Cache(
                str(directory),
                timeout=wait_seconds,
                disk=BytesDisk,
                eviction_policy="none",  # the default drops entries past 1 GB, silently
                cull_limit=0,
            )

    def get(self, keys: Iterable[Key]) -> Found:
        """Return the entries that are there and intact."""
        entries: dict[Key, bytes] = {}
        damaged: list[Key] = []
        with self._explained("read"):
            for key in keys:
                sealed = cast("bytes | None", self._cache.get(key))
                if sealed is None:
                    continue
                value = sealed[_SEAL_BYTES:]
                if sealed[:_SEAL_BYTES] == _seal(key, value):
                    entries[key] = value
                else:
                    damaged.append(key)
        return Found(entries=entries, damaged=tuple(damaged))

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Write all entries in one transaction."""
        with self._explained("written"), self._cache.transact(retry=True):
            for key, value in entries.items():
                self._cache.set(key, _seal(key, value) + value)

    def delete(self, keys: Iterable[Key]) -> int:
        """Remove entries and say how many were there."""
        with self._explained("written"), self._cache.transact(retry=True):
            return sum(bool(self._cache.delete(key)) for key in keys)

    def keys(self) -> Iterator[Key]:
        """Yield all keys in the order in which they were first written."""
        with self._explained("read"):
            for key in self._cache:
                yield Key(cast("str", key))

    def close(self) -> None:
        """Fold the write-ahead log into the database as far as others let it, and close the connection.

        Other threads' connections end with their threads, so SQLite would fold it in at some later time.
        """
        self._cache.close()
        with self._explained("closed"), closing(sqlite3.connect(self.directory / "cache.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _explained(self, verb: str) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout, OSError) as error:
            self._refuse(verb, error)

    def _refuse(self, verb: str, error: Exception) -> NoReturn:
        reason = str(error) or type(error).__name__
        raise StoreUnavailableError(
            f"the store in {self.directory} cannot be {verb}: {reason}; "
            "make room, mend the permissions, or name another place in VLLM_FLOWS_STORE"
        ) from error


def _seal(key: Key, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_SEAL_BYTES, key=bytes.fromhex(key)).digest()
