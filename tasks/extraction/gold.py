"""Gold spans: what should be found in documents, read from a JSONL file and checked against their texts."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.extraction.plain_text import cleaned

LINE = '{"id": "a.txt", "entities": [{"start": 0, "end": 3, "label": "person"}]}'


class GoldError(ValueError):
    """A file of gold spans cannot be used; the message names file, line and entity."""


class GoldSpan(NamedTuple):
    """What should be found, in characters of its document, the end excluded."""

    start: int
    end: int
    label: str


class _Entity(BaseModel):
    model_config = ConfigDict(strict=True)

    start: int = Field(ge=0)
    end: int
    label: str = Field(min_length=1)
    text: str | None = None


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    text: str | None = None
    entities: list[_Entity]


def read_gold(
    path: Path, *, texts: Mapping[str, str] | None = None, labels: Collection[str] | None = None
) -> dict[str, tuple[GoldSpan, ...]]:
    """Read {document id: spans, by place}.

    A line is `{"id": …, "text": …, "entities": [{"start": …, "end": …, "label": …, "text": …}]}`; both texts
    may be left out, and other fields are not looked at.

    Args:
        path: JSONL, UTF-8.
        texts: {document id: text} of the documents that there are; None: believe the file.
        labels: Those that an extraction knows; None: any.

    Raises:
        GoldError: The file is missing or malformed, names a document or a label that is not known or one
            twice, or has a span that is outside of its text or is not the text given with it.
    """
    gold: dict[str, tuple[GoldSpan, ...]] = {}
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            try:
                record = _record(line, gold)
                gold[record.id] = _spans(record, _text(record, texts), labels)
            except GoldError as error:
                raise GoldError(f"{path}:{number}: {error}") from None
    return gold


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")  # JSON texts may hold other line breaks
    except (OSError, UnicodeDecodeError) as error:
        raise GoldError(f"the gold {path} cannot be read: {error}; give the path of a JSONL file") from error


def _record(line: str, read: Collection[str]) -> _Record:
    try:
        record = _Record.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " if isinstance(part, str) else f"{part} " for part in first["loc"])
        raise GoldError(f"{where}{first['msg']}; write a line as {LINE}") from None
    if record.id in read:
        raise GoldError(f"document {record.id!r} is there twice; put its entities in one line")
    return record


def _text(record: _Record, texts: Mapping[str, str] | None) -> str | None:
    if texts is None:
        return record.text
    if record.id not in texts:
        raise GoldError(f"there is no document {record.id!r}; there are {_some(texts)}")
    text = texts[record.id]
    written = None if record.text is None else _as_read(record.text)
    if written is not None and written != text:
        place = _apart(written, text)
        raise GoldError(
            f"the text of {record.id!r} differs from the document's from character {place} on; "
            "make the gold from the document as it was read"
        )
    return text


def _as_read(text: str) -> str:
    """Return a text as documents are read, if that moves no character: form feeds and the like."""
    read = cleaned(text)
    return read if len(read) == len(text) else text


def _spans(record: _Record, text: str | None, labels: Collection[str] | None) -> tuple[GoldSpan, ...]:
    spans: set[GoldSpan] = set()
    for place, entity in enumerate(record.entities):
        span = GoldSpan(entity.start, entity.end, entity.label)
        wrong = _wrong(entity, text, labels) or ("it is there twice; remove one" if span in spans else None)
        if wrong:
            raise GoldError(f"entity {place} of {record.id!r}: {wrong}")
        spans.add(span)
    return tuple(sorted(spans))


def _wrong(entity: _Entity, text: str | None, labels: Collection[str] | None) -> str | None:
    """Say what is wrong with an entity, if anything."""
    start, end = entity.start, entity.end
    if labels is not None and entity.label not in labels:
        return f"the label {entity.label!r} is not known; there are {_some(labels)}"
    if start >= end:
        return f"it ends at {end}, and begins at {start}; the end is the place after its last character"
    if text is None:
        return None
    if end > len(text):
        return f"it ends at {end}, and the text has {len(text)} characters; count characters, not bytes"
    if entity.text is not None and _as_read(entity.text) != text[start:end]:
        return f"at {start} to {end} stands {text[start:end]!r}, and not {entity.text!r}; correct its offsets"
    return None


def _apart(one: str, other: str) -> int:
    """Return where two texts that differ begin to."""
    same = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(same) if a != b), min(len(one), len(other)))


def _some(names: Collection[str], at_most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:at_most]) or "none"
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
