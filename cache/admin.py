"""Checks a store row by row, and makes it smaller."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cache.disk_store import DiskStore
from cache.errors import CorruptEntryError
from cache.intake import Check
from cache.reading import Order, Row, StoreReader

ROW_OVERHEAD_BYTES = 200
"""What SQLite needs for a row beside its value: the key twice, times, settings; measured 2026-11."""


Stays = Callable[[bytes], bool]
"""Says which values are kept although they are old: a few small ones without which the others are lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A row that is no answer."""

    row: Row
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Which entries may go."""

    stored_before: float | None = None
    """Seconds since 1970."""
    max_bytes: int | None = None
    """What the database may hold; 0 removes everything, also what otherwise stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Freed:
    """What was removed, or would be."""

    entries: int
    freed_bytes: int
    used_bytes: int
    """What the database holds afterwards."""


def faults(source: StoreReader, check: Check) -> Iterator[Fault]:
    """Read every row and yield those that are no answer: damaged, foreign, or not to be decoded.

    Raises:
        StoreUnavailableError: The store cannot be read.
    """
    for row in source.rows(Order.OLDEST):
        if reason := _fault(source, row, check):
            yield Fault(row=row, reason=reason)


def expendable(source: StoreReader, limits: Limits, stays: Stays) -> Iterator[Row]:
    """Yield the rows that the limits do not allow and that do not stay, the oldest first.

    Raises:
        StoreUnavailableError: The store cannot be read.
    """
    excess = 0 if limits.max_bytes is None else source.extent().used_bytes - limits.max_bytes
    for row in source.rows(Order.OLDEST):
        is_old = limits.stored_before is not None and row.stored_at < limits.stored_before
        if not is_old and excess <= 0:
            return
        if limits.max_bytes != 0 and _stays(source, row, stays):
            continue
        excess -= size_on_disk(row)
        yield row


def estimate(source: StoreReader, limits: Limits, stays: Stays) -> Freed:
    """Say what `collect` would remove.

    Raises:
        StoreUnavailableError: The store cannot be read.
    """
    entries = freed = 0
    for row in expendable(source, limits, stays):
        entries += 1
        freed += size_on_disk(row)
    used = source.extent().used_bytes
    freed = min(freed, used)
    return Freed(entries=entries, freed_bytes=freed, used_bytes=used - freed)


def collect(store: DiskStore, limits: Limits, stays: Stays) -> Freed:
    """Remove what the limits do not allow, and give the room back to the file system.

    An entry that a run wanted is asked again; one that was written anew meanwhile stays.

    Raises:
        StoreUnavailableError: The store cannot be written, or there is no room to make it smaller.
    """
    before = _used(store)
    entries = 0
    while removed := _collect_once(store, limits, stays):
        entries += removed
        store.compact()  # before the next look: half-empty pages count as used
    used = _used(store)
    return Freed(entries=entries, freed_bytes=max(0, before - used), used_bytes=used)


def size_on_disk(row: Row) -> int:
    """Return about how many bytes of the database a row takes."""
    return row.size_bytes + ROW_OVERHEAD_BYTES


def _collect_once(store: DiskStore, limits: Limits, stays: Stays) -> int:
    """Remove by estimate; the next round sees whether it was enough."""
    with StoreReader(store.directory) as source:
        return store.remove(expendable(source, limits, stays))


def _stays(source: StoreReader, row: Row, stays: Stays) -> bool:
    value = source.read(row)
    return value is not None and stays(value)


def _used(store: DiskStore) -> int:
    with StoreReader(store.directory) as source:
        return source.extent().used_bytes


def _fault(source: StoreReader, row: Row, check: Check) -> str | None:
    if row.key is None:
        return "it is not of this program"
    value = source.read(row)
    if value is None:
        return "its bytes do not have their digest"
    try:
        check(value)
    except CorruptEntryError:
        return "it is intact, but no answer that this version can read"
    return None
