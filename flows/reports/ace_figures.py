"""The figures of an ACE report: how playbook and accuracy grew, and the methods compared.

Pure functions to SVG; nothing is told by colour alone.
"""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

import math
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from flows.reports.ace_views import EvaluationView, MethodView, Split, StepView
from flows.reports.inline import SURROGATE
from flows.reports.svg import ACCENT, FAINT, INK, MIDDLE, canvas, legend_below, note, tidy, to_svg

AVERAGED_ROWS = 20
"""Shares of train rows are taken over the last steps that have so many: one row is right or wrong."""
NAME_CHARACTERS = 40
NAMED_EPOCHS = 20
"""More are not marked."""

_SPLITS: dict[Split, tuple[str, str, str]] = {
    "validation": ("o", "-", ACCENT),
    "test": ("D", "", INK),
    "window": ("s", ":", INK),
}
"""{split: (mark, line, colour)}."""


def growth_figure(
    steps: Sequence[StepView],
    evaluations: Sequence[EvaluationView],
    *,
    bullets: Sequence[int],
    best_step: int | None = None,
) -> str:
    """Draw bullets, tokens and accuracy over the steps of a run, under way or ended.

    Args:
        steps: So far, by number.
        evaluations: So far.
        bullets: How many there were before the first step and after each, as `ace_replay.bullet_counts` says.
        best_step: Marked, where it is known.
    """
    numbers = [step.number for step in steps]
    with canvas(5.6) as figure, _any_names():
        panels = figure.subplot_mosaic(
            [["bullets", "tokens"], ["accuracy", "accuracy"]], height_ratios=[1, 1.5]
        )
        tidy(panels["bullets"], "Bullets", "", "step")
        _draw_count(panels["bullets"], [0, *numbers], bullets)
        tidy(panels["tokens"], "Tokens of the playbook", "", "step")
        _draw_count(panels["tokens"], numbers, [step.tokens for step in steps])
        tidy(panels["accuracy"], "Accuracy", "share right", "step")
        _draw_accuracy(panels["accuracy"], steps, evaluations)
        for axes in panels.values():
            _mark_times(axes, steps, best_step)
        legend_below(figure, columns=3)
        told = _growth_told(steps, evaluations, bullets, best_step)
        return to_svg(figure, "growth", "Playbook and accuracy over the steps", told)


def methods_figure(methods: Sequence[MethodView]) -> str | None:
    """Draw the share right of each method with its interval, the first on top; None where nothing was asked.

    The axis need not begin at 0: dots, unlike bars, have no length to be misread.
    """
    drawn = [(method, share) for method in methods if (share := method.share) is not None]
    if not drawn:
        return None
    places = range(len(drawn))
    with canvas(1.1 + 0.36 * len(drawn)) as figure, _any_names():
        axes = figure.subplots()
        tidy(axes, "Accuracy of the methods", "", "share right, with its 95 % interval")
        lows, highs = [method.low for method, _ in drawn], [method.high for method, _ in drawn]
        axes.hlines(places, lows, highs, colors=INK)
        axes.plot([share for _, share in drawn], places, "o", color=ACCENT, markersize=7, clip_on=False)
        axes.set_yticks(places, [_shown(method.name) for method, _ in drawn])
        low, high = math.floor(10 * min(lows)) / 10, math.ceil(10 * max(highs)) / 10
        axes.set(ylim=(len(drawn) - 0.4, -0.6), xlim=(max(0, low), min(1, max(high, low + 0.1))))
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for place, (method, share) in enumerate(drawn):
            axes.text(
                1.04, place, f"{share:.1%}  ({method.low:.1%} to {method.high:.1%})",
                transform=axes.get_yaxis_transform(), va="center", color=INK,
            )  # fmt: skip
        told = "; ".join(f"{_shown(method.name)} {share:.1%}" for method, share in drawn)
        return to_svg(figure, "methods", "Accuracy of the methods", f"{told}.")


def running_share(steps: Sequence[StepView], corrects: Sequence[int]) -> list[tuple[int, float]]:
    """Return (step, share right of the rows of the last steps that have `AVERAGED_ROWS` or more)."""
    window: deque[tuple[int, int]] = deque()
    right = rows = 0
    shares: list[tuple[int, float]] = []
    for step, correct in zip(steps, corrects, strict=True):
        window.append((correct, len(step.rows)))
        right, rows = right + correct, rows + len(step.rows)
        while rows - window[0][1] >= AVERAGED_ROWS:
            gone_right, gone_rows = window.popleft()
            right, rows = right - gone_right, rows - gone_rows
        if rows:
            shares.append((step.number, right / rows))
    return shares


def _draw_count(axes: Axes, numbers: Sequence[int], counts: Sequence[int]) -> None:
    if not numbers:
        note(axes, "no step yet")
        return
    axes.step(numbers, counts, where="post", color=ACCENT, linewidth=1.6, marker=_mark(numbers), markersize=4)
    axes.set_ylim(bottom=0, top=max(1, *counts) * 1.08)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))


def _draw_accuracy(
    axes: Axes, steps: Sequence[StepView], evaluations: Sequence[EvaluationView]
) -> None:  # fmt: skip
    if not steps and not evaluations:
        note(axes, "nothing was answered yet")
        return
    for corrects, style, label in (
        ([step.correct_first for step in steps], "--", "first"),
        ([step.correct_last for step in steps], "-", "last"),
    ):
        line = running_share(steps, corrects)
        axes.plot(
            [x for x, _ in line], [y for _, y in line], style, color=MIDDLE, linewidth=1.2,
            label=f"train rows, {label} answer (last {AVERAGED_ROWS} rows or more)",
            marker=_mark(line), markersize=4,
        )  # fmt: skip
    for split, (mark, style, colour) in _SPLITS.items():
        mine = sorted(
            (one for one in evaluations if one.split == split and one.total), key=lambda one: one.step
        )
        if mine:
            shares = [one.right / one.total for one in mine]
            below = [max(0.0, share - one.low) for one, share in zip(mine, shares, strict=True)]
            above = [max(0.0, one.high - share) for one, share in zip(mine, shares, strict=True)]
            axes.errorbar(
                [one.step for one in mine], shares, yerr=[below, above], fmt=mark, linestyle=style,
                color=colour, ecolor=colour, elinewidth=1, capsize=2.5, markersize=5, zorder=3,
                label=f"{split}, with 95 % interval",
            )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _mark(points: Sequence[object]) -> str:
    """Return how points are marked: one alone makes no line."""
    return "o" if len(points) == 1 else ""


def _mark_times(axes: Axes, steps: Sequence[StepView], best_step: int | None) -> None:
    """Say where epochs began and which step was best."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    last = steps[-1].number if steps else 0
    axes.set_xlim(-0.02 * max(1, last), 1.02 * max(1, last))
    begun = [now.number for before, now in pairwise(steps) if now.epoch != before.epoch]
    for number in begun if len(begun) < NAMED_EPOCHS else ():
        axes.axvline(number - 0.5, color=FAINT, linewidth=0.8, label="a new epoch")
    if best_step is not None and steps:
        axes.axvline(best_step, color=INK, linewidth=1, linestyle="-.", label="best playbook")


def _growth_told(
    steps: Sequence[StepView],
    evaluations: Sequence[EvaluationView],
    bullets: Sequence[int],
    best_step: int | None,
) -> str:
    """Say what the lines do, for those who cannot see them."""
    if not steps:
        return "No step yet."
    grown = f"Bullets: {bullets[0]} to {bullets[-1]}. Tokens: {steps[-1].tokens:,} at the end."
    told = [f"{len(steps)} steps. {grown}"]
    for split in _SPLITS:
        shares = [
            f"{one.right / one.total:.1%} after step {one.step}"
            for one in sorted(evaluations, key=lambda one: one.step)
            if one.split == split and one.total
        ]
        if shares:
            told.append(f"{split.capitalize()}: {shares[0]}{f', {shares[-1]}' if len(shares) > 1 else ''}.")
    if best_step is not None:
        told.append(f"Best playbook: after step {best_step}.")
    return " ".join(told)


def _shown(name: str) -> str:
    plain = " ".join(SURROGATE.sub("\ufffd", name).split())
    printable = "".join(one if one.isprintable() else "\ufffd" for one in plain)
    return printable if len(printable) <= NAME_CHARACTERS else printable[: NAME_CHARACTERS - 1] + "…"


@contextmanager
def _any_names() -> Generator[None]:
    """Draw names in any script: the font that measures them lacks letters that the reader's has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield
