"""What runs did, from their journals: `vllm-flows run list | report`, `vllm-flows cache explain`."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cache.disk_store import DiskStore
from cache.errors import NoSuchRunError
from cache.journal_reading import Rows, find_journal, journal_files
from flows import cache_cli
from flows.run_tables import calls_table, report_table, short_reasons_table
from flows.settings import load_settings
from flows.told import in_one_sentence
from tasks.explain import Explained, explain
from tasks.run_report import RunReport, run_report

JOURNALS = "journal"
"""The folder of the journals, in the store's folder."""

app = typer.Typer(
    help="Show what runs asked, what it cost, and why.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or last.")]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store's folder; by default VLLM_FLOWS_STORE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def journal_path(store: Path, run: str) -> Path:
    """Return the file that a run's journal is written to."""
    return store / JOURNALS / f"{run}.jsonl"


@app.command("list")
def list_runs(
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, the one that began last first."""
    with _told():
        folder = _folder(store)
        if not folder.is_dir():
            raise NoSuchRunError(
                f"there is no store in {folder}; name its folder in VLLM_FLOWS_STORE or by --store"
            )
        files = journal_files(folder / JOURNALS)
        reports = [_reported(path)[0] for path in files[:limit]]
    if as_json:
        _print_json([_run_as_json(report) for report in reports])
        return
    table = Table("run", "began", "flow", "calls", "hits", "state")
    for one in reports:
        calls = one.calls
        table.add_row(one.run, began(one), one.name, f"{calls.total:,}", f"{calls.hits:,}", one.state)
    console = _console()
    console.print(table)
    if len(files) > limit:
        console.print(f"and {len(files) - limit} older runs")


@app.command()
def report(run: RunArgument = "last", *, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Sum up a run: calls, hits, requests, retries, tokens, seconds waiting, cost."""
    with _told():
        found, unreadable = _reported(find_journal(_folder(store) / JOURNALS, run))
    if as_json:
        _print_json({**_run_as_json(found), "unreadable_lines": unreadable})
        return
    console = _console()
    console.print(report_table(found, began(found)))
    console.print(calls_table(found.tasks))
    if unreadable:
        console.print(f"{unreadable} lines of the journal were cut off and are not counted")


@cache_cli.app.command("explain")
def explain_run(
    run: RunArgument = "last",
    *,
    each: Annotated[bool, typer.Option("--all", help="Each call, not groups of them.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each call of a run: hit, computed, shared or failed, and why it was no hit."""
    with _told():
        folder = _folder(store)
        path = find_journal(folder / JOURNALS, run)
        with closing(DiskStore(folder)) as answers, path.open("rb") as lines:
            calls = explain(Rows(lines), answers)
            if each:
                _print_each(calls, as_json=as_json)
            else:
                _print_groups(calls, as_json=as_json)


def began(report: RunReport) -> str:
    """Say when a run began, in local time."""
    return datetime.fromtimestamp(report.began).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print_each(calls: Iterator[Explained], *, as_json: bool) -> None:
    for one in calls:
        if as_json:
            typer.echo(json.dumps(asdict(one), ensure_ascii=False))
        else:
            typer.echo(f"{one.key[:12]}  {one.outcome:8}  {one.task}: {one.reason}")


def _print_groups(calls: Iterator[Explained], *, as_json: bool) -> None:
    groups: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], Explained] = {}
    for one in calls:
        groups[one.outcome, one.reason] += 1
        examples.setdefault((one.outcome, one.reason), one)
    if as_json:
        _print_json([{"calls": count, **asdict(examples[group])} for group, count in groups.most_common()])
    else:
        _console().print(short_reasons_table(groups, examples))


def _reported(path: Path) -> tuple[RunReport, int]:
    with path.open("rb") as lines:
        rows = Rows(lines)
        found = run_report(rows)
    found.run = found.run or path.stem
    return found, rows.unreadable


def _run_as_json(report: RunReport) -> dict[str, object]:
    requests = report.requests
    return {
        **asdict(report),
        # Python 3.11's asdict breaks Counters (it counts their pairs).
        "errors": dict(report.errors),
        "alerts": dict(report.alerts),
        "stand_ins": dict(report.stand_ins),
        "server_counters": dict(report.server_counters),
        "hit_rate": report.hit_rate,
        "calls": {**asdict(report.calls), "total": report.calls.total},
        "requests": {
            **asdict(requests),
            "outcomes": dict(requests.outcomes),
            "total": requests.total,
            "prompts_per_request": requests.prompts_per_request,
        },
    }


def _folder(store: Path | None) -> Path:
    return load_settings().store if store is None else store.expanduser().absolute()


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=200)  # a pipe has no width to keep to


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _told() -> AbstractContextManager[None]:
    return in_one_sentence("nothing was changed")
