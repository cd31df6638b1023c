"""Whether two small samples differ in their mean, without assuming how their values are distributed."""

from collections.abc import Sequence
from itertools import combinations
from math import fsum


def exact_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return how often chance alone parts the means of two samples as far as they are, or farther.

    All ways of dealing the values into samples of these sizes are tried (12,870 for eight and eight), so
    this is Fisher's permutation test, two-sided and exact.

    Args:
        first: Not empty, and of at most some ten values.
        second: The same.

    Returns:
        A probability, never under one by the number of ways.
    """
    values = [*first, *second]
    total = fsum(values)
    observed = _parted(fsum(first), len(first), total, len(values))
    # Sums of the same values in another order may differ in their last bits.
    least = observed - 1e-9 * max(map(abs, values))
    ways = [
        _parted(fsum(chosen), len(first), total, len(values)) for chosen in combinations(values, len(first))
    ]
    return sum(one >= least for one in ways) / len(ways)


def _parted(part: float, size: int, total: float, number: int) -> float:
    return abs(part / size - (total - part) / (number - size))
