"""How well overlapping chunks and several noisy passes are merged into the entities of a document."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bench import langextract_environment as langextract
from bench.extraction_grounding import answers, groundings
from bench.extraction_oracle import GoldDocument, Noise
from bench.langextract_environment import Found
from tasks.extraction.merging import merge
from tasks.extraction.values import GROUNDED, Grounding, Item, Mention, Provenance, Window

CHUNK = 1000
"""Characters."""
BOUNDARY_NOISE = 0.05
SPURIOUS = 0.04

Keys: TypeAlias = dict[tuple[int, int], Window]
"""{(pass, chunk): window}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How documents are gone through."""

    recall: float
    """Of one call."""
    overlap: int
    """Characters of a chunk that the next one sees, too."""
    passes: int
    cut: float = 0.0
    """Share of the entities across an edge whose visible part is given for the whole."""

    def noise(self, seed: int) -> Noise:
        """Return what the oracle does."""
        return Noise(
            recall=self.recall, boundary_noise=BOUNDARY_NOISE, spurious=SPURIOUS, cut=self.cut, seed=seed
        )


SETTINGS = (
    Setting(recall=0.9, overlap=0, passes=1),
    Setting(recall=0.9, overlap=200, passes=1),
    Setting(recall=0.9, overlap=0, passes=3),
    Setting(recall=0.9, overlap=200, passes=3),
    Setting(recall=0.75, overlap=400, passes=3),
    Setting(recall=0.9, overlap=200, passes=3, cut=1.0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """All that was said of one document, with its places."""

    document: GoldDocument
    windows: Keys
    mentions: list[Mention]

    def by_pass(self) -> list[list[Found]]:
        """Return what has a place, pass by pass, in the order of the chunks."""
        found: list[list[Found]] = [[] for _ in {number for number, _ in self.windows}]
        for mention in self.mentions:
            start, end = mention.grounding.start, mention.grounding.end
            if mention.grounding.status in GROUNDED and start is not None and end is not None:
                found[mention.provenance.pass_number].append((mention.item.label, start, end))
        return found


@dataclass(frozen=True, slots=True)
class Quality:
    """Exact spans with their labels against gold."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def look(documents: Sequence[GoldDocument], setting: Setting, seed: int) -> list[Looked]:
    """Ask and ground all passes."""
    looked = {each.id: Looked(document=each, windows={}, mentions=[]) for each in documents}
    for number in range(setting.passes):
        answered = answers(documents, setting.noise(seed), CHUNK, overlap=setting.overlap, sample=str(number))
        found, _ = groundings(answered)
        for chunk, (each, places) in enumerate(zip(answered, found, strict=True)):
            into = looked[each.document.id]
            into.windows[number, chunk] = each.window
            into.mentions.extend(
                Mention(
                    item=Item(label=item.label, text=item.text),
                    grounding=place,
                    provenance=Provenance(pass_number=number, chunk=chunk, index=index),
                )
                for index, (item, place) in enumerate(zip(each.items, places, strict=True))
            )
    return list(looked.values())


def ours(looked: Sequence[Looked], passes: int, min_votes: int) -> list[set[Found]]:
    """Merge with our own rules."""
    return [
        {
            (entity.label, entity.start, entity.end)
            for entity in merge(
                each.mentions, each.windows, each.document.text, passes=passes, min_votes=min_votes
            )
            if entity.start is not None and entity.end is not None
        }
        for each in looked
    ]


def union(looked: Sequence[Looked]) -> list[set[Found]]:
    """Take everything that anything found."""
    return [{one for found in each.by_pass() for one in found} for each in looked]


def first_wins(python: Path) -> Callable[[Sequence[Looked]], list[set[Found]]]:
    """Return langextract's own merging of the same findings."""
    return lambda looked: langextract.merge(python, [each.by_pass() for each in looked])


def quality(looked: Sequence[Looked], found: Sequence[set[Found]]) -> Quality:
    """Compare merged findings with gold."""
    gold = [{(one.label, one.start, one.end) for one in each.document.entities} for each in looked]
    right = sum(len(ones & found_ones) for ones, found_ones in zip(gold, found, strict=True))
    return Quality(right / max(sum(map(len, found)), 1), right / max(sum(map(len, gold)), 1))


def seconds_to_merge(spans: int, passes: int) -> float:
    """Measure the merging of so many spans, each found in each of so many passes: CPU seconds, best of five.

    One document; ten spans in a chunk, which sees two of the next one; odd passes find one word less.
    """
    text = "two words " * (spans + 2)
    windows: Keys = {}
    mentions: list[Mention] = []
    for number in range(passes):
        for chunk in range(spans // 10):
            start, end = 100 * chunk, 100 * chunk + 120
            windows[number, chunk] = Window(start=start, end=end, context_start=start, context_end=end)
            for index in range(12):
                begin = start + 10 * index
                place = Grounding(status="exact", start=begin, end=begin + 9 - 6 * (number % 2), score=1.0)
                said = Item(label="NAME", text=text[begin : place.end])
                source = Provenance(pass_number=number, chunk=chunk, index=index)
                mentions.append(Mention(item=said, grounding=place, provenance=source))
    taken: list[float] = []
    for _ in range(5):
        before = time.process_time()
        merge(mentions, windows, text, passes=passes)
        taken.append(time.process_time() - before)
    return min(taken)
