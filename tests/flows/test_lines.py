"""Lines over iterations or tokens, their mean, and what accepted changes cost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flows.reports.lines import Line, corners, costs_of_changes, lines, mean_line, running_mean


def rows(*tokens: tuple[str, int | None], batch: int = 1) -> list[dict[str, Any]]:
    return [
        {"batch": batch, "iteration": number, "outcome": outcome, "tokens_computed": computed}
        for number, (outcome, computed) in enumerate(tokens)
    ]


def test_lines_leave_out_what_is_not_known_and_batches_of_which_nothing_is() -> None:
    history = [
        {"batch": 2, "iteration": 0, "energy": None},
        {"batch": 2, "iteration": 1, "energy": 5.0},
        {"batch": 3, "iteration": 0},
        {"iteration": 4, "energy": 1},
    ]
    assert lines(history, "iteration", "energy") == {2: [(1.0, 5.0)], 1: [(4.0, 1.0)]}


def test_corners_are_first_last_and_where_something_changes() -> None:
    assert corners([(0, 1), (1, 1), (2, 3), (3, 3), (4, 3)]) == [(0, 1), (2, 3), (4, 3)]
    assert corners([(0, 1)]) == [(0, 1)]
    assert corners([]) == []


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_corners_keep_every_value(values: list[int]) -> None:
    line: Line = list(enumerate(values))
    kept = dict(corners(line))
    current = values[0]
    for x, y in line:
        current = kept.get(x, current)
        assert current == y


def test_mean_reaches_as_far_as_all_lines_do() -> None:
    """A value holds until the next; neither the late start nor the long end of one is averaged."""
    assert mean_line([[(0, 0), (2, 4), (9, 4)], [(1, 2), (3, 10), (5, 10)]]) == [
        (1, 1),
        (2, 3),
        (3, 7),
        (5, 7),
    ]
    assert mean_line([[(0, 1), (1, 1)], [(5, 1)]]) == []


def test_cost_of_a_change_is_what_was_computed_since_the_one_before() -> None:
    one = rows(("start", 100), ("rejected", 150), ("accepted", 170), ("unchanged", 180), ("accepted", 200))
    two = rows(("start", 0), ("accepted", 7), batch=2)
    assert costs_of_changes([*one, *two]) == [(1, 7), (1, 70), (2, 30)]


def test_cost_is_not_made_up_where_tokens_are_not_known() -> None:
    """The second change is not known, so neither is what the third cost on top of it."""
    gap = rows(("start", 0), ("accepted", 5), ("accepted", None), ("accepted", 90), ("accepted", 91))
    assert costs_of_changes(gap) == [(1, 5), (4, 1)]
    assert costs_of_changes(rows(("start", None), ("accepted", 5))) == []


def test_running_mean_looks_back_over_numbers_of_changes() -> None:
    costs: Line = [(1, 2), (1, 4), (2, 9), (3, 30)]
    assert running_mean(costs, window=2) == [(1, 3), (2, 5), (3, 19.5)]
    assert running_mean([]) == []
