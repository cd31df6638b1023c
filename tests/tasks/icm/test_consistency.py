"""Which labels cannot stand together, against the reference's own function."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.icm.claims import Claim, DataError
from tasks.icm.consistency import Consistency, Pair, consistency_keys, inconsistent_pairs
from tests.tasks.icm.made_up import made_claims, truthfulqa_train


def claims_of(groups: Sequence[int | str]) -> list[Claim]:
    return [Claim(id=n, question="q", choice="c", group=g, gold=None) for n, g in enumerate(groups)]


def conflicts(
    keys: str, labels: Sequence[int], groups: Sequence[int] | None = None
) -> list[tuple[int, int, str]]:
    names = keys.split()
    found = inconsistent_pairs(claims_of(groups or [0] * len(names)), names, dict(enumerate(labels)))
    return [(pair.first, pair.second, pair.kind) for pair in found]


FACT_6: list[tuple[str, tuple[int, ...], list[tuple[int, int, str]]]] = [
    ("A B", (1, 1), [(0, 1, "contradiction")]),
    ("A B", (0, 0), []),
    ("A A", (1, 0), [(0, 1, "implication")]),
    ("B B", (1, 0), [(0, 1, "implication")]),
    ("A B", (0, 1), []),
    ("A>B B>A", (1, 1), [(0, 1, "contradiction")]),
    ("A>B B>A", (0, 0), [(0, 1, "contradiction")]),
    ("A>B B>A", (1, 0), []),
    ("600 83 600 75", (1, 1, 0, 0), [(0, 1, "contradiction"), (0, 2, "implication")]),
    ("A A B B", (1, 0, 1, 0), [(0, 1, "implication"), (0, 2, "contradiction"), (2, 3, "implication")]),
]


@pytest.mark.parametrize(("keys", "labels", "expected"), FACT_6)
def test_fact_6_inconsistent_pairs(
    keys: str, labels: tuple[int, ...], expected: list[tuple[int, int, str]]
) -> None:
    assert conflicts(keys, labels) == expected


def test_fact_6_claims_of_different_groups_never_conflict() -> None:
    assert conflicts("A B A A", (1, 1, 0, 1), groups=[0, 1, 2, 3]) == []


def test_group_1_and_group_text_1_are_different() -> None:
    assert inconsistent_pairs(claims_of([1, "1"]), ["A", "A"], {0: 1, 1: 0}) == []


def test_unlabelled_claims_conflict_with_nothing() -> None:
    assert inconsistent_pairs(claims_of([0, 0, 0]), ["A", "A", "B"], {0: 1}) == []
    assert inconsistent_pairs(claims_of([0, 0, 0]), ["A", "A", "B"], {2: 1, 0: 1}) == [
        Pair(0, 2, "contradiction")
    ]


def test_fact_7_options_of_a_fix() -> None:
    assert Pair(4, 9, "contradiction").options() == ((1, 0), (0, 1))
    assert Pair(4, 9, "implication").options() == ((1, 1), (0, 0))


@pytest.mark.parametrize(("true_claims", "allowed"), [(0, 2), (1, 3), (2, 3), (3, 3), (4, 2)])
def test_fact_8_allowed_labelings_of_a_truthfulqa_group(true_claims: int, allowed: int) -> None:
    keys = " ".join(["A"] * true_claims + ["B"] * (4 - true_claims))
    assert sum(not conflicts(keys, labels) for labels in product((0, 1), repeat=4)) == allowed


@pytest.mark.parametrize(
    ("answers", "allowed"), [("1 1 1 1", 2), ("1 1 2 2", 3), ("1 2 3 3", 4), ("1 2 3 4", 5)]
)
def test_fact_8_allowed_labelings_of_a_group_with_answers(answers: str, allowed: int) -> None:
    assert sum(not conflicts(answers, labels) for labels in product((0, 1), repeat=4)) == allowed


def test_fact_8_true_claims_per_group_of_the_real_file() -> None:
    claims = truthfulqa_train()
    true = Counter(claim.group for claim in claims if claim.gold)
    assert Counter(true[group] for group in {claim.group for claim in claims}) == {
        0: 31,
        1: 187,
        2: 308,
        3: 113,
        4: 13,
    }


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ABC"), st.sampled_from([None, 0, 1])), max_size=9)
)
def test_pairs_are_those_of_the_rule_in_order_of_uids(rows: list[tuple[int, str, int | None]]) -> None:
    assigned = {uid: label for uid, (_, _, label) in reversed(list(enumerate(rows))) if label is not None}
    expected: list[tuple[int, int]] = []
    for (i, (g, k, x)), (j, (h, m, y)) in combinations(enumerate(rows), 2):
        if g == h and x is not None and y is not None and (x != y if k == m else x == y == 1):
            expected.append((i, j))
    pairs = inconsistent_pairs(claims_of([row[0] for row in rows]), [row[1] for row in rows], assigned)
    assert [(pair.first, pair.second) for pair in pairs] == expected


# --- where keys come from -------------------------------------------------------------------------------


def test_keys_of_each_consistency() -> None:
    claims = made_claims(1)
    assert consistency_keys(claims, Consistency.NONE) is None
    assert consistency_keys(claims, Consistency.ANSWER) == ["red", "blue", "red", "green"]
    assert consistency_keys(claims, Consistency.REFERENCE) == ["A", "B", "A", "B"]


def test_missing_field_of_a_key_is_named_with_the_way_out() -> None:
    claims = [Claim(id=17, question="q", choice="c", group=0, gold=None)]
    with pytest.raises(
        DataError, match=r"record 18 .* has no field 'answer', .*consistency='answer'.*; use 'none'"
    ):
        consistency_keys(claims, Consistency.ANSWER)
    with pytest.raises(
        DataError,
        match=r"record 18 .* has no field 'label', .*consistency='reference'.*; use 'none'",
    ):
        consistency_keys(claims, Consistency.REFERENCE)
