"""Goes through the documents of an extraction, several at a time, until all are done or nobody answers."""

import itertools
from collections.abc import Awaitable, Callable, Iterator

import anyio.to_thread

from flows.answering import first_error
from flows.extraction_files import DocumentStatus, Finished
from flows.extraction_progress import ExtractionProgress
from tasks.ask import NOBODY_ANSWERS, Stop
from tasks.batch.in_order import work_in_order
from tasks.extraction.extracting import Extracted
from tasks.extraction.reading import Unreadable
from tasks.extraction.values import Document

Extract = Callable[[Document], Awaitable[Extracted]]

AT_ONCE = 8
"""Documents that are asked about at a time, so that the server never waits for the last chunk of one."""

AHEAD = 16
"""Documents in memory: those asked about, and those that wait for a slower one before them."""

CHARACTERS_AHEAD = 3_000_000
"""Characters of these, unless it is one: their questions, answers and spans take some forty times as much."""


async def go_through(
    documents: Iterator[Document | Unreadable],
    extract: Extract,
    take: Callable[[Finished], None],
    *,
    progress: ExtractionProgress,
    stop: Stop,
) -> None:
    """Extract from all documents, and hand over what came of each in their order.

    Args:
        documents: Read one at a time, in a thread; closed at the end.
        extract: Asks about one.
        take: Called in a thread.
        progress: Told of each that is done.
        stop: Ends it.

    Raises:
        BackendError: Nobody answers any more.
    """

    async def work(document: Document | Unreadable) -> Finished | None:
        if isinstance(document, Unreadable):
            progress.finish(document.id)
            return unreadable(document)
        if stop.errors:
            return None
        try:
            extracted = await extract(document)
        except NOBODY_ANSWERS as error:
            stop.errors.append(error)
            return None
        progress.finish(document.id)
        return finished(extracted)

    async def hand_over(one: Finished | None) -> None:
        if one is not None:
            await anyio.to_thread.run_sync(take, one)

    going = itertools.takewhile(lambda _: not stop.errors, documents)
    async with progress.shown():
        try:
            await work_in_order(
                going,
                work,
                hand_over,
                at_once=AT_ONCE,
                ahead=AHEAD,
                weigh=lambda one: len(one.text) if isinstance(one, Document) else 0,
                heaviest=CHARACTERS_AHEAD,
            )
        except ExceptionGroup as group:
            raise first_error(group) from group
    stop.require_an_answer()


def unreadable(document: Unreadable) -> Finished:
    """Say of a document that there is no text to ask about."""
    return Finished(
        id=document.id, source=document.source, status="unreadable", reason=document.reason, coverage=0.0
    )


def finished(extracted: Extracted) -> Finished:
    """Say what came of a document that was asked about."""
    document = extracted.document
    return Finished(
        id=document.id,
        source=document.source,
        status=_status(extracted),
        reason=_reason(extracted),
        coverage=extracted.coverage,
        text=document.text,
        entities=extracted.entities,
        failed=extracted.failed,
        chunks=extracted.chunks,
        asked=extracted.asked,
        invalid_items=extracted.invalid_items,
        full_answers=extracted.full_answers,
    )


def _status(extracted: Extracted) -> DocumentStatus:
    if not extracted.missed:
        return "complete"
    return "partial" if extracted.coverage else "failed"


def _reason(extracted: Extracted) -> str:
    if not extracted.missed:
        return ""
    characters = sum(end - start for start, end in extracted.missed)
    why = extracted.failed[0].reason if extracted.failed else "no chunk holds it"
    return f"{characters} of {len(extracted.document.text)} characters have no answer, the first since {why}"
