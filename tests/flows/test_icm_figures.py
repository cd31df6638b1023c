"""The figures of an ICM report: what they hold, that equal rows give equal ones, that they can be read."""

import math
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from flows.reports.icm_figures import accuracy_figure, labels_figure, search_figure, tokens_figure

SVG = "{http://www.w3.org/2000/svg}"
Rows = list[dict[str, Any]]


def searched(batches: int = 1, iterations: int = 24, **fields: object) -> Rows:
    """Every third iteration is accepted, every third rejected; the energy rises with the accepted ones."""
    rows: Rows = []
    for batch in range(1, batches + 1):
        for iteration in range(iterations + 1):
            accepted = iteration // 3
            outcome = "start" if not iteration else ("accepted", "unchanged", "rejected")[iteration % 3]
            rows.append(
                {
                    "batch": batch,
                    "iteration": iteration,
                    "outcome": outcome,
                    "claim": "a",
                    "label": 1,
                    "proposed_energy": -1.0 if outcome == "rejected" else None,
                    "energy": accepted + batch / 10,
                    "temperature": 10 / (1 + accepted),
                    "flips": accepted,
                    "pool_size": 8 + accepted,
                    "accuracy": 0.5 + accepted / 100,
                    "inconsistent_pairs": 0,
                    "label_mass": 0.9,
                    "tokens_computed": 1000 * iteration,
                    **fields,
                }
            )
    return rows


def labelled(margins: list[float], *, right: int, gold: int | None = 1) -> Rows:
    """Rows of the label True, of which the first `right` equal gold."""
    return [
        {
            "batch": 1,
            "id": str(number),
            "label": 1,
            "gold": gold if gold is None or number < right else 1 - gold,
            "score": margin,
            "margin": margin,
        }
        for number, margin in enumerate(margins)
    ]


def way(method: str = "found labels", **fields: object) -> dict[str, Any]:
    return {"method": method, "accuracy": 0.75, "low": 0.7, "high": 0.8, "demonstrations": 12, **fields}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


def panels(svg: str) -> int:
    return len(re.findall(r'id="[a-z]+-axes_\d+"', svg))


FIGURES: dict[str, Callable[[], str | None]] = {
    "search of one batch": lambda: search_figure(searched()),
    "search of many batches": lambda: search_figure(searched(7)),
    "tokens": lambda: tokens_figure(searched(2, evaluated=0.5)),
    "labels": lambda: labels_figure(labelled([3.0, 1.0, -0.5], right=2)),
    "accuracy": lambda: accuracy_figure([way()]),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_equal_rows_give_equal_bytes(draw: Callable[[], str | None]) -> None:
    assert draw() == draw()


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_figure_says_what_it_shows(draw: Callable[[], str | None]) -> None:
    svg = draw() or ""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    title, description = list(root)[:2]
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
    assert title.text
    assert description.text


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_load_and_run_nothing(draw: Callable[[], str | None]) -> None:
    svg = draw() or ""
    assert "<script" not in svg
    assert not re.search(r'href="(?!#)|url\((?!#)|@import', svg)


def test_names_of_figures_on_one_page_do_not_clash_and_lead_somewhere() -> None:
    page = "".join(draw() or "" for name, draw in FIGURES.items() if name != "search of one batch")
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', page)) <= set(ids)


def test_names_from_users_are_text_and_no_markup() -> None:
    evil = '<script>alert("$x$")</script> & $\\frac$ id="x"'
    svg = accuracy_figure([way(evil)]) or ""
    assert "<script" not in svg
    assert f"{evil} (12 demonstrations)" in texts(svg)


def test_search_of_one_batch_has_its_rejected_proposals() -> None:
    svg = search_figure(searched())
    assert panels(svg) == 4
    assert {"current labels", "rejected proposals", "chance"} <= set(texts(svg))
    assert len(re.findall(r'<use [^>]*style="fill: #9aa5b1', svg)) == 8 + len(["in the legend"])


@pytest.mark.parametrize("batches", [2, 4])
def test_few_batches_have_a_name_each(batches: int) -> None:
    shown = texts(search_figure(searched(batches)))
    assert [text for text in shown if text.startswith("batch ")] == [f"batch {n + 1}" for n in range(batches)]
    assert "rejected proposals" not in shown


def test_many_batches_are_drawn_around_their_mean() -> None:
    shown = texts(search_figure(searched(11)))
    assert {"each batch", "mean as far as all batches go"} <= set(shown)
    assert not any(text.startswith("batch ") for text in shown)


def test_many_batches_that_share_no_tokens_have_no_mean_and_say_so() -> None:
    """One batch has found most in the store and ends before another has paid for its seeds."""
    rows = [row | {"tokens_computed": row["iteration"] + 100 * row["batch"]} for row in searched(5)]
    shown = texts(tokens_figure(rows) or "")
    assert shown.count("no mean: a batch ends before another begins") == 2
    assert "mean as far as all batches go" not in shown
    assert "no mean: a batch ends before another begins" not in texts(tokens_figure(searched(5)) or "")


def test_search_that_did_nothing_is_a_point_in_each_panel() -> None:
    svg = search_figure(searched(iterations=0))
    assert panels(svg) == 4
    assert "Batch 1: 0 iterations, 0 accepted changes" in svg
    ticks = [text for text in texts(svg) if re.fullmatch(r"-?[\d.]+", text)]
    assert ticks.count("0") == 4, "no iterations between whole numbers"


def test_search_without_gold_or_rows_says_so() -> None:
    assert texts(search_figure(searched(accuracy=None))).count("no gold labels") == 1
    assert texts(search_figure([])).count("not known") == 4


def test_a_batch_looks_alike_where_another_is_missing() -> None:
    """Of two batches only the second has tokens: its lines stay dashed."""
    rows = [row | ({"tokens_computed": None} if row["batch"] == 1 else {}) for row in searched(2)]
    svg = tokens_figure(rows) or ""
    assert "batch 2" in texts(svg)
    assert "batch 1" not in texts(svg)
    assert "stroke-dasharray: 5.18,2.24" in svg


@pytest.mark.parametrize(
    "rows",
    [[], searched(tokens_computed=None), searched(tokens_computed=0)],
    ids=["no rows", "unknown", "none computed"],
)
def test_no_figure_without_tokens(rows: Rows) -> None:
    assert tokens_figure(rows) is None


def test_rows_without_the_field_have_no_tokens() -> None:
    assert (
        tokens_figure([{k: v for k, v in row.items() if k != "tokens_computed"} for row in searched()])
        is None
    )


def test_tokens_come_in_readable_units() -> None:
    def unit(most: int) -> str:
        rows = searched(iterations=3)
        rows[-1]["tokens_computed"] = most
        return next(t for t in texts(tokens_figure(rows) or "") if t.startswith("computed in the batch"))

    assert unit(1_999 + 2_000).endswith("(thousand tokens)")
    assert unit(5_000_000).endswith("(million tokens)")
    for row in (rows := searched(iterations=3)):
        row["tokens_computed"] /= 1000
    assert any("so far (tokens)" in text for text in texts(tokens_figure(rows) or ""))


def test_shares_asked_are_a_panel_where_they_are_known() -> None:
    assert panels(tokens_figure(searched()) or "") == 3
    svg = tokens_figure(searched(evaluated=0.25)) or ""
    assert panels(svg) == 4
    assert {"accepted (8)", "rejected (8)"} <= set(texts(svg))


def test_costs_over_two_decades_are_on_a_logarithmic_scale() -> None:
    """The ticks tell; a change at no tokens has no place on it and a mark of its own."""
    even = searched(iterations=12)
    uneven = searched(iterations=12)
    for row, tokens in zip(
        uneven, [0, 0, 0, 10, 10, 10, 10, 10, 10, 2_000, 2_000, 2_000, 30_000], strict=True
    ):
        row["tokens_computed"] = tokens
    assert "at no tokens" not in texts(tokens_figure(even) or "")
    shown = texts(tokens_figure(uneven) or "")
    assert {"0.01", "0.1", "1", "10", "at no tokens"} <= set(shown)
    assert not {"0.01", "0.1"} & set(texts(tokens_figure(even) or ""))


def test_labels_are_counted_by_right_and_wrong_and_the_error_is_a_number() -> None:
    """Two labels at probability 0.75, one right: off by 0.25."""
    rows = [*labelled([math.log(3)] * 2, right=1), *labelled([1.0, 2.0, 3.0], right=0, gold=None)]
    rows.append({"batch": 1, "id": "u", "label": None, "gold": 1, "score": None, "margin": None})
    svg = labels_figure(rows)
    assert panels(svg) == 2
    assert {
        "wrong (1)", "right (1)", "no gold label (3)",
        "Margins of the labels (5 of 6 claims have one)", "Calibration: expected error (ECE) 0.250",
    } <= set(texts(svg))  # fmt: skip
    assert "1 of 2 equal gold. Expected calibration error 0.250." in svg


def test_without_gold_there_is_only_the_histogram() -> None:
    svg = labels_figure(labelled([1.0, 2.0], right=0, gold=None))
    assert panels(svg) == 1
    assert "Calibration" not in svg
    assert "no gold label (2)" in texts(svg)


@pytest.mark.parametrize("margins", [[0.0], [-11.5, 11.5], [2.0, 2.0], [1e-9]])
def test_any_margins_can_be_drawn(margins: list[float]) -> None:
    assert f"right ({len(margins)})" in texts(labels_figure(labelled(margins, right=len(margins))))


def test_labels_that_nobody_gave_are_said_to_be_none() -> None:
    assert "no claim has a label" in texts(labels_figure([]))


def test_accuracy_of_each_way_is_also_text() -> None:
    shown = texts(accuracy_figure([way("zero-shot", demonstrations=1, accuracy=0.6, low=0.2), way()]) or "")
    assert {
        "zero-shot (1 demonstration)",
        "60.0%  (20.0% to 80.0%)",
        "found labels (12 demonstrations)",
    } <= set(shown)
    assert {"20%", "80%"} <= set(shown), "the axis holds all intervals"
    assert accuracy_figure([]) is None


def test_dots_at_the_ends_of_the_scale_are_whole() -> None:
    svg = accuracy_figure([way(accuracy=1.0, high=1.0), way(accuracy=0.0, low=0.0)]) or ""
    [dots] = re.findall(r"(<g[^>]*>)\s*<use[^>]*fill: #1b6ca8", svg)
    assert "clip-path" not in dots
