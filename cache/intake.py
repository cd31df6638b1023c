"""Takes entries from elsewhere into a store: only intact ones that can be read, and never over an entry."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cache.disk_store import DiskStore
from cache.errors import CorruptEntryError
from cache.keys import Key
from cache.reading import Order, Row, StoreReader
from cache.sealing import SEAL_BYTES

Check = Callable[[bytes], object]
"""Reads an entry and raises CorruptEntryError where it cannot; may be given anything."""

MAX_ENTRY_BYTES = 32 * 2**20
"""Of an entry as it is stored, compressed."""

_MAX_ENTRIES = 500
_MAX_BYTES = 8 * 2**20
"""What is written in one transaction, and held in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An entry of somebody else."""

    key: Key
    value: bytes | None
    """None where it is damaged."""


@dataclass(kw_only=True, slots=True)
class Taken:
    """What became of the entries that were offered."""

    taken: int = 0
    present: int = 0
    """There already, with the same bytes."""
    differing: int = 0
    """There already, with other bytes, which stay."""
    refused: int = 0
    """Damaged, too large, without a proper key, or not an answer that this version can read."""


def take_in(target: DiskStore, offers: Iterable[Offer | None], check: Check) -> Taken:
    """Write what is offered, in transactions of bounded size, and count it.

    Args:
        target: The store to write to.
        offers: None stands for something without a proper key, or too large.
        check: Says which values are entries.

    Raises:
        StoreUnavailableError: The target cannot be written; what was counted before is in it.
    """
    result, waiting, size = Taken(), dict[Key, bytes](), 0
    for offer in offers:
        if offer is None or offer.value is None or not _passes(check, offer.value):
            result.refused += 1
            continue
        if offer.key in waiting or len(waiting) == _MAX_ENTRIES or size > _MAX_BYTES:
            _write(target, waiting, result)
            waiting, size = dict[Key, bytes](), 0
        waiting[offer.key] = offer.value
        size += len(offer.value)
    _write(target, waiting, result)
    return result


def merge(target: DiskStore, source: StoreReader, check: Check) -> Taken:
    """Take in what another store holds; that store stays as it is.

    Raises:
        StoreUnavailableError: The source cannot be read or the target cannot be written.
    """
    return take_in(target, (_offer(source, row) for row in source.rows(Order.OLDEST)), check)


def _offer(source: StoreReader, row: Row) -> Offer | None:
    if row.key is None or row.size_bytes > MAX_ENTRY_BYTES + SEAL_BYTES:
        return None
    return Offer(key=row.key, value=source.read(row))


def _passes(check: Check, value: bytes) -> bool:
    try:
        check(value)
    except CorruptEntryError:
        return False
    return True


def _write(target: DiskStore, entries: dict[Key, bytes], result: Taken) -> None:
    if not entries:
        return
    present = target.add(entries)
    same = sum(entries[key] == value for key, value in present.items())
    result.taken += len(entries) - len(present)
    result.present += same
    result.differing += len(present) - same
