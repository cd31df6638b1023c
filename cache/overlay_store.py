"""A store that is only read, under one in memory that takes what is written: for trying things out."""

from collections.abc import Iterable, Iterator, Mapping

from cache.keys import Key
from cache.store import Found, Store


class OverlayStore:
    """Reads from memory, then from another store; writes to memory only."""

    def __init__(self, below: Store) -> None:
        self._below = below
        self._entries: dict[Key, bytes] = {}

    def get(self, keys: Iterable[Key]) -> Found:
        """Return the entries that are in memory, or intact below."""
        wanted = list(keys)
        here = {key: self._entries[key] for key in wanted if key in self._entries}
        below = self._below.get(key for key in wanted if key not in here)
        return Found(entries={**below.entries, **here}, damaged=below.damaged)

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Keep entries in memory."""
        self._entries.update(entries)

    def add(self, entries: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
        """Keep the entries that are neither in memory nor intact below, and return the others."""
        present = self.get(entries).entries
        self.put({key: value for key, value in entries.items() if key not in present})
        return present

    def delete(self, keys: Iterable[Key]) -> int:
        """Remove entries from memory; what is below stays."""
        return sum(self._entries.pop(key, None) is not None for key in keys)

    def keys(self) -> Iterator[Key]:
        """Yield all keys, those in memory first."""
        yield from self._entries
        below = self._below.keys()
        yield from (key for key in below if key not in self._entries)

    def close(self) -> None:
        """Close the store below; what is in memory stays."""
        self._below.close()
