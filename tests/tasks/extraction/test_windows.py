"""Windows: what they cover, and their halves."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.extraction.values import Window
from tasks.extraction.windows import coverage, halves, uncovered


def window(start: int, end: int) -> Window:
    return Window(start=start, end=end, context_start=start, context_end=end)


TEXTS = st.text(alphabet="ab \n", max_size=60)
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=6)


@given(TEXTS, SPANS)
def test_what_is_uncovered_is_in_no_window_and_everything_else_is_or_is_blank(
    text: str, spans: list[list[int]]
) -> None:
    windows = [window(min(start, len(text)), min(end, len(text))) for start, end in spans]
    covered = {place for one in windows for place in range(one.start, one.end)}
    gaps = uncovered(text, windows)
    missed = {place for start, end in gaps for place in range(start, end)}
    assert not missed & covered
    assert all(not text[place].strip() for place in set(range(len(text))) - covered - missed)
    assert all(text[start:end].strip() for start, end in gaps)
    assert coverage(text, windows) == (1 - len(missed) / len(text) if text else 1.0)


def test_a_window_in_another_takes_nothing_from_it() -> None:
    assert uncovered("x" * 20, [window(0, 10), window(2, 4), window(15, 18)]) == [(10, 15), (18, 20)]


def test_blanks_between_windows_are_not_missed_and_words_are() -> None:
    assert uncovered("ab \n cd ef", [window(0, 2), window(5, 7)]) == [(7, 10)]


def test_a_text_without_windows_is_uncovered_and_an_empty_one_is_not() -> None:
    assert coverage("word", []) == 0.0
    assert coverage("  ", []) == 1.0
    assert coverage("", []) == 1.0


@given(
    st.text(alphabet="abc  \n", min_size=0, max_size=400),
    st.integers(0, 60),
    st.integers(1, 40),
    st.integers(0, 30),
)
def test_halves_are_smaller_and_cover_their_window(text: str, overlap: int, least: int, start: int) -> None:
    whole = Window(
        start=min(start, len(text)), end=len(text), context_start=max(0, start - 9), context_end=len(text)
    )
    cut = halves(text, whole, overlap=overlap, least=least)
    if not cut:
        assert (whole.end - whole.start) < 3 * least + overlap or whole.end - whole.start < 4
        return
    left, right = cut
    assert (left.start, right.end) == (whole.start, whole.end)
    assert right.start <= left.end
    assert max(left.end - left.start, right.end - right.start) < whole.end - whole.start
    for half in cut:
        assert half.start - half.context_start == whole.start - whole.context_start
        assert half.context_end - half.end == whole.context_end - whole.end


LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=12)
LEFT_RIGHT = (*[4] * 9, 60, 60)  # only words that begin in the left half, or only in the right
ENDS = (1, 77, 1)
"""Lengths of words: long ones lie across the places at which a window is cut."""


@given(LENGTHS, st.sampled_from(" \n"), st.integers(0, 150))
@example(LEFT_RIGHT, "\n", 40)
@example(LEFT_RIGHT[::-1], " ", 40)
@example(ENDS, " ", 0)
@example((30, 14, 40), " ", 80)
@example((25, 60), " ", 80)
def test_halves_are_cut_at_words_in_reach_and_both_leave_something_to_the_other(
    lengths: list[int], blank: str, overlap: int
) -> None:
    text = blank.join("x" * length for length in lengths)
    cut = halves(text, window(0, len(text)), overlap=overlap, least=1)
    if not cut:
        assert len(text) < 4
        return
    left, right = cut
    middle, eighth = len(text) // 2, len(text) // 8
    assert eighth <= right.start <= left.end <= len(text) - eighth
    assert left.end >= middle
    begins = [found.start() for found in re.finditer(r"(?<=\s)\S", text)]
    for place, low, high in ((left.end, middle, len(text) - eighth), (right.start, eighth, left.end)):
        if re.fullmatch(r"\S\S", text[place - 1 : place + 1]):
            assert not [begin for begin in begins if low < begin < high]


@given(st.integers(20, 200), st.integers(0, 300))
def test_halves_share_what_is_wanted_though_not_more_than_a_quarter(words: int, overlap: int) -> None:
    text = "ab " * words
    left, right = halves(text, window(0, len(text)), overlap=overlap, least=1)
    wanted, middle = min(overlap, len(text) // 4), len(text) // 2
    assert abs(left.end - (middle + wanted // 2)) <= 3
    assert abs(right.start - (middle - wanted // 2)) <= 3


def test_a_text_without_blanks_is_cut_in_the_middle() -> None:
    left, right = halves("x" * 100, window(0, 100), overlap=0, least=10)
    assert (left.end, right.start) == (50, 50)


def test_where_no_word_begins_behind_a_place_the_cut_is_at_the_last_before_it() -> None:
    text = "x" * 30 + "\n" + "y" * 69
    _, right = halves(text, window(0, 100), overlap=20, least=10)
    assert text[right.start :] == "y" * 69


def test_halves_show_as_much_around_them_as_their_window_did() -> None:
    whole = Window(start=20, end=80, context_start=13, context_end=91)
    left, right = halves("x" * 100, whole, overlap=10, least=10)
    assert (left.context_start, left.context_end - left.end) == (13, 11)
    assert (right.start - right.context_start, right.context_end) == (7, 91)


@pytest.mark.parametrize(
    ("overlap", "least", "is_cut"), [(0, 50, True), (0, 51, False), (20, 40, True), (20, 41, False)]
)
def test_what_is_small_without_what_halves_share_is_not_cut(overlap: int, least: int, is_cut: bool) -> None:  # noqa: FBT001
    assert bool(halves("x" * 100, window(0, 100), overlap=overlap, least=least)) == is_cut
