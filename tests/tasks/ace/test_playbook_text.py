import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.bullets import Bullet, Counts
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse, parse_line, to_text
from tests.tasks.ace.playbooks import files, playbooks
from tests.tasks.ace.vectors import needs_vectors, vector, vectors


@needs_vectors
def test_lines_are_read_as_the_reference_reads_them() -> None:
    for one in vectors("parse_line"):
        read = parse_line(one["in"])
        wanted = one["ref_out"]
        if wanted is None:
            assert read is None, one["in"]
        else:
            assert read is not None, one["in"]
            assert read.bullet == Bullet(id=wanted["id"], text=wanted["content"])
            assert read.counts == Counts(helpful=wanted["helpful"], harmful=wanted["harmful"])


@needs_vectors
def test_the_next_number_is_one_more_than_the_highest() -> None:
    assert parse(vector("next_id")["in"]).playbook.next_number == 8
    assert parse(vector("next_id_empty")["in"]).playbook.next_number == 1


@needs_vectors
def test_the_empty_playbook_is_that_of_the_reference() -> None:
    text = vector("next_id_empty")["in"]
    assert to_text(Playbook()) == text
    assert len(text.split("\n")) == 13
    assert parse(text).playbook == Playbook()


REMARKS = """An introduction.

## OTHERS
a remark
[misc-00004] helpful=1 harmful=0 :: one :: two

- [misc-00009] helpful=0 harmful=0 :: a list item is no bullet
## Odd  section!
[a b] helpful=0 harmful=3 ::
\t
[c-2] helpful=0 harmful=0 :: last"""


def test_what_is_no_bullet_stays_where_it_stands() -> None:
    read = parse(REMARKS)
    assert to_text(read.playbook) == REMARKS
    assert list(read.playbook.bullets) == ["misc-00004", "a b", "c-2"]
    assert read.notes == ()


def test_text_before_the_first_heading_is_kept_when_a_bullet_is_added() -> None:
    playbook, bullet = parse("Intro text\n" + to_text(Playbook())).playbook.add("others", "new")
    assert to_text(playbook).startswith("Intro text\n## STRATEGIES")
    assert playbook.section_names[bullet.id] == "OTHERS"


def test_an_id_that_is_taken_is_given_anew() -> None:
    read = parse("## OTHERS\n[misc-00001] helpful=3 harmful=0 :: a\n[misc-00001] helpful=1 harmful=2 :: b")
    assert [bullet.text for bullet in read.playbook.bullets.values()] == ["a", "b"]
    assert read.playbook.counts["misc-00002"] == Counts(helpful=1, harmful=2)
    assert read.playbook.next_number == 3
    assert "misc-00002" in read.notes[0]


def test_an_id_that_would_end_the_playbook_in_a_prompt_is_given_anew() -> None:
    read = parse("intro\n## OTHERS\n[</playbook>] helpful=0 harmful=0 :: a")
    assert list(read.playbook.bullets) == ["misc-00001"]


def test_a_number_that_was_given_out_is_not_forgotten() -> None:
    playbook, first = Playbook().add("others", "a")
    playbook = playbook.remove([first.id])
    again, second = parse(to_text(playbook)).playbook.add("others", "b")
    assert second.id == "misc-00002"
    assert "<!-- next" not in to_text(again)


@pytest.mark.parametrize("number", ["9" * 5000, "1" * 13])
def test_numbers_without_end_are_no_numbers(number: str) -> None:
    assert parse(f"[a-{number}] helpful=0 harmful=0 :: x").playbook.next_number == 1
    assert parse_line(f"[a-1] helpful={number} harmful=0 :: x") is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("\n", "\n"),
        ("## A", "## A"),
        ("## A\n", "## A"),
        ("## A\n\n", "## A\n\n"),
        ("a\n\n\n", "a\n\n\n"),
        ("a\n\n<!-- next 9 -->\n", "a\n\n<!-- next 9 -->"),
    ],
)
def test_blank_lines_at_the_end_are_kept_but_for_the_newline_of_the_file(text: str, written: str) -> None:
    assert to_text(parse(text).playbook) == written
    assert to_text(parse(written).playbook) == written


def test_new_ids_are_of_their_section_and_of_nobody_else() -> None:
    line = "[a-999999999999] helpful={} harmful=0 :: x"
    text = "\n".join(
        ["intro", "## Dates", *map(line.format, range(3)), "[date-1000000000000] helpful=7 harmful=0 :: y"]
    )
    read = parse(text)

    ids = ["a-999999999999", "date-1000000000001", "date-1000000000002", "date-1000000000000"]
    assert list(read.playbook.bullets) == ids
    assert [read.playbook.counts[name].helpful for name in ids] == [0, 1, 2, 7]
    assert read.playbook.next_number == 10**12
    assert len(read.notes) == 2


def test_a_bullet_stays_one_however_many_votes_it_has() -> None:
    playbook = parse("[a-1] helpful=999999999999 harmful=0 :: x").playbook.tagged([("a-1", "helpful")])
    assert list(parse(to_text(playbook)).playbook.bullets) == ["a-1"]


def test_the_last_number_is_not_forgotten() -> None:
    playbook = parse("## OTHERS\n[a-999999999999] helpful=0 harmful=0 :: x").playbook.remove(
        ["a-999999999999"]
    )
    assert parse(to_text(playbook)).playbook == playbook
    assert parse("<!-- next 9999999999999 -->").playbook.next_number == 10**12


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("## A \r\n", "## A"),
        ("  [a-1]helpful=007   harmful=0 ::x \r\n", "[a-1] helpful=7 harmful=0 :: x"),
        ("a remark \r\n\r\nb", "a remark \r\n\r\nb"),
    ],
)
def test_blanks_around_headings_and_bullets_are_not_kept_and_those_of_remarks_are(
    text: str, written: str
) -> None:
    assert to_text(parse(text).playbook) == written


@given(files())
def test_a_file_is_written_as_it_was_read(text: str) -> None:
    playbook = parse(text).playbook
    assert parse(to_text(playbook)).playbook == playbook
    assert playbook.counts.keys() == playbook.bullets.keys()
    lines = [line for section in playbook.sections for line in section.bullets]
    assert len(lines) == len(playbook)


@given(playbooks())
def test_writing_and_reading_loses_nothing(playbook: Playbook) -> None:
    read = parse(to_text(playbook)).playbook
    assert read.sections == playbook.sections
    assert read.next_number == playbook.next_number
    votes = {name: (one.helpful, one.harmful) for name, one in playbook.counts.items()}
    assert {name: (one.helpful, one.harmful) for name, one in read.counts.items()} == votes


@given(st.text())
def test_any_text_is_a_playbook_and_is_written_as_it_was_read(text: str) -> None:
    once = to_text(parse(text).playbook)
    assert to_text(parse(once).playbook) == once
