"""Which of two labelings has more energy, told from a part of the pool.

The idea is that of Korattikara, Chen and Welling, "Austerity in MCMC Land: Cutting the Metropolis-Hastings
Budget" (ICML 2014): a Metropolis decision needs no number, only a sign, and a part of the data often gives it
with little doubt. The mean over a growing random part is compared with the threshold by a t test, corrected
for a finite population, until the sign is clear or all is known.

What is compared here is paired: the same claims under both labelings. A change of one label moves the margins
of most others by little, so that differences vary far less than margins. It moves those of the claims about
the same question most, which a part could miss: they are counted exactly, as the changed claims are.
"""

import itertools
import math
import random
from collections.abc import Collection, Mapping, Sequence
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


def growing_parts(claims: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Return random parts of some claims, each within the next: MIN_SAMPLE, twice that, up to half of all.

    Whatever the order of contexts. A subtree would be a cheaper part for a server, but its claims are shown a
    changed one at the same place, so that their differences are alike.
    """
    shuffled = list(claims)
    rng.shuffle(shuffled)
    sizes = (MIN_SAMPLE << doubled for doubled in itertools.count())
    return [shuffled[:size] for size in itertools.takewhile(lambda size: 2 * size <= len(claims), sizes)]


def difference(
    one: Labels,
    other: Labels,
    population: Collection[int],
    sample: Collection[int],
    one_margins: Margins,
    other_margins: Margins,
) -> Evidence:
    """Estimate how much more predictable one labeling is than another.

    Args:
        one: A labeling.
        other: Another one.
        population: Claims with the same label in both for which the sample stands; all others are counted
            exactly.
        sample: At least two of the population, drawn at random.
        one_margins: Under `one`, of the sample and of all claims that are not in the population.
        other_margins: Likewise; where `one` labels more or fewer claims, of all that `other` labels.
    """
    rest = set(population)
    exact = sum(one_margins[uid] for uid in one if uid not in rest) / len(one)
    exact -= sum(other_margins[uid] for uid in other if uid not in rest) / len(other)
    if len(one) != len(other):
        exact += (1 / len(one) - 1 / len(other)) * sum(other_margins[uid] for uid in rest)
    differences = [(one_margins[uid] - other_margins[uid]) / len(one) for uid in sample]
    number, size = len(differences), len(rest)
    left = 1 - (number - 1) / (size - 1)
    return Evidence(
        estimate=exact + size * fmean(differences),
        error=size * stdev(differences) / math.sqrt(number) * math.sqrt(left),
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
