"""From the text of an answer to items, and what is wrong with it; every complete item is saved."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import yaml

from tasks.extraction.schema import ENTITIES
from tasks.extraction.values import Item

Problem = Literal["whitespace loop", "cut off", "no JSON", "other JSON"]

LOOP_CHARACTERS = 64
"""Blanks at the end of an answer that ran into its limit from which on it is a loop: a grammar allows blanks
between tokens of JSON, and models fall into writing nothing else (vLLM issue 38696)."""

THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)

BRACKET = re.compile(r"[{\[]")

WHAT_IS_WRONG: Mapping[Problem, str] = {
    "whitespace loop": "the answer is blanks without end",
    "cut off": "the answer was cut off before its end",
    "no JSON": "the answer is no JSON object",
    "other JSON": f'the answer is JSON without a list "{ENTITIES}"',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What an answer holds."""

    items: tuple[Item, ...]
    """Complete items, in their order; those of a broken answer too."""
    invalid: int = 0
    """Items that are none: without a text, with a label that does not exist."""
    problem: Problem | None = None
    """Why there may be more than what is here; None: the answer is whole."""


def parse(text: str, finish_reason: str, labels: Collection[str]) -> Parsed:
    """Read an answer.

    Prose and fences around the JSON, several blocks of it, a list without its object, one bare item, single
    quotes and trailing commas are taken as what they mean. An answer that is broken loses what is broken and
    nothing else.

    Args:
        text: As the model wrote it.
        finish_reason: "length" where it ran into its limit.
        labels: Those that exist.
    """
    text = THOUGHTS.sub("", text, count=1)
    values = list(_values(text))
    whole = [one for one in map(_entities_of, values) if one is not None]
    found = _joined(whole) if whole else _complete_objects(text)
    items = [_item(one, labels) for one in found]
    return Parsed(
        items=tuple(item for item in items if item is not None),
        invalid=sum(item is None for item in items),
        problem=None if whole else _problem(text, finish_reason, is_json=bool(values)),
    )


def _joined(answers: list[list[object]]) -> list[object]:
    """Join what stands in several blocks of one answer; a block that is there again says nothing new."""
    distinct = [one for place, one in enumerate(answers) if one not in answers[:place]]
    return [item for one in distinct for item in one]


def _problem(text: str, finish_reason: str, *, is_json: bool) -> Problem:
    if finish_reason == "length":
        blanks = len(text) - len(text.rstrip())
        return "whitespace loop" if blanks > LOOP_CHARACTERS else "cut off"
    return "other JSON" if is_json else "no JSON"


def _values(text: str) -> Iterator[object]:
    """Yield the outermost JSON objects and lists in a text; what nearly is one where there is none."""
    broken = False
    found = 0
    for value in _decoded(text):
        if value is None:
            broken = True
        # Inside a broken list there are whole items; only an answer is one wherever it stands.
        elif not broken or (isinstance(value, dict) and ENTITIES in value):
            found += 1
            yield value
    if not found and (loose := _loose(text)) is not None:
        yield loose


def _decoded(text: str) -> Iterator[object]:
    """Yield what each bracket that is not inside of a value before it begins; None where that is broken."""
    decoder = json.JSONDecoder()
    place = 0
    while (start := _next_bracket(text, place)) is not None:
        try:
            value, place = cast("tuple[object, int]", decoder.raw_decode(text, start))
        except (ValueError, RecursionError):
            value, place = None, start + 1
        yield value


def _loose(text: str) -> object:
    """Read what YAML's flow style is besides JSON: single quotes, a comma too many."""
    start = _next_bracket(text, 0)
    end = max(text.rfind("}"), text.rfind("]"))
    if start is None or end < start:
        return None
    try:  # This loader knows texts, lists and mappings only.
        return cast("object", yaml.load(text[start : end + 1], Loader=yaml.CBaseLoader))  # noqa: S506
    except (yaml.YAMLError, RecursionError):
        return None


def _next_bracket(text: str, place: int) -> int | None:
    found = BRACKET.search(text, place)
    return found.start() if found else None


def _entities_of(value: object) -> list[object] | None:
    """Return the items of an answer that is whole; None if it is something else."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        entities = fields.get(ENTITIES)
        if isinstance(entities, list):
            return cast("list[object]", entities)
        return [fields] if {"label", "text"} <= fields.keys() else None
    if isinstance(value, list):
        listed = cast("list[object]", value)
        return listed if all(isinstance(one, dict) for one in listed) else None
    return None


def _complete_objects(text: str) -> list[object]:
    """Return the complete items of a broken answer."""
    values = [one for value in _decoded(text) for one in (_entities_of(value) or [])]
    return [one for one in values if isinstance(one, dict) and "text" in one]


def _item(value: object, labels: Collection[str]) -> Item | None:
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, object]", value)
    label, text = fields.get("label"), fields.get("text")
    if not isinstance(label, str) or not isinstance(text, str) or not text.strip() or label not in labels:
        return None
    return Item(label=label, text=text, attributes=_attributes(fields.get("attributes")))


def _attributes(value: object) -> dict[str, str]:
    """Return attributes as texts; lists are joined, and what says nothing is left out."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    texts = {name: _text(one) for name, one in fields.items()}
    return {name: text for name, text in texts.items() if text}


def _text(value: object) -> str:
    if isinstance(value, list):  # of values, and not of lists
        return "; ".join(filter(None, map(_scalar, cast("list[object]", value))))
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if isinstance(value, bool | int | float) else ""
