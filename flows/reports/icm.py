"""The HTML report of an ICM run: one file, no script, no address of anything elsewhere."""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flows.results import ICMResult, history, label_rows

INK, ACCENT, FAINT = "#1f2933", "#1b6ca8", "#9aa5b1"


def render(result: ICMResult, costs: Sequence[Mapping[str, object]] = ()) -> str:
    """Return the report as HTML; `costs` are the lines of costs.jsonl, one for each run so far."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    claims = [claim for batch in result.batches for claim in batch.claims]
    rows = [
        {**row, "claim": claim}
        for row, claim in zip(label_rows(result), claims, strict=True)
    ]  # fmt: skip
    return environment.get_template("icm.html.j2").render(
        result=result,
        parameters=result.parameters.model_dump(mode="json", exclude_none=True),
        figure=Markup(search_figure(result)),  # noqa: S704 - our own SVG
        costs=costs,
        labels=sorted(rows, key=lambda row: (row["margin"] is None, row["margin"])),
        outcomes=result.outcomes(),
    )


def search_figure(result: ICMResult) -> str:
    """Draw energy, accuracy, temperature and pool size over iterations, as SVG."""
    rows = history(result)
    batches = [[row for row in rows if row["batch"] == 1 + place] for place in range(len(result.batches))]
    panels = [
        ("Energy", "energy", "alpha · mean log-odds - inconsistent pairs (nats)"),
        ("Accuracy of the labels so far", "accuracy", "share equal to gold"),
        ("Temperature", "temperature", "falls with accepted changes"),
        ("Labelled claims", "pool_size", "claims"),
    ]
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    for axes, (title, field, unit) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        values = [row[field] for row in rows]
        if field == "energy":
            _mark_rejected(axes, rows)
        if all(value is not None for value in values):
            for batch in batches:
                axes.step(
                    [row["iteration"] for row in batch],
                    [row[field] for row in batch],
                    where="post",
                    color=ACCENT,
                    linewidth=1.4,
                    alpha=1.0 if len(batches) == 1 else 0.5,
                )
        else:
            axes.text(0.5, 0.5, "no gold labels", ha="center", transform=axes.transAxes, color=FAINT)
        if field == "accuracy":
            axes.set_ylim(-0.03, 1.03)
            axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if field == "pool_size":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        axes.set_ylabel(unit, fontsize=8, color=INK)
        axes.set_xlabel("iteration", fontsize=8, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _mark_rejected(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    rejected = [(row["iteration"], row["proposed_energy"]) for row in rows if row["outcome"] == "rejected"]
    if rejected:
        axes.scatter(*zip(*rejected, strict=True), s=7, color=FAINT, label="rejected proposals")
        axes.legend(fontsize=8, frameon=False, loc="best")
