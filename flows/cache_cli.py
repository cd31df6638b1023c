"""The store's command line: `vllm-flows cache stats | ls | show | verify | gc | export | import | merge`."""

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cache import admin
from cache.disk_store import DiskStore
from cache.errors import CacheError, CorruptEntryError, StoreDamagedError
from cache.format import VERSION
from cache.intake import merge
from cache.keys import Key
from cache.places import mounted, network_warning
from cache.portable import NOT_OURS, Selection, export_store, import_file
from cache.reading import Row, StoreReader
from cache.sealing import is_key
from flows.cache_tables import (
    count,
    count_by_model,
    listed,
    newest,
    print_json,
    print_stats,
    print_table,
    print_taken,
    print_verdict,
)
from flows.quantities import parse_duration, parse_since, parse_size, show_size, show_time
from flows.settings import load_settings
from flows.told import in_one_sentence
from tasks.entries import describe, is_kept_for_others

MIN_PREFIX = 4

T = TypeVar("T")

app = typer.Typer(help="Look into the store of answers, check, shrink, share it.", no_args_is_help=True)

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store's folder; by default VLLM_FLOWS_STORE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def stats(
    *,
    store: StoreOption = None,
    by_model: Annotated[
        bool, typer.Option("--by-model", help="Count kinds and models too; reads every entry.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how much the store holds, where, and since when."""
    with _told(), StoreReader(_folder(store)) as source:
        extent = source.extent()
        found: dict[str, object] = {
            "folder": str(source.directory),
            "version": VERSION,
            "entries": extent.rows,
            "value_bytes": extent.value_bytes,
            "used_bytes": extent.used_bytes,
            "file_bytes": sum(each.stat().st_size for each in source.directory.glob("cache.db*")),
            "oldest": show_time(extent.oldest),
            "newest": show_time(extent.newest),
            "warning": network_warning(source.directory, mounted()),
        }
        counted = count_by_model(source) if by_model else []
        if by_model:
            found["by_model"] = counted
    if as_json:
        print_json(found)
    else:
        print_stats(found)
        if by_model:
            print_table(counted)


@app.command()
def ls(
    *,
    store: StoreOption = None,
    model: Annotated[str | None, typer.Option(help="Only answers of this model.")] = None,
    since: Annotated[str | None, typer.Option(help="Only newer ones: 2h, 7d, or 2026-11-21.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List entries, the newest first."""
    with _told(), StoreReader(_folder(store)) as source:
        begin = -math.inf if since is None else _parsed(lambda: parse_since(since, time.time()))
        found = [listed(row, described) for row, described in newest(source, begin, model, limit)]
    if as_json:
        print_json(found)
    else:
        print_table(found)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="The beginning of a key, as `ls` shows it.")],
    *,
    store: StoreOption = None,
) -> None:
    """Print one entry as JSON: when it was stored, what was asked where that is kept, and the answer."""
    with _told(), StoreReader(_folder(store)) as source:
        row = _the_one(source, key.lower())
        value = source.read(row)
        if value is None:
            raise CorruptEntryError(
                f"the entry {row.name} is damaged; it will be asked again when it is wanted"
            )
        described = describe(value)
        print_json(
            {
                "key": row.key,
                "stored": show_time(row.stored_at),
                "kind": described.kind,
                "model": described.model,
                "size_bytes": row.size_bytes,
                "entry": described.content,
            }
        )


@app.command()
def verify(
    *,
    store: StoreOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is damaged.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every entry and check its digest and form; exit code 1 where damage is found and stays."""
    with _told():
        folder = _folder(store)
        try:
            with StoreReader(folder) as source:
                problems = source.problems()
                faults = list(admin.faults(source, describe))
        except StoreDamagedError as error:
            raise StoreDamagedError(
                f"{str(error).partition(';')[0]}; nothing of it can be read, so put a copy in its place, or "
                f"move {folder} away and run again: what is missing then is asked again"
            ) from error
        removed = DiskStore(folder).remove(fault.row for fault in faults) if delete and faults else 0
    rows = [
        {"entry": fault.row.name, "stored": show_time(fault.row.stored_at), "reason": fault.reason}
        for fault in faults
    ]
    if as_json:
        print_json({"database": problems, "damaged": rows, "removed": removed})
    else:
        print_verdict(problems, rows, removed)
    if problems or removed < len(faults):
        sys.exit(1)


@app.command()
def gc(
    *,
    store: StoreOption = None,
    older_than: Annotated[str | None, typer.Option(help="Remove what was stored longer ago: 30d.")] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Remove the oldest until the database is no larger: 5GB.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say only what would be removed.")] = False,
) -> None:
    """Make the store smaller; what is removed is asked again when it is wanted.

    What the program remembers of models is tiny and stays, unless --max-size 0 removes everything.
    """
    with _told():
        age = None if older_than is None else _parsed(lambda: parse_duration(older_than))
        limits = admin.Limits(
            stored_before=None if age is None else time.time() - age,
            max_bytes=None if max_size is None else _parsed(lambda: parse_size(max_size)),
        )
        if limits == admin.Limits():
            raise CacheError("say what may go: --older-than 30d, --max-size 5GB, or both")
        folder = _folder(store)
        with StoreReader(folder) as source:  # also says that there is a store: none is made to be emptied
            freed = admin.estimate(source, limits, is_kept_for_others)
        if not dry_run:
            freed = admin.collect(DiskStore(folder), limits, is_kept_for_others)
    verb = "would remove about" if dry_run else "removed"
    typer.echo(
        f"{verb} {count(freed.entries, 'entry', 'entries')}, {show_size(freed.freed_bytes)}; "
        f"the database {'would hold' if dry_run else 'holds'} {show_size(freed.used_bytes)}"
    )


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Replaced when there; readable by you only.")],
    *,
    store: StoreOption = None,
    keys_from: Annotated[
        Path | None, typer.Option(help="A file with one key a line: only these, and notes.")
    ] = None,
) -> None:
    """Write the store's answers into one file that another machine can import.

    With some of them goes what the program remembers of models: a replay needs it to find them.
    """
    with _told(), StoreReader(_folder(store)) as source:
        selection = None if keys_from is None else _selected_in(keys_from)
        _require_room_for(file)
        written = export_store(source, file, selection)
    typer.echo(f"{count(written.entries, 'entry', 'entries')} written to {file}")
    if written.left_out or written.absent:
        typer.echo(
            f"left out: {written.left_out} damaged (`vllm-flows cache verify` lists them), "
            f"{written.absent} not stored",
            err=True,
        )


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What `export` wrote, here or elsewhere.")],
    *,
    store: StoreOption = None,
) -> None:
    """Take the answers of a file in; exit code 1 where something was refused or the file is not whole."""
    with _told():
        _require_file(file, "what `vllm-flows cache export` wrote")
        done = import_file(DiskStore(_folder(store)), file, describe)
        if done.problem == NOT_OURS:
            raise CacheError(f"{file} is not imported: {done.problem}")
    print_taken(done.taken)
    if done.problem is not None:
        typer.echo(f"vllm-flows: {file} is not whole: {done.problem}; what came before was taken", err=True)
    if done.problem is not None or done.taken.refused:
        sys.exit(1)


@app.command("merge")
def merge_(
    folder: Annotated[Path, typer.Argument(help="Another store; it stays as it is.")],
    *,
    store: StoreOption = None,
) -> None:
    """Take the answers of another store in; exit code 1 where some were refused."""
    with _told():
        target = _folder(store)
        if folder.resolve() == target.resolve():
            raise CacheError(f"{folder} is the store itself; name another one")
        with StoreReader(folder, untouched=True) as source:
            taken = merge(DiskStore(target), source, describe)
    print_taken(taken)
    if taken.refused:
        sys.exit(1)


def _told() -> AbstractContextManager[None]:
    return in_one_sentence("what was done so far stays")


def _folder(store: Path | None) -> Path:
    return load_settings().store if store is None else store.expanduser().absolute()


def _parsed(parse: Callable[[], T]) -> T:
    try:
        return parse()
    except ValueError as error:
        raise CacheError(str(error)) from error


def _the_one(source: StoreReader, prefix: str) -> Row:
    if len(prefix) < MIN_PREFIX or not is_key(prefix.ljust(64, "0")):
        raise CacheError(f"{prefix!r} is no beginning of a key; give at least {MIN_PREFIX} hex digits")
    found = source.find(prefix)
    if not found:
        raise CacheError(
            f"no key in {source.directory} begins with {prefix}; `vllm-flows cache ls` shows some"
        )
    if len(found) > 1:
        raise CacheError(f"several keys begin with {prefix}, among them {found[0].name} and {found[1].name}")
    return found[0]


def _require_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise CacheError(f"there is no file {path}; give the path of {what}")


def _require_room_for(path: Path) -> None:
    """Refuse a path under which no file can be made; the error of trying would name another one."""
    folder = path.absolute().parent
    if path.is_dir():
        raise CacheError(f"{path} is a folder; give the path of a file in it, as {path / 'answers.gz'}")
    if not folder.is_dir():
        raise CacheError(f"there is no folder {folder}; make it, or give the path of a file elsewhere")
    if not os.access(folder, os.W_OK):
        raise CacheError(f"the folder {folder} may not be written to; give the path of a file elsewhere")


def _selected_in(path: Path) -> Selection:
    _require_file(path, "a file with one key a line")
    lines = path.read_text(encoding="utf-8", errors="replace").split()
    for line in lines:
        if not is_key(line):
            raise CacheError(
                f"{path} holds {line[:70]!r}, which is no key; write one key of 64 hex digits a line"
            )
    return Selection(keys=frozenset(map(Key, lines)), also=is_kept_for_others)
