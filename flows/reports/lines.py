"""What the figures of a search plot: lines over iterations or tokens, their mean, costs. Pure arithmetic."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Line = list[tuple[float, float]]
"""(x, y), by x; y holds from its x on to the next."""

COSTS_AVERAGED = 10
"""How many numbers of accepted changes the running mean of their costs looks back on."""


def by_batch(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """Return {batch: its rows}, in the order of the rows; rows without a batch are those of batch 1."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.get("batch", 1), []).append(row)
    return found


def lines(rows: Sequence[Mapping[str, Any]], across: str, upwards: str) -> dict[int, Line]:
    """Return {batch: line} of one field over another, without the rows where one of them is not known."""
    found = {
        batch: [
            (float(row[across]), float(row[upwards]))
            for row in mine
            if row.get(across) is not None and row.get(upwards) is not None
        ]
        for batch, mine in by_batch(rows).items()
    }
    return {batch: line for batch, line in found.items() if line}


def corners(line: Line) -> Line:
    """Leave out the points between which nothing changes: a search stands still most of the time."""
    kept = [
        point
        for before, point in zip([None, *line], line, strict=False)
        if not before or before[1] != point[1]
    ]
    return kept if not line or kept[-1] == line[-1] else [*kept, line[-1]]


def mean_line(several: Sequence[Line]) -> Line:
    """Return the mean of lines where all of them have a value: from the last start to the first end."""
    start, end = max(line[0][0] for line in several), min(line[-1][0] for line in several)
    places = sorted({x for line in several for x, _ in line if start <= x <= end})
    xs = [[x for x, _ in line] for line in several]
    return [
        (
            place,
            fmean(line[bisect_right(known, place) - 1][1] for line, known in zip(several, xs, strict=True)),
        )
        for place in places
    ]


def costs_of_changes(rows: Sequence[Mapping[str, Any]]) -> Line:
    """Return (number of the accepted change in its batch, tokens computed since the one before it).

    The first change of a batch bears what was computed since the batch's first row. A change is left out
    where the tokens at one of its two ends are not known.
    """
    found: Line = []
    for mine in by_batch(rows).values():
        before = mine[0].get("tokens_computed")
        number = 0
        for row in mine:
            if row["outcome"] != "accepted":
                continue
            number += 1
            now = row.get("tokens_computed")
            if before is not None and now is not None:
                found.append((number, now - before))
            before = now
    return sorted(found)


def running_mean(costs: Line, window: int = COSTS_AVERAGED) -> Line:
    """Return, for each number of changes, the mean cost of all with it or one of the `window` - 1 before."""
    numbers = [number for number, _ in costs]
    return [
        (
            number,
            fmean(
                cost
                for _, cost in costs[bisect_right(numbers, number - window) : bisect_right(numbers, number)]
            ),
        )
        for number in sorted(set(numbers))
    ]
