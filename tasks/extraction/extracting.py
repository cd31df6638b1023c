"""Extracts from one document: asks about it, looks for what was found in its text, and merges that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio.to_thread

from tasks.extraction.asking import Answers, Asker, FailedWindow
from tasks.extraction.folding import Folded
from tasks.extraction.grounding import ground
from tasks.extraction.merging import merge
from tasks.extraction.normalizers import NORMALIZERS
from tasks.extraction.spec import ExtractionSpec
from tasks.extraction.values import Document, Entity, Mention, Provenance, Window
from tasks.extraction.windows import coverage, uncovered


@dataclass(frozen=True, kw_only=True, slots=True)
class Extracted:
    """What came of one document."""

    document: Document
    entities: tuple[Entity, ...]
    """Those with a span first, in the order of the text; then the findings without one."""
    failed: tuple[FailedWindow, ...]
    coverage: float
    """Share of the characters about which there is a whole answer in at least one pass."""
    missed: tuple[tuple[int, int], ...]
    """The parts (start, end) about which there is none."""
    chunks: int
    """Questions of all passes, retries left out."""
    asked: int
    """Questions, retries included."""
    invalid_items: int
    """Items of answers that had no text or no known label."""
    full_answers: int = 0
    """Answers with as many items as one may have."""


@dataclass(kw_only=True)
class Extractor:
    """Extracts from documents, all in the same way.

    Args:
        asker: Asks a model about a document.
        spec: What is looked for.
        passes: How often each place is asked about.
        min_votes: Of these passes, how many have to find an entity.
        fuzzy: Whether what stands nowhere may be a slip of the pen for something that does.
    """

    asker: Asker
    spec: ExtractionSpec
    passes: int = 1
    min_votes: int = 1
    fuzzy: bool = True

    def __post_init__(self) -> None:
        """Fold the examples; ground one document at a time, since threads do not share Python's own work."""
        self._grounders = anyio.CapacityLimiter(1)
        self._examples = [Folded(example.text) for example in self.spec.examples]

    async def extract(self, document: Document) -> Extracted:
        """Return the entities of a document, and what failed; a failed window is never left out silently.

        Raises:
            BackendError: Nobody answers any more; what was answered is stored, and asking again goes on.
        """
        answers = await self.asker.answers(document)
        return await anyio.to_thread.run_sync(self._extracted, document, answers, limiter=self._grounders)

    def _extracted(self, document: Document, answers: Answers) -> Extracted:
        text = document.text
        mentions = self._mentions(document, answers)
        return Extracted(
            document=document,
            entities=tuple(
                merge(
                    mentions,
                    _looked_at(answers, mentions),
                    text,
                    passes=self.passes,
                    min_votes=self.min_votes,
                    label_priority=self.spec.label_names,
                    normalize=self._normalized,
                )
            ),
            failed=tuple(sorted(answers.failed, key=lambda one: (one.start, one.pass_number))),
            coverage=coverage(text, answers.answered),
            missed=tuple(uncovered(text, answers.answered)),
            chunks=answers.chunks,
            asked=answers.asked,
            invalid_items=answers.invalid,
            full_answers=answers.full,
        )

    def _mentions(self, document: Document, answers: Answers) -> list[Mention]:
        folded = Folded(document.text)
        mentions: list[Mention] = []
        for (number, chunk), items in answers.items.items():
            window = answers.windows[number, chunk]
            grounded = ground(items, folded, window, examples=self._examples, fuzzy=self.fuzzy)
            mentions += [
                Mention(
                    item=item,
                    grounding=grounding,
                    provenance=Provenance(pass_number=number, chunk=chunk, index=index),
                )
                for index, (item, grounding) in enumerate(zip(items, grounded, strict=True))
            ]
        return mentions

    def _normalized(self, label: str, text: str) -> str | None:
        name = next(one.normalizer for one in self.spec.labels if one.name == label)
        return NORMALIZERS[name](text) if name else None


def _looked_at(answers: Answers, mentions: Sequence[Mention]) -> dict[tuple[int, int], Window]:
    """Return which part of each window has an answer: of one that broke off, up to its last complete item."""
    ends = {place: answers.windows[place].start for place in answers.partial}
    for one in mentions:
        place = (one.provenance.pass_number, one.provenance.chunk)
        if place in ends:
            ends[place] = max(ends[place], one.grounding.end or 0)
    return {
        place: replace(window, end=ends[place], context_end=ends[place]) if place in ends else window
        for place, window in answers.windows.items()
    }
