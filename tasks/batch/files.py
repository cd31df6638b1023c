"""Reads rows of prompts from JSONL, CSV and Parquet, one after the other, so that files may be large."""

import csv
import hashlib
import itertools
import json
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from tasks.batch.parquet import read_parquet
from tasks.batch.rows import InputError, Layout, Row, make_row

Kind = Literal["bool", "int", "float", "text", "json"]
"""What a column holds; "json" is anything else, and a mixture."""

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
MAX_PROBLEMS = 1000
"""Bad rows that are told one by one; the others are counted."""
LARGEST_INT = 2**63 - 1

Record = tuple[str, Mapping[str, object] | str]
"""Where it stands, and its columns or why it cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What a look through the whole file has found."""

    rows: int
    bad: int
    problems: tuple[str, ...]
    """The first of them, as `line 7: it has no 'prompt'`."""
    columns: Mapping[str, Kind]
    """In the order in which they appear first."""
    digest: str
    """Names the file's content."""


def format_of(path: Path) -> Format:
    """Tell a file's format by its ending.

    Raises:
        InputError: It has none that is known.
    """
    if found := FORMATS.get(path.suffix.lower()):
        return found
    raise InputError(f"{path}: the ending tells the format, and it must be one of {', '.join(FORMATS)}")


def scan(path: Path, layout: Layout) -> Scan:
    """Check every row of a file.

    Raises:
        InputError: The file cannot be read, or holds nothing.
    """
    rows, bad, problems, columns = 0, 0, list[str](), dict[str, Kind]()
    for row in read_rows(path, layout):
        rows += 1
        for name, value in row.columns.items():
            if value is not None:
                kind = _kind(value)
                columns[name] = _common(columns.get(name, kind), kind)
            elif name not in columns:
                columns[name] = "text"
        if row.problem is not None:
            bad += 1
            problems += [f"{row.place}: {row.problem}"] if bad <= MAX_PROBLEMS else []
    if not rows:
        raise InputError(f"{path} holds no row; give a file with one prompt a row")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Scan(rows=rows, bad=bad, problems=tuple(problems), columns=columns, digest=digest)


def read_batches(path: Path, layout: Layout, size: int) -> Generator[list[Row]]:
    """Yield the rows of a file in their order, so many at a time.

    Raises:
        InputError: The file cannot be read.
    """
    with closing(read_rows(path, layout)) as rows:
        while some := list(itertools.islice(rows, size)):
            yield some


def read_rows(path: Path, layout: Layout) -> Generator[Row]:
    """Yield the rows of a file in their order.

    Raises:
        InputError: The file cannot be read.
    """
    read = {"jsonl": _read_jsonl, "csv": _read_csv, "parquet": _read_parquet}[format_of(path)]
    try:
        for number, (place, record) in enumerate(read(path), start=1):
            yield make_row(number, place, record, layout)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; give the path of a file of prompts") from error


def _read_jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"line {number}", _json_record(line.removeprefix(b"\xef\xbb\xbf"))


def _json_record(line: bytes) -> Mapping[str, object] | str:
    try:
        value: object = json.loads(line.decode(), parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError:
        return "it is no UTF-8 text"
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    if not isinstance(value, dict):
        return 'it is no JSON object; each line is one, as {"prompt": "Say hello."}'
    return cast("dict[str, object]", value)


def _finite(text: str) -> float:
    if math.isfinite(value := float(text)):
        return value
    raise ValueError(f"{text} is no number that JSON can hold")


def _read_csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(LARGEST_INT)  # else a prompt of more than 128 KiB is an error
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, list[str]())
            if len(set(header)) < len(header):
                raise InputError(f"{path}: two columns have one name; the header is {', '.join(header)}")
            for values in reader:
                if values:
                    yield f"line {reader.line_num}", _csv_record(header, values)
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}; quote it as CSV wants it") from error


def _csv_record(header: list[str], values: list[str]) -> Mapping[str, object] | str:
    if len(header) != len(values):
        return f"it has {len(values)} fields, and the header has {len(header)}"
    return dict(zip(header, values, strict=True))


def _read_parquet(path: Path) -> Iterator[Record]:
    for number, record in enumerate(read_parquet(path), start=1):
        yield f"row {number}", {name: _plain(value) for name, value in record.items()}


def _plain(value: object) -> object:
    """Return a value as JSON has it; dates and the like as text, and no number as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list):
        return [_plain(one) for one in cast("list[object]", value)]
    return str(value)


def _kind(value: object) -> Kind:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= LARGEST_INT else "json"
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else "json"


def _common(one: Kind, other: Kind) -> Kind:
    if one == other:
        return one
    return "float" if {one, other} == {"int", "float"} else "json"
