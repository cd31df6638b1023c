"""A store as one file for other machines: gzip of JSON lines; docs/store-format.md describes it.

Reading one runs no code, holds one entry at a time, and believes nothing that has no right digest.
"""

import base64
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from cache.disk_store import DiskStore
from cache.intake import MAX_ENTRY_BYTES, Check, Offer, Taken, take_in
from cache.keys import Key
from cache.reading import Order, Row, StoreReader
from cache.sealing import is_key

FORMAT = "vllm-flows answers"
VERSION = 1

NOT_OURS = "it is no file of `vllm-flows cache export`"
_MAX_LINE_BYTES = MAX_ENTRY_BYTES * 4 // 3 + 1024  # as base64, with key and digest
_MAX_LINE_PARTS = 100  # ours have five; each of millions would take more memory than the line


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What went into a file."""

    entries: int
    left_out: int
    """Damaged, or too large for the format."""
    absent: int = 0
    """Keys that were asked for and are not stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What came out of a file."""

    taken: Taken
    problem: str | None
    """Where the file is cut off, or what else is wrong with it; what came before has been taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which entries go into a file."""

    keys: frozenset[Key]
    also: Callable[[bytes], bool]
    """Says which others go with them: a few small ones without which these are not found."""


def export_store(source: StoreReader, path: Path, selection: Selection | None = None) -> Exported:
    """Write a store's intact entries into a file, whole or not at all, for its owner only.

    The lines depend on nothing but the entries: they are sorted by key and carry no times.

    Args:
        source: What to write.
        path: Replaced when there.
        selection: What to write of it; everything by default.

    Raises:
        StoreUnavailableError: The store cannot be read.
        OSError: The file cannot be written.
    """
    absent = set[Key]() if selection is None else set(selection.keys)
    rows = source.rows(Order.KEY) if selection is None else _selected(source, selection, absent)
    descriptor, partial = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
                written, left_out = _write_lines(file, source, rows)
            raw.flush()
            os.fsync(raw.fileno())
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return Exported(entries=written, left_out=left_out, absent=len(absent))


def import_file(target: DiskStore, path: Path, check: Check) -> Imported:
    """Take the entries of a file that anybody may have written into a store.

    Raises:
        StoreUnavailableError: The store cannot be written.
        OSError: The file cannot be opened or read.
    """
    with path.open("rb") as raw:
        file = PortableFile(raw)
        taken = take_in(target, file.offers(), check)
    return Imported(taken=taken, problem=file.problem)


class PortableFile:
    """What a file offers, line by line, up to where it is whole.

    Args:
        raw: The bytes; nothing is believed of them.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._lines = _Lines(raw)
        self.problem: str | None = None
        """Known when all offers have been taken."""

    def offers(self) -> Iterator[Offer | None]:
        """Yield entries, None for one without a proper key; stop where the file makes no sense."""
        header = self._lines.next()
        if header is None or header.get("format") != FORMAT:
            self.problem = self._lines.problem or NOT_OURS
            return
        if header.get("version") != VERSION:
            self.problem = f"it is of version {header.get('version')!r}, and this program reads {VERSION}"
            return
        lines = 0
        while (line := self._lines.next()) is not None:
            if "entries" in line:
                self._end(line["entries"], lines)
                return
            lines += 1
            yield _offer(line)
        self.problem = self._lines.problem or f"it is cut off after {lines} entries"

    def _end(self, count: object, lines: int) -> None:
        if count != lines:
            self.problem = f"its last line counts {count!r} entries and there are {lines}"
        elif self._lines.next() is not None:
            self.problem = "it goes on after its last line"
        else:
            self.problem = self._lines.problem


class _Lines:
    """JSON objects, one a line, in bounded memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=raw, mode="rb")
        self._number = 0
        self.problem: str | None = None

    def next(self) -> dict[str, object] | None:
        """Return the next object; None at the end, and where there is none, with `problem` set."""
        self._number += 1
        try:
            line = self._file.readline(_MAX_LINE_BYTES + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            is_gzip = self._number > 1 or not str(error).startswith("Not a gzipped file")
            self.problem = (
                f"it is cut off or damaged at line {self._number} ({error})" if is_gzip else NOT_OURS
            )
            return None
        if not line:
            return None
        written = None if len(line) > _MAX_LINE_BYTES else _parsed(line)
        if not isinstance(written, dict):
            self.problem = f"its line {self._number} is none of this format"
            return None
        return cast("dict[str, object]", written)


def _parsed(line: bytes) -> object:
    if sum(line.count(mark) for mark in (b",", b"[", b"{")) > _MAX_LINE_PARTS:
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _write_lines(file: gzip.GzipFile, source: StoreReader, rows: Iterable[Row]) -> tuple[int, int]:
    file.write(_line({"format": FORMAT, "version": VERSION}))
    written, left_out, last = 0, 0, None
    for row in rows:
        value = source.read(row) if row.size_bytes <= MAX_ENTRY_BYTES else None
        if row.key is None or value is None or row.key == last:  # twice only in a damaged database
            left_out += 1
            continue
        entry = base64.b64encode(value).decode()
        file.write(_line({"key": row.key, "sha256": _digest(row.key, value), "entry": entry}))
        written, last = written + 1, row.key
    file.write(_line({"entries": written}))
    return written, left_out


def _selected(source: StoreReader, selection: Selection, absent: set[Key]) -> Iterator[Row]:
    """Yield the selected rows, and take the keys that are there out of `absent`."""
    for row in source.rows(Order.KEY):
        if row.key in selection.keys:
            absent.discard(row.key)
            yield row
        elif (value := source.read(row)) is not None and selection.also(value):
            yield row


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _offer(line: dict[str, object]) -> Offer | None:
    key, entry = line.get("key"), line.get("entry")
    if not is_key(key):
        return None
    name = Key(cast("str", key))
    try:
        value = base64.b64decode(entry, validate=True) if isinstance(entry, str) else None
    except ValueError:
        value = None
    is_whole = (
        value is not None and len(value) <= MAX_ENTRY_BYTES and line.get("sha256") == _digest(name, value)
    )
    return Offer(key=name, value=value if is_whole else None)


def _digest(key: Key, value: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(key) + value).hexdigest()
