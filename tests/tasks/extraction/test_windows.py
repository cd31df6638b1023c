"""Windows: what they cover, and their halves."""

from hypothesis import given
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


def test_halves_are_cut_between_words_and_share_some() -> None:
    text = "one two three four five six seven eight"
    left, right = halves(text, window(0, len(text)), overlap=8, least=5)
    assert text[left.start : left.end].endswith(" ")
    assert text[right.start - 1] == " "
    assert text[right.start : left.end].strip()


def test_a_text_without_blanks_is_cut_in_the_middle() -> None:
    left, right = halves("x" * 100, window(0, 100), overlap=0, least=10)
    assert (left.end, right.start) == (50, 50)


def test_what_is_small_is_not_cut() -> None:
    assert halves("x" * 100, window(0, 100), overlap=0, least=51) == ()
