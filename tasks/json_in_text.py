"""JSON in what a model wrote: after its thoughts, between prose and fences, in several pieces, cut off."""

import json
import re
from collections.abc import Callable
from typing import Any, cast

THOUGHTS = re.compile(r"^.*</think>|^\s*<think>.*", re.DOTALL)
"""Up to the last mark of their end, be their beginning part of the answer or not; without an end, all."""

MAX_BROKEN = 100
"""Brackets that begin nothing whole, after which no more are tried: each costs a look at what follows."""

BRACKET = re.compile(r"[{\[]")

PairsHook = Callable[[list[tuple[str, object]]], object]


def without_thoughts(text: str) -> str:
    """Return an answer without what a reasoning model thought before it."""
    return THOUGHTS.sub("", text, count=1)


def json_values(
    text: str, hook: PairsHook | None = None, read_number: Callable[[str], object] | None = None
) -> tuple[list[object], list[str]]:
    """Return the JSON objects and lists in a text, outermost only, and the texts around them.

    Args:
        text: Of any kind and length.
        hook: Makes an object of its fields; a dict by default.
        read_number: Makes a number of its digits; int and float by default.
    """
    decoder = _decoder(hook, read_number)
    values: list[object] = []
    rest: list[str] = []
    place = seen = broken = 0
    while (start := next_bracket(text, seen)) is not None and broken < MAX_BROKEN:
        try:
            value, end = cast("tuple[object, int]", decoder.raw_decode(text, start))
        except (ValueError, RecursionError):
            broken, seen = broken + 1, start + 1
            continue
        values.append(value)
        rest.append(text[place:start])
        place = seen = end
    return values, [*rest, text[place:]]


def json_after(text: str, key: str, read_number: Callable[[str], object] | None = None) -> object:
    """Return the value behind the last `"key":` of a text that is no JSON as a whole; None without one."""
    decoder = _decoder(None, read_number)
    for found in reversed(list(re.finditer(rf'"{re.escape(key)}"\s*:\s*', text))[-MAX_BROKEN:]):
        try:
            return cast("tuple[object, int]", decoder.raw_decode(text, found.end()))[0]
        except (ValueError, RecursionError):
            continue
    return None


def next_bracket(text: str, place: int) -> int | None:
    """Return where the next object or list may begin."""
    found = BRACKET.search(text, place)
    return found.start() if found else None


def writable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can say and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoder(hook: PairsHook | None, read_number: Callable[[str], object] | None) -> json.JSONDecoder:
    numbers: dict[str, Any] = {"parse_int": read_number, "parse_float": read_number} if read_number else {}
    return json.JSONDecoder(object_pairs_hook=hook, **numbers)
