"""Citations are eyecite's, at their places in the document as it is."""

import logging
import sys
from collections import Counter
from pathlib import Path

import pytest
from eyecite import get_citations
from eyecite.clean import all_whitespace
from hypothesis import given
from hypothesis import strategies as st

from backends.registry import NotInstalledError
from tasks.extraction import citations
from tasks.extraction.citations import cite

OPINION = Path(__file__).parents[4] / "shared" / "data" / "legal" / "eyecite" / "opinion.txt"
TEXT = (
    "Roe v. Wade, 410 U. S.\n   113, 120 (1973), and  Bush v. Gore,\n531 U.S. 98. See 410 U.S., at 115; "
    "Id.,\nat 116; Wade, supra, at 5; 11 U.S.C. § 501; 75 Colum. L. Rev. 559; and § 12."
)


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def opinion() -> str:
    if not OPINION.exists():
        pytest.skip(f"the opinion is not there: {OPINION}")
    return OPINION.read_text(encoding="utf-8")


def test_each_kind_has_its_label_its_place_and_its_corrected_form() -> None:
    found = [(each.label, each.text, each.normalized) for each in cite(TEXT)]
    assert found == [
        ("case_citation", "410 U. S.\n   113", "410 U.S. 113"),
        ("case_citation", "531 U.S. 98", "531 U.S. 98"),
        ("short", "410 U.S., at 115", "410 U.S., at 115"),
        ("id", "Id.,\nat 116", "Id.,"),
        ("supra", "supra, at 5", "supra,"),
        ("statute", "11 U.S.C. § 501", "11 U.S.C. § 501"),
        ("journal", "75 Colum. L. Rev. 559", "75 Colum. L. Rev. 559"),
    ]
    assert all(each.text == TEXT[each.start : each.end] for each in cite(TEXT))
    first = cite(TEXT)[0].attributes
    assert (first["plaintiff"], first["defendant"], first["year"]) == ("Roe", "Wade", "1973")


def test_those_of_an_opinion_are_eyecites_own_at_the_same_words(opinion: str) -> None:
    words = all_whitespace(opinion)
    own = get_citations(words)
    found = cite(opinion)
    assert all(each.text == opinion[each.start : each.end] for each in found)
    assert len(found) == len(own) == 186
    short = 0
    for each, other in zip(found, own, strict=True):
        start, end = other.span()
        short += end < other.token.end
        assert one_line(each.text) == words[start : max(end, other.token.end)].strip()
        assert each.normalized == other.corrected_citation()
        # Up to here the document has as many words as the one line has.
        assert one_line(opinion[: each.start]) == words[:start].strip()
    assert short == 11  # spans of short forms that end before their page


def test_kinds_of_the_opinion_are_counted(opinion: str) -> None:
    assert Counter(each.label for each in cite(opinion)) == {
        "case_citation": 77,
        "id": 44,
        "short": 35,
        "supra": 27,
        "journal": 2,
        "statute": 1,
    }


def test_all_that_eyecite_finds_in_the_lines_as_they_are_is_found_too(opinion: str) -> None:
    raw = get_citations(opinion)
    assert len(raw) == 170
    assert {each.span()[0] for each in raw} <= {each.start for each in cite(opinion)}


@given(st.text(alphabet=st.sampled_from("1 U.S.\n\u200b\tId§at,é𝒳"), max_size=60))
def test_spans_are_in_the_text_whatever_blanks_it_has(text: str) -> None:
    for each in cite(f"See 1 U.S. 2 {text}"):
        assert each.start is not None
        assert each.end is not None
        assert 0 <= each.start < each.end <= len(text) + 13
        assert each.text == f"See 1 U.S. 2 {text}"[each.start : each.end]


def test_long_texts_are_read_piece_by_piece_and_lose_nothing_at_the_seams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "\n\n".join(f"In {name} v. Gore, {page} U.S. {page}, it was so." for page, name in NAMES)
    whole = cite(text)
    monkeypatch.setattr(citations, "PIECE", 100)
    assert cite(text) == whole
    assert len(whole) == len(NAMES)
    monkeypatch.setattr(citations, "PIECE", 30)
    unbroken = "x" * 100 + " 1 U.S. 2 " + "y" * 100
    assert [each.start for each in cite(unbroken)] == [101]


NAMES = list(enumerate(("Roe", "Bush", "Brown", "Miranda", "Gideon", "Loving"), start=100))


@pytest.mark.parametrize("text", ["", "   \n", "eyecite", "Nothing is cited here."])
def test_texts_without_citations_have_none(text: str) -> None:
    assert cite(text) == []


def test_without_eyecite_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eyecite", None)
    with pytest.raises(NotInstalledError, match=r"pip install -r requirements/eyecite\.txt"):
        cite("1 U.S. 1")


def test_eyecite_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        cite("supra, at 1, " * 5)
    assert caplog.records == []
