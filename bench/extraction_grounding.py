"""Whether items are found again where they were taken from, whatever a model did to their words."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from semantic_text_splitter import TextSplitter

from bench.extraction_oracle import GoldDocument, Noise, Oracle, OracleItem
from bench.langextract_environment import Chunk
from tasks.extraction import likeness, nearness
from tasks.extraction.folding import Folded
from tasks.extraction.grounding import ground
from tasks.extraction.values import GROUNDED, Grounding, Item, Window

_BLANK = re.compile(r"\s+")

Places: TypeAlias = list[tuple[int, int] | None]
"""(start, end) in the document of each item of a chunk; None: it has no place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A chunk and what the oracle says of it."""

    document: GoldDocument
    start: int
    end: int
    items: list[OracleItem]

    @property
    def window(self) -> Window:
        """The chunk, without context."""
        return Window(start=self.start, end=self.end, context_start=self.start, context_end=self.end)

    @property
    def chunk(self) -> Chunk:
        """The chunk as langextract is told of it."""
        return Chunk(
            text=self.document.text[self.start : self.end],
            offset=self.start,
            items=[(item.label, item.text) for item in self.items],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How many items came back to their places."""

    items: int
    """Those that have a place."""
    exact: int
    """Of them, those found at the very place."""
    elsewhere: int
    """Of them, those found at another."""
    made_up: int
    """Those that have none."""
    made_up_grounded: int
    """Of them, those that were given one."""

    @property
    def exact_percent(self) -> float:
        """Share of the items found at their place, in percent."""
        return 100.0 * self.exact / max(self.items, 1)

    @property
    def made_up_percent(self) -> float:
        """Share of the made-up items that were given a place, in percent."""
        return 100.0 * self.made_up_grounded / max(self.made_up, 1)


def chunks_of(text: str, size: int, overlap: int = 0) -> list[tuple[int, int]]:
    """Cut a text into (start, end) of at most so many characters.

    Each reaches back over the end of the one before by `overlap`, less a part of a word. The splitter's own
    overlap is whole sentences or lines, often half of what was asked for.
    """
    parts = TextSplitter(size - overlap).chunk_indices(text)
    return [(_reach_back(text, start, overlap), start + len(part)) for start, part in parts]


def _reach_back(text: str, start: int, overlap: int) -> int:
    """Return where the first whole word of the `overlap` characters before `start` begins."""
    if start <= overlap:
        return 0
    blank = _BLANK.search(text, start - overlap - 1, start)
    return blank.end() if blank else start


def answers(
    documents: Sequence[GoldDocument], noise: Noise, size: int, *, overlap: int = 0, sample: str = ""
) -> list[Answered]:
    """Ask the oracle about all chunks of all documents."""
    oracle = Oracle(documents, noise)
    return [
        Answered(
            document=known, start=start, end=end, items=oracle.answer(known.id, start, end, sample=sample)
        )
        for known in documents
        for start, end in chunks_of(known.text, size, overlap)
    ]


def fastest_groundings(answered: Sequence[Answered], runs: int) -> tuple[list[list[Grounding]], float]:
    """Ground several times, each time with nothing remembered of the last; see `groundings`.

    Other programs of a machine take from a CPU's caches and clock, and never give.
    """
    best: tuple[list[list[Grounding]], float] | None = None
    for _ in range(runs):
        for function in (*vars(likeness).values(), *vars(nearness).values()):
            if hasattr(function, "cache_clear"):
                function.cache_clear()
        found = groundings(answered)
        best = found if best is None or found[1] < best[1] else best
    if best is None:
        raise ValueError("there is no fastest of 0 runs")
    return best


def groundings(answered: Sequence[Answered]) -> tuple[list[list[Grounding]], float]:
    """Ground the items of all chunks, and say how many CPU seconds that took, folding included."""
    asked = [
        (each, [Item(label=item.label, text=item.text) for item in each.items], each.window)
        for each in answered
    ]
    before = time.process_time()
    folded = {each.document.id: each.document.text for each in answered}
    sources = {name: Folded(text) for name, text in folded.items()}
    found = [ground(items, sources[each.document.id], window) for each, items, window in asked]
    return found, time.process_time() - before


def places(found: Sequence[Sequence[Grounding]]) -> list[Places]:
    """Return the spans of groundings."""
    return [
        [
            (each.start, each.end)
            if each.status in GROUNDED and each.start is not None and each.end is not None
            else None
            for each in chunk
        ]
        for chunk in found
    ]


def score(answered: Sequence[Answered], found: Sequence[Places]) -> Score:
    """Compare the places found with the truth.

    Raises:
        ValueError: There are not as many places as items.
    """
    pairs = [
        (item, place)
        for each, chunk in zip(answered, found, strict=True)
        for item, place in zip(each.items, chunk, strict=True)
    ]
    real = [(item, place) for item, place in pairs if item.start is not None]
    made_up = [place for item, place in pairs if item.start is None]
    exact = sum(place == (item.start, item.end) for item, place in real)
    return Score(
        items=len(real),
        exact=exact,
        elsewhere=sum(place is not None for _, place in real) - exact,
        made_up=len(made_up),
        made_up_grounded=sum(place is not None for place in made_up),
    )
