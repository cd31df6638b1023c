"""Looks into a store without changing it: lists rows by page, reads what is intact, finds what is not."""

import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from cache.errors import StoreUnavailableError
from cache.format import check_format
from cache.keys import Key
from cache.sealing import is_key, unseal
from cache.sqlite_files import DATABASE, connect_reading, explained, is_damage

_PAGE_ROWS = 1000
_MAX_ROWID = 100_000_000  # a damaged number must not make us count for ever
_MAX_PROBLEMS = 10


class Order(StrEnum):
    """How rows are listed. SQLite sorts, on disk where it must; the table is read, not an index."""

    KEY = "key, rowid"
    NEWEST = "store_time DESC, rowid DESC"
    OLDEST = "store_time, rowid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is known of an entry without reading it."""

    rowid: int
    key: Key | None
    """None where another program wrote the row, or it is damaged."""
    size_bytes: int
    stored_at: float
    """Seconds since 1970, by the clock of the machine that wrote it; -inf where damaged."""

    @property
    def name(self) -> str:
        """Name the row for people."""
        return self.key or f"row {self.rowid}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much a store holds."""

    rows: int
    value_bytes: int
    used_bytes: int
    """Of the database; what is left of its file is free for new entries."""
    oldest: float | None
    newest: float | None


class StoreReader:
    """A store that is only looked at. A context manager, for one thread.

    Args:
        directory: Where a store is; none is made.
        untouched: Leave no trace in the folder either, as for a store of somebody else.

    Raises:
        StoreUnavailableError: There is none, it is of a newer version or of another program, or it cannot
            be read.
    """

    def __init__(self, directory: Path, *, untouched: bool = False) -> None:
        self.directory = directory
        with explained(directory, "opened"):
            if not (directory / DATABASE).exists():
                raise StoreUnavailableError(
                    f"there is no store in {directory}; name its folder in VLLM_FLOWS_STORE or by --store"
                )
            check_format(directory)
            self._connection = connect_reading(directory / DATABASE, untouched=untouched)

    def __enter__(self) -> Self:
        """Return this reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def rows(self, order: Order = Order.KEY) -> Iterator[Row]:
        """Yield all rows as they were when the first was asked for; where pages are damaged, the others.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        with explained(self.directory, "read"):
            try:
                cursor = self._connection.execute(f"{_SELECT} NOT INDEXED ORDER BY {order.value}")
                page = cursor.fetchmany(_PAGE_ROWS)  # everything is sorted before the first row comes
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                yield from sorted(self._salvaged(), key=_place(order))
                return
            while page:
                yield from map(_row, page)
                page = cursor.fetchmany(_PAGE_ROWS)

    def find(self, prefix: str, limit: int = 2) -> list[Row]:
        """Return rows whose key begins with `prefix`, at most `limit` of them.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        with explained(self.directory, "read"):
            found = self._connection.execute(
                f"{_SELECT} WHERE raw = 1 AND key >= ? AND key < ? ORDER BY key LIMIT ?",
                (prefix, f"{prefix}g", limit),  # "g" comes after all hex digits
            ).fetchall()
        return [_row(each) for each in found]

    def read(self, row: Row) -> bytes | None:
        """Return the value, or None where it is not what was written under its key, or cannot be read.

        Raises:
            StoreUnavailableError: The store cannot be read at all.
        """
        if row.key is None:
            return None
        with explained(self.directory, "read"):
            try:
                found = self._connection.execute(
                    "SELECT value FROM Cache WHERE rowid = ? AND key = ? AND raw = 1", (row.rowid, row.key)
                ).fetchall()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                return None
        return unseal(row.key, found[0][0]) if found else None

    def extent(self) -> Extent:
        """Say how much there is.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        with explained(self.directory, "read"):
            rows, size, oldest, newest = self._connection.execute(
                "SELECT count(*), total(length(value)), min(store_time), max(store_time)"
                " FROM Cache NOT INDEXED"
            ).fetchone()
            used = self._pragma("page_count") - self._pragma("freelist_count")
            return Extent(
                rows=rows,
                value_bytes=int(size),
                used_bytes=used * self._pragma("page_size"),
                oldest=oldest,
                newest=newest,
            )

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with its own pages; empty when all is well. Reads everything.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        with explained(self.directory, "read"):
            try:
                found = self._connection.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})").fetchall()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                return [str(error)]
        lines = [" ".join(str(each).split()) for (each,) in cast("list[tuple[object]]", found)]
        return [] if lines == ["ok"] else lines

    def _pragma(self, name: str) -> int:
        return cast("int", self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _salvaged(self) -> Iterator[Row]:
        """Yield the rows that can be reached one by one, for tables with damaged pages."""
        step = 100
        for first in range(1, self._last_rowid() + 1, step):
            try:
                yield from self._between(first, first + step - 1)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                for rowid in range(first, first + step):
                    try:
                        yield from self._between(rowid, rowid)
                    except sqlite3.Error as still:
                        if not is_damage(still):
                            raise

    def _between(self, first: int, last: int) -> list[Row]:
        rows = self._connection.execute(f"{_SELECT} NOT INDEXED WHERE rowid BETWEEN ? AND ?", (first, last))
        return [_row(each) for each in rows.fetchall()]

    def _last_rowid(self) -> int:
        found = 0
        for source in ("Cache NOT INDEXED", "Cache INDEXED BY Cache_key_raw WHERE key > ''"):
            try:
                [(last,)] = self._connection.execute(f"SELECT max(rowid) FROM {source}").fetchall()  # noqa: S608 - constants
            except sqlite3.Error:
                continue  # the other tree may be whole
            found = max(found, last or 0)
        return min(found, _MAX_ROWID)


_SELECT = (
    "SELECT rowid, CASE WHEN raw = 1 AND typeof(key) = 'text' THEN key END, length(value), store_time"
    " FROM Cache"
)


def _place(order: Order) -> Callable[[Row], tuple[str | float, int]]:
    """Return what sorts rows as SQLite sorts them."""
    match order:
        case Order.KEY:
            return lambda row: (row.key or "", row.rowid)
        case Order.NEWEST:
            return lambda row: (-row.stored_at, -row.rowid)
        case Order.OLDEST:
            return lambda row: (row.stored_at, row.rowid)


def _row(found: tuple[int, object, object, object]) -> Row:
    rowid, key, size, stored_at = found
    return Row(
        rowid=rowid,
        key=Key(cast("str", key)) if is_key(key) else None,
        size_bytes=size if isinstance(size, int) else 0,
        stored_at=stored_at if isinstance(stored_at, float) and math.isfinite(stored_at) else -math.inf,
    )
