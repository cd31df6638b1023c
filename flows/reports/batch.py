"""The HTML report of a batch of prompts: one file, no script, no address of anything elsewhere."""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flows.batch_results import BatchResult
from flows.reports.gpu_figure import kv_figure
from tasks.batch.questions import Answer
from tasks.batch.rows import Row

INK, ACCENT = "#1f2933", "#1b6ca8"
SHOWN_CHARACTERS = 400
MAX_BINS = 40


def render(result: BatchResult, costs: Sequence[Mapping[str, object]] = ()) -> str:
    """Return the report as HTML; `costs` are the lines of costs.jsonl, one for each run so far."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    totals = result.totals
    cache_figure = kv_figure(result.samples)
    return environment.get_template("batch.html.j2").render(
        result=result,
        totals=totals,
        name=Path(result.parameters.input_path).name,
        parameters=result.parameters.model_dump(mode="json", exclude_none=True),
        figure=Markup(length_figure(totals.lengths)) if totals.lengths else None,  # noqa: S704 - our own SVG
        first=[_shown(answer) for answer in totals.first],
        failed=[_shown(answer) for answer in totals.first_failed],
        costs=costs,
        cache_figure=Markup(cache_figure) if cache_figure else None,  # noqa: S704 - our own SVG
    )


def _shown(answer: Answer) -> dict[str, object]:
    response = answer.response
    return {
        "row": answer.row.number,
        "sample": answer.sample,
        "asked": _cut(_question(answer.row)),
        "answer": _cut(response.text) if response else "",
        "finish_reason": response.finish_reason if response else "",
        "failure": answer.failure,
        "error": _cut(answer.error or ""),
    }


def _question(row: Row) -> str:
    if row.prompt is not None:
        return row.prompt
    if len(row.messages) == 1:
        return row.messages[0].content
    return " ".join(f"{message.role}: {message.content}" for message in row.messages)


def _cut(text: str) -> str:
    """Return the beginning of a text, its white space as single spaces."""
    text = " ".join(text[: 4 * SHOWN_CHARACTERS].split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def length_figure(lengths: Sequence[int]) -> str:
    """Draw how long the answers are, as SVG."""
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    axes = figure.subplots()
    bins = min(MAX_BINS, 1 + 2 * math.isqrt(len(lengths)), max(lengths) - min(lengths) + 1)
    axes.hist(lengths, bins=bins, color=ACCENT)
    axes.set_xlabel("characters of an answer", fontsize=8, color=INK)
    axes.set_ylabel("answers", fontsize=8, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # one where all are equally long
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
