"""The files of an extraction: a line for each document and one for each entity, written as they come.

`documents.jsonl` has the text that offsets refer to: that of HTML and PDF is not in the document's own file.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from tasks.batch.outputs import open_output
from tasks.extraction.asking import FailedWindow
from tasks.extraction.values import Entity, Provenance

DOCUMENTS, ENTITIES = "documents.jsonl", "entities.jsonl"

DocumentStatus = Literal["complete", "partial", "failed", "unreadable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What came of a document."""

    id: str
    source: str | None
    status: DocumentStatus
    """complete: every character was answered for; partial: some were not; failed: none was; unreadable: there
    was no text to ask about."""
    reason: str
    """Why it is not complete; empty where it is."""
    coverage: float
    """Share of its characters that were answered for, from 0 to 1."""
    text: str = ""
    entities: tuple[Entity, ...] = ()
    failed: tuple[FailedWindow, ...] = ()
    chunks: int = 0
    asked: int = 0
    invalid_items: int = 0
    full_answers: int = 0


Write = Callable[[Finished], None]


@contextmanager
def open_files(directory: Path) -> Generator[Write]:
    """Open both files, which appear when the block ends without an error, in place of those of before."""
    with (
        open_output(directory / DOCUMENTS, {}) as write_documents,
        open_output(directory / ENTITIES, {}) as write_entities,
    ):

        def write(finished: Finished) -> None:
            write_documents([document_row(finished)])
            write_entities([entity_row(finished.id, entity) for entity in finished.entities])

        yield write


def document_row(finished: Finished) -> dict[str, object]:
    """Return a line of documents.jsonl."""
    return {
        "id": finished.id,
        "source": finished.source,
        "status": finished.status,
        "reason": finished.reason,
        "coverage": finished.coverage,
        "characters": len(finished.text),
        "chunks": finished.chunks,
        "asked": finished.asked,
        "invalid_items": finished.invalid_items,
        "full_answers": finished.full_answers,
        "failed": [
            {"start": one.start, "end": one.end, "pass": one.pass_number, "reason": one.reason}
            for one in finished.failed
        ],
        "text": finished.text,
    }


def entity_row(document: str, entity: Entity) -> dict[str, object]:
    """Return a line of entities.jsonl; `start` and `end` are null for what was not found in the text."""
    return {
        "document": document,
        "label": entity.label,
        "start": entity.start,
        "end": entity.end,
        "text": entity.text,
        "status": entity.status,
        "similarity": entity.similarity,
        "confidence": entity.confidence,
        "votes": entity.votes,
        "normalized": entity.normalized,
        "attributes": dict(entity.attributes),
        "conflict": entity.conflict,
        "provenance": [
            {"pass": one.pass_number, "chunk": one.chunk, "index": one.index} for one in entity.provenance
        ],
    }


def read_files(directory: Path) -> Iterator[Finished]:
    """Read both files back, one document at a time, in their order."""
    entities = _by_document(_lines(directory / ENTITIES))
    upcoming = next(entities, None)
    for row in _lines(directory / DOCUMENTS):
        own: Sequence[Mapping[str, Any]] = ()
        if upcoming and upcoming[0] == row["id"]:
            own, upcoming = upcoming[1], next(entities, None)
        yield _finished(row, own)


def _by_document(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    for document, own in groupby(rows, key=lambda row: str(row["document"])):
        yield document, list(own)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _finished(row: Mapping[str, Any], entities: Sequence[Mapping[str, Any]]) -> Finished:
    return Finished(
        id=row["id"],
        source=row["source"],
        status=row["status"],
        reason=row["reason"],
        coverage=row["coverage"],
        text=row["text"],
        entities=tuple(map(_entity, entities)),
        failed=tuple(
            FailedWindow(start=one["start"], end=one["end"], pass_number=one["pass"], reason=one["reason"])
            for one in row["failed"]
        ),
        chunks=row["chunks"],
        asked=row["asked"],
        invalid_items=row["invalid_items"],
        full_answers=row["full_answers"],
    )


def _entity(row: Mapping[str, Any]) -> Entity:
    fields = {name: row[name] for name in row if name not in {"document", "provenance"}}
    return Entity(
        **fields,
        provenance=tuple(
            Provenance(pass_number=one["pass"], chunk=one["chunk"], index=one["index"])
            for one in row["provenance"]
        ),
    )
