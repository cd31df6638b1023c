"""The HTML report of an ICM run: one file, no script, no address of anything elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flows.reports.icm_figures import accuracy_figure, labels_figure, search_figure, tokens_figure
from flows.results import ICMResult, batch_rows, bootstrap_rows, costed_history, label_rows
from flows.ways import Way, ways


def render(result: ICMResult, costs: Sequence[Mapping[str, object]] = ()) -> str:
    """Return the report as HTML; `costs` are the lines of costs.jsonl, one for each run so far."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    rows = [
        {**row, "claim": claim}
        for row, claim in zip(label_rows(result), result.claims, strict=True)
    ]  # fmt: skip
    compared = ways(result)
    return environment.get_template("icm.html.j2").render(
        result=result,
        parameters=result.parameters.model_dump(mode="json", exclude_none=True),
        figures=_figures(result, compared),
        ways=compared,
        batches=batch_rows(result),
        rounds=bootstrap_rows(result),
        costs=costs,
        labels=sorted(rows, key=lambda row: (row["margin"] is None, row["margin"])),
        outcomes=result.outcomes(),
    )


def _figures(result: ICMResult, compared: Sequence[Way]) -> dict[str, Markup | None]:
    rows = costed_history(result, result.ledger)
    if not result.decided_early():  # how much was asked before a decision is all, then
        rows = [{**row, "evaluated": None} for row in rows]
    tests = [
        {
            "method": way.method,
            "accuracy": way.test.accuracy,
            "low": way.test.low,
            "high": way.test.high,
            "demonstrations": way.test.demonstrations,
        }
        for way in compared
        if way.test
    ]
    drawn = {
        "ways": accuracy_figure(tests),
        "search": search_figure(rows),
        "tokens": tokens_figure(rows),
        "labels": labels_figure(label_rows(result)),
    }
    return {name: None if svg is None else Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - our own SVG
