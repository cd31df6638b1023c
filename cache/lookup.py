"""What a run may read from a store and write to it."""

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum

from cache.errors import CacheMissError, CorruptEntryError
from cache.keys import Key
from cache.store import Found, Store

logger = logging.getLogger(__name__)


class CacheMode(StrEnum):
    """What to do with the store."""

    USE = "use"
    """Read what is there, ask for the rest, keep it."""
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

    def find(self, keys: Iterable[Key]) -> Mapping[Key, bytes]:
        """Return the entries that this run may use.

        Raises:
            CacheMissError: In REPLAY, a key is not there.
            CorruptEntryError: In REPLAY, an entry is damaged.
            StoreUnavailableError: The store cannot be read.
        """
        match self.mode:
            case CacheMode.OFF:
                return {}
            case CacheMode.REFRESH:
                return self._reported(self._store.get(key for key in keys if key in self._renewed))
            case CacheMode.USE:
                return self._reported(self._store.get(keys))
            case CacheMode.REPLAY:
                return self._all_of(list(keys))

    def keep(self, entries: Mapping[Key, bytes]) -> None:
        """Write entries, all or none, unless this run keeps nothing.

        Raises:
            StoreUnavailableError: The store cannot be written.
        """
        if self.mode in {CacheMode.USE, CacheMode.REFRESH}:
            self._store.put(entries)
            self._renewed.update(entries)

    def _all_of(self, keys: list[Key]) -> Mapping[Key, bytes]:
        found = self._store.get(keys)
        if found.damaged:
            raise CorruptEntryError(f"the stored answer {found.damaged[0]} is damaged; run without replay")
        missing = [key for key in keys if key not in found.entries]
        if missing:
            raise CacheMissError(
                f"{len(missing)} of {len(keys)} answers are not stored (the first: {missing[0]}); "
                "a replay asks nobody, so run once with cache_mode='use'"
            )
        return found.entries

    def _reported(self, found: Found) -> Mapping[Key, bytes]:
        self.damaged.update(found.damaged)
        for key in found.damaged:
            logger.warning("the stored answer %s is damaged and will be asked again", key)
        return found.entries
