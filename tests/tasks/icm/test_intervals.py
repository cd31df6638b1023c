"""Bootstrap intervals against resamples that are counted one by one, and against the binomial table."""

import math
import random
from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.icm.intervals import bootstrap_interval, grouped_interval


@st.composite
def counts(draw: st.DrawFn, most: int = 60) -> tuple[int, int]:
    total = draw(st.integers(1, most))
    return draw(st.integers(0, total)), total


def counted(correct: int, total: int, tail: Fraction) -> tuple[Fraction, Fraction]:
    """Draw all total**total resamples, and leave out from either side what makes up less than the tail."""
    claims = [1] * correct + [0] * (total - correct)
    found = sorted(sum(resample) for resample in product(claims, repeat=total))
    left_out = math.ceil(len(found) * tail) - 1
    return Fraction(found[left_out], total), Fraction(found[-1 - left_out], total)


@pytest.mark.parametrize(("correct", "total"), [(k, n) for n in range(1, 7) for k in range(n + 1)])
@pytest.mark.parametrize(("level", "tail"), [(0.9, Fraction(1, 20)), (0.5, Fraction(1, 4))])
def test_interval_is_that_of_all_resamples(correct: int, total: int, level: float, tail: Fraction) -> None:
    expected = tuple(map(float, counted(correct, total, tail)))
    assert bootstrap_interval(correct, total, level=level) == pytest.approx(expected)


def test_interval_of_a_table_of_the_binomial_distribution() -> None:
    """Of Binomial(20, 1/2), at most 5 have probability 0.0207, and at most 6 have 0.0577."""
    assert bootstrap_interval(10, 20) == (6 / 20, 14 / 20)
    assert bootstrap_interval(10, 20, level=0.96) == (5 / 20, 15 / 20)


@given(counts())
def test_interval_holds_the_share_and_is_the_mirror_of_that_of_the_wrong(found: tuple[int, int]) -> None:
    correct, total = found
    low, high = bootstrap_interval(correct, total)
    assert 0 <= low <= correct / total <= high <= 1
    wrong = bootstrap_interval(total - correct, total)
    assert (1 - wrong[1], 1 - wrong[0]) == pytest.approx((low, high))


@given(counts())
def test_a_higher_level_is_never_narrower(found: tuple[int, int]) -> None:
    narrow, wide = (bootstrap_interval(*found, level=level) for level in (0.8, 0.95))
    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


def test_width_falls_with_the_root_of_the_claims() -> None:
    for total in (100, 1_000, 100_000):
        low, high = bootstrap_interval(total * 3 // 10, total)
        assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(0.3 * 0.7 / total), rel=0.05)


def test_claims_that_all_came_out_alike_have_no_width() -> None:
    assert bootstrap_interval(7, 7) == (1.0, 1.0)
    assert bootstrap_interval(0, 7) == (0.0, 0.0)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_no_claims_or_too_many_right_ones_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{correct} of {total} claims have no interval; give at least one"):
        bootstrap_interval(correct, total)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; give a share between 0 and 1"):
        bootstrap_interval(1, 2, level=level)
    with pytest.raises(ValueError, match=f"level is {level}; give a share between 0 and 1"):
        grouped_interval([True], [0], seed=0, level=level)


# --- groups ---------------------------------------------------------------------------------------------


def test_groups_of_one_claim_have_about_the_exact_interval() -> None:
    right = [number % 10 < 7 for number in range(200)]
    exact = bootstrap_interval(140, 200)
    for seed in range(5):
        assert grouped_interval(right, range(200), seed=seed) == pytest.approx(exact, abs=0.011)


def test_claims_that_are_right_or_wrong_together_count_as_one() -> None:
    right = [question < 35 for question in range(50) for _ in range(4)]
    groups = [question for question in range(50) for _ in range(4)]
    for seed in range(5):
        assert grouped_interval(right, groups, seed=seed) == pytest.approx(
            bootstrap_interval(35, 50), abs=0.021
        )


def test_groups_that_are_all_equally_right_have_no_width() -> None:
    assert grouped_interval([True, False] * 8, [n // 2 for n in range(16)], seed=1) == (0.5, 0.5)


def test_larger_groups_weigh_more() -> None:
    """Of one group, (3 of 3), and another, (0 of 1), resamples are 1, 0.75 and 0."""
    shares = Counter[float]()
    for seed in range(200):
        shares.update(grouped_interval([True, True, True, False], "aaab", seed=seed, resamples=1))
    assert set(shares) == {0.0, 0.75, 1.0}
    assert shares[0.75] > max(shares[0.0], shares[1.0])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=20), st.randoms())
def test_grouped_interval_depends_on_no_order_but_on_the_seed(
    claims: list[tuple[bool, int]], dice: random.Random
) -> None:
    def interval(of: list[tuple[bool, int]], seed: int) -> tuple[float, float]:
        right, groups = zip(*of, strict=True)
        return grouped_interval(right, groups, seed=seed, resamples=30)

    shuffled = dice.sample(claims, len(claims))
    assert interval(claims, 3) == interval(shuffled, 3)
    low, high = interval(claims, 3)
    assert 0 <= low <= high <= 1


def test_another_seed_draws_others() -> None:
    claims = ([n % 3 == 0 for n in range(60)], [n // 4 for n in range(60)])
    assert len({grouped_interval(*claims, seed=seed, resamples=9) for seed in range(9)}) > 3


def test_groups_that_do_not_fit_the_claims_are_refused() -> None:
    for right, groups, resamples in [([], [], 9), ([True], [0, 1], 9), ([True], [0], 0)]:
        with pytest.raises(ValueError, match="have no interval; give at least one claim, a group for each"):
            grouped_interval(right, groups, seed=0, resamples=resamples)
