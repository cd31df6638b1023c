"""Writes answers as JSONL, CSV or Parquet: the whole file or none."""

import csv
import errno
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.batch.files import Kind, format_of
from tasks.batch.parquet import require_pyarrow
from tasks.batch.questions import Answer, plain_logprobs
from tasks.batch.rows import InputError, Row
from tasks.whole_files import partial_of, replacing

ANSWER_COLUMNS: Mapping[str, Kind] = {
    "text": "text",
    "reasoning": "text",
    "logprobs": "json",
    "json": "json",
    "finish_reason": "text",
    "model": "text",
    "error": "text",
}
OWN_COLUMNS = {"row", "sample", *ANSWER_COLUMNS}


@dataclass(frozen=True, kw_only=True)
class OutputLayout:
    """The columns of an answer file: the row's number and id, what is kept of it, and the answer."""

    model: str
    kept: Mapping[str, str]
    """{column of the input: its name in the output}"""
    kinds: Mapping[str, Kind]
    """{column of the output: what it holds}, in order"""

    def record(self, answer: Answer) -> dict[str, object]:
        """Return one line of the file."""
        response, columns = answer.response, answer.row.columns
        return {
            "row": answer.row.number,
            "id": self._id(answer.row),
            "sample": answer.sample,
            **{name: columns.get(column) for column, name in self.kept.items()},
            "text": response.text if response else None,
            "reasoning": response.reasoning if response else None,
            "logprobs": plain_logprobs(response.token_logprobs) if response else None,
            "json": answer.json,
            "finish_reason": response.finish_reason if response else None,
            "model": (response and response.stand_in) or self.model,
            "error": answer.error,
        }

    def _id(self, row: Row) -> object:
        """Return a row's own id, else its number."""
        given = row.columns.get("id")
        if given is None:
            return str(row.number) if self.kinds["id"] == "text" else row.number
        return given


def output_layout(columns: Mapping[str, Kind], keep: Sequence[str] | None, model: str) -> OutputLayout:
    """Lay out an answer file.

    Args:
        columns: Those of the input.
        keep: Which of them to keep; None keeps all.
        model: Who answers.

    Raises:
        InputError: A column to keep is not there, or two would have one name.
    """
    for name in keep or ():
        if name not in columns:
            has = ", ".join(map(repr, columns))
            raise InputError(f"keep_columns names {name!r}, and the input has {has}")
    kept = {name: _output_name(name) for name in columns if name != "id" and (keep is None or name in keep)}
    for name, named in kept.items():
        if named != name and named in kept:
            raise InputError(
                f"the input has {name!r}, which an answer file calls {named!r}, and {named!r}; rename one"
            )
    kind_of_id = columns.get("id", "int")
    kinds: dict[str, Kind] = {
        "row": "int",
        "id": kind_of_id if kind_of_id in {"int", "text"} else "json",
        "sample": "int",
    }
    kinds |= {named: columns[name] for name, named in kept.items()}
    return OutputLayout(model=model, kept=kept, kinds={**kinds, **ANSWER_COLUMNS})


def _output_name(column: str) -> str:
    return f"input_{column}" if column in OWN_COLUMNS else column


Write = Callable[[Sequence[Mapping[str, object]]], None]
"""Adds lines to a file."""


def check_output(path: Path) -> None:
    """Find out whether a file can be written, before anything is spent.

    Raises:
        InputError: Its ending tells no format, its package is missing, or it cannot be made.
    """
    if format_of(path) == "parquet":
        require_pyarrow(path)
    try:
        _try_to_make(path.absolute())
    except (OSError, ValueError) as error:  # a ValueError where the path holds a NUL
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"{path} cannot be written ({reason}); give another output_path") from error


def _try_to_make(path: Path) -> None:
    """Make what is missing of a file's path, beside where it would be, and remove it again."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    there = next(parent for parent in path.parents if parent.exists())
    with TemporaryDirectory(dir=there, prefix=".vllm-flows-") as trial:
        partial = partial_of(Path(trial) / path.relative_to(there))
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()


@contextmanager
def open_output(path: Path, kinds: Mapping[str, Kind]) -> Generator[Write]:
    """Open a file that appears when the block ends without an error, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = {"jsonl": _open_jsonl, "csv": _open_csv, "parquet": _open_parquet}[format_of(path)]
    with replacing(path) as partial, opened(partial, kinds) as write:
        yield write


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@contextmanager
def _open_jsonl(path: Path, kinds: Mapping[str, Kind]) -> Generator[Write]:
    del kinds
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield lambda records: file.writelines(_dumped(record) + "\n" for record in records)


@contextmanager
def _open_csv(path: Path, kinds: Mapping[str, Kind]) -> Generator[Write]:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(kinds))
        writer.writeheader()
        yield lambda records: writer.writerows(_flat(record) for record in records)


def _flat(record: Mapping[str, object]) -> dict[str, object]:
    """Write values as fields of CSV: text as it is, nothing as nothing, anything else as JSON."""
    return {
        name: value if isinstance(value, str) else "" if value is None else _dumped(value)
        for name, value in record.items()
    }


@contextmanager
def _open_parquet(path: Path, kinds: Mapping[str, Kind]) -> Generator[Write]:
    import pyarrow as pa  # noqa: PLC0415 - optional
    import pyarrow.parquet as pq  # noqa: PLC0415 - optional

    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])

    def write(records: Sequence[Mapping[str, object]]) -> None:
        typed = [{name: _typed(value, kinds[name]) for name, value in each.items()} for each in records]
        writer.write_batch(pa.RecordBatch.from_pylist(typed, schema=schema))

    with closing(pq.ParquetWriter(str(path), schema)) as writer:
        yield write


def _typed(value: object, kind: Kind) -> object:
    """Fit a value to its column; lists, objects and mixtures are written as JSON."""
    if value is None:
        return None
    if kind == "json":
        return _dumped(value)
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return float(value) if kind == "float" and isinstance(value, int) else value
