"""De-duplication of a playbook: each group of bullets that say the same becomes one, and no vote is lost.

By rule, the text that has helped most stays. By the Curator, one request for each group asks whether the
lessons are the same, and for one text in their place; ids, counts and numbers never come from it. When to
refine (after each edit, or before the budget is spent) is the caller's choice: nothing is kept between calls.
One call goes once over a playbook: what the new texts are like, the next call sees.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backends.base import Outcome
from backends.messages import Message, Request, Response, SamplingParams
from tasks.ace.bullets import MAX_TEXT_CHARACTERS, likeness_key
from tasks.ace.claims import claims_of
from tasks.ace.deltas import MAX_SHOWN_CHARACTERS, Change
from tasks.ace.duplicates import Group, groups
from tasks.ace.markup import one_line
from tasks.ace.merging import Merges
from tasks.ace.playbook import EditError, Playbook, checked_text
from tasks.ace.schemas import MAX_LESSON
from tasks.ace.similarity import Similarity
from tasks.ask import AskEach, nobody_answers

BY_RULE, BY_CURATOR = "duplicate", "curator"

PURPOSE = "merge duplicates"

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "same": {"type": "boolean"},
            "content": {"type": "string", "maxLength": MAX_LESSON},
        },
        "required": ["same", "content"],
        "additionalProperties": False,
    }
)

PROMPT = """You look after a playbook: short lessons that help to answer questions. \
The lessons below, given as a JSON list, look like duplicates.

{lessons}

Decide whether all of them give the same advice. They do not if they differ in a number, a unit, a name, a \
condition, or in what is to be done.
If they do, write one lesson in their place: one or two sentences on one line, with everything that any of \
them says and nothing that none of them says.

Answer with a JSON object and nothing else: {{"same": true, "content": "the one lesson"}}, \
or {{"same": false, "content": ""}} to keep them all."""

Read = Callable[[str], Mapping[str, object]]
"""Finds the JSON object that holds "same" in what a model wrote, whatever stands around it; {} for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refined:
    """A playbook without its duplicates."""

    playbook: Playbook
    changes: tuple[Change, ...] = ()
    """A MERGE for each group; a refused one where an answer could not be used, or a merge not be made."""
    kept_apart: tuple[Group, ...] = ()
    """The groups whose lessons the Curator found to differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curator:
    """Which model merges, and how it answers."""

    model: str
    sampling: SamplingParams
    revision: str | None = None


def refine(playbook: Playbook, similarity: Similarity, *, threshold: float | None = None) -> Refined:
    """Merge duplicates by rule.

    Args:
        playbook: Before.
        similarity: Tells which texts are alike: `Lexical()`, or `Embedded(embedder=LocalEmbedder())`.
        threshold: None for that of the similarity.
    """
    merges = Merges(playbook)
    changes = [merge_by_rule(merges, group) for group in groups(playbook, similarity, threshold=threshold)]
    return Refined(playbook=merges.playbook(), changes=tuple(changes))


async def refine_by_curator(
    playbook: Playbook,
    similarity: Similarity,
    ask: AskEach,
    curator: Curator,
    *,
    read: Read,
    threshold: float | None = None,
) -> Refined:
    """Let the Curator merge duplicates: one list of requests; exact duplicates are merged without asking.

    Args:
        playbook: Before.
        similarity: Tells which texts are alike; a low threshold costs questions, and no lessons.
        ask: Answers the requests.
        curator: Which model, and how.
        read: Reads answers.
        threshold: None for that of the similarity.

    Raises:
        BackendError: Nobody answers.
    """
    twins: list[Group] = []
    asked: list[Group] = []
    for group in groups(playbook, similarity, threshold=threshold):
        texts = {likeness_key(playbook.bullets[one].text) for one in group}
        (asked if len(texts) > 1 else twins).append(group)
    requests = [merge_request(playbook, group, curator) for group in asked]
    outcomes = await ask(requests, purpose=PURPOSE) if requests else []
    merges = Merges(playbook)
    changes = [merge_by_rule(merges, group) for group in twins]
    apart = _merge_by_answers(merges, asked, outcomes, read, changes)
    return Refined(playbook=merges.playbook(), changes=tuple(changes), kept_apart=tuple(apart))


def merge_request(playbook: Playbook, group: Group, curator: Curator) -> Request:
    """Ask whether the lessons of a group are the same, and for one in their place.

    The lessons stand in the request without ids or counts, so the same lessons are the same question.
    """
    lessons = [one_line(playbook.bullets[one].text)[:MAX_TEXT_CHARACTERS] for one in group]
    listed = json.dumps(list(dict.fromkeys(lessons)), ensure_ascii=False, indent=0)
    return Request(
        model=curator.model,
        revision=curator.revision,
        sampling=curator.sampling,
        messages=(Message(role="user", content=PROMPT.format(lessons=listed)),),
        json_schema=SCHEMA,
    )


def merged_by_answers(
    playbook: Playbook, found: Sequence[Group], outcomes: Sequence[Outcome], *, read: Read
) -> Refined:
    """Merge groups as the Curator says; by rule where its answer cannot be used, which a refused Change says.

    Raises:
        BackendError: Nobody answers.
        ValueError: There is not one outcome for each group.
    """
    merges, changes = Merges(playbook), list[Change]()
    apart = _merge_by_answers(merges, found, outcomes, read, changes)
    return Refined(playbook=merges.playbook(), changes=tuple(changes), kept_apart=tuple(apart))


def merged_text(texts: Sequence[str], outcome: Outcome, read: Read) -> str | None:
    """Return the text that the Curator wrote for several; None where it says that they are not the same.

    Raises:
        EditError: The answer cannot be used; the sentence says why.
    """
    if not isinstance(outcome, Response):
        raise EditError(f"the Curator did not answer: {one_line(str(outcome))[:200]}")
    answer = read(outcome.text)
    same, content = answer.get("same"), answer.get("content")
    if isinstance(same, str):
        same = {"true": True, "false": False}.get(same.strip().casefold())
    if not isinstance(same, bool):
        raise EditError(
            'the Curator\'s answer does not say whether they are the same ("same": true or false)'
        )
    if not same:
        return None
    if not isinstance(content, str):
        raise EditError('the Curator\'s answer has no text ("content")')
    text = checked_text(content)
    _require_numbers(text, texts)
    return text


def merge_by_rule(merges: Merges, group: Group) -> Change:
    """Make one bullet of a group: the oldest, with the text of the one of the highest net help.

    Of those with as much help it is the longest text, and of those as long the oldest one's.
    """
    playbook = merges.before
    # The first of several that are as good is the oldest.
    best = max(group, key=lambda one: (playbook.counts[one].net, len(playbook.bullets[one].text)))
    text = playbook.bullets[best].text
    try:
        return merges.merge(group, text, by=BY_RULE)
    except EditError as error:
        return _refused(playbook, group, str(error), text, by=BY_RULE)


def _merge_by_answers(
    merges: Merges, found: Sequence[Group], outcomes: Sequence[Outcome], read: Read, changes: list[Change]
) -> list[Group]:
    """Merge groups and say so in `changes`; return those that are kept apart."""
    apart: list[Group] = []
    for group, outcome in zip(found, outcomes, strict=True):
        if nobody_answers(outcome):
            raise outcome
        try:
            content = merged_text([merges.before.bullets[one].text for one in group], outcome, read)
            if content is None:
                apart.append(group)
            else:
                changes.append(merges.merge(group, content, by=BY_CURATOR))
        except EditError as error:
            proposed = outcome.text if isinstance(outcome, Response) else ""
            changes.append(_refused(merges.before, group, str(error), proposed, by=BY_CURATOR))
            changes.append(merge_by_rule(merges, group))
    return apart


def _refused(playbook: Playbook, group: Group, why: str, proposed: str, *, by: str) -> Change:
    return Change(
        type="MERGE",
        bullet_id=group[0],
        text=one_line(proposed[: 2 * MAX_SHOWN_CHARACTERS])[:MAX_SHOWN_CHARACTERS],
        section=playbook.section_names[group[0]],
        replaced=tuple((one, playbook.bullets[one].text) for one in group),
        refused=why,
        by=by,
    )


def _require_numbers(text: str, texts: Sequence[str]) -> None:
    """Refuse a text with a number that no text has, or without one that all have."""
    said = claims_of(text).numbers
    numbers = [claims_of(one).numbers for one in texts]
    for one in said:
        if not any(one in each for each in numbers):
            raise EditError(f"the Curator's text has a number that none of the lessons has: {one[:40]}")
    for one in numbers[0]:
        if one not in said and all(one in each for each in numbers):
            raise EditError(f"the Curator's text lacks a number that all the lessons have: {one[:40]}")
