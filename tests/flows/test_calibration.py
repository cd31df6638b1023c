"""Calibration, counted by hand."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.reports.calibration import calibration, expected_calibration_error, probability


def row(believed: float, *, right: bool, **fields: object) -> dict[str, Any]:
    return {"label": 1, "gold": int(right), "margin": math.log(believed / (1 - believed)), **fields}


def test_bins_and_error_counted_by_hand() -> None:
    """Four claims near 0.9, of which three are right, and one wrong at 0.2."""
    rows = [row(0.92, right=True), row(0.94, right=True), row(0.96, right=True), row(0.98, right=False)]
    low, high = calibration([*rows, row(0.25, right=False)])
    assert (low.start, low.end, low.count, low.right) == (0.2, 0.3, 1, 0)
    assert (high.start, high.end, high.count, high.right) == (0.9, 1.0, 4, 3)
    assert high.confidence == pytest.approx(0.95)
    assert expected_calibration_error([low, high]) == pytest.approx((0.25 + 4 * abs(0.75 - 0.95)) / 5)


def test_labels_against_gold_false_count_as_right_too() -> None:
    (found,) = calibration([row(0.85, right=True, label=0, gold=0), row(0.85, right=True, label=0)])
    assert (found.count, found.right) == (2, 1)


def test_claims_without_label_gold_or_margin_are_left_out() -> None:
    rows = [row(0.8, right=True, **{field: None}) for field in ("label", "gold", "margin")]
    rows.append({"label": 1, "margin": 2.0})
    assert calibration(rows) == []
    assert expected_calibration_error([]) is None


def test_bins_are_as_many_as_asked_for_and_the_last_has_its_end() -> None:
    rows = [row(0.75, right=True) | {"margin": margin} for margin in (-800.0, 0.0, 800.0)]
    assert [(found.start, found.end) for found in calibration(rows, bins=4)] == [
        (0, 0.25),
        (0.5, 0.75),
        (0.75, 1),
    ]
    with pytest.raises(ValueError, match="at least 1 bin, not 0"):
        calibration(rows, bins=0)


def test_interval_of_a_known_case() -> None:
    """8 of 10: Wilson's interval is 0.490 to 0.943."""
    (found,) = calibration([row(0.85, right=number < 8) for number in range(10)])
    assert found.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)


@given(total=st.integers(1, 60), right=st.integers(0, 60))
def test_interval_holds_the_accuracy_and_stays_a_share(total: int, right: int) -> None:
    (found,) = calibration([row(0.85, right=number < right) for number in range(total)])
    low, high = found.interval
    assert 0 <= low <= found.accuracy <= high <= 1
    assert low < high


@given(st.floats(-1e4, 1e4))
def test_probabilities_of_a_label_and_its_opposite_add_up_to_one(margin: float) -> None:
    assert probability(margin) + probability(-margin) == pytest.approx(1)
    assert (probability(margin) >= 0.5) == (margin >= 0) or abs(margin) < 1e-9
