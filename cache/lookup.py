"""What a run may read from a store and write to it."""

import logging
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from cache.errors import CacheMissError, CorruptEntryError
from cache.keys import Key
from cache.store import Found, Store

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CacheMode(StrEnum):
    """What to do with the store."""

    USE = "use"
    """Read what is there, ask for the rest, keep it; what somebody else kept first stays."""
    REFRESH = "refresh"
    """Ask for everything once more, and keep the new answers in place of the old."""
    REPLAY = "replay"
    """Read only; what is not there, or damaged, is an error. Needs no server."""
    OFF = "off"
    """Read nothing, keep nothing."""


class Lookup:
    """A store as one run sees it, through its cache mode."""

    def __init__(self, store: Store, mode: CacheMode = CacheMode.USE) -> None:
        self._store = store
        self.mode = mode
        self.damaged: set[Key] = set()
        """Whose entries this run has found damaged."""
        self._renewed: set[Key] = set()  # REFRESH asks once per run, not once per look

    def find(self, keys: Iterable[Key], read: Callable[[bytes], T]) -> Mapping[Key, T]:
        """Return what this run may use.

        Args:
            keys: What to look for.
            read: Reads an entry; raises CorruptEntryError for one of another kind, which counts as damaged.

        Raises:
            CacheMissError: In REPLAY, a key is not there.
            CorruptEntryError: In REPLAY, an entry is damaged.
            StoreUnavailableError: The store cannot be read.
        """
        match self.mode:
            case CacheMode.OFF:
                return {}
            case CacheMode.REFRESH:
                return self._reported(self._store.get(key for key in keys if key in self._renewed), read)
            case CacheMode.USE:
                return self._reported(self._store.get(keys), read)
            case CacheMode.REPLAY:
                return self._all_of(list(keys), read)

    def keep(self, entries: Mapping[Key, bytes], read: Callable[[bytes], T]) -> Mapping[Key, T]:
        """Write entries, unless this run keeps nothing. In USE the first who stored something is believed.

        Returns:
            What others have stored under these keys since they were looked for; it stays.

        Raises:
            StoreUnavailableError: The store cannot be written.
        """
        match self.mode:
            case CacheMode.OFF | CacheMode.REPLAY:
                return {}
            case CacheMode.REFRESH:
                self._store.put(entries)
                self._renewed.update(entries)
                return {}
            case CacheMode.USE:
                there = self._store.add(entries)
                stays, unreadable = _read_all(there, read)
                if unreadable:
                    self._store.put({key: entries[key] for key in unreadable})
                return stays

    def _all_of(self, keys: list[Key], read: Callable[[bytes], T]) -> Mapping[Key, T]:
        found = self._store.get(keys)
        entries, unreadable = _read_all(found.entries, read)
        if damaged := (*found.damaged, *unreadable):
            raise CorruptEntryError(f"the stored answer {damaged[0]} is damaged; run without replay")
        missing = [key for key in keys if key not in entries]
        if missing:
            raise CacheMissError(
                f"{len(missing)} of {len(keys)} answers are not stored (the first: {missing[0]}); "
                "a replay asks nobody, so run once with cache_mode='use'"
            )
        return entries

    def _reported(self, found: Found, read: Callable[[bytes], T]) -> Mapping[Key, T]:
        entries, unreadable = _read_all(found.entries, read)
        for key in {*found.damaged, *unreadable} - self.damaged:  # said once, however often it is looked for
            self.damaged.add(key)
            logger.warning("the stored answer %s is damaged and will be asked again", key)
        return entries


def _read_all(entries: Mapping[Key, bytes], read: Callable[[bytes], T]) -> tuple[dict[Key, T], list[Key]]:
    """Return what could be read, and the keys of the rest."""
    whole: dict[Key, T] = {}
    unreadable: list[Key] = []
    for key, entry in entries.items():
        try:
            whole[key] = read(entry)
        except CorruptEntryError:
            unreadable.append(key)
    return whole, unreadable
