"""Folded texts and the way back from them."""

# ruff: noqa: RUF001 - characters that look alike are what this is about

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.extraction.folding import Folded, Wording, fold, without_marks, wording

TRICKY = st.sampled_from(
    [
        *"aBßéŉǰİ ﬁﷺ¨´½№™²º°—–‐“”‘’«»\t\n\r\x85\u00a0\u3000\u00ad\u200b\u200d\ufe0f",
        "-\n",
        "\u2010\r\n ",
        "e\u0301",
        "カ\uff9e",
        "각",
        "법원",
        "東京",
        "กรุงเทพ",
        "محمد",
        "👩\u200d💻",
        "\ud800",
    ]
)
TEXTS = st.lists(st.characters() | TRICKY, max_size=30).map("".join)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("", ""),
        ("the “Company” shall", 'the "company" shall'),
        ("L’État – c’est", "l'e\u0301tat - c'est"),
        ("ofﬁce", "office"),
        ("the agree-\nment", "the agreement"),
        ("the agree-  \r\n  ment", "the agreement"),
        ("agree\u00ad\nment", "agreement"),
        ("São-\nPaulo", "sa\u0303o- paulo"),
        ("1-\nst", "1- st"),
        ("cafe\u0301-\nzinho", "cafe\u0301zinho"),
        ("so\u00adft\u200b", "soft"),
        ("a \t\n\u00a0\u200b b", "a b"),
        ("Lei nº 9, n° 9", "lei no 9, no 9"),
        ("STRASSE Straße", "strasse strasse"),
        ("東京　都", "東京 都"),
        ("ｶﾞｽ", "カ\u3099ス"),
        ("ガス", "カ\u3099ス"),
        ("대한민국", "대한민국"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_what_tells_no_two_texts_apart_is_set_aside(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_a_final_sigma_is_a_sigma() -> None:
    assert fold("ΣΙΣΥΦΟΣ") == fold("σισυφος")


def test_accents_and_letters_that_are_one_character_or_two_fold_to_the_same() -> None:
    text = "Cộng hòa xã hội chủ nghĩa Việt Nam, São João, Ångström"
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))
    assert fold("avó") != fold("avô")


@given(TEXTS)
@example("¨ a")
@example("a-\n\u00ad\nb")
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(TEXTS)
def test_a_folded_text_is_the_fold_and_knows_where_all_of_it_comes_from(text: str) -> None:
    folded = Folded(text)
    assert folded.text == fold(text)
    origins = [folded.origin(at) for at in range(len(folded.text))]
    assert origins == sorted(origins)
    assert all(0 <= origin < len(text) for origin in origins)
    assert folded.origin(len(folded.text)) == len(text)


@given(TEXTS, st.data())
def test_a_span_lies_in_the_text_and_folds_to_what_was_asked_for(text: str, data: st.DataObject) -> None:
    folded = Folded(text)
    if not folded.text:
        return
    start = data.draw(st.integers(0, len(folded.text) - 1))
    end = data.draw(st.integers(start + 1, len(folded.text)))
    first, last = folded.original_span(start, end)
    assert 0 <= first < last <= len(text)
    whole = start == 0 or folded.origin(start - 1) != first
    whole = whole and (end == len(folded.text) or folded.origin(end) != last - 1)
    broken = any(first < match.end() and match.start() < last for match in re.finditer(r"\n", text))
    if whole and not broken:  # a word is joined or not by what stands beside it
        assert fold(text[first:last]) == folded.text[start:end]
    assert folded.text[start:end] in fold(text[first:last]) or broken


@given(TEXTS, st.integers(0, 40))
def test_an_offset_is_followed_by_what_comes_from_there(text: str, offset: int) -> None:
    folded = Folded(text)
    at = folded.folded_offset(offset)
    assert all(folded.origin(before) < offset for before in range(at))
    assert at == len(folded.text) or folded.origin(at) >= offset


def test_a_ligature_is_taken_whole_and_hyphenation_is_spanned() -> None:
    office = Folded("an ofﬁce here")
    assert office.text == "an office here"
    assert office.original_span(3, 9) == (3, 8)
    assert office.original_span(5, 6) == office.original_span(6, 7) == (5, 6)
    agreement = Folded("the agree-\n ment ends")
    at = agreement.text.index("agreement")
    assert agreement.original_span(at, at + 9) == (4, 16)


def test_a_wording_says_what_each_letter_was() -> None:
    assert Folded("Der GROSSE Fluß").wording(4, 15) == Wording("grosse fluss"[:11], "GROSSE Fluß")
    assert wording("\u200b  GROSSE\n Fluß ") == Wording("grosse fluss", "GROSSE\nFlußß")


@given(TEXTS)
def test_a_wording_is_that_of_the_folded_text(text: str) -> None:
    folded = Folded(text)
    whole, alone = folded.wording(0, len(folded.text)), wording(text)
    assert alone.text == fold(text).strip()
    assert alone.original in whole.original


def characters() -> list[str]:
    """Return all that this Python's Unicode names, but for those of private use."""
    points = [*range(0x3_2000), *range(0xE_0000, 0xE_0200)]
    return [one for one in map(chr, points) if unicodedata.category(one) not in {"Cn", "Co", "Cs"}]


def test_every_character_folds_to_what_folds_to_itself() -> None:
    text = "\n".join(characters())
    assert fold(fold(text)) == fold(text)


def test_what_cannot_be_seen_is_dropped() -> None:
    dropped = {one for one in characters() if not fold(one)}
    assert {one for one in characters() if unicodedata.category(one) == "Cf"} <= dropped
    assert all(unicodedata.category(one) in {"Cf", "Mn"} for one in dropped)


@given(TEXTS, st.data())
def test_what_stands_without_accents_knows_its_places(text: str, data: st.DataObject) -> None:
    source = Folded(text)
    for _ in range(2):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(source.text))] * 2)))
        letters, places = source.without_marks(start, end)
        assert letters == without_marks(source.text[start:end])
        assert [source.text[place] for place in places[:-1]] == list(letters)
        assert list(places) == sorted({*places})
        assert (places[0] >= start, places[-1]) == (True, end)
