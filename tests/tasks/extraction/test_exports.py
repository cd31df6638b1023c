"""Facts about exports: what is written is read back, by readers of the formats that are written here."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.exports import brat, conll, outermost, write_brat, write_conll
from tasks.extraction.values import Document, Entity

Span = tuple[int, int, str]


def entity(text: str, start: int | None, end: int | None, label: str = "ORG", **attributes: str) -> Entity:
    return Entity(
        label=label, text=text[start:end], status="exact", start=start, end=end,
        votes=1, confidence=1.0, attributes=attributes,
    )  # fmt: skip


def spans(entities: Sequence[Entity]) -> list[Span]:
    return [(one.start, one.end, one.label) for one in entities if one.start is not None and one.end]


def conll_of(text: str, *entities: Entity) -> str:
    return "".join(conll([Document(id="a", text=text)], {"a": entities}))


def read_conll(written: str, texts: Sequence[str]) -> list[list[Span]]:
    """Put the tokens into the texts, in order, and return the spans that the tags say."""
    head, *parts = written.split("-DOCSTART- O\n\n")
    assert head == ""
    return [read_document(part, text) for part, text in zip(parts, texts, strict=True)]


def read_document(written: str, text: str) -> list[Span]:
    found: list[Span] = []
    place, running = 0, ""
    assert written.endswith("\n")
    for line in written[:-1].split("\n"):
        if not line:
            running = ""
            continue
        token, tag = line.split(" ")
        gap = re.compile(r"\s*").match(text, place)
        assert gap
        start, place = gap.end(), gap.end() + len(token)
        assert token
        assert text[start:place] == token
        if tag.startswith("I-"):
            assert running == tag[2:], "I- without B-"
            found[-1] = (found[-1][0], place, running)
        else:
            assert tag == "O" or tag.startswith("B-")
            running = tag[2:]
            found += [(start, place, running)] * (tag != "O")
    assert not text[place:].strip()
    return found


def read_brat(written: str, text: str) -> tuple[list[Span], dict[str, dict[str, str]]]:
    """Return the spans, and the attributes by T id; refuses what brat refuses."""
    found: dict[str, Span] = {}
    attributes: dict[str, dict[str, str]] = {}
    assert written == "" or written.endswith("\n")
    for line in written[:-1].split("\n") if written else []:
        assert len(line.splitlines()) == 1
        if line.startswith("T"):
            key, where, words = line.split("\t", 2)
            label, places = where.split(" ", 1)
            parts = [tuple(map(int, part.split(" "))) for part in places.split(";")]
            assert all(start < end for start, end in parts)
            assert all(one[1] < other[0] for one, other in pairwise(parts))
            assert words == " ".join(text[start:end] for start, end in parts)
            assert key not in found
            found[key] = (parts[0][0], parts[-1][1], label)
        else:
            assert line.startswith("A")
            _, said = line.split("\t")
            name, target, *value = said.split(" ", 2)
            assert target in found
            attributes.setdefault(target, {})[name] = "".join(value)
    return list(found.values()), attributes


def test_tokens_and_tags_stand_line_by_line() -> None:
    text = "Acme Corp. sued\n\nBolt."
    assert conll_of(text, entity(text, 0, 10), entity(text, 17, 21)) == (
        "-DOCSTART- O\n\n"
        "Acme B-ORG\nCorp I-ORG\n. I-ORG\nsued O\n\n"
        "Bolt B-ORG\n. O\n\n"
    )  # fmt: skip


def test_neighbours_begin_anew_and_words_are_cut_at_spans() -> None:
    text = "NewYork-based"
    both = conll_of(text, entity(text, 0, 3), entity(text, 3, 7))
    assert both.split("\n")[2:6] == ["New B-ORG", "York B-ORG", "- O", "based O"]


def test_a_blank_line_inside_of_an_entity_does_not_cut_it() -> None:
    text = "Acme\n\nCorp won"
    assert (
        "\n".join(conll_of(text, entity(text, 0, 10)).split("\n")[2:]) == "Acme B-ORG\nCorp I-ORG\nwon O\n\n"
    )


def test_a_blank_line_between_two_entities_ends_a_paragraph() -> None:
    text = "Acme\n\nBolt"
    assert "Acme B-ORG\n\nBolt B-ORG" in conll_of(text, entity(text, 0, 4), entity(text, 6, 10))


def test_of_nested_entities_the_outermost_is_written() -> None:
    text = "the Bank of Oslo in Oslo"
    inner, outer = entity(text, 12, 16, "LOC"), entity(text, 4, 16)
    crossing, later = entity(text, 12, 19, "X"), entity(text, 20, 24, "LOC")
    found = outermost([inner, crossing, later, outer, entity(text, None, None)])
    assert found == [outer, later]
    assert read_conll(conll_of(text, inner, crossing, later, outer), [text]) == [spans([outer, later])]


def test_labels_that_become_the_same_are_told_apart() -> None:
    text = "a b c"
    found = entity(text, 0, 1, "case law"), entity(text, 2, 3, "case_law"), entity(text, 4, 5, "案例")
    tags = [line.split(" ")[1] for line in conll_of(text, *found).split("\n")[2:5]]
    assert tags == ["B-case_law", "B-case_law-2", "B-案例"]
    assert [label for _, _, label in read_brat(brat(found, text), text)[0]] == [
        "case_law",
        "case_law-2",
        "案例",
    ]


def test_a_span_over_line_breaks_is_written_to_brat_in_parts() -> None:
    text = "by Acme \r\n  Corp\nof Oslo."
    assert brat([entity(text, 3, 16)], text) == "T1\tORG 3 7;12 16\tAcme Corp\n"


def test_attributes_are_lines_of_their_own() -> None:
    text = "Acme and Bolt"
    one = entity(text, 0, 4, role="the\n buyer", empty="")
    assert brat([entity(text, 9, 13, role="seller"), one], text) == (
        "T1\tORG 0 4\tAcme\nT2\tORG 9 13\tBolt\nA1\tempty T1\nA2\trole T1 the buyer\nA3\trole T2 seller\n"
    )


def test_an_attribute_with_the_name_of_a_label_gets_another() -> None:
    text = "Acme"
    assert "A1\torg-2 T1 x" in brat([entity(text, 0, 4, "ORG", org="x")], text)


def test_findings_without_a_span_are_in_no_export() -> None:
    text = "Acme"
    nothing = entity(text, None, None)
    assert brat([nothing], text) == ""
    assert conll_of(text, nothing) == "-DOCSTART- O\n\nAcme O\n\n"


def test_every_document_gets_files_of_its_own(tmp_path: Path) -> None:
    ids = ["a/b", "a:b", "A_B", "a_b-2", "../../etc", "", "...", "x" * 400, "Ä" * 200, "a\x00b", "。/"]
    documents = [Document(id=name, text=f"text of {place}") for place, name in enumerate(ids)]
    stems = write_brat(tmp_path, documents, {})
    assert list(stems) == ids
    assert len({stem.casefold() for stem in stems.values()}) == len(ids)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{stem}.{ending}" for stem in stems.values() for ending in ("ann", "txt")
    )
    for document in documents:
        assert (tmp_path / f"{stems[document.id]}.txt").read_text("utf-8") == document.text
    assert (stems["a/b"], stems["../../etc"], stems[""]) == ("a_b", "_.._etc", "document")


def test_files_hold_the_text_to_the_letter_line_ends_included(tmp_path: Path) -> None:
    text = "Acme\r\nsued “Bolt” \ud800 in Oslo"
    found = {"a": [entity(text, text.index("Oslo"), len(text), "LOC")]}
    document = Document(id="a", text=text)
    write_brat(tmp_path, [document], found)
    kept = (tmp_path / "a.txt").read_bytes().decode()
    assert kept == text.replace("\ud800", "?")
    assert read_brat((tmp_path / "a.ann").read_bytes().decode(), kept)[0] == spans(found["a"])
    write_conll(tmp_path / "all.conll", [document], found)
    assert read_conll((tmp_path / "all.conll").read_bytes().decode(), [kept]) == [spans(found["a"])]


# --- Whatever is written --------------------------------------------------------------------------------

TEXTS = st.text("aB1 -.\n\r\t\u2028\x85é文\u0301", max_size=25)


@st.composite
def documents_and_entities(draw: st.DrawFn) -> tuple[list[Document], Mapping[str, list[Entity]]]:
    documents = [Document(id=f"d{number}", text=draw(TEXTS)) for number in range(draw(st.integers(0, 3)))]
    found: dict[str, list[Entity]] = {}
    for document in documents:
        text = document.text
        solid = [place for place, letter in enumerate(text) if not letter.isspace()]
        pairs = st.tuples(st.sampled_from(solid), st.sampled_from(solid)) if solid else st.nothing()
        ends = draw(st.lists(pairs, max_size=4, unique=True)) if solid else []
        found[document.id] = [
            entity(text, min(pair), max(pair) + 1, draw(st.sampled_from(["ORG", "PER"])), n=str(number))
            for number, pair in enumerate(ends)
        ]
    return documents, found


@given(documents_and_entities())
def test_conll_is_read_back(drawn: tuple[list[Document], Mapping[str, list[Entity]]]) -> None:
    documents, found = drawn
    expected = [spans(outermost(found[document.id])) for document in documents]
    assert read_conll("".join(conll(documents, found)), [document.text for document in documents]) == expected


@given(documents_and_entities())
def test_brat_is_read_back_with_everything_nested(
    drawn: tuple[list[Document], Mapping[str, list[Entity]]],
) -> None:
    documents, found = drawn
    for document in documents:
        read, attributes = read_brat(brat(found[document.id], document.text), document.text)
        assert sorted(read) == sorted(spans(found[document.id]))
        said = sorted(said["n"] for said in attributes.values())
        assert said == [str(number) for number in range(len(found[document.id]))]
