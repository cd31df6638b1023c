"""From the text of an answer to items, and what is wrong with it; every complete item is saved."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import yaml

from tasks.extraction.schema import ENTITIES
from tasks.extraction.spec import MAX_CHARACTERS
from tasks.extraction.values import Item
from tasks.json_in_text import json_values, next_bracket, without_thoughts, writable

Problem = Literal["whitespace loop", "cut off", "no JSON", "other JSON", "no item"]

LOOP_CHARACTERS = 64
"""Blanks at the end of an answer that ran into its limit from which on it is a loop: a grammar allows blanks
between tokens of JSON, and models fall into writing nothing else (vLLM issue 38696)."""

LEFTOVER_ITEM = re.compile(r"""["']text["']""")
"""In what is left of an answer when all that is whole is taken out: an item that is not."""

WHAT_IS_WRONG: Mapping[Problem, str] = {
    "whitespace loop": "the answer is blanks without end",
    "cut off": "the answer was cut off before its end",
    "no JSON": "the answer is no JSON object",
    "other JSON": f'the answer is JSON without a list "{ENTITIES}"',
    "no item": 'none of its items has a "text" of at most a sentence or two and one of the labels',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What an answer holds."""

    items: tuple[Item, ...]
    """Complete items, in their order; those of a broken answer too."""
    invalid: int = 0
    """Items that are none: without a text, with one as long as the schema allows, with an unknown label."""
    problem: Problem | None = None
    """Why there may be more than what is here; None: the answer is whole."""


def parse(text: str, finish_reason: str, labels: Collection[str]) -> Parsed:
    """Read an answer.

    Prose and fences around the JSON, several blocks of it, a list without its object, bare items, single
    quotes and trailing commas are taken as what they mean. An answer that is broken loses what is broken and
    nothing else, and is never taken for whole.

    Args:
        text: As the model wrote it.
        finish_reason: "length" where it ran into its limit.
        labels: Those that exist.
    """
    text = without_thoughts(text)
    values, rest = json_values(text, _object)
    problem = _problem(values, rest, finish_reason)
    found = _joined(values)
    if problem == "no JSON" and len(loose := _entities_of(_loose(text)) or []) > len(found):
        found, problem = loose, None
    items = [_item(one, labels) for one in found]
    if problem is None and found and not any(items):
        problem = "no item"
    return Parsed(
        items=tuple(item for item in items if item is not None),
        invalid=sum(item is None for item in items),
        problem=problem,
    )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object; of one that begins again without a bracket, several, so that none is lost."""
    parts: list[dict[str, object]] = [{}]
    for name, value in pairs:
        if name in parts[-1]:
            parts.append({})
        parts[-1][name] = value
    if len(parts) == 1 or parts[0].keys().isdisjoint({ENTITIES, "text"}):
        return dict(pairs)
    return {ENTITIES: [item for part in parts for item in _answer_in(part)]}


def _problem(values: Sequence[object], rest: Sequence[str], finish_reason: str) -> Problem | None:
    """Say why an answer is not whole, from what it holds and what is left over."""
    left, end = "".join(rest), rest[-1]
    is_open = sum(map(left.count, "{[")) > sum(map(left.count, "}]"))
    if finish_reason == "length" and (end.strip(" \n\t\r`") or is_open or not values):
        blanks = len(end) - len(end.rstrip())
        return "whitespace loop" if blanks > LOOP_CHARACTERS else "cut off"
    if LEFTOVER_ITEM.search(left) or is_open or not values:
        return "no JSON"
    return None if any(_entities_of(value) is not None for value in values) else "other JSON"


def _joined(values: Sequence[object]) -> list[object]:
    """Return the items of all blocks of an answer; a block that is there again says nothing new."""
    blocks: list[list[object]] = []
    for value in values:
        items = _entities_of(value) or []
        if _is_item(value) or items not in blocks:
            blocks.append(items)
    return [item for block in blocks for item in block]


def _loose(text: str) -> object:
    """Read what YAML's flow style is besides JSON: single quotes, a comma too many."""
    start = next_bracket(text, 0)
    end = max(text.rfind("}"), text.rfind("]"))
    if start is None or end < start:
        return None
    try:  # This loader knows texts, lists and mappings only.
        return cast("object", yaml.load(text[start : end + 1], Loader=yaml.CBaseLoader))  # noqa: S506
    except (yaml.YAMLError, RecursionError):
        return None


def _entities_of(value: object) -> list[object] | None:
    """Return the items of an answer; None if it is something else."""
    if isinstance(value, dict):
        entities = cast("dict[str, object]", value).get(ENTITIES)
        if isinstance(entities, list):
            return [item for one in cast("list[object]", entities) for item in _answer_in(one)]
        return [cast("object", value)] if _is_item(cast("object", value)) else None
    if isinstance(value, list):
        listed = cast("list[object]", value)
        if all(isinstance(one, dict) for one in listed):
            return [item for one in listed for item in _answer_in(one)]
    return None


def _answer_in(value: object) -> list[object]:
    """Return the items of an answer that stands in a list, or of a list the item that stands there."""
    entities = cast("dict[str, object]", value).get(ENTITIES) if isinstance(value, dict) else None
    return cast("list[object]", entities) if isinstance(entities, list) else [value]


def _is_item(value: object) -> bool:
    return isinstance(value, dict) and {"label", "text"} <= cast("dict[str, object]", value).keys()


def _item(value: object, labels: Collection[str]) -> Item | None:
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, object]", value)
    label, text = fields.get("label"), fields.get("text")
    if not isinstance(label, str) or not isinstance(text, str) or not text.strip() or label not in labels:
        return None
    if len(text) >= MAX_CHARACTERS:
        return None
    return Item(label=label, text=writable(text), attributes=_attributes(fields.get("attributes")))


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
        return writable(value.strip())
    return json.dumps(value) if isinstance(value, bool | int | float) else ""
