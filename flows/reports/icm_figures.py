"""The figures of an ICM report: the search, its cost, its labels, and the accuracy of ways of prompting.

Pure functions from rows to SVG; nothing is told by colour alone.
"""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from flows.reports.calibration import CalibrationBin, calibration, expected_calibration_error
from flows.reports.lines import (
    COSTS_AVERAGED,
    Line,
    by_batch,
    corners,
    costs_of_changes,
    lines,
    mean_line,
    running_mean,
)
from flows.reports.svg import ACCENT, FAINT, INK, MIDDLE, canvas, legend_below, note, tidy, to_svg

NAMED_BATCHES = 4
"""Up to so many batches have a line style each; more are thin lines around their mean."""

TWO_DECADES = 100
"""Costs that differ by more than this factor are drawn on a logarithmic scale."""

CROWD = 500
"""From so many accepted changes on their dots are small."""

ENERGY_UNIT = "alpha · mean log-odds\n- inconsistent pairs (nats)"

_NAMED_LOOKS = ((ACCENT, "-"), (INK, "--"), (MIDDLE, "-."), (INK, ":"))
_FILLS = {
    "right": (ACCENT, "", "white"),
    "accepted": (ACCENT, "", "white"),
    "wrong": ("white", "////", INK),
    "rejected": ("white", "////", INK),
    "no gold label": (FAINT, "---", "white"),
}
"""{kind: (face, hatch, edge)} of the pieces of a bar."""


def search_figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw energy, accuracy, temperature and the number of labelled claims over iterations.

    One line a batch. The mean of many batches is drawn as far as all of them have come.
    """
    panels = (
        ("Energy", "energy", ENERGY_UNIT),
        ("Accuracy of the labels so far", "accuracy", "share equal to gold"),
        ("Temperature", "temperature", "falls with accepted changes"),
        ("Labelled claims", "pool_size", "claims"),
    )
    with canvas(6.6) as figure:
        for axes, (title, field, unit) in zip(figure.subplots(2, 2).flat, panels, strict=True):
            tidy(axes, title, unit, "iteration")
            axes.xaxis.set_major_locator(_whole_numbers())
            if field == "pool_size":
                axes.yaxis.set_major_locator(_whole_numbers())
            if field == "energy" and len(by_batch(rows)) == 1:
                _draw_rejected(axes, rows)
            _draw_lines(axes, rows, "iteration", field)
        legend_below(figure, columns=4)
        return to_svg(figure, "search", "The search, over iterations", _told(rows))


def tokens_figure(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Draw energy and accuracy over the tokens computed, and what each accepted change cost.

    A fourth panel, where rows have `evaluated`, shows how much of the pool was asked before a decision.
    None where no tokens are known, or none were computed: all answers came from a store.
    """
    most = max((row.get("tokens_computed") or 0 for row in rows), default=0)
    if not most:
        return None
    divisor, unit = _scale(most)
    scaled = [
        {**row, "tokens": None if (tokens := row.get("tokens_computed")) is None else tokens / divisor}
        for row in rows
    ]
    evaluated = [row for row in rows if row.get("evaluated") is not None]
    with canvas(6.6) as figure:
        panels = figure.subplot_mosaic(
            [["energy", "accuracy"], ["cost", "evaluated" if evaluated else "cost"]]
        )
        for field, title, upwards in (
            ("energy", "Energy by tokens", ENERGY_UNIT),
            ("accuracy", "Accuracy by tokens", "share equal to gold"),
        ):
            tidy(panels[field], title, upwards, f"computed in the batch so far ({unit})")
            _draw_lines(panels[field], scaled, "tokens", field)
            panels[field].set_xlim(left=0)
        _draw_costs(panels["cost"], costs_of_changes(rows))
        if evaluated:
            _draw_evaluated(panels["evaluated"], evaluated)
        legend_below(figure, columns=4)
        return to_svg(figure, "tokens", "The search, over tokens computed", _told(rows))


def labels_figure(label_rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw how sure the model is of the labels and, where gold is known, how far that can be believed.

    Left a histogram of margins, in nats. Right the calibration: claims in bins of the probability that the
    model gives their label, sigmoid(margin), against the share equal to gold, with 95 % Wilson intervals and
    the expected calibration error (`expected_calibration_error` says how it is defined).
    """
    labelled = [row for row in label_rows if row.get("margin") is not None]
    bins = calibration(label_rows)
    error = expected_calibration_error(bins)
    told = f"{len(labelled)} of {len(label_rows)} claims have a label."
    with canvas(4.2) as figure:
        panels = list(figure.subplots(1, 2 if bins else 1, squeeze=False).flat)
        heading = f"Margins of the labels ({len(labelled)} of {len(label_rows)} claims have one)"
        tidy(panels[0], heading, "claims", "log-odds of the label found, given all others (nats)")
        _draw_margins(panels[0], labelled)
        if error is not None:
            tidy(
                panels[1], f"Calibration: expected error (ECE) {error:.3f}", "share equal to gold",
                "probability that the model gives the label",
            )  # fmt: skip
            _draw_calibration(panels[1], bins)
            right, total = sum(found.right for found in bins), sum(found.count for found in bins)
            told += f" {right} of {total} equal gold. Expected calibration error {error:.3f}."
        legend_below(figure, columns=4)
        return to_svg(figure, "labels", "Certainty of the labels", told)


def accuracy_figure(ways: Sequence[Mapping[str, Any]]) -> str | None:
    """Draw the accuracy of ways of prompting on the test claims, each with its interval.

    The axis need not begin at 0: dots, unlike bars, have no length to be misread.

    Args:
        ways: method, accuracy, low and high (the ends of the interval), demonstrations (how many); shares
            in 0..1. Drawn in this order, the first on top.

    Returns:
        None where there are no ways.
    """
    if not ways:
        return None
    places = range(len(ways))
    with canvas(1.1 + 0.36 * len(ways)) as figure:
        axes = figure.subplots()
        tidy(
            axes, "Accuracy on the test claims", "", "share equal to gold, with its interval; dotted: chance"
        )
        axes.axvline(0.5, color=INK, linewidth=1, linestyle=":")
        axes.hlines(places, [way["low"] for way in ways], [way["high"] for way in ways], colors=INK)
        axes.plot([way["accuracy"] for way in ways], places, "o", color=ACCENT, markersize=7, clip_on=False)
        axes.set_yticks(places, [f"{way['method']} ({_counted(way['demonstrations'])})" for way in ways])
        axes.set(ylim=(len(ways) - 0.4, -0.6), xlim=_around_half(ways))
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole per cents
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for place, way in zip(places, ways, strict=True):
            axes.text(
                1.04, place, f"{way['accuracy']:.1%}  ({way['low']:.1%} to {way['high']:.1%})",
                transform=axes.get_yaxis_transform(), va="center", color=INK,
            )  # fmt: skip
        told = "; ".join(f"{way['method']} {way['accuracy']:.1%}" for way in ways)
        return to_svg(figure, "accuracy", "Accuracy of ways of prompting", f"{told}. Chance is 50 %.")


def _draw_lines(axes: Axes, rows: Sequence[Mapping[str, Any]], across: str, field: str) -> None:
    """Draw a field, one line a batch; a batch looks alike in all panels, whichever it is missing in."""
    batches = list(by_batch(rows))
    several = lines(rows, across, field)
    if not several:
        no_gold = field == "accuracy" and rows and all(row["accuracy"] is None for row in rows)
        note(axes, "no gold labels" if no_gold else "not known")
        return
    many = len(batches) > NAMED_BATCHES
    for batch, line in several.items():
        colour, style = (FAINT, "-") if many else _NAMED_LOOKS[batches.index(batch)]
        label = "each batch" if many else f"batch {batch}" if len(batches) > 1 else "current labels"
        _step(axes, line, color=colour, linestyle=style, linewidth=0.7 if many else 1.4, label=label)
    if many:
        _draw_mean(axes, list(several.values()))
    if field == "accuracy":
        axes.set_ylim(-0.03, 1.03)
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=":", label="chance")


def _draw_mean(axes: Axes, several: Sequence[Line]) -> None:
    mean = mean_line(several)
    if mean:
        _step(axes, mean, color=ACCENT, linewidth=2.2, label="mean as far as all batches go")
        return
    axes.set_title("no mean: a batch ends before another begins", loc="right", fontsize=8, color=INK)


def _step(axes: Axes, line: Line, **look: Any) -> None:  # noqa: ANN401 - what matplotlib takes
    shown = corners(line)
    alone = {"marker": "o", "markersize": 4} if len(shown) == 1 else {}
    axes.step([x for x, _ in shown], [y for _, y in shown], where="post", **alone, **look)


def _draw_rejected(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    rejected = [
        (row["iteration"], row["proposed_energy"])
        for row in rows
        if row["outcome"] == "rejected" and row["proposed_energy"] is not None
    ]
    if rejected:
        axes.scatter(*zip(*rejected, strict=True), s=7, color=FAINT, label="rejected proposals")


def _draw_costs(axes: Axes, costs: Line) -> None:
    tidy(axes, "Cost of accepted changes", "", "accepted changes in the batch so far")
    if not costs:
        note(axes, "no accepted change whose tokens are known")
        return
    divisor, unit = _scale(max(cost for _, cost in costs))
    costs = [(number, cost / divisor) for number, cost in costs]
    paid = [(number, cost) for number, cost in costs if cost > 0]
    free = [number for number, cost in costs if cost <= 0]
    axes.set_ylabel(f"computed since the\none before ({unit})")
    axes.xaxis.set_major_locator(_whole_numbers())
    if paid:
        axes.scatter(
            *zip(*paid, strict=True), s=9 if len(paid) < CROWD else 4, color=FAINT, label="accepted change"
        )
    floor = _set_cost_scale(axes, [cost for _, cost in paid])
    if free:
        axes.scatter(free, [floor] * len(free), s=14, marker="v", color=INK, label="at no tokens")
    mean = [(number, cost) for number, cost in running_mean(costs) if cost >= floor]
    axes.plot(
        [number for number, _ in mean], [cost for _, cost in mean], color=ACCENT, linewidth=2,
        label=f"running mean over {COSTS_AVERAGED} changes",
    )  # fmt: skip


def _set_cost_scale(axes: Axes, paid: Sequence[float]) -> float:
    """Take a logarithmic scale if the costs ask for one, and return where on it nothing is drawn."""
    if not paid or max(paid) <= TWO_DECADES * min(paid):
        return 0.0
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return min(paid) / 2


def _draw_evaluated(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    tidy(axes, "Asked before a decision", "proposals", "share of the pool")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(_whole_numbers())
    shares = {
        outcome: [row["evaluated"] for row in rows if row["outcome"] == outcome]
        for outcome in ("accepted", "rejected")
    }
    _stack(axes, shares, [number / 20 for number in range(21)])


def _draw_margins(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        note(axes, "no claim has a label")
        return
    margins: dict[str, list[float]] = {"wrong": [], "right": [], "no gold label": []}
    for row in rows:
        gold = row.get("gold")
        kind = "no gold label" if gold is None else "right" if row["label"] == gold else "wrong"
        margins[kind].append(row["margin"])
    axes.yaxis.set_major_locator(_whole_numbers())
    _stack(axes, margins, _edges([row["margin"] for row in rows]))
    axes.axvline(0, color=INK, linewidth=1, linestyle=":")


def _stack(axes: Axes, values: Mapping[str, Sequence[float]], edges: Sequence[float]) -> None:
    """Draw one bar on another, the first kind lowest; kinds without a value have no bar and no name."""
    bottoms = [0] * (len(edges) - 1)
    for kind, mine in values.items():
        if not mine:
            continue
        face, hatch, edge = _FILLS[kind]
        counts = _counts(mine, edges)
        axes.bar(
            edges[:-1], counts, width=edges[1] - edges[0], align="edge", bottom=bottoms, linewidth=0.6,
            facecolor=face, hatch=hatch, edgecolor=edge, label=f"{kind} ({len(mine)})",
        )  # fmt: skip
        bottoms = [below + count for below, count in zip(bottoms, counts, strict=True)]


def _draw_calibration(axes: Axes, bins: Sequence[CalibrationBin]) -> None:
    accuracies = [found.accuracy for found in bins]
    below = [found.accuracy - found.interval[0] for found in bins]
    above = [found.interval[1] - found.accuracy for found in bins]
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="as often right as sure")
    axes.errorbar(
        [found.confidence for found in bins], accuracies, yerr=[below, above],
        fmt="o", color=ACCENT, ecolor=INK, elinewidth=1, capsize=2.5, markersize=5,
        label="labels of a bin, with 95 % interval",
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.16))
    shares = [number / 5 for number in range(6)]
    axes.set_yticks([*shares, 1.1], [*(f"{share:.1f}" for share in shares), "claims"])
    for found in bins:
        axes.text((found.start + found.end) / 2, 1.1, str(found.count), ha="center", va="center", fontsize=8)


def _edges(values: Sequence[float], wanted: int = 24) -> list[float]:
    """Return the edges of about `wanted` bins of a round width, one edge at 0, that hold all values."""
    low, high = min(0, *values), max(0, *values)
    rough = (high - low) / wanted or 1.0
    power = 10 ** math.floor(math.log10(rough))
    width = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    return [number * width for number in range(math.floor(low / width), math.floor(high / width) + 2)]


def _counts(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    places = [min(bisect_right(edges, value), len(edges) - 1) - 1 for value in values]
    return [places.count(place) for place in range(len(edges) - 1)]


def _scale(most: float) -> tuple[float, str]:
    for divisor, unit in ((1e6, "million tokens"), (1e3, "thousand tokens")):
        if most >= 2 * divisor:
            return divisor, unit
    return 1.0, "tokens"


def _around_half(ways: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return tenths around all intervals and chance."""
    low, high = min(0.4, *(way["low"] for way in ways)), max(0.6, *(way["high"] for way in ways))
    return math.floor(10 * low) / 10, math.ceil(10 * high) / 10


def _counted(demonstrations: int) -> str:
    return f"{demonstrations} demonstration{'' if demonstrations == 1 else 's'}"


def _whole_numbers() -> MaxNLocator:
    return MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how each batch began and ended, for those who cannot see the lines."""
    return " ".join(
        f"Batch {batch}: {mine[-1]['iteration']} iterations, "
        f"{sum(row['outcome'] == 'accepted' for row in mine)} accepted changes, "
        f"energy {mine[0]['energy']:.2f} to {mine[-1]['energy']:.2f}, "
        f"accuracy {_share(mine[0]['accuracy'])} to {_share(mine[-1]['accuracy'])}, "
        f"{mine[-1]['pool_size']} claims labelled{_computed(mine)}."
        for batch, mine in by_batch(rows).items()
    )


def _share(accuracy: float | None) -> str:
    return "not known" if accuracy is None else f"{accuracy:.1%}"


def _computed(rows: Sequence[Mapping[str, Any]]) -> str:
    tokens = max((row.get("tokens_computed") or 0 for row in rows), default=0)
    return f", {tokens} tokens computed" if tokens else ""
