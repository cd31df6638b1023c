"""Extractions beside each other: `vllm-flows extraction compare`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.extraction_gold import evaluate_files
from flows.told import in_one_sentence
from tasks.extraction.evaluation import Row, compare, compare_labels
from tasks.extraction.gold import GoldError, read_gold

app = typer.Typer(
    help="Compare what extractions found.", no_args_is_help=True, pretty_exceptions_show_locals=False
)


@app.callback()
def _extraction() -> None:
    """Compare what extractions found."""


@app.command("compare")
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of runs.")],
    *,
    gold: Annotated[Path, typer.Option(help="JSONL with gold spans.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare runs with gold spans and with each other: all labels together, then each label's exact F1."""
    with in_one_sentence("nothing was changed"):
        spans = read_gold(gold)
        found = {
            name: evaluate_files(spans, folder, _coverage(folder)) for name, folder in _named(runs).items()
        }
        tables = {"runs": compare(found), "labels": compare_labels(found)}
    if as_json:
        typer.echo(json.dumps(tables, indent=2))
        return
    for rows in tables.values():
        Console().print(_table(rows))


def _named(runs: list[Path]) -> dict[str, Path]:
    """Name folders by their last part, or whole where those are alike."""
    names = [run.resolve().name for run in runs]
    return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, runs, strict=True)}


def _coverage(folder: Path) -> float | None:
    path = folder / "summary.json"
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GoldError(
            f"{folder} is no folder of a finished extraction (no summary.json in it); name one of runs/"
        ) from error
    return summary.get("coverage")


def _table(rows: list[Row]) -> Table:
    table = Table(*(rows[0] if rows else ["nothing to compare"]))
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.3f}".rstrip("0").rstrip(".")
