"""The HTML report of an extraction: one file that shows every document and its entities, and fetches nothing.

The text of a document is never HTML here: it travels as JSON, and the page's script puts it into text nodes.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from flows.reports.inline import environment, inlined, safe_json
from tasks.extraction.values import GROUNDED, Entity
from tasks.whole_files import replacing

DocumentStatus = Literal["complete", "partial", "failed", "unreadable"]
"""complete: all of it was read; partial: parts failed; failed: all of it did; unreadable: it has no text."""

SLICE = 1 << 16
"""Characters of a text that are escaped at once."""
ASTRAL = re.compile("[\U00010000-\U0010ffff]")
"""Characters that are two units long in a string of JavaScript."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRange:
    """A part of a document for which there is no answer, in characters of its text, the end excluded."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentView:
    """One document as the report shows it. All offsets are in characters of `text`."""

    id: str
    text: str
    """Empty where it could not be read."""
    status: DocumentStatus
    reason: str = ""
    """Why it is not complete, in a sentence."""
    coverage: float | None = None
    """Characters that were read by all of them, from 0 to 1; None where that has no meaning."""
    entities: Sequence[Entity] = ()
    """Those without a span too: they are listed, not highlighted."""
    failed: Sequence[FailedRange] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Precision, recall and F1 under one way of matching, from 0 to 1; None is shown as a dash."""

    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRow:
    """How well the entities of one label match the gold ones, in the three ways of matching."""

    label: str
    exact: Scores
    partial: Scores
    type: Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractionPage:
    """All that the report says."""

    title: str
    headline: str
    warnings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    """(name, value) of what a reader wants to know of the run: model, tokens, costs."""
    labels: Sequence[tuple[str, str]] = ()
    """(name, description). Colours go by this order; labels of entities that are missing here follow."""
    documents: Iterable[DocumentView] = ()
    """Gone through once, so they may be made one after another as the page is written."""
    load: Sequence[tuple[str, str, float, float, float]] = ()
    """(where, what, least, median, most) of what servers and GPUs held; none: no table."""
    evaluation: Sequence[EvaluationRow] = ()
    """No row: no table."""
    confusion: Sequence[Sequence[str | int]] = ()
    """A row for each gold label: the label, and how often each of those in the first row was given to it."""
    evaluation_note: str = ""
    """What was compared, and how the three ways match, in a sentence above the table."""


def render(page: ExtractionPage) -> str:
    """Return the report as one string.

    Raises:
        ValueError: A span or a failed range does not lie in its document.
    """
    return "".join(pieces(page))


def write(page: ExtractionPage, path: Path) -> None:
    """Write the report to `path` once all of it is there, holding one document at a time, and that not twice.

    Raises:
        ValueError: A span or a failed range does not lie in its document.
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces(page))


def pieces(page: ExtractionPage) -> Iterator[str]:
    """Yield the report piece by piece; every piece can be encoded as UTF-8.

    Raises:
        ValueError: A span or a failed range does not lie in its document.
    """
    overview = _Overview(page)
    yield from (
        environment()
        .get_template("extraction.html.j2")
        .generate(
            page=page,
            own=inlined("extraction"),
            documents=overview.documents(),
            overview=overview.json,
        )
    )


class _Overview:
    """What is said of all documents together; complete once they were gone through."""

    def __init__(self, page: ExtractionPage) -> None:
        self._views = page.documents
        self._labels = dict(page.labels)
        self._summaries: list[Mapping[str, object]] = []

    def documents(self) -> Iterator[tuple[Iterator[Markup], Iterator[Markup]]]:
        """Yield (text, findings) of one document after another, as pieces of JSON."""
        for view in self._views:
            yield _text(view.text), _findings(view)
            self._summaries.append(_summary(view))
            for entity in view.entities:
                self._labels.setdefault(entity.label, "")

    def json(self) -> Markup:
        """Return the labels, the page's own first, and what the list of documents shows."""
        return safe_json({"labels": list(self._labels.items()), "documents": self._summaries})


def _summary(view: DocumentView) -> Mapping[str, object]:
    return {
        "id": view.id,
        "status": view.status,
        "reason": view.reason,
        "coverage": view.coverage,
        "characters": len(view.text),
        "statuses": Counter(entity.status for entity in view.entities),
        "failed": len(view.failed),
    }


def _text(text: str) -> Iterator[Markup]:
    """Yield a string as JSON, a slice at a time."""
    yield Markup('"')
    for start in range(0, len(text), SLICE):
        yield safe_json(text[start : start + SLICE])[1:-1]
    yield Markup('"')


def _findings(view: DocumentView) -> Iterator[Markup]:
    """Yield entities and failed ranges as JSON; `at` is a place in UTF-16 units, as the browser counts."""
    units = _Units(view)
    yield Markup('{"entities":[')
    for number, entity in enumerate(view.entities):
        yield safe_json(_entity(entity, units.of_entity(entity)), comma=number > 0)
    yield Markup('],"failed":[')
    for number, part in enumerate(view.failed):
        at = units.of("a failed range", part.start, part.end)
        yield safe_json({"at": at, "chars": (part.start, part.end), "reason": part.reason}, comma=number > 0)
    yield Markup("]}")


class _Units:
    """Turns places in characters of a document into places in UTF-16 units."""

    def __init__(self, view: DocumentView) -> None:
        self._view = view
        self._astral = [match.start() for match in ASTRAL.finditer(view.text)]

    def of(self, what: str, start: int, end: int) -> tuple[int, int]:
        if not 0 <= start <= end <= len(self._view.text):
            raise ValueError(
                f"document {self._view.id!r}: {what} reaches from {start} to {end}, and the text has"
                f" {len(self._view.text)} characters; give offsets in characters of this very text"
            )
        return start + bisect_left(self._astral, start), end + bisect_left(self._astral, end)

    def of_entity(self, entity: Entity) -> tuple[int, int] | None:
        if entity.status not in GROUNDED:
            return None
        if entity.start is None or entity.end is None:
            raise ValueError(
                f"document {self._view.id!r}: {entity.label} {entity.text!r} is {entity.status} and has no"
                " span; give it one, or a status that has none"
            )
        return self.of(f"{entity.label} {entity.text!r}", entity.start, entity.end)


def _entity(entity: Entity, at: tuple[int, int] | None) -> Mapping[str, object]:
    return {
        "label": entity.label,
        "text": entity.text,
        "status": entity.status,
        "at": at,
        "chars": (entity.start, entity.end) if at else None,
        "similarity": entity.similarity,
        "votes": entity.votes,
        "confidence": entity.confidence,
        "attributes": dict(entity.attributes),
        "normalized": entity.normalized,
        "conflict": entity.conflict,
        "from": [(place.pass_number, place.chunk, place.index) for place in entity.provenance],
    }
