"""What `vllm-flows cache` shows: entries as rows, and rows as tables for people or as JSON."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cache.errors import CorruptEntryError
from cache.intake import Taken
from cache.reading import Order, Row, StoreReader
from flows.quantities import show_size, show_time
from tasks.entries import Description, describe

SHORT_KEY = 12
TEXT_CHARACTERS = 80
MIN_COLUMNS = 20
PIPED_COLUMNS = 200
MAX_SHOWN_FAULTS = 20
WAY_ON = (
    "save what can be read with `vllm-flows cache export FILE`, move the store's folder away, and take it in "
    "with `vllm-flows cache import FILE`; what is missing then is asked again"
)

TableRow = Mapping[str, object]


def newest(
    source: StoreReader, begin: float, model: str | None, limit: int
) -> Iterator[tuple[Row, Description | None]]:
    """Yield entries stored since `begin`, of one model if it is given, with what they say; the newest first.

    Raises:
        StoreUnavailableError: The store cannot be read.
    """
    for row in source.rows(Order.NEWEST):
        if limit == 0 or row.stored_at < begin:
            return
        described = _described(source, row)
        if model is None or (described is not None and described.is_of(model)):
            limit -= 1
            yield row, described


def count_by_model(source: StoreReader) -> list[dict[str, object]]:
    """Count entries by kind and model; reads all of them.

    Raises:
        StoreUnavailableError: The store cannot be read.
    """
    counts, sizes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in source.rows(Order.OLDEST):
        described = _described(source, row)
        name = ("damaged", "?") if described is None else (described.kind, described.model or "?")
        counts[name] += 1
        sizes[name] += row.size_bytes
    return [
        {"kind": kind, "model": model, "entries": count, "value_bytes": sizes[kind, model]}
        for (kind, model), count in counts.most_common()
    ]


def listed(row: Row, described: Description | None) -> dict[str, object]:
    """Return an entry as a row of `ls`."""
    return {
        "key": row.name,
        "stored": show_time(row.stored_at),
        "kind": "damaged" if described is None else described.kind,
        "model": described and described.model,
        "size_bytes": row.size_bytes,
        "text": "" if described is None else described.text[:TEXT_CHARACTERS],
    }


def count(number: int, one: str, many: str) -> str:
    """Write a number of things."""
    return f"{number:,} {one if number == 1 else many}"


def print_json(value: object) -> None:
    """Print JSON that steers no terminal, whoever wrote the texts in it."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    typer.echo("".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in text))


def print_stats(found: TableRow) -> None:
    """Print what a store holds."""
    sizes = {name: show_size(value) for name, value in found.items() if isinstance(value, int)}
    typer.echo(f"{found['folder']} (version {found['version']})")
    typer.echo(f"  {found['entries']:,} entries, {sizes['value_bytes']} of values")
    typer.echo(f"  {sizes['file_bytes']} on disk, of which the database uses {sizes['used_bytes']}")
    typer.echo(f"  stored from {found['oldest']} to {found['newest']}")
    if found["warning"]:
        typer.echo(f"  {found['warning']}", err=True)


def print_table(rows: Sequence[TableRow]) -> None:
    """Print rows as a table; keys are cut to what `show` takes."""
    if not rows:
        typer.echo("no entries")
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        width = max(len(_cell(name, row[name])) for row in rows)
        table.add_column(
            name.removesuffix("_bytes"),
            no_wrap=True,
            overflow="ellipsis",
            min_width=min(width, MIN_COLUMNS),  # what is cut is the text, and long names of models
        )
    for row in rows:
        table.add_row(*(Text(_cell(name, value)) for name, value in row.items()))
    Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS).print(table)


def print_verdict(problems: Sequence[str], faults: Sequence[TableRow], removed: int) -> None:
    """Say what `verify` found, and what to do."""
    for problem in problems:
        typer.echo(f"the database is damaged: {_printable(problem)}")
    for fault in faults[:MAX_SHOWN_FAULTS]:
        typer.echo(f"{fault['entry']}  stored {fault['stored']}: {fault['reason']}")
    if len(faults) > MAX_SHOWN_FAULTS:
        typer.echo(f"... and {len(faults) - MAX_SHOWN_FAULTS:,} more; --json lists all")
    if problems:
        typer.echo(WAY_ON)
    if not faults:
        typer.echo("no entry that can be reached is damaged" if problems else "every entry is intact")
    elif removed:
        typer.echo(f"{removed:,} of {count(len(faults), 'damaged entry', 'damaged entries')} removed")
    else:
        typer.echo(
            f"{count(len(faults), 'damaged entry', 'damaged entries')}; none is ever used as an answer, and "
            "`vllm-flows cache verify --delete` removes them"
        )


def print_taken(taken: Taken) -> None:
    """Say what became of entries from elsewhere."""
    typer.echo(
        f"{taken.taken:,} taken, {taken.present:,} already there, {taken.differing:,} there with another "
        f"answer (which stays), {taken.refused:,} refused"
    )


def _described(source: StoreReader, row: Row) -> Description | None:
    """Describe an entry; None where it is damaged."""
    value = source.read(row)
    try:
        return None if value is None else describe(value)
    except CorruptEntryError:
        return None


def _cell(name: str, value: object) -> str:
    if name == "key":
        return str(value)[:SHORT_KEY]
    if name.endswith("_bytes") and isinstance(value, int):
        return show_size(value)
    return "?" if value is None else _printable(value)


def _printable(text: object) -> str:
    return "".join(one if one.isprintable() else " " for one in str(text))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else json.dumps(character)[1:-1]  # noqa: PLR2004 - a pair is needed
