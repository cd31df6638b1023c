"""The best consistent labels, against all labelings tried one by one."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tasks.icm.best_labels import best_labels
from tasks.icm.claims import Claim
from tasks.icm.consistency import inconsistent_pairs
from tasks.icm.scoring import margin
from tests.tasks.icm.made_up import made_claims

SCORES = st.floats(-11.52, 11.52)
EVEN_SCORES = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0])
PREFERENCES = ("A>B", "B>A")


def claims_of(groups: Sequence[int | str]) -> list[Claim]:
    return [Claim(id=n, question="q", choice="c", group=g, gold=None) for n, g in enumerate(groups)]


def margins(labels: Mapping[int, int], scores: Mapping[int, float]) -> float:
    return math.fsum(margin(label, scores[uid]) for uid, label in labels.items())


def tried(claims: Sequence[Claim], keys: Sequence[str], scores: Mapping[int, float]) -> list[float]:
    """Return the sums of margins of all consistent labelings."""
    uids = sorted(scores)
    labelings = (dict(zip(uids, labels, strict=True)) for labels in product((0, 1), repeat=len(uids)))
    return [margins(one, scores) for one in labelings if not inconsistent_pairs(claims, keys, one)]


def rows(keys: Sequence[str], scores: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[str, float]]]:
    return st.lists(st.tuples(st.sampled_from(keys), scores), min_size=1, max_size=9)


@given(rows("ABCD", SCORES) | rows("ABCD", EVEN_SCORES) | rows(PREFERENCES, SCORES | EVEN_SCORES))
def test_no_consistent_labeling_of_a_group_has_a_higher_sum_of_margins(
    found: list[tuple[str, float]],
) -> None:
    claims, keys = claims_of([0] * len(found)), [key for key, _ in found]
    scores = {uid: score for uid, (_, score) in enumerate(found)}
    best = best_labels(claims, keys, scores)
    assert inconsistent_pairs(claims, keys, best) == []
    assert math.isclose(margins(best, scores), max(tried(claims, keys, scores)), abs_tol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("AB"), SCORES), max_size=9))
def test_groups_are_labelled_each_for_itself(found: list[tuple[int, str, float]]) -> None:
    claims, keys = claims_of([group for group, _, _ in found]), [key for _, key, _ in found]
    scores = {uid: score for uid, (_, _, score) in reversed(list(enumerate(found)))}
    best = best_labels(claims, keys, scores)
    assert list(best) == sorted(scores)
    assert math.isclose(margins(best, scores), max(tried(claims, keys, scores)), abs_tol=1e-9)


def test_claims_of_one_answer_outvote_the_surest_one() -> None:
    claims, keys = claims_of([0] * 4), ["red", "blue", "red", "green"]
    assert best_labels(claims, keys, {0: 2.0, 1: 2.5, 2: 1.0, 3: -1.0}) == {0: 1, 1: 0, 2: 1, 3: 0}
    assert best_labels(claims, keys, {0: 2.0, 1: 2.5, 2: -1.0, 3: -1.0}) == {0: 0, 1: 1, 2: 0, 3: 0}
    assert best_labels(claims, keys, dict.fromkeys(range(4), -0.1)) == dict.fromkeys(range(4), 0)


def test_of_two_preferences_one_is_true_even_if_the_model_likes_neither() -> None:
    assert best_labels(claims_of([0, 0]), PREFERENCES, {0: -2.0, 1: -1.0}) == {0: 0, 1: 1}
    assert best_labels(claims_of([0, 0]), PREFERENCES, {0: 2.0, 1: 1.0}) == {0: 1, 1: 0}


def test_a_tie_is_false_and_between_answers_the_first_is_true() -> None:
    claims = claims_of([0, 0])
    assert best_labels(claims, ["x", "y"], {0: 0.0, 1: 0.0}) == {0: 0, 1: 0}
    assert best_labels(claims, ["x", "x"], {0: 1.0, 1: -1.0}) == {0: 0, 1: 0}
    assert best_labels(claims, ["x", "y"], {1: 1.0, 0: 1.0}) == {0: 1, 1: 0}
    assert best_labels(claims, PREFERENCES, {0: 0.0, 1: 0.0}) == {0: 1, 1: 0}


def test_without_keys_each_claim_gets_the_label_that_its_score_speaks_for() -> None:
    claims = made_claims(1)
    assert best_labels(claims, None, {3: 0.2, 0: 0.1, 1: -0.1, 2: 0.0}) == {0: 1, 1: 0, 2: 0, 3: 1}


def test_claims_without_a_score_have_no_say() -> None:
    claims, keys = claims_of([0, 0, "0"]), ["x", "x", "y"]
    assert best_labels(claims, keys, {1: 1.0}) == {1: 1}
    assert best_labels(claims, keys, {1: 1.0, 2: 0.5}) == {1: 1, 2: 1}


def test_where_no_labeling_is_consistent_the_fewest_pairs_are_left() -> None:
    claims, keys = claims_of([0, 0, 0]), ["A>B", "B>A", "C"]
    scores = {0: 1.0, 1: 3.0, 2: 2.0}
    assert tried(claims, keys, scores) == []
    assert best_labels(claims, keys, scores) == {0: 0, 1: 1, 2: 0}
    assert len(inconsistent_pairs(claims, keys, {0: 0, 1: 1, 2: 0})) == 1
    assert len(inconsistent_pairs(claims, keys, {0: 0, 1: 0, 2: 0})) == 3
