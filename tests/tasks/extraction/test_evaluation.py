"""Facts about evaluation: strictness, degenerate cases, confusion, and an independent count."""

import math
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.evaluation import (
    NONE,
    Confusion,
    Evaluation,
    Score,
    compare,
    compare_labels,
    confusion_table,
    evaluate,
)
from tasks.extraction.gold import GoldSpan
from tasks.extraction.values import Entity, Status


def entity(start: int | None, end: int | None, label: str, status: Status = "exact") -> Entity:
    return Entity(label=label, text="", status=status, start=start, end=end, votes=1, confidence=1.0)


def evaluated(gold: Sequence[tuple[int, int, str]], found: Sequence[tuple[int, int, str]]) -> Evaluation:
    return evaluate({"a": [GoldSpan(*span) for span in gold]}, {"a": [entity(*span) for span in found]})


def test_a_span_is_right_overlaps_or_is_wrong() -> None:
    one = evaluated(
        [(0, 10, "A"), (20, 30, "A"), (40, 50, "A"), (60, 70, "A")],
        [(0, 10, "A"), (22, 30, "A"), (40, 50, "B")],
    )
    assert one.micro.exact == Score(correct=1, found=3, gold=4)
    assert one.micro.partial == Score(correct=1.5, found=3, gold=4)
    assert one.micro.type == Score(correct=2, found=3, gold=4)
    assert (one.micro.partial.precision, one.micro.partial.recall) == (0.5, 0.375)
    assert one.micro.partial.f1 == pytest.approx(3 / 7)
    assert {label: scores.exact for label, scores in one.labels.items()} == {
        "A": Score(correct=1, found=2, gold=4),
        "B": Score(correct=0, found=1, gold=0),
    }


def test_a_gold_span_counts_for_one_entity_only_and_an_entity_for_one_gold_span() -> None:
    assert evaluated([(0, 10, "A")], [(0, 4, "A"), (5, 10, "A")]).micro.type.correct == 1
    assert evaluated([(0, 4, "A"), (5, 10, "A")], [(0, 10, "A")]).micro.type.correct == 1


def test_the_same_span_is_paired_before_a_larger_overlap() -> None:
    one = evaluated([(0, 100, "A"), (10, 20, "A")], [(10, 20, "A"), (5, 95, "A")])
    assert (one.micro.exact.correct, one.micro.type.correct) == (1, 2)
    assert evaluated([(2, 10, "A")], [(0, 12, "A"), (2, 10, "A")]).micro.exact.correct == 1


def test_larger_overlaps_are_paired_first_though_smaller_ones_would_make_more_pairs() -> None:
    one = evaluated([(0, 10, "A"), (9, 30, "A")], [(8, 28, "A"), (29, 31, "A")])
    assert one.micro.type.correct == 1


def test_spans_that_touch_do_not_overlap_and_another_document_is_another_place() -> None:
    assert evaluated([(0, 10, "A")], [(10, 20, "A")]).micro.type.correct == 0
    gold = {"a": [GoldSpan(0, 10, "A")], "b": [GoldSpan(20, 30, "A")]}
    one = evaluate(gold, {"a": [entity(20, 30, "A")], "b": [entity(0, 10, "A")]})
    assert one.micro.type == Score(correct=0, found=2, gold=2)


def test_a_share_of_nothing_is_none() -> None:
    nothing = evaluated([], [])
    exact = nothing.micro.exact
    assert (exact.precision, exact.recall, exact.f1) == (None, None, None)
    assert (nothing.labels, nothing.confusion, nothing.grounding.precision) == ({}, [], None)
    no_gold = evaluated([], [(0, 1, "A")]).micro.exact
    assert (no_gold.precision, no_gold.recall, no_gold.f1) == (0.0, None, 0.0)
    not_found = evaluated([(0, 1, "A")], []).micro.exact
    assert (not_found.precision, not_found.recall, not_found.f1) == (None, 0.0, 0.0)
    assert evaluate({}, {}).micro.exact.f1 is None


def test_documents_without_gold_are_not_scored_and_those_without_entities_are() -> None:
    one = evaluate(
        {"a": [GoldSpan(0, 1, "A")], "b": []}, {"c": [entity(0, 1, "A")], "b": [entity(0, 1, "A")]}
    )
    assert one.micro.exact == Score(correct=0, found=1, gold=1)
    assert (one.documents, one.unscored_documents) == (2, 1)


def test_findings_without_a_span_are_counted_apart() -> None:
    found = [
        entity(0, 1, "A"),
        *(entity(None, None, "A", status) for status in ("leaked", "leaked", "ungrounded")),
    ]
    one = evaluate({"a": [GoldSpan(0, 1, "A")]}, {"a": found}, coverage=0.5)  # fmt: skip
    assert one.micro.exact == Score(correct=1, found=1, gold=1)
    assert one.without_span == {"leaked": 2, "ungrounded": 1}
    assert one.coverage == 0.5


def test_grounding_is_about_places_and_not_labels() -> None:
    one = evaluated([(0, 10, "A"), (20, 30, "A")], [(0, 10, "B"), (20, 29, "A")])
    assert one.grounding.precision == 0.5


def test_confusion_tells_which_label_was_taken_for_which() -> None:
    one = evaluated(
        [(0, 10, "A"), (20, 30, "A"), (40, 50, "A"), (60, 70, "B")],
        [(0, 10, "B"), (20, 28, "B"), (41, 50, "A"), (80, 90, "B")],
    )
    assert one.confusion == [
        Confusion(gold="A", found="B", count=2),
        Confusion(gold=None, found="B", count=1),
        Confusion(gold="A", found="A", count=1),
        Confusion(gold="B", found=None, count=1),
    ]
    assert confusion_table(one) == [
        ["gold", "A", "B", NONE],
        ["A", 1, 2, 0],
        ["B", 0, 0, 1],
        [NONE, 0, 1, 0],
    ]


def test_a_label_nested_in_another_is_not_taken_for_it() -> None:
    one = evaluated([(0, 100, "A")], [(10, 20, "B")])
    assert {(pair.gold, pair.found) for pair in one.confusion} == {("A", None), (None, "B")}


def test_runs_are_compared_in_rows_of_the_same_columns() -> None:
    runs = {
        "one": evaluated([(0, 10, "A")], [(0, 10, "A")]),
        "two": evaluated([(0, 10, "A")], [(0, 9, "A"), (20, 30, "B")]),
    }
    first, second = compare(runs)
    assert list(first) == list(second)
    assert (first["run"], first["exact F1"], second["exact F1"]) == ("one", 1.0, 0.0)
    assert second["type F1"] == pytest.approx(2 / 3)
    assert second["partial F1"] == pytest.approx(1 / 3)
    assert compare_labels(runs) == [
        {"label": "A", "gold": 1, "one: exact F1": 1.0, "two: exact F1": 0.0},
        {"label": "B", "gold": 0, "one: exact F1": None, "two: exact F1": 0.0},
    ]
    assert compare({}) == compare_labels({}) == []


# --- Whatever is compared -------------------------------------------------------------------------------


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int, str]:
    start = draw(st.integers(0, 12))
    return start, start + draw(st.integers(1, 6)), draw(st.sampled_from("AB"))


LISTS = st.lists(spans(), max_size=6, unique=True)


@given(LISTS, LISTS)
def test_exact_f1_is_what_counting_one_by_one_gives(
    gold: list[tuple[int, int, str]], found: list[tuple[int, int, str]]
) -> None:
    hits = 0
    for one in gold:
        for other in found:
            hits += one[0] == other[0] and one[1] == other[1] and one[2] == other[2]
    missed, invented = len(gold) - hits, len(found) - hits
    score = evaluated(gold, found).micro.exact
    if not gold and not found:
        assert score.f1 is None
    else:
        assert score.f1 == pytest.approx(hits / (hits + (missed + invented) / 2))


@given(LISTS, LISTS)
def test_being_less_strict_never_costs(
    gold: list[tuple[int, int, str]], found: list[tuple[int, int, str]]
) -> None:
    scores = evaluated(gold, found).micro
    most = min(len(gold), len(found))
    assert scores.exact.correct <= scores.partial.correct <= scores.type.correct <= most
    assert scores.partial.correct == (scores.exact.correct + scores.type.correct) / 2


@given(LISTS, LISTS)
def test_labels_and_confusion_add_up(
    gold: list[tuple[int, int, str]], found: list[tuple[int, int, str]]
) -> None:
    one = evaluated(gold, found)
    parts = list(one.labels.values())
    assert math.fsum(part.partial.correct for part in parts) == one.micro.partial.correct
    assert sum(pair.count for pair in one.confusion if pair.gold is not None) == len(gold)
    assert sum(pair.count for pair in one.confusion if pair.found is not None) == len(found)
    same = sum(pair.count for pair in one.confusion if pair.gold == pair.found)
    assert same == one.micro.type.correct


@given(st.lists(spans(), max_size=4, unique=True), st.lists(spans(), max_size=4, unique=True))
def test_type_pairs_at_least_half_of_what_could_be_paired(
    gold: list[tuple[int, int, str]], found: list[tuple[int, int, str]]
) -> None:
    """Pairs are made greedily, which takes at least half as many as the best way to pair."""

    def fits(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
        return one[2] == other[2] and one[0] < other[1] and other[0] < one[1]

    few, many = sorted((gold, found), key=len)
    best = max(sum(map(fits, few, order)) for order in permutations(many, len(few)))
    assert best / 2 <= evaluated(gold, found).micro.type.correct <= best
