"""Says what a store's entry is, to people and to an import: nothing of it is believed beforehand."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import TypeAdapter, ValidationError

from cache.errors import CorruptEntryError
from cache.keys import digest
from tasks.codec import Entry, Note

MAX_ENTRY_BYTES = 256 * 2**20
"""Of an entry as JSON; a file from elsewhere may hold one that unpacks to thousands of times its size."""

_ENTRY = TypeAdapter(Entry)
_LABELS = TypeAdapter(list[tuple[str, list[int]]])
_NOTE = TypeAdapter(Note)
_NOTHING = digest([])[:8].hex()


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
            labels = _LABELS.validate_json(value, strict=True)
            return Description(kind="labels", text=", ".join(text for text, _ in labels), content=labels)
        if value.startswith(b"{"):
            note = _NOTE.validate_python(_json(value), strict=True)
            return Description(kind="note", text=note["note"], content=note)
        unpacked = _unpacked(value)
        content = _json(unpacked)
        entry = _ENTRY.validate_json(unpacked, strict=True)
    except (zlib.error, ValueError, RecursionError, ValidationError) as error:
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
    value: object = json.loads(text, parse_constant=_refuse)
    json.dumps(value, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
    return value


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


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
