"""Around extractions: `vllm-flows extraction compare | import`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from flows.extraction_files import read_files
from flows.extraction_gold import evaluate_files
from flows.told import in_one_sentence
from tasks.extraction.evaluation import Evaluation, Row, compare, compare_labels
from tasks.extraction.gold import GoldError, GoldSpan, read_gold
from tasks.extraction.langextract_format import read_langextract
from tasks.extraction.spec import SpecError, read_spec
from tasks.whole_files import write_whole

app = typer.Typer(
    help="Compare what extractions found; bring specs along from langextract.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


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
        found = {name: _evaluated(spans, folder) for name, folder in _named(runs).items()}
        tables = {"runs": compare(found), "labels": compare_labels(found)}
    if as_json:
        typer.echo(json.dumps(tables, indent=2))
        return
    Console().print(_upright(tables["runs"]))
    Console().print(_table(tables["labels"]))


@app.command("import")
def import_examples(
    file: Annotated[Path, typer.Argument(help="Examples or annotated documents as langextract writes them.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The spec to write, as YAML.")],
    description: Annotated[
        str, typer.Option(help="What to extract; langextract has it beside its examples, as the prompt.")
    ] = "Extract the entities of the text.",
) -> None:
    """Make a spec of langextract's examples: their labels, with the attributes that they have."""
    with in_one_sentence("nothing was written"):
        if output.exists():
            raise SpecError(f"{output} is there; name another file, or move it away")
        found = read_langextract(file)
        labels = [
            {"name": label, **({"attributes": [{"name": name} for name in names]} if names else {})}
            for label, names in found.labels.items()
        ]
        spec = {"name": output.stem, "description": description, "labels": labels, "examples": found.examples}
        plain = json.loads(json.dumps(spec))
        read_spec(plain)
        write_whole(output, yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))
    typer.echo(f"{output}: {len(labels)} labels, {len(found.examples)} examples; describe the labels there")


def _named(runs: list[Path]) -> dict[str, Path]:
    """Name folders by their last part, or whole where those are alike."""
    names = [run.resolve().name for run in runs]
    return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, runs, strict=True)}


def _evaluated(gold: Mapping[str, Sequence[GoldSpan]], folder: Path) -> Evaluation:
    """Compare one run.

    Raises:
        GoldError: The folder is none of a finished extraction, or it has none of the gold's documents.
    """
    try:
        coverage = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["coverage"]
        ids = {one.id for one in read_files(folder)}
        evaluation = evaluate_files(gold, folder, coverage)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldError(
            f"{folder} is no folder of a finished extraction that can be read ({type(error).__name__}); name "
            "one of runs/"
        ) from error
    if not ids & gold.keys():
        raise GoldError(f"{folder} has none of the gold's documents, the first of which is {min(gold)!r}")
    return evaluation


def _upright(rows: list[Row]) -> Table:
    """Lay out rows as columns, since runs are few and what is said of them is much."""
    table = Table(*(str(row["run"]) for row in [{"run": ""}, *rows]))
    for name in rows[0] if rows else ():
        if name != "run":
            table.add_row(name, *(_cell(row[name]) for row in rows))
    return table


def _table(rows: list[Row]) -> Table:
    """Lay out rows as rows."""
    table = Table(*(rows[0] if rows else ["nothing to compare"]))
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.3f}".rstrip("0").rstrip(".")
