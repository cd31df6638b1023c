"""Facts about merging: edges, votes, overlaps, labels, and findings without a span."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.extraction_merging import Cut, Noise, documents, scored
from tasks.extraction.merging import merge
from tasks.extraction.values import GROUNDED, Entity, Grounding, Item, Mention, Provenance, Status, Window

DEV = Path(__file__).parents[3].parent / "shared" / "data" / "legal" / "lener_br" / "dev.jsonl"
TEXT = "x" * 200


def window(start: int, end: int) -> Window:
    return Window(start=start, end=end, context_start=start, context_end=end)


OVERLAPPING = {(0, 0): window(0, 100), (0, 1): window(80, 180)}


def whole(passes: int, text: str = TEXT) -> dict[tuple[int, int], Window]:
    """One window in each pass, with all of the text."""
    return {(number, 0): window(0, len(text)) for number in range(passes)}


def at(
    start: int, end: int, label: str = "ORG", *, number: int = 0, chunk: int = 0, index: int = 0,
    status: Status = "exact", **attributes: str,
) -> Mention:  # fmt: skip
    return Mention(
        item=Item(label=label, text="x" * (end - start), attributes=attributes),
        grounding=Grounding(status=status, start=start, end=end, score=1.0),
        provenance=Provenance(pass_number=number, chunk=chunk, index=index),
    )


def nowhere(
    status: Status, text: str, label: str = "ORG", *, number: int = 0, chunk: int = 0, index: int = 0
) -> Mention:
    return Mention(
        item=Item(label=label, text=text),
        grounding=Grounding(status=status),
        provenance=Provenance(pass_number=number, chunk=chunk, index=index),
    )


def places(entities: Sequence[Entity]) -> list[tuple[int | None, int | None, str]]:
    return [(one.start, one.end, one.label) for one in entities]


def merged(*mentions: Mention, passes: int = 1) -> list[Entity]:
    return merge(mentions, whole(passes), TEXT, passes=passes)


def test_a_span_at_an_edge_is_kept_where_no_other_window_sees_all_of_it() -> None:
    assert places(merge([at(75, 100)], OVERLAPPING, TEXT, passes=1)) == [(75, 100, "ORG")]


def test_a_span_cut_by_its_windows_end_gives_way_to_what_the_next_window_sees() -> None:
    mentions = [at(90, 100), at(90, 112, chunk=1)]
    assert places(merge(mentions, OVERLAPPING, TEXT, passes=1)) == [(90, 112, "ORG")]


def test_a_span_cut_by_its_windows_start_gives_way_too() -> None:
    mentions = [at(70, 90), at(80, 90, chunk=1)]
    assert places(merge(mentions, OVERLAPPING, TEXT, passes=1)) == [(70, 90, "ORG")]
    assert merge([at(80, 90, chunk=1)], OVERLAPPING, TEXT, passes=1) == []


def test_blanks_at_a_windows_edge_do_not_hide_that_a_span_touches_it() -> None:
    text = "x" * 98 + "  " + "y" * 100
    assert merge([at(90, 98)], OVERLAPPING, text, passes=1) == []
    assert merge([at(90, 97)], OVERLAPPING, text, passes=1) != []


def test_the_edges_of_the_document_and_of_a_window_whose_neighbour_failed_cut_nothing() -> None:
    alone = {(0, 0): window(0, 100), (0, 2): window(160, 200)}
    found = merge([at(0, 9), at(90, 100), at(190, 200, chunk=2)], alone, TEXT, passes=1)
    assert places(found) == [(0, 9, "ORG"), (90, 100, "ORG"), (190, 200, "ORG")]


def test_a_short_window_inside_another_does_not_hide_what_that_one_sees() -> None:
    windows = {**OVERLAPPING, (0, 2): window(85, 95)}
    assert merge([at(90, 100)], windows, TEXT, passes=1) == []


def test_another_passes_windows_do_not_judge_an_edge() -> None:
    windows = {(0, 0): window(0, 100), (1, 0): window(0, 200)}
    assert places(merge([at(90, 100)], windows, TEXT, passes=2)) == [(90, 100, "ORG")]


def test_what_two_chunks_of_one_pass_find_has_one_vote() -> None:
    (found,) = merge([at(85, 95, "PER"), at(85, 95, "PER", chunk=1)], OVERLAPPING, TEXT, passes=1)
    assert (found.start, found.end, found.votes, found.confidence) == (85, 95, 1, 1.0)
    assert [one.chunk for one in found.provenance] == [0, 1]


def test_the_longer_of_two_stands_when_their_votes_are_equal() -> None:
    (found,) = merged(at(10, 14), at(10, 26, number=1), passes=2)
    assert (found.start, found.end, found.votes, found.confidence) == (10, 26, 1, 0.5)


def test_the_one_with_more_votes_stands_though_it_is_shorter() -> None:
    (found,) = merged(at(5, 9, number=0), at(5, 9, number=1), at(5, 12, number=2), passes=3)
    assert (found.start, found.end, found.votes) == (5, 9, 2)
    assert found.confidence == pytest.approx(2 / 3)


def test_a_weak_span_over_two_strong_ones_costs_neither() -> None:
    strong = [at(*span, number=number) for span in ((0, 10), (20, 30)) for number in (0, 1)]
    assert places(merged(*strong, at(5, 25, number=2), passes=3)) == [(0, 10, "ORG"), (20, 30, "ORG")]


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert len(merged(at(0, 10), at(10, 20))) == 2
    assert len(merged(at(0, 9), at(9, 20))) == 2


def test_spans_of_different_labels_nest() -> None:
    found = merged(at(10, 20, "DATE"), at(0, 50, "CONTRACT"))
    assert places(found) == [(0, 50, "CONTRACT"), (10, 20, "DATE")]
    assert not any(one.conflict for one in found)


def test_two_labels_on_one_span_are_a_conflict_that_votes_decide() -> None:
    mentions = at(5, 9, "PER"), at(5, 9, "ORG", number=1), at(5, 9, "ORG", number=2)
    (found,) = merged(*mentions, passes=3)
    assert (found.label, found.votes, found.conflict) == ("ORG", 2, True)


def test_a_conflict_without_a_majority_goes_by_label_priority_then_by_the_first_seen() -> None:
    mentions = [at(5, 9, "ORG", index=0), at(5, 9, "PER", index=1)]
    for priority, winner in (((), "ORG"), (("PER", "ORG"), "PER"), (("PER",), "PER"), (("X", "ORG"), "ORG")):
        (found,) = merge(mentions, whole(1), TEXT, passes=1, label_priority=priority)
        assert (found.label, found.conflict) == (winner, True)


def test_the_first_seen_of_two_labels_is_the_first_on_that_span() -> None:
    (_, found) = merged(at(0, 3, "PER", index=0), at(5, 9, "ORG", index=1), at(5, 9, "PER", index=2))
    assert found.label == "ORG"


def test_confidence_counts_the_passes_that_have_an_answer_about_the_place() -> None:
    windows = {(0, 0): window(0, 100), (1, 0): window(0, 100), (1, 1): window(100, 200), (2, 0): window(0, 5)}
    first, second = merge([at(10, 20), at(150, 160, number=1, chunk=1)], windows, TEXT, passes=3)
    assert (first.votes, first.confidence) == (1, 0.5)
    assert (second.votes, second.confidence) == (1, 1.0)


def test_a_span_out_of_its_window_has_been_answered_by_who_found_it() -> None:
    windows = {(number, 0): window(0, 100) for number in range(2)}
    (found,) = merge([at(95, 110)], windows, TEXT, passes=2)
    assert found.confidence == 1.0


def test_too_few_votes_leave_a_span_out_and_a_failed_chunk_does_not() -> None:
    windows = {**whole(2), (0, 0): window(0, 100)}
    mentions = [at(10, 20), at(30, 40), at(30, 40, number=1), at(150, 160, number=1)]
    found = merge(mentions, windows, TEXT, passes=2, min_votes=2)
    assert places(found) == [(30, 40, "ORG"), (150, 160, "ORG")]


def test_the_text_is_the_documents_and_is_normalized_by_label() -> None:
    text = "on 3 May 2024."
    (found,) = merge(
        [at(3, 13, "DATE")], whole(1, text), text, passes=1,
        normalize=lambda label, words: f"{label}={words.upper()}",
    )  # fmt: skip
    assert (found.text, found.normalized) == ("3 May 2024", "DATE=3 MAY 2024")


def test_the_best_status_of_a_spans_mentions_wins() -> None:
    mentions = (
        at(5, 9, status="fuzzy"), at(5, 9, number=1, status="exact"), at(5, 9, number=2, status="normalized"),
    )  # fmt: skip
    assert merged(*mentions, passes=3)[0].status == "exact"
    assert merged(*mentions[::2], passes=3)[0].status == "normalized"


def test_attributes_go_by_the_majority_then_by_the_first_seen() -> None:
    mentions = (
        at(5, 9, role="seller", city="Oslo"),
        at(5, 9, number=1, role="buyer", city="Bergen"),
        at(5, 9, number=2, role="buyer"),
    )
    assert merged(*mentions, passes=3)[0].attributes == {"city": "Oslo", "role": "buyer"}


def test_findings_without_a_span_are_kept_once_for_each_label_text_and_status() -> None:
    mentions = [
        nowhere("ungrounded", "Acme  Corp"),
        nowhere("ungrounded", "ACME Corp", number=1),
        nowhere("leaked", "Acme Corp", number=1, index=1),
        nowhere("ungrounded", "Acme Corp", "PER", index=1),
    ]
    found = merge(mentions, whole(2), TEXT, passes=2, min_votes=2)
    assert [(one.status, one.label, one.text, one.votes, one.confidence) for one in found] == [
        ("leaked", "ORG", "Acme Corp", 1, 0.5),
        ("ungrounded", "ORG", "Acme  Corp", 2, 1.0),
        ("ungrounded", "PER", "Acme Corp", 1, 0.5),
    ]
    assert places(found) == [(None, None, "ORG"), (None, None, "ORG"), (None, None, "PER")]


def test_a_duplicate_is_left_out_when_it_is_the_overlaps_second_look() -> None:
    first = at(85, 95, "PER")
    again = nowhere("duplicate", first.item.text, "PER", chunk=1)
    assert places(merge([first, again], OVERLAPPING, TEXT, passes=1)) == [(85, 95, "PER")]


@pytest.mark.parametrize(
    "mentions",
    [
        pytest.param([at(20, 30)], id="the other finding is outside of the overlap"),
        pytest.param([at(85, 95), at(85, 95, chunk=1)], id="its own chunk has taken the place too"),
        pytest.param([at(85, 95, "PER")], id="the other finding has another label"),
        pytest.param([at(85, 95, chunk=1)], id="its own chunk alone has taken the place"),
    ],
)
def test_a_duplicate_is_shown_when_no_second_look_explains_it(mentions: list[Mention]) -> None:
    extra = nowhere("duplicate", "x" * 10, chunk=1, index=5)
    found = merge([*mentions, extra], OVERLAPPING, TEXT, passes=1)
    assert [one.status for one in found if one.start is None] == ["duplicate"]


def test_one_finding_in_the_overlap_explains_one_duplicate() -> None:
    extra = [nowhere("duplicate", "x" * 10, chunk=1, index=index) for index in (5, 6)]
    found = merge([at(85, 95), *extra], OVERLAPPING, TEXT, passes=1)
    assert [one.provenance for one in found if one.start is None] == [(extra[1].provenance,)]


@pytest.mark.parametrize(
    ("mention", "passes", "min_votes", "message"),
    [
        (at(5, 9), 3, 4, "min_votes is 4, and there are 3 passes; give 1 to 3"),
        (at(5, 9), 3, 0, "min_votes is 0, and there are 3 passes; give 1 to 3"),
        (at(5, 9, chunk=7), 3, 1, "an item is of pass 0, chunk 7, which has no answer"),
        (at(5, 9), 2, 1, "chunk 0 has an answer of pass 2, and passes go to 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    mention: Mention, passes: int, min_votes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        merge([mention], whole(3), TEXT, passes=passes, min_votes=min_votes)


def test_nothing_in_nothing_out() -> None:
    assert merge([], {}, "", passes=1) == []


# --- Whatever is found ----------------------------------------------------------------------------------

LENGTH = 40
LABELS = ("A", "B")
STATUSES: Sequence[Status] = ("exact", "normalized", "fuzzy", "duplicate", "leaked", "ungrounded")
KEYS = [(number, chunk) for number in range(3) for chunk in range(3)]
WINDOWS = {(number, chunk): window(chunk * 12, chunk * 12 + 16) for number, chunk in KEYS}


@st.composite
def findings(draw: st.DrawFn) -> list[Mention]:
    found: list[Mention] = []
    for index in range(draw(st.integers(0, 14))):
        number, chunk = draw(st.sampled_from(KEYS))
        start = draw(st.integers(chunk * 12, chunk * 12 + 15))
        label, end = draw(st.sampled_from(LABELS)), draw(st.integers(start + 1, LENGTH))
        status = draw(st.sampled_from(STATUSES))
        if status in GROUNDED:
            said = draw(st.dictionaries(st.sampled_from("ab"), st.sampled_from("cd"), max_size=2))
            mention = at(start, end, label, number=number, chunk=chunk, index=index, status=status)
            found.append(replace(mention, item=replace(mention.item, attributes=said)))
        else:
            words = draw(st.sampled_from(["x", "xx", "X"]))
            found.append(nowhere(status, words, label, number=number, chunk=chunk, index=index))
    return found


def all_of(mentions: Sequence[Mention], *, min_votes: int = 1) -> list[Entity]:
    return merge(mentions, WINDOWS, "x" * LENGTH, passes=3, min_votes=min_votes)


@given(findings(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_the_order_of_mentions_does_not_matter(
    mentions: list[Mention], rng: random.Random, min_votes: int
) -> None:
    shuffled = rng.sample(mentions, len(mentions))
    assert all_of(shuffled, min_votes=min_votes) == all_of(mentions, min_votes=min_votes)


@given(findings(), st.integers(1, 3))
def test_what_comes_out_is_sorted_and_no_two_spans_of_a_label_overlap(
    mentions: list[Mention], min_votes: int
) -> None:
    entities = all_of(mentions, min_votes=min_votes)
    spans = [(one.start, -one.end, one.label) for one in entities if one.start is not None and one.end]
    assert spans == sorted(spans)
    assert [one.start is None for one in entities] == sorted(one.start is None for one in entities)
    assert len({(start, end) for start, end, _ in spans}) == len(spans)
    for label in LABELS:
        of_label = [(start, -end) for start, end, its_label in spans if its_label == label]
        assert all(end <= start for (_, end), (start, _) in pairwise(of_label))


@given(findings())
def test_votes_are_the_passes_of_the_provenance_and_confidence_is_a_share(mentions: list[Mention]) -> None:
    for one in all_of(mentions):
        assert list(one.provenance) == sorted(one.provenance)
        assert one.votes == len({seen.pass_number for seen in one.provenance}) <= 3
        assert 0 < one.votes / 3 <= one.confidence <= 1


@given(findings())
def test_merging_again_changes_no_span_and_no_label(mentions: list[Mention]) -> None:
    once = [one for one in all_of(mentions) if one.start is not None]
    again = [
        at(one.start, one.end, one.label, index=index)
        for index, one in enumerate(once)
        if one.start is not None and one.end is not None
    ]
    assert places(merge(again, whole(1, "x" * LENGTH), "x" * LENGTH, passes=1)) == places(once)


@given(findings())
def test_more_votes_asked_for_only_take_spans_away(mentions: list[Mention]) -> None:
    one_label = [one for one in mentions if one.item.label == "A"]
    assert set(places(all_of(one_label, min_votes=2))) <= set(places(all_of(one_label)))


# --- Real documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_three_noisy_passes_over_court_documents_reach_the_bar(seed: int) -> None:
    if not DEV.exists():
        pytest.skip(f"needs {DEV}, real documents with gold spans, which are not part of the product")
    noise = Noise(recall=0.9, boundary=0.05, spurious=0.04)
    score = scored(documents(DEV), Cut(overlap=200, passes=3), noise, min_votes=2, seed=seed)
    assert score["f1"] >= 0.97
