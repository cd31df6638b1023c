"""A part of the pool says what all of it would say, or says that it cannot."""

import itertools
import math
import random
from collections import Counter
from statistics import fmean

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.icm.scoring import mutual_predictability
from tasks.icm.sequential import Evidence, as_normal, difference, growing_parts, share_of_doubt

NATS = st.floats(-11.5, 11.5)


@st.composite
def labelings(draw: st.DrawFn) -> tuple[dict[int, int], dict[int, int], dict[int, float], dict[int, float]]:
    """Draw two labelings that differ a little, and scores of both."""
    number = draw(st.integers(4, 12))
    other = {uid: draw(st.integers(0, 1)) for uid in range(number)}
    one = dict(other)
    for uid in draw(st.lists(st.integers(0, number), max_size=2, unique=True)):
        one[uid] = 1 - one.get(uid, 0)
    scores = [{uid: draw(NATS) for uid in labels} for labels in (one, other)]
    return one, other, scores[0], scores[1]


def margins(labels: dict[int, int], scores: dict[int, float]) -> dict[int, float]:
    return {uid: scores[uid] if label else -scores[uid] for uid, label in labels.items()}


@given(labelings())
def test_all_of_the_pool_says_the_difference_exactly(
    drawn: tuple[dict[int, int], dict[int, int], dict[int, float], dict[int, float]],
) -> None:
    one, other, scores, other_scores = drawn
    same = [uid for uid in one if other.get(uid) == one[uid]]
    assume(len(same) > 1)
    found = difference(one, other, same, same, margins(one, scores), margins(other, other_scores))
    exact = mutual_predictability(one, scores) - mutual_predictability(other, other_scores)
    assert found.estimate == pytest.approx(exact, abs=1e-9)
    assert found.error == 0.0


@given(labelings())
def test_parts_are_right_on_average_and_their_errors_are_as_large_as_said(
    drawn: tuple[dict[int, int], dict[int, int], dict[int, float], dict[int, float]],
) -> None:
    """Over all parts of three: the mean estimate is exact, and the mean squared error that of the errors.

    The published correction for a finite population has (n - 1) / (N - 1) where n / N would be exact, so
    that errors are said to be a little larger than they are.
    """
    one, other, scores, other_scores = drawn
    same = [uid for uid in one if other.get(uid) == one[uid]]
    assume(len(same) > 3)
    exact = mutual_predictability(one, scores) - mutual_predictability(other, other_scores)
    ours, theirs = margins(one, scores), margins(other, other_scores)
    found = [difference(one, other, same, part, ours, theirs) for part in itertools.combinations(same, 3)]
    assert fmean(each.estimate for each in found) == pytest.approx(exact, abs=1e-9)
    squared = fmean((each.estimate - exact) ** 2 for each in found)
    assert squared <= fmean(each.error**2 for each in found) + 1e-9
    factor = (1 - 2 / (len(same) - 1)) / (1 - 3 / len(same))
    assert squared * factor == pytest.approx(fmean(each.error**2 for each in found), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("t", "degrees", "probability"),
    [
        (2.131, 15, 0.975),
        (2.947, 15, 0.995),
        (4.073, 15, 0.9995),
        (2.042, 30, 0.975),
        (3.646, 30, 0.9995),
        (1.980, 120, 0.975),
        (3.373, 120, 0.9995),
    ],
)
def test_students_distribution_as_in_printed_tables(t: float, degrees: int, probability: float) -> None:
    below = (1 + math.erf(as_normal(t, degrees) / math.sqrt(2))) / 2
    assert 1 - below == pytest.approx(1 - probability, rel=0.02)
    assert as_normal(-t, degrees) == -as_normal(t, degrees)


def test_what_does_not_differ_says_nothing() -> None:
    assert Evidence(5.0, 0.0, 15).says_more_than(0.0, 0.01) is None


def test_a_sign_is_clear_from_its_threshold_on() -> None:
    """2.947 is Student's 99.5 % point for 15 degrees of freedom."""
    assert Evidence(3.0, 1.0, 15).says_more_than(0.0, 0.005) is True
    assert Evidence(2.9, 1.0, 15).says_more_than(0.0, 0.005) is None
    assert Evidence(2.9, 1.0, 15).says_more_than(5.9, 0.005) is False
    assert Evidence(-3.0, 1.0, 15).says_more_than(0.0, 0.005) is False
    assert Evidence(3.0, 1.0, 15).says_more_than(1.0, 0.005) is None


def test_no_more_signs_are_wrong_than_is_said() -> None:
    """Pools of which the truth is just above the threshold, where errors are likeliest."""
    rng = random.Random(7)
    doubt, pools, wrong, clear = 0.1, 3000, 0, 0
    for _ in range(pools):
        shifts = [rng.gauss(0, 1) for _ in range(128)]
        one = dict.fromkeys(range(128), 1)
        threshold = fmean(shifts) - 0.01
        scores = dict(enumerate(shifts))
        for size in (16, 32, 64):
            found = difference(one, one, range(128), range(size), scores, dict.fromkeys(range(128), 0.0))
            is_more = found.says_more_than(threshold, share_of_doubt(1, 3, doubt))
            if is_more is not None:
                wrong += not is_more
                clear += 1
                break
    assert clear > 20  # so that there was something to be wrong about
    assert wrong / pools <= doubt / 2


def test_all_comparisons_together_have_the_doubt_of_their_decision() -> None:
    spent = sum(4 * share_of_doubt(number, 4, 0.05) for number in range(1, 10_000))
    assert 0.0499 < spent < 0.05


@given(st.lists(st.integers(0, 500), unique=True), st.integers(0, 5))
def test_parts_grow_within_each_other_up_to_half(claims: list[int], seed: int) -> None:
    found = growing_parts(claims, random.Random(seed))
    assert [len(part) for part in found] == [size for size in (16, 32, 64, 128) if 2 * size <= len(claims)]
    for part in found:
        assert len(set(part)) == len(part)
        assert set(part) <= set(claims)
    for smaller, larger in itertools.pairwise(found):
        assert set(smaller) < set(larger)
    assert growing_parts(claims, random.Random(seed)) == found


def test_every_claim_is_as_often_in_a_part() -> None:
    rng = random.Random(0)
    counts = Counter[int]()
    for _ in range(2000):
        counts.update(growing_parts(range(64), rng)[0])
    assert all(counts[uid] / 2000 == pytest.approx(16 / 64, rel=0.15) for uid in range(64))


@given(labelings())
def test_what_is_not_in_the_population_is_counted_exactly(
    drawn: tuple[dict[int, int], dict[int, int], dict[int, float], dict[int, float]],
) -> None:
    one, other, scores, other_scores = drawn
    same = [uid for uid in one if other.get(uid) == one[uid]]
    assume(len(same) > 3)
    population = same[1:]  # whatever else is known exactly
    exact = mutual_predictability(one, scores) - mutual_predictability(other, other_scores)
    ours, theirs = margins(one, scores), margins(other, other_scores)
    found = [
        difference(one, other, population, part, ours, theirs)
        for part in itertools.combinations(population, 2)
    ]
    assert fmean(each.estimate for each in found) == pytest.approx(exact, abs=1e-9)
