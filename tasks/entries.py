"""Says what a store's entry is, to people and to an import: nothing of it is believed beforehand."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from pydantic import StrictInt, TypeAdapter, ValidationError
from pydantic_core import from_json

from cache.errors import CorruptEntryError
from cache.keys import digest
from tasks.codec import Entry, Note

MAX_ENTRY_BYTES = 32 * 2**20
"""Of an entry as JSON; a file from elsewhere may hold one that unpacks to thousands of times its size."""

MAX_ENTRY_PARTS = 2_000_000
"""Texts, lists, objects and commas of an entry as JSON, each of which may take 70 bytes of memory; an answer
of 40,000 tokens with the 20 likeliest in the place of each has as many."""

_ENTRY = TypeAdapter(Entry)
_LABELS = TypeAdapter(list[tuple[str, list[StrictInt]]])
_NOTE = TypeAdapter(Note)
_NOTHING = digest([])[:8].hex()
# A text without an end is one part too: looking for the end again from every quote would take for ever.
_PART = re.compile(rb'[\[{,]|"(?:[^"\\]|\\.)*+"?', re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What an entry says about itself."""

    kind: str
    """"completion", "chat", "label scores", "labels" (how labels are scored with a model), or "note": what
    the program remembers for itself, as which weights it has met."""
    model: str | None = None
    """None in entries of earlier versions that keep no text."""
    text: str = ""
    """What was asked, where it was kept, and what was answered."""
    content: object = None
    """Everything, as JSON values."""
    digests: Mapping[str, str] = field(default_factory=dict[str, str])

    def is_of(self, model: str) -> bool:
        """Say whether a model of this name answered."""
        return self.model == model or self.digests.get("model") == digest(model)[:8].hex()


def describe(value: bytes) -> Description:
    """Read an entry of any kind.

    Raises:
        CorruptEntryError: It is none that this version writes or reads.
    """
    try:
        if value.startswith(b"["):
            labels = _LABELS.validate_python(_json(value))
            return Description(kind="labels", text=", ".join(text for text, _ in labels), content=labels)
        if value.startswith(b"{"):
            note = _NOTE.validate_python(_json(value))
            return Description(kind="note", text=note["note"], content=note)
        content = _json(_unpacked(value))
        entry = _ENTRY.validate_python(content)
    except (zlib.error, ValueError, ValidationError) as error:
        raise CorruptEntryError("it is no answer of this version") from error
    return Description(
        kind=_kind(entry["digests"]),
        model=_model(entry),
        text=_text(entry),
        content=content,
        digests=entry["digests"],
    )


def is_kept_for_others(value: bytes) -> bool:
    """Say whether other entries are lost without this one: notes and labels, which lead to their keys."""
    return value.startswith((b"[", b"{"))


def _unpacked(value: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(value, MAX_ENTRY_BYTES)
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("it is cut off, too large, or goes on")
    return unpacked


def _json(text: bytes) -> object:
    """Parse what is small enough: a byte of JSON can become a hundred in memory."""
    if len(text) > MAX_ENTRY_BYTES or next(islice(_PART.finditer(text), MAX_ENTRY_PARTS, None), None):
        raise ValueError("it is too large for an answer")
    return from_json(text, allow_inf_nan=False, cache_strings="none")


def _kind(digests: Mapping[str, str]) -> str:
    if digests.get("labels", _NOTHING) != _NOTHING:
        return "label scores"
    return "completion" if digests.get("messages", _NOTHING) == _NOTHING else "chat"


def _model(entry: Entry) -> str | None:
    kept = entry.get("model") or entry.get("request", {}).get("model")
    return kept if isinstance(kept, str) else None


def _text(entry: Entry) -> str:
    request = entry.get("request", {})
    asked = request.get("prompt") or _last_turn(request.get("messages"))
    answered = entry["response"]["text"]
    return f"{asked} -> {answered}" if isinstance(asked, str) else answered


def _last_turn(messages: object) -> object:
    turns = cast("list[object]", messages) if isinstance(messages, list) else []
    last = turns[-1] if turns else None
    return cast("dict[str, object]", last).get("content") if isinstance(last, dict) else None
