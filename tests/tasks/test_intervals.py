"""Bootstrap intervals against the table of the binomial distribution, and how groups widen them."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intervals import bootstrap_interval


def test_width_falls_with_the_root_of_the_claims() -> None:
    for total in (100, 1_000, 4_000):
        right = [number % 10 < 3 for number in range(total)]
        low, high = bootstrap_interval(right, range(total))
        assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(0.3 * 0.7 / total), rel=0.1)


def test_a_higher_level_is_wider() -> None:
    right = [number % 10 < 3 for number in range(100)]
    narrow, wide = (bootstrap_interval(right, range(100), level=level) for level in (0.5, 0.95))
    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]


def test_claims_that_all_came_out_alike_have_no_width() -> None:
    assert bootstrap_interval([True] * 7, range(7)) == (1.0, 1.0)
    assert bootstrap_interval([False] * 7, range(7)) == (0.0, 0.0)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; give a share between 0 and 1"):
        bootstrap_interval([True], [0], level=level)


def test_groups_of_one_claim_have_about_the_exact_interval() -> None:
    right = [number % 10 < 7 for number in range(200)]
    for seed in range(5):
        # The 2.5 % and 97.5 % points of Binomial(200, 0.7) are 127 and 152.
        assert bootstrap_interval(right, range(200), seed=seed) == pytest.approx((0.635, 0.76), abs=0.011)


def test_claims_that_are_right_or_wrong_together_count_as_one() -> None:
    right = [question < 35 for question in range(50) for _ in range(4)]
    groups = [question for question in range(50) for _ in range(4)]
    for seed in range(5):
        # Those of Binomial(50, 0.7) are 28 and 41.
        assert bootstrap_interval(right, groups, seed=seed) == pytest.approx((0.56, 0.82), abs=0.021)


def test_groups_that_are_all_equally_right_have_no_width() -> None:
    assert bootstrap_interval([True, False] * 8, [n // 2 for n in range(16)], seed=1) == (0.5, 0.5)


def test_larger_groups_weigh_more() -> None:
    """Of one group, (3 of 3), and another, (0 of 1), resamples are 1, 0.75 and 0."""
    shares = Counter[float]()
    for seed in range(200):
        shares.update(bootstrap_interval([True, True, True, False], "aaab", seed=seed, resamples=1))
    assert set(shares) == {0.0, 0.75, 1.0}
    assert shares[0.75] > max(shares[0.0], shares[1.0])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=20), st.randoms())
def test_bootstrap_interval_depends_on_no_order_but_on_the_seed(
    claims: list[tuple[bool, int]], dice: random.Random
) -> None:
    def interval(of: list[tuple[bool, int]], seed: int) -> tuple[float, float]:
        right, groups = zip(*of, strict=True)
        return bootstrap_interval(right, groups, seed=seed, resamples=30)

    shuffled = dice.sample(claims, len(claims))
    assert interval(claims, 3) == interval(shuffled, 3)
    low, high = interval(claims, 3)
    assert 0 <= low <= high <= 1


def test_another_seed_draws_others() -> None:
    claims = ([n % 3 == 0 for n in range(60)], [n // 4 for n in range(60)])
    assert len({bootstrap_interval(*claims, seed=seed, resamples=9) for seed in range(9)}) > 3


def test_groups_that_do_not_fit_the_claims_are_refused() -> None:
    for right, groups, resamples in [([], [], 9), ([True], [0, 1], 9), ([True], [0], 0)]:
        with pytest.raises(ValueError, match="have no interval; give at least one claim, a group for each"):
            bootstrap_interval(right, groups, seed=0, resamples=resamples)
