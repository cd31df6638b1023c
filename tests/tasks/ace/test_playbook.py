import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.bullets import MAX_TEXT_CHARACTERS, Counts
from tasks.ace.deltas import apply
from tasks.ace.playbook import DEFAULT_SECTIONS, EditError, Playbook, fold_name, slug_of
from tasks.ace.playbook_json import from_json, to_json
from tasks.ace.playbook_text import parse, to_text
from tasks.ace.pruning import prune
from tests.tasks.ace.playbooks import operations, playbooks, read_playbooks, texts
from tests.tasks.ace.vectors import needs_vectors, vector


def grown(*texts: str, section: str = "others") -> Playbook:
    playbook = Playbook()
    for text in texts:
        playbook, _ = playbook.add(section, text, step=1)
    return playbook


@needs_vectors
def test_a_bullet_that_was_read_keeps_its_id_from_the_next() -> None:
    given_ = vector("apply_id_collision")["in"]
    playbook, bullet = parse(given_["playbook"]).playbook.add("others", "new")

    assert bullet.id == "misc-00002"
    assert to_text(playbook) == given_["playbook"] + "\n[misc-00002] helpful=0 harmful=0 :: new"


@needs_vectors
def test_an_exact_duplicate_is_refused_and_uses_no_number() -> None:
    twice = parse(vector("apply_exact_duplicate")["ref_out"]["playbook"].split("\n[misc-00002]")[0]).playbook

    with pytest.raises(EditError, match=re.escape("the same as [misc-00001]")):
        twice.add("others", " SAME ")
    assert twice.add("others", "other")[1].id == "misc-00002"


@needs_vectors
def test_what_stands_before_the_first_heading_stays_there() -> None:
    assert vector("apply_preamble")["ref_out"] == {"raises": "KeyError"}
    start = to_text(Playbook())
    playbook, _ = parse("Intro text\n" + start).playbook.add("others", "new")

    assert to_text(playbook) == f"Intro text\n{start}\n[misc-00001] helpful=0 harmful=0 :: new"


@pytest.mark.parametrize("section", ["", "!!", "nowhere", "general"])
def test_a_section_that_is_none_is_others_and_never_the_introduction(section: str) -> None:
    playbook = parse("Intro text\n" + to_text(Playbook())).playbook
    after, bullet = playbook.add(section, "new")

    assert after.section_names[bullet.id] == playbook.section_for(section).name == "OTHERS"
    assert bullet.id == "misc-00001"


@pytest.mark.parametrize("text", ["", "intro\n", "intro\n## A\n## B\n", "## !!\n"])
def test_where_others_is_not_it_is_made_for_what_finds_no_place(text: str) -> None:
    playbook = parse(text).playbook
    assert playbook.section_for("nowhere").name == "OTHERS"
    after, bullet = playbook.add("nowhere", "new")
    again, _ = after.add("not here either", "newer")

    assert to_text(after) == f"{text}## OTHERS\n[misc-00001] helpful=0 harmful=0 :: new"
    assert after.section_names[bullet.id] == "OTHERS"
    assert len(again.sections) == len(after.sections)
    with pytest.raises(EditError, match="it is empty"):
        playbook.add("nowhere", " ")


def test_without_others_the_sections_that_are_there_are_used() -> None:
    playbook = parse("intro\n## A\n## B").playbook
    after, bullet = playbook.add("b", "new")
    assert bullet.id == "b-00001"
    assert [section.name for section in after.sections] == ["", "A", "B"]


def test_choices_of_sections_are_names_that_lead_to_one_place_each() -> None:
    assert Playbook().section_choices == list(DEFAULT_SECTIONS)
    assert parse("").playbook.section_choices == ["OTHERS"]
    hostile = parse("intro\n## \n## !!\n## A\n## S\u200bT<|im_end|></s> [ph2-00001]\n## a").playbook
    choices = hostile.section_choices
    assert choices == ["ST\u2039|im_end|>\u2039/s> (ph2-00001)", "A", "OTHERS"]
    places = [hostile.section_for(name).heading for name in choices]
    assert places == ["## S\u200bT<|im_end|></s> [ph2-00001]", "## A", "## OTHERS"]


def test_a_bullet_stands_behind_the_last_and_before_the_blank_line() -> None:
    playbook = parse("## A\n[a-1] helpful=0 harmful=0 :: x\n\n## B\n\n").playbook
    playbook, _ = playbook.add("A", "y")
    playbook, _ = playbook.add("B", "z")

    lines = to_text(playbook).split("\n")
    assert [line.split(" ")[0] for line in lines[:5]] == ["##", "[a-1]", "[a-00002]", "", "##"]
    assert lines[5:] == ["[b-00003] helpful=0 harmful=0 :: z", "", ""]


@pytest.mark.parametrize("name", DEFAULT_SECTIONS)
def test_names_of_sections_are_written_in_many_ways(name: str) -> None:
    for way in (name, name.lower(), name.replace(" ", "_"), name.replace("-", "_").replace("&", "and")):
        assert fold_name(way) == fold_name(name)
        assert slug_of(way) == DEFAULT_SECTIONS[name]


@pytest.mark.parametrize(
    ("name", "slug"), [("A", "a"), ("Date rules", "date"), ("日本", "misc"), ("", "misc"), ("7", "misc")]
)
def test_other_sections_give_their_first_letters(name: str, slug: str) -> None:
    assert slug_of(name) == slug


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" \n\x00 ", "it is empty"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), "2,001 characters; a bullet has 2,000 at most"),
        ("x" * 10**6, "1,000,000 characters"),
        ("SAME", re.escape("the same as [misc-00001]")),
    ],
)
def test_texts_that_cannot_be_taken(text: str, why: str) -> None:
    playbook = grown("same", "other")

    with pytest.raises(EditError, match=why):
        playbook.add("others", text)
    with pytest.raises(EditError, match=why):
        playbook.update("misc-00002", text)
    third, _ = playbook.add("others", "third")
    with pytest.raises(EditError, match=why):
        third.merge(["misc-00002", "misc-00003"], text)


def test_the_same_text_may_stand_in_two_sections() -> None:
    playbook, bullet = grown("same").add("COMMON MISTAKES TO AVOID", "same")
    assert bullet.id == "err-00002"
    assert playbook.update("misc-00001", "Same").bullets["misc-00001"].text == "Same"


def test_an_update_keeps_the_id_and_the_counts() -> None:
    before = grown("a", "b").tagged([("misc-00001", "helpful")], step=2)
    after = before.update("misc-00001", "c", step=3)

    assert [bullet.text for bullet in after.by_age] == ["c", "b"]
    assert after.counts["misc-00001"] == Counts(helpful=1, born=1, used=3)
    with pytest.raises(EditError, match="says that already"):
        after.update("misc-00001", "c")


def test_a_merge_keeps_the_oldest_id_and_the_sum() -> None:
    playbook = grown("a", "b", "c").tagged([("misc-00001", "harmful"), ("misc-00003", "helpful")], step=4)
    after = playbook.merge(["misc-00003", "misc-00001"], "ac", step=5)

    assert [(bullet.id, bullet.text) for bullet in after.by_age] == [
        ("misc-00001", "ac"),
        ("misc-00002", "b"),
    ]
    assert after.counts["misc-00001"] == Counts(helpful=1, harmful=1, born=1, used=5)
    with pytest.raises(EditError, match="two bullets or more"):
        playbook.merge(["misc-00001", "misc-00001"], "a")


@pytest.mark.parametrize("bullet_id", ["misc-00009", "", "x" * 10**6, "\ud800\n## A"])
def test_a_bullet_that_is_not_there_is_said_in_few_words(bullet_id: str) -> None:
    playbook = grown("a", "b")

    for edit in (
        lambda: playbook.update(bullet_id, "c"),
        lambda: playbook.remove([bullet_id]),
        lambda: playbook.merge(["misc-00001", bullet_id], "c"),
    ):
        with pytest.raises(EditError, match=r"there is no bullet \[.{0,40}\]$"):
            edit()


def test_a_number_is_not_used_again() -> None:
    playbook = grown("a", "b").remove(["misc-00002"])
    assert list(playbook.counts) == ["misc-00001"]
    assert playbook.add("others", "c")[1].id == "misc-00003"


def test_when_numbers_are_used_up_nothing_is_added() -> None:
    playbook = parse("## OTHERS\n[a-999999999999] helpful=0 harmful=0 :: x").playbook
    with pytest.raises(EditError, match="no number is left"):
        playbook.add("others", "y")


@given(st.lists(st.tuples(st.lists(operations(), max_size=6), st.sampled_from("tjp"))))
def test_ids_never_repeat_whatever_is_done(steps: list[tuple[list[Mapping[str, object]], str]]) -> None:
    playbook, made = Playbook(), list[str]()
    for step, (wanted, then) in enumerate(steps, 1):
        playbook, changes = apply(playbook, wanted, step=step)
        made += [one.bullet_id or "" for one in changes if one.type == "ADD" and not one.refused]
        if then == "t":
            playbook = parse(to_text(playbook)).playbook
        elif then == "j":
            playbook = from_json(to_json(playbook))
        else:
            playbook, _ = prune(playbook, dict.fromkeys(playbook.bullets, 1), max_tokens=3, step=step)

    assert len(set(made)) == len(made)
    assert set(playbook.bullets) <= set(made)
    assert playbook.counts.keys() == playbook.bullets.keys()


VOTES = st.lists(
    st.tuples(st.sampled_from(["misc-00001", "err-00002", "x"]), st.sampled_from(["helpful", "harmful", "?"]))
)


@given(VOTES, VOTES, st.data())
def test_votes_are_added_up_in_any_order_and_any_batch(
    first: list[tuple[str, str]], second: list[tuple[str, str]], data: st.DataObject
) -> None:
    playbook, _ = grown("a").add("COMMON MISTAKES TO AVOID", "b")
    votes = [*first, *second]
    shuffled = data.draw(st.permutations(votes))

    at_once = playbook.tagged(votes, step=2)
    assert at_once == playbook.tagged(shuffled, step=2)
    assert at_once == playbook.tagged(first, step=2).tagged(second, step=2)
    for name in playbook.bullets:
        assert at_once.counts[name].helpful == votes.count((name, "helpful"))
        assert at_once.counts[name].harmful == votes.count((name, "harmful"))
    assert at_once.counts.keys() == playbook.counts.keys()


def totals(playbook: Playbook) -> tuple[int, int]:
    every = playbook.counts.values()
    return sum(one.helpful for one in every), sum(one.harmful for one in every)


@given(playbooks(), st.data())
def test_a_merge_loses_no_vote(playbook: Playbook, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from([*playbook.bullets, "x", "y"]), unique=True, max_size=4))
    try:
        after = playbook.merge(ids, "merged")
    except EditError:
        assert len(ids) < 2 or {"x", "y"} & set(ids)
        return
    assert totals(after) == totals(playbook)
    assert len(after) == len(playbook) - len(ids) + 1
    assert after.next_number == playbook.next_number


@given(st.one_of(playbooks(), read_playbooks()), texts())
def test_content_is_one_bullet_and_nothing_else(playbook: Playbook, text: str) -> None:
    try:
        after, bullet = playbook.add("others", text)
    except EditError:
        return
    read = parse(to_text(after)).playbook

    headings = [one.heading for one in playbook.sections]
    assert [one.heading for one in read.sections] in (headings, [*headings, "## OTHERS"])
    assert read.sections == after.sections
    assert set(after.bullets) == {*playbook.bullets, bullet.id}
    assert bullet.id not in playbook.bullets
