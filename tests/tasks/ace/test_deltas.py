import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ace.deltas import Change, apply, plain_id, read_operation, removal
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import from_json, to_json
from tasks.ace.playbook_text import parse, to_text
from tests.tasks.ace.playbooks import junk, operations, playbooks, read_playbooks
from tests.tasks.ace.vectors import needs_vectors, vector


def started() -> Playbook:
    wanted = [{"type": "ADD", "content": text} for text in ("a", "b", "c")]
    playbook, _ = apply(Playbook(), wanted, step=1)
    return playbook.tagged([("misc-00001", "helpful"), ("misc-00002", "harmful")], step=2)


@needs_vectors
def test_operations_are_applied_as_is_wanted() -> None:
    one = vector("apply_ops")
    playbook, changes = apply(parse(one["in"]["playbook"]).playbook, one["in"]["ops"])

    def section(name: str) -> list[str]:
        [found] = [part for part in playbook.sections if part.name == name]
        return [line if isinstance(line, str) else f"{line.id} {line.text}" for line in found.lines]

    assert section("STRATEGIES & INSIGHTS") == ["sai-00003 S1", ""]
    assert section("FORMULAS & CALCULATIONS") == ["calc-00001 C1", "calc-00002 C2", ""]
    assert section("PROBLEM-SOLVING HEURISTICS") == ["ph-00004 P1", "ph-00005 P2", ""]
    assert section("OTHERS") == ["misc-00006 G1", "misc-00007 N1"]
    assert playbook.next_number == one["ref_out"]["next_id"]
    refused = [(one.type, one.refused) for one in changes if one.refused]
    assert refused == [("UPDATE", "id: field required"), ("REMOVE", "id: field required")]
    assert [one.section for one in changes if one.text == "P1"] == ["PROBLEM-SOLVING HEURISTICS"]


@needs_vectors
def test_content_of_many_lines_is_one() -> None:
    playbook, _ = apply(Playbook(), vector("apply_multiline")["in"]["ops"])

    added = "\n[misc-00001] helpful=0 harmful=0 :: line1 ## HACK line3"
    assert to_text(playbook) == to_text(Playbook()) + added
    assert parse(to_text(playbook)).playbook.sections == playbook.sections


@needs_vectors
def test_an_addition_that_is_there_uses_no_id() -> None:
    assert vector("apply_exact_duplicate")["bug"]
    playbook, changes = apply(Playbook(), [{"type": "ADD", "section": "others", "content": "same"}] * 2)

    assert changes[1].refused == "the same as [misc-00001]"
    assert playbook.next_number == 2
    assert len(playbook) == 1


def test_each_operation_says_what_it_did() -> None:
    wanted = [
        {"type": "add", "section": "others", "content": "d\n", "reason": "why not"},
        {"operation": "UPDATE", "bullet_id": "[misc-00003]", "content": "C"},
        {"type": "MERGE", "ids": ["(misc-00002)", "misc-00001"], "content": "ab"},
        {"type": "DELETE", "id": " misc-00004 "},
    ]
    playbook, changes = apply(started(), wanted, step=3)

    others: dict[str, Any] = {"section": "OTHERS"}
    assert changes == [
        Change(type="ADD", bullet_id="misc-00004", text="d", **others),
        Change(type="UPDATE", bullet_id="misc-00003", text="C", replaced=(("misc-00003", "c"),), **others),
        Change(
            type="MERGE",
            bullet_id="misc-00001",
            text="ab",
            replaced=(("misc-00002", "b"), ("misc-00001", "a")),
            **others,
        ),
        Change(type="REMOVE", bullet_id="misc-00004", text="d", replaced=(("misc-00004", "d"),), **others),
    ]
    assert [(name, one.helpful, one.harmful, one.used) for name, one in playbook.counts.items()] == [
        ("misc-00001", 1, 1, 3),
        ("misc-00003", 0, 0, 3),
    ]


def test_a_rule_signs_what_it_takes_out() -> None:
    assert removal(started(), "misc-00002", by="budget") == Change(
        type="REMOVE",
        bullet_id="misc-00002",
        text="b",
        section="OTHERS",
        replaced=(("misc-00002", "b"),),
        by="budget",
    )


def nested(depth: int) -> object:
    value: object = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"content": value}
    return value


LONG = 10**5_000

HOSTILE: list[tuple[object, str]] = [
    (None, "it is no object with a type"),
    (5, "it is no object with a type"),
    (LONG, "it is no object with a type"),
    (float("nan"), "it is no object with a type"),
    (True, "it is no object with a type"),
    ("ADD", "it is no object with a type"),
    ([{"type": "ADD", "content": "x"}], "it is no object with a type"),
    (nested(1_000), "it is no object with a type"),
    (nested(1_001), "there is no operation '?'"),
    ({}, "there is no operation '?'"),
    ({"content": "x"}, "there is no operation '?'"),
    ({"type": None, "content": "x"}, "there is no operation '?'"),
    ({"type": "CREATE_META", "content": "x"}, "there is no operation 'CREATE_META'"),
    ({"type": ["ADD"], "content": "x"}, "there is no operation"),
    ({"type": nested(1_000), "content": "x"}, "there is no operation"),
    ({"type": "x" * 10**6, "content": "x"}, "there is no operation 'XXXXXXXXXXXXXXXXXXXX'"),
    ({"type": "\ud800\n## A", "content": "x"}, "there is no operation '\ufffd ## A'"),
    ({"type": "ADD"}, "content: field required"),
    ({"type": "ADD", "content": None}, "content: input should be a valid string"),
    ({"type": "ADD", "content": 5}, "content: input should be a valid string"),
    ({"type": "ADD", "content": LONG}, "content: input should be a valid string"),
    ({"type": "ADD", "content": nested(1_000)}, "content: input should be a valid string"),
    ({"type": "ADD", "content": ["x"]}, "content: input should be a valid string"),
    ({"type": "ADD", "content": "a \ud800"}, "content: input should be a valid string"),
    ({"type": "ADD", "content": "\x00\x00"}, "it is empty"),
    ({"type": "ADD", "content": "x" * 10**6}, "1,000,000 characters"),
    ({"type": "ADD", "content": "A", "section": "x" * 10**6}, "the same as [misc-00001]"),
    ({"type": "ADD", "content": "x", "section": None}, "section: input should be a valid string"),
    ({"type": "ADD", "content": "x", "section": ["others"]}, "section: input should be a valid string"),
    ({"type": "UPDATE", "id": True, "content": "x"}, "id: input should be a valid string"),
    ({"type": "UPDATE", "id": 1, "content": "x"}, "id: input should be a valid string"),
    ({"type": "UPDATE", "id": "\ud800" * 10**5, "content": "x"}, "id: input should be a valid string"),
    ({"type": "REMOVE", "id": "misc-00009"}, "there is no bullet [misc-00009]"),
    ({"type": "REMOVE", "id": "## A\n" * 10**5}, "there is no bullet [## A ## A"),
    ({"type": "REMOVE", "id": ["misc-00001"]}, "id: input should be a valid string"),
    ({"type": "MERGE", "content": "x"}, "ids: field required"),
    ({"type": "MERGE", "ids": "misc-00001", "content": "x"}, "ids: input should be a valid tuple"),
    ({"type": "MERGE", "ids": [True, None], "content": "x"}, "ids.0: input should be a valid string"),
    ({"type": "MERGE", "ids": [], "content": "x"}, "a merge takes two"),
    ({"type": "MERGE", "ids": ["misc-00001"] * 10_000, "content": "x"}, "a merge takes two"),
    ({"type": "MERGE", "ids": ["misc-00001", "nowhere"], "content": "x"}, "there is no bullet [nowhere]"),
    ({"type": "MERGE", "ids": ["misc-00001", "misc-00002"], "content": "C"}, "the same as [misc-00003]"),
]


@pytest.mark.parametrize(("wanted", "why"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_wrong_is_refused_in_a_sentence_and_the_rest_applied(wanted: object, why: str) -> None:
    before = started()
    after, [refused, added] = apply(before, [wanted, {"type": "ADD", "content": "d"}])

    assert why in (refused.refused or "")
    assert (added.refused, added.bullet_id) == (None, "misc-00004")
    assert after.remove(["misc-00004"]).sections == before.sections
    shown = [refused.type, refused.text, refused.section, refused.bullet_id or "", refused.refused or ""]
    assert all(len(one) <= 300 and len(one.splitlines()) <= 1 for one in shown)
    "".join(shown).encode()


def test_fields_of_their_own_say_nothing_however_deep() -> None:
    wanted: dict[Any, object] = {"type": "ADD", "content": "d", "reason": nested(3_000), 5: 6, "\ud800": LONG}
    _, [change] = apply(started(), [wanted])
    assert change.refused is None


@given(st.one_of(playbooks(), read_playbooks()), st.lists(st.one_of(operations(), junk()), max_size=4))
def test_what_is_refused_changes_nothing(playbook: Playbook, wanted: list[object]) -> None:
    for value in wanted:
        after, [change] = apply(playbook, [value], step=9)
        assert (after == playbook) == bool(change.refused)
        if change.type != "ADD" or change.refused:
            assert after.next_number == playbook.next_number
        assert from_json(to_json(after)) == after
        assert parse(to_text(after)).playbook.sections == after.sections
        playbook = after


@settings(max_examples=60)
@given(playbooks(), st.lists(st.one_of(operations(), junk())), st.integers(0, 9))
def test_operations_are_applied_one_by_one(playbook: Playbook, wanted: list[object], cut: int) -> None:
    at_once, changes = apply(playbook, wanted, step=9)
    first, some = apply(playbook, wanted[:cut], step=9)
    second, others = apply(first, wanted[cut:], step=9)

    assert (second, [*some, *others]) == (at_once, changes)
    assert len(changes) == len(wanted)


@settings(max_examples=60)
@given(playbooks(), st.lists(operations()), st.lists(junk(), min_size=1, max_size=3))
def test_what_others_wrote_wrongly_does_not_matter(
    playbook: Playbook, wanted: list[Mapping[str, object]], between: list[object]
) -> None:
    useless = [one for one in between if isinstance(read_operation(one), Change)]
    mixed = [one for each in wanted for one in (*useless, each)]
    assert apply(playbook, mixed)[0] == apply(playbook, wanted)[0]


def test_ten_thousand_operations_are_that_many_changes() -> None:
    kinds: list[object] = [
        {"type": "UPDATE", "id": "nowhere", "content": "x"},
        {"type": "ADD", "content": ""},
        {"type": "ADD", "content": "a"},
        None,
        {"type": "x" * 10_000},
    ]
    playbook, changes = apply(started(), kinds * 2_000)

    assert playbook == started()
    assert len(changes) == 10_000
    assert all(one.refused for one in changes)


def test_ids_are_plain_without_their_brackets() -> None:
    assert [plain_id(text) for text in (" [a-1] ", "(a-1)", "[[ a-1 ]]", "a-1", "")] == ["a-1"] * 4 + [""]


def test_a_kind_of_operation_is_told_in_the_words_of_the_model() -> None:
    [change] = apply(Playbook(), json.loads('[{"type": "Rewrite <|all|>", "content": "x"}]'))[1]
    assert re.match(r"there is no operation 'REWRITE \u2039\|ALL\|>'; there are ADD", change.refused or "")
    assert change.type == "REWRITE \u2039|ALL|>"
