"""How far a model's certainty about found labels can be believed, counted against gold. Pure arithmetic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

Z_95 = 1.959963984540054
"""Standard deviations to each side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Claims whose label the model gives a probability within [start, end); the last bin has its end too."""

    start: float
    end: float
    count: int
    right: int
    """How many labels equal gold."""
    confidence: float
    """Mean probability that the model gives the assigned labels."""

    @property
    def accuracy(self) -> float:
        """Share of labels equal to gold."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy: binomial, after Wilson (1927), which holds at 0 and 1 too."""
        spread = Z_95**2 / self.count
        centre = (self.accuracy + spread / 2) / (1 + spread)
        half = math.sqrt(self.accuracy * (1 - self.accuracy) * spread + spread**2 / 4) / (1 + spread)
        return min(self.accuracy, max(0.0, centre - half)), max(self.accuracy, min(1.0, centre + half))


def probability(margin: float) -> float:
    """Turn log-odds of a label, in nats, into its probability among the two labels."""
    odds = math.exp(-abs(margin))
    return 1 / (1 + odds) if margin >= 0 else odds / (1 + odds)


def calibration(label_rows: Sequence[Mapping[str, Any]], bins: int = 10) -> list[CalibrationBin]:
    """Sort claims into equally wide bins by the probability of their label, and count those equal to gold.

    The range is 0 to 1, not 0.5 to 1: a search may leave a claim with a label that the others speak against.

    Args:
        label_rows: Rows with label, gold and margin (nats); those where one is None are left out.
        bins: How many bins there are from 0 to 1.

    Returns:
        The bins that hold a claim, by probability.

    Raises:
        ValueError: There is not at least one bin.
    """
    if bins < 1:
        raise ValueError(f"calibration needs at least 1 bin, not {bins}")
    found: dict[int, list[tuple[float, bool]]] = {}
    for row in label_rows:
        if any(row.get(field) is None for field in ("label", "gold", "margin")):
            continue
        believed = probability(row["margin"])
        found.setdefault(min(int(believed * bins), bins - 1), []).append(
            (believed, row["label"] == row["gold"])
        )
    return [
        CalibrationBin(
            start=number / bins,
            end=(number + 1) / bins,
            count=len(claims),
            right=sum(right for _, right in claims),
            confidence=fmean(believed for believed, _ in claims),
        )
        for number, claims in sorted(found.items())
    ]


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float | None:
    """Mean distance of accuracy from confidence, bins weighted by their claims; 0 is best, None without bins.

    ECE = sum over bins of count / total * |accuracy - confidence|, as in Naeini et al. (AAAI 2015) and
    Guo et al. (arXiv 1706.04599).
    """
    total = sum(found.count for found in bins)
    if not total:
        return None
    return sum(found.count * abs(found.accuracy - found.confidence) for found in bins) / total
