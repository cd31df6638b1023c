"""Where words begin and end."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.folding import Folded

LATIN = st.characters(min_codepoint=0x100, max_codepoint=0x2AF)
TEXTS = st.lists(
    st.sampled_from([*"aB1٣ \n.,-²º½ﬁ東กé\u200d\u00ad", "e\u0301", "👩\u200d💻", "각", "\ud800"]) | LATIN,
    max_size=20,
).map("".join)


def marked(text: str) -> str:
    """Return a folded text with < before every word and > behind it."""
    source = Folded(text)
    starts, ends = source.boundaries.starts, source.boundaries.ends
    letters = [*source.text, ""]
    return "".join(">" * ends[at] + "<" * starts[at] + one for at, one in enumerate(letters))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        (" ", " "),
        ("a", "<a>"),
        ("an  act", "<an> <act>"),
        ("(Acme's)", "<(><acme><'><s><)>"),
        ("5.1, 5. 1,a .5", "<5.1><,> <5><.> <1><,><a> <.><5>"),
        ("1.2.3", "<1.2.3>"),
        (".5", "<.><5>"),
        ("5.", "<5><.>"),
        ("Corp.² 5º a2", "<corp><.><2> <5><o> <a2>"),
        ("ﬁt ½", "<fit> <1\u20442>".replace("\u2044", "/")),
        ("é", "<e\u0301>"),
        ("東京 법원a", "<東><京> <법><원><a>"),
        ("กำ", "<ก\u0e4dา>"),
        ("👩\u200d💻👩", "<👩💻><👩>"),
        ("so\u00adft", "<soft>"),
    ],
)
def test_words_begin_and_end(text: str, words: str) -> None:
    assert marked(text) == words


def is_cut(source: Folded, at: int) -> bool:
    """Say by looking at one offset alone whether words part there; what else there is to the definition."""
    text = source.text
    if not 0 < at < len(text) or " " in text[at - 1 : at + 1]:
        return True
    for point in (at, at - 1):
        if text[point] in ".,":
            return point == 0 or not (text[point - 1].isdecimal() and text[point + 1 : point + 2].isdecimal())
    first, second = source.origin(at - 1), source.origin(at)
    if first == second or "\u200d" in source.original[first + 1 : second] or is_mark(text[at]):
        return False
    return not all(map(is_of_word, (source.original[first], source.original[second])))


def is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def is_of_word(character: str) -> bool:
    if is_mark(character) or (character.isascii() and character.isalnum()):
        return True
    return unicodedata.name(character, "").startswith(("LATIN", "ARABIC", "VULGAR"))


@given(TEXTS)
def test_every_offset_is_judged_by_its_neighbours(text: str) -> None:
    source = Folded(text)
    cuts = [is_cut(source, at) for at in range(len(source.text) + 1)]
    around = f" {source.text} "
    assert list(source.boundaries.starts) == [cut and around[at + 1] != " " for at, cut in enumerate(cuts)]
    assert list(source.boundaries.ends) == [cut and around[at] != " " for at, cut in enumerate(cuts)]
