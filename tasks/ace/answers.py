"""What the three roles answered, read from whatever a model wrote; what cannot be read is None, no error.

With a server that follows schemas nearly all answers are plain JSON. Without one, and with models that think
aloud, there are thoughts before it, fences and prose around it, several objects, or none that is whole.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from tasks.ace.deltas import plain_id
from tasks.ace.markup import folded, one_line
from tasks.ace.votes import read_tags
from tasks.json_in_text import json_after, json_values, without_thoughts, writable

CITED = re.compile(r"\[\s*([^\W\d_]{2,}-[0-9]{1,12})\s*\]")
"""A bullet that prose names."""

IN_PROSE = re.compile(r"final answer(?:\s+is)?\s*[:=]?\s*(.+)", re.IGNORECASE)
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")

MAX_ANSWER_CHARACTERS = 1_000
"""Of a final answer; more is no answer to any question that a checker knows."""

MAX_OPERATIONS = 64
"""Of one Curator's answer; the rest is refused, and said to be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A Generator's answer."""

    final_answer: str | None
    """None: there is none in what it wrote."""
    reasoning: str = ""
    """Its steps; where it did not tell them apart, how its answer begins."""
    bullet_ids: tuple[str, ...] = ()
    """Those that it says it used, of those that there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reflected:
    """A Reflector's answer; the fields are those of the reference."""

    key_insight: str
    reasoning: str = ""
    error_identification: str = ""
    root_cause_analysis: str = ""
    correct_approach: str = ""
    votes: tuple[tuple[str, str], ...] = ()
    """(id, tag)"""

    @property
    def lesson(self) -> str:
        """What is to be learnt, in a line."""
        return self.key_insight or self.correct_approach


class Fields:
    """What an answer says under each key: in its last object that has it, or behind the key's last mention.

    Numbers come as the text of their digits.
    """

    def __init__(self, text: str) -> None:
        self.text = without_thoughts(text)
        values, _ = json_values(self.text, read_number=str)
        self._objects = [cast("dict[str, object]", one) for one in values if isinstance(one, dict)]

    def get(self, key: str) -> object:
        """Return the value of a key; None if there is none."""
        for one in reversed(self._objects):
            if key in one:
                return one[key]
        return json_after(self.text, key, read_number=str)

    def line(self, key: str) -> str:
        """Return the value of a key as one line; empty if there is none."""
        return one_line(_text(self.get(key)))


def read_object(text: str, *, key: str) -> dict[str, object]:
    """Return the last object that has a key, else the first object of all, else an empty one."""
    values, _ = json_values(without_thoughts(text))
    objects = [cast("dict[str, object]", one) for one in values if isinstance(one, dict)]
    with_key = [one for one in objects if key in one]
    return with_key[-1] if with_key else objects[0] if objects else {}


def final_answer(fields: Fields) -> str | None:
    """Return the final answer, on one line; None if there is none."""
    value = fields.get("final_answer")
    if value is None:
        found = BOXED.findall(fields.text) or IN_PROSE.findall(fields.text)
        value = cast("str", found[-1]).strip().removesuffix(".") if found else None
    if isinstance(value, list):
        value = ",".join(map(_text, cast("list[object]", value)))
    # Tags and brackets are the checker's business; a prompt that shows the answer quotes it.
    answer = folded(_text(value)[: 2 * MAX_ANSWER_CHARACTERS])
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARACTERS else None


def bullet_ids(fields: Fields, live: Collection[str] | None = None) -> list[str]:
    """Return the bullets that an answer says it used: of its list, and those that its prose cites.

    Args:
        fields: The answer.
        live: Ids that there are; others are left out. None: any.
    """
    value = fields.get("bullet_ids")
    listed = cast("list[object]", value) if isinstance(value, list) else []
    named = [plain_id(one) for one in listed if isinstance(one, str)]
    cited = cast("list[str]", CITED.findall(fields.text))
    return [one for one in dict.fromkeys([*named, *cited]) if live is None or one in live]


def read_generated(text: str, live: Collection[str]) -> Generated:
    """Read a Generator's answer."""
    fields = Fields(text)
    return Generated(
        final_answer=final_answer(fields),
        reasoning=fields.line("reasoning") or one_line(fields.text[:MAX_ANSWER_CHARACTERS]),
        bullet_ids=tuple(bullet_ids(fields, live)),
    )


def read_reflected(text: str, shown: Collection[str], *, needs_lesson: bool = True) -> Reflected | None:
    """Read a Reflector's answer; None if there is no lesson and no vote in it.

    Args:
        text: The answer.
        shown: Ids of the bullets that it was to judge; votes for others do not count.
        needs_lesson: Of a wrong answer. A review of a right one may say that there is nothing to learn: then
            it is enough that the fields are there.
    """
    fields = Fields(text)
    # One Reflector has one voice: what it says twice of a bullet counts once, the last time.
    votes = dict(one for one in read_tags(fields.get("bullet_tags")) if one[0] in shown)
    reflected = Reflected(
        key_insight=fields.line("key_insight"),
        reasoning=fields.line("reasoning"),
        error_identification=fields.line("error_identification"),
        root_cause_analysis=fields.line("root_cause_analysis"),
        correct_approach=fields.line("correct_approach"),
        votes=tuple(votes.items()),
    )
    says_nothing = fields.get("key_insight") == "" or fields.get("bullet_tags") == []
    return reflected if reflected.lesson or reflected.votes or (says_nothing and not needs_lesson) else None


def read_operations(text: str) -> list[object] | None:
    """Return the operations of a Curator's answer, each still to be checked; None if there is no list.

    Of a list that was cut off, those that are complete.
    """
    text = without_thoughts(text)
    value = read_object(text, key="operations").get("operations")
    if value is None:
        value = json_after(text, "operations")
    if value is None and '"operations"' in text:
        values, _ = json_values(text[text.rindex('"operations"') :])
        whole = [cast("dict[str, object]", one) for one in values if isinstance(one, dict)]
        value = [one for one in whole if "type" in one] or None
    return cast("list[object]", value) if isinstance(value, list) else None


def _text(value: object) -> str:
    if value is None:
        return ""
    return writable(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
