"""Which of two labelings has more energy, told from a part of the pool.

The idea is that of Korattikara, Chen and Welling, "Austerity in MCMC Land: Cutting the Metropolis-Hastings
Budget" (ICML 2014): a Metropolis decision needs no number, only a sign, and a part of the data often gives it
with little doubt. The mean over a growing random part is compared with the threshold by a t test, corrected
for a finite population, until the sign is clear or all is known.

What is compared here is paired: the same claims under both labelings. A change of one label moves the margins
of others by little, so that differences vary far less than margins.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from tasks.icm.state import Labels

Margins = Mapping[int, float]
"""{uid: log-odds of the assigned label, in nats}"""

MIN_SAMPLE = 16
"""Fewer differences say too little of how differences are spread."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An estimate of a difference in mutual predictability, in nats."""

    estimate: float
    error: float
    """Its standard error."""
    degrees: int
    """Of freedom."""

    def says_more_than(self, threshold: float, doubt: float) -> bool | None:
        """Say whether the difference is above a threshold; None where that is not clear.

        Args:
            threshold: In nats.
            doubt: With which probability the answer may be wrong, if differences are about normal.
        """
        if self.error == 0:  # all alike: no sign of how much they differ elsewhere
            return None
        z = as_normal((self.estimate - threshold) / self.error, self.degrees)
        if abs(z) < NormalDist().inv_cdf(1 - doubt):
            return None
        return z > 0


def difference(
    one: Labels, other: Labels, sample: Collection[int], one_margins: Margins, other_margins: Margins
) -> Evidence:
    """Estimate how much more predictable one labeling is than another.

    Claims that do not have the same label in both are counted exactly; of the others, the sample stands for
    all.

    Args:
        one: A labeling.
        other: Another one.
        sample: At least two of the claims with the same label in both, drawn at random.
        one_margins: Under `one`, of the sample and of the claims that are not the same.
        other_margins: Likewise; where `one` labels more or fewer claims, of all that `other` labels.
    """
    same = {uid for uid, label in one.items() if other.get(uid) == label}
    exact = sum(one_margins[uid] for uid in one if uid not in same) / len(one)
    exact -= sum(other_margins[uid] for uid in other if uid not in same) / len(other)
    if len(one) != len(other):
        exact += (1 / len(one) - 1 / len(other)) * sum(other_margins[uid] for uid in same)
    differences = [(one_margins[uid] - other_margins[uid]) / len(one) for uid in sample]
    number, population = len(differences), len(same)
    left = 1 - (number - 1) / (population - 1)
    return Evidence(
        estimate=exact + population * fmean(differences),
        error=population * stdev(differences) / math.sqrt(number) * math.sqrt(left),
        degrees=number - 1,
    )


def as_normal(t: float, degrees: int) -> float:
    """Return the standard normal quantile that is as unlikely as `t` of Student's distribution, nearly.

    Wallace, "Bounds on Normal Approximations to Student's and the Chi-Square Distributions", Annals of
    Mathematical Statistics 30 (1959); from 15 degrees of freedom on within 0.01 up to z = 4.
    """
    size = math.sqrt(degrees * math.log1p(t * t / degrees)) * (8 * degrees + 1) / (8 * degrees + 3)
    return math.copysign(size, t)


def share_of_doubt(number: int, looks: int, doubt: float) -> float:
    """Divide a decision's doubt among its comparisons and their looks, so that all of it is never exceeded.

    The sum of 1 / (k (k + 1)) over all k is 1, so that a decision may take any number of comparisons.

    Args:
        number: Of the comparison within its decision, from 1.
        looks: How often it may look.
        doubt: Of the decision.
    """
    return doubt / (number * (number + 1)) / looks
