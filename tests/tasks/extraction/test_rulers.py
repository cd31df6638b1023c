import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.rulers import Characters, Knots, Ruler, TokenStarts, ruler_for
from tests.tasks.extraction.made_tokens import FarWords, Words

RULERS = st.one_of(
    st.text(max_size=30).map(Characters),
    st.lists(st.integers(0, 40), max_size=60).map(lambda starts: TokenStarts(sorted(starts), 41)),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6).map(
        lambda steps: Knots(
            [sum(place for place, _ in steps[:count]) for count in range(len(steps) + 1)],
            [sum(length for _, length in steps[:count]) for count in range(len(steps) + 1)],
        )
    ),
)


@given(RULERS, st.integers(0, 80), st.integers(0, 80))
def test_a_place_never_has_more_than_was_asked_for(ruler: Ruler, length: int, other: int) -> None:
    end = ruler.place(1_000)

    assert ruler.length(ruler.place(length)) <= length
    assert ruler.length(min(length, end)) <= ruler.length(min(max(length, other), end))
    assert ruler.place(length) <= ruler.place(max(length, other)) <= end


async def test_tokens_of_a_document_are_found_once_on_this_machine() -> None:
    counter = Words()
    ruler = await ruler_for("one two  three", counter)

    assert [ruler.length(place) for place in (0, 1, 4, 5, 14)] == [0, 1, 1, 2, 3]
    assert [ruler.place(length) for length in (0, 1, 2, 3)] == [0, 4, 9, 14]
    assert not counter.texts


@pytest.mark.parametrize("total", [1, 100, 20_000])
async def test_a_server_is_asked_once_a_piece(total: int) -> None:
    counter = FarWords()
    text = "word " * total
    ruler = await ruler_for(text, counter)

    assert "".join(counter.texts) == text
    assert len(counter.texts) <= len(text) // 15_000 + 1
    assert ruler.length(len(text)) == total
    assert abs(ruler.length(len(text) // 2) - total / 2) <= 1
