"""Where bytes live: what every store does."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from cache.keys import Key


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a store has for some keys."""

    entries: Mapping[Key, bytes]
    damaged: tuple[Key, ...] = ()
    """Keys whose entry is there but does not have its digest; never returned as an entry."""


class Store(Protocol):
    """Bytes under keys. Values are whole or not there; calls block and may come from any thread."""

    def get(self, keys: Iterable[Key]) -> Found:
        """Return the entries that are there.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        ...

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Write all entries or none; when it returns they survive the death of this process.

        Raises:
            StoreUnavailableError: The store cannot be written.
        """
        ...

    def add(self, entries: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
        """Write the entries that are not there, or are damaged there: of many writers the first one wins.

        Returns:
            The intact entries that were there, and stay.

        Raises:
            StoreUnavailableError: The store cannot be written.
        """
        ...

    def delete(self, keys: Iterable[Key]) -> int:
        """Remove entries and say how many were there."""
        ...

    def keys(self) -> Iterator[Key]:
        """Yield all keys, in no particular order."""
        ...

    def close(self) -> None:
        """Let go of files; the store opens them again when used."""
        ...
