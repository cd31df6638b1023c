import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Outcome
from backends.errors import BackendConnectionError, BackendError
from backends.messages import Request, Response, SamplingParams, prompt_text
from tasks.ace.bullets import Counts
from tasks.ace.duplicates import groups
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse, to_text
from tasks.ace.refining import (
    Curator,
    Refined,
    merge_request,
    merged_by_answers,
    refine,
    refine_by_curator,
)
from tasks.ace.similarity import Lexical
from tests.tasks.ace.lessons import SAME
from tests.tasks.ace.playbooks import HOSTILE
from tests.tasks.ace.test_duplicates import learnt, playbook_of

FIRST, SECOND = SAME[0]
OTHER, OTHER_TWIN = SAME[3]
CURATOR = Curator(model="m", revision="r", sampling=SamplingParams(max_tokens=300))


def read(text: str) -> Mapping[str, object]:
    """Find the last JSON object with "same", behind any thoughts."""
    text = text.rpartition("</think>")[2]
    for start in range(len(text) - 1, -1, -1):
        if text[start] == "{":
            try:
                found, _ = json.JSONDecoder().raw_decode(text[start:])
            except ValueError:
                continue
            if "same" in found:
                return cast("dict[str, object]", found)
    return {}


class Asked:
    """Answers requests from a function, and remembers them."""

    def __init__(self, answer: Callable[[Request], Outcome | str]) -> None:
        self.lists: list[list[Request]] = []
        self._answer = answer

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        assert purpose
        self.lists.append(list(requests))
        answers = [self._answer(request) for request in requests]
        return [Response(text=one, finish_reason="stop") if isinstance(one, str) else one for one in answers]


def voted(playbook: Playbook, **votes: tuple[int, int]) -> Playbook:
    counts = dict(playbook.counts)
    for bullet_id, (helpful, harmful) in votes.items():
        name = bullet_id.replace("_", "-")
        counts[name] = replace(counts[name], helpful=helpful, harmful=harmful)
    return replace(playbook, counts=counts)


def answered(playbook: Playbook, *texts: str | Outcome) -> Refined:
    outcomes = [Response(text=one, finish_reason="stop") if isinstance(one, str) else one for one in texts]
    return merged_by_answers(playbook, groups(playbook, Lexical()), outcomes, read=read)


def said(content: str, *, same: bool = True) -> str:
    return json.dumps({"same": same, "content": content})


def votes_of(playbook: Playbook) -> tuple[int, int]:
    counts = playbook.counts.values()
    return sum(one.helpful for one in counts), sum(one.harmful for one in counts)


def test_the_oldest_keeps_its_id_and_gets_the_text_that_helped_most() -> None:
    playbook = voted(playbook_of(FIRST, SECOND, OTHER), misc_00001=(2, 1), misc_00002=(3, 0))
    done = refine(playbook, Lexical())
    [change] = done.changes
    assert {one.id: one.text for one in done.playbook.by_age} == {"misc-00001": SECOND, "misc-00003": OTHER}
    assert done.playbook.counts["misc-00001"] == Counts(helpful=5, harmful=1)
    assert (change.type, change.by, change.refused) == ("MERGE", "duplicate", None)
    assert (change.bullet_id, change.text, change.section) == ("misc-00001", SECOND, "OTHERS")
    assert change.replaced == (("misc-00001", FIRST), ("misc-00002", SECOND))
    assert done.playbook.next_number == playbook.next_number


def test_of_as_much_help_the_longest_and_of_those_the_oldest_text_stays() -> None:
    assert refine(playbook_of(SECOND, FIRST), Lexical()).changes[0].text == FIRST
    one, other = "For parcels, use the net price.", "Use the net price for parcels."
    assert refine(playbook_of(one, other), Lexical(), threshold=0.7).changes[0].text == one
    harmed = voted(playbook_of(FIRST, SECOND), misc_00001=(4, 4))
    assert refine(harmed, Lexical()).changes[0].text == FIRST
    harmed = voted(playbook_of(FIRST, SECOND), misc_00001=(4, 5))
    assert refine(harmed, Lexical()).changes[0].text == SECOND


def test_a_playbook_without_duplicates_is_as_it_was() -> None:
    playbook = playbook_of(FIRST, OTHER)
    assert refine(playbook, Lexical()) == Refined(playbook=playbook)


def test_a_merge_that_cannot_be_made_is_visible() -> None:
    long = "word " * 1000
    text = f"## OTHERS\n[a-1] helpful=1 harmful=0 :: {long}\n[a-2] helpful=2 harmful=0 :: {long}"
    playbook = parse(text).playbook
    done = refine(playbook, Lexical())
    assert done.playbook == playbook
    assert "at most" in (done.changes[0].refused or "")
    assert len(done.changes[0].text) <= 300


@given(learnt())
def test_no_vote_is_lost_and_no_id_is_new(playbook: Playbook) -> None:
    done = refine(playbook, Lexical(), threshold=0.5).playbook
    assert votes_of(done) == votes_of(playbook)
    assert done.bullets.keys() <= playbook.bullets.keys()
    assert done.counts.keys() == done.bullets.keys()
    assert done.next_number == playbook.next_number
    assert parse(to_text(done)).playbook.sections == done.sections
    assert refine(playbook, Lexical(), threshold=0.5).playbook == done


async def test_one_list_of_requests_asks_about_all_groups_and_nothing_but_texts() -> None:
    playbook = voted(playbook_of(FIRST, OTHER, SECOND, OTHER_TWIN), misc_00001=(77, 88))
    asked = Asked(lambda _: said(FIRST, same=False))
    done = await refine_by_curator(playbook, Lexical(), asked, CURATOR, read=read)
    [requests] = asked.lists
    assert len(requests) == 2
    for request, texts in zip(requests, [(FIRST, SECOND), (OTHER, OTHER_TWIN)], strict=True):
        assert (request.model, request.revision, request.sampling) == ("m", "r", CURATOR.sampling)
        assert json.loads(request.json_schema or "")["required"] == ["same", "content"]
        shown = prompt_text(request)
        assert all(text in shown for text in texts)
        assert not any(one in shown for one in ("misc-", "77", "88"))
    assert done.playbook == playbook
    assert done.changes == ()
    assert done.kept_apart == (("misc-00001", "misc-00003"), ("misc-00002", "misc-00004"))


async def test_nothing_is_asked_where_there_is_nothing_to_decide() -> None:
    asked = Asked(lambda _: "")
    done = await refine_by_curator(playbook_of(FIRST, OTHER), Lexical(), asked, CURATOR, read=read)
    assert done.changes == ()
    twins = parse("## A\n[a-1] helpful=1 harmful=0 :: x\n[a-2] helpful=2 harmful=0 :: X").playbook
    done = await refine_by_curator(twins, Lexical(), asked, CURATOR, read=read)
    assert [one.by for one in done.changes] == ["duplicate"]
    assert done.playbook.counts["a-1"].helpful == 3
    assert asked.lists == []


def test_the_curators_text_takes_their_place() -> None:
    playbook = voted(playbook_of(FIRST, SECOND), misc_00001=(1, 0), misc_00002=(0, 2))
    done = answered(
        playbook, f'<think>{{"same": false}}</think>Sure:\n```json\n{said("Give 2 decimals.")}\n```'
    )
    assert [one.text for one in done.playbook.by_age] == ["Give 2 decimals."]
    assert done.playbook.counts == {"misc-00001": Counts(helpful=1, harmful=2)}
    [change] = done.changes
    assert (change.by, change.refused, len(change.replaced)) == ("curator", None, 2)


def test_ids_and_counts_do_not_come_from_the_model() -> None:
    answer = json.dumps(
        {
            "same": True,
            "content": "2 decimals\n## X",
            "id": "calc-00009",
            "helpful": 99,
            "ids": [],
        }
    )
    done = answered(playbook_of(FIRST, SECOND), answer)
    assert {one.id: one.text for one in done.playbook.by_age} == {"misc-00001": "2 decimals ## X"}
    assert done.playbook.counts["misc-00001"] == Counts()


UNUSABLE: list[tuple[str | Outcome, str]] = [
    ("", "whether"),
    ("no JSON at all", "whether"),
    ('{"same": 1, "content": "2 decimals"}', "whether"),
    ('{"same": null}', "whether"),
    ('{"same": true}', "content"),
    ('{"same": true, "content": ["2 decimals"]}', "content"),
    (said(""), "empty"),
    (said("2 decimals " + "x" * 1_000_000), "at most"),
    (said("Round to 3 decimals"), "none of the lessons has: 3"),
    (said("Round to 2 decimals, ref. [a-00031]"), "none of the lessons has: 31"),
    (said("Round at the end"), "lack"),
    (BackendError("too long a prompt"), "did not answer: too long"),
    ("<think>" * 10_000, "whether"),
]


@pytest.mark.parametrize(("answer", "why"), UNUSABLE)
def test_an_answer_that_cannot_be_used_falls_back_to_the_rule_and_says_so(
    answer: str | Outcome, why: str
) -> None:
    playbook = playbook_of(FIRST, SECOND)
    done = answered(playbook, answer)
    refused, merged = done.changes
    assert (refused.type, refused.by) == ("MERGE", "curator")
    assert why in (refused.refused or "")
    assert len(refused.text) <= 300
    assert done.playbook == refine(playbook, Lexical()).playbook
    assert (merged.by, merged.refused, merged.text) == ("duplicate", None, FIRST)


def test_a_text_that_another_bullet_has_is_not_taken() -> None:
    playbook = playbook_of(FIRST, SECOND, "Give 2 decimals.")
    done = answered(playbook, said("give 2 decimals."))
    assert "same as [misc-00003]" in (done.changes[0].refused or "")
    assert [one.text for one in done.playbook.by_age] == [FIRST, "Give 2 decimals."]


def test_words_for_true_and_false_are_taken() -> None:
    playbook = playbook_of(FIRST, SECOND)
    assert answered(playbook, '{"same": "False", "content": "x"}').kept_apart
    assert answered(playbook, '{"same": "TRUE", "content": "2 decimals"}').changes[0].by == "curator"


def test_where_nobody_answers_nothing_is_merged() -> None:
    with pytest.raises(BackendConnectionError):
        answered(playbook_of(FIRST, SECOND), BackendConnectionError("nobody is there"))


@given(st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=4))
def test_hostile_lessons_stay_a_list_in_the_request(given: list[str]) -> None:
    lines = [f"[a-{number}] helpful=0 harmful=0 :: {text} {{lessons}}" for number, text in enumerate(given)]
    playbook = parse("\n".join(["## OTHERS", *(line.replace("\n", " ") for line in lines)])).playbook
    shown = prompt_text(merge_request(playbook, tuple(playbook.bullets), CURATOR))
    listed = json.loads(shown[shown.index("[\n") : shown.index("\n]") + 2])
    assert 1 <= len(listed) <= len(given)
    assert "<|" not in shown
    assert "</playbook" not in shown


@given(st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE).map(said), st.text(max_size=60).map(said)))
def test_whatever_the_model_writes_the_playbook_stays_one(text: str) -> None:
    playbook = voted(playbook_of(FIRST, SECOND, OTHER), misc_00002=(1, 2))
    done = answered(playbook, text)
    assert votes_of(done.playbook) == (1, 2)
    assert parse(to_text(done.playbook)).playbook.sections == done.playbook.sections
    assert done.playbook.bullets.keys() in ({"misc-00001", "misc-00003"}, playbook.bullets.keys())
