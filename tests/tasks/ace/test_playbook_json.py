import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import PlaybookFileError, from_json, to_json
from tasks.ace.playbook_text import parse, to_text
from tests.tasks.ace.playbooks import LINES, playbooks, read_playbooks

BULLET = {"id": "misc-00001", "text": "a", "helpful": 2, "harmful": 1, "born": 3, "used": 4}


def file(*lines: object, heading: object = "## OTHERS", **changes: object) -> str:
    sections = [{"heading": heading, "lines": lines}]
    return json.dumps({"format": 1, "next_number": 2, "sections": sections, **changes})


@given(st.one_of(playbooks(), read_playbooks()))
def test_writing_and_reading_loses_nothing(playbook: Playbook) -> None:
    assert from_json(to_json(playbook)) == playbook


@given(st.one_of(playbooks(), read_playbooks()))
def test_what_is_read_can_be_written_as_text(playbook: Playbook) -> None:
    read = from_json(to_json(playbook))
    assert parse(to_text(read)).playbook.bullets == playbook.bullets


def test_lines_before_the_first_heading_may_be_gone() -> None:
    playbook = parse("[a-1] helpful=0 harmful=0 :: x\n").playbook.remove(["a-1"])
    assert from_json(to_json(playbook)) == playbook


def test_all_that_is_known_is_in_it() -> None:
    playbook, _ = Playbook().add("others", "a", step=3)
    votes = [("misc-00001", "helpful"), ("misc-00001", "helpful"), ("misc-00001", "harmful")]
    written = json.loads(to_json(playbook.tagged(votes, step=4)))

    assert written["sections"][-1] == {"heading": "## OTHERS", "lines": [BULLET]}
    assert written["next_number"] == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no playbook"),
        ("null", "it is no playbook"),
        ("[" * 100_000, "it is no playbook"),
        ('"\ud800"', "it is no playbook"),
        (file(format=2), "format"),
        (file(next_number=0), "next_number"),
        (file(next_number=10**12 + 1), "next_number"),
        (file(next_number=2**70), "next_number"),
        (file(more=1), "more: Extra inputs"),
        (file(BULLET, BULLET), "two of its bullets have the same id"),
        (file(BULLET, next_number=1), "next_number is 1, and a bullet has a higher number"),
        (file({**BULLET, "helpful": -1}), "helpful"),
        (file({**BULLET, "helpful": 10**12}), "helpful"),
        (file({**BULLET, "id": None}), "id"),
        (file(5), "sections.0.lines.0"),
    ],
)
def test_what_is_no_playbook_is_told(text: str, why: str) -> None:
    with pytest.raises(PlaybookFileError, match=why):
        from_json(text)


@pytest.mark.parametrize(
    "lines",
    [
        [{**BULLET, "id": "</playbook>"}],
        [{**BULLET, "id": "a] helpful=1 harmful=1 :: [b"}],
        [{**BULLET, "id": "a\n## HACK"}],
        [{**BULLET, "id": ""}],
        [{**BULLET, "text": "a\n## HACK"}],
        ["a\nb"],
        ["## HACK"],
        ["[misc-00001] helpful=0 harmful=0 :: a"],
        ["<!-- next 5 -->"],
    ],
)
def test_what_would_be_something_else_as_text_is_refused(lines: list[object]) -> None:
    with pytest.raises(PlaybookFileError, match="section 1 of it has a heading, a line or an id"):
        from_json(file(*lines))


@pytest.mark.parametrize("heading", ["OTHERS", "", "## A\n## B", "## A "])
def test_a_heading_is_one(heading: str) -> None:
    with pytest.raises(PlaybookFileError, match="section 1 of it has a heading"):
        from_json(file(heading=heading))


def test_only_the_first_section_has_no_heading() -> None:
    sections = [{"heading": None, "lines": ["a"]}, {"heading": None, "lines": ["b"]}]
    with pytest.raises(PlaybookFileError, match="section 2 of it has a heading"):
        from_json(file(sections=sections))


@given(st.lists(st.sampled_from(LINES)))
def test_no_line_of_a_file_becomes_a_bullet(lines: list[str]) -> None:
    try:
        read = from_json(file(*lines))
    except PlaybookFileError:
        return
    assert parse(to_text(read)).playbook.bullets == {}
