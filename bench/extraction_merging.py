"""How good and how fast merging is, over real documents and a model that is wrong in known ways.

    python -m bench.extraction_merging [DATA]     prints JSON

DATA is a JSONL file of `{id, text, entities: [{start, end, label}]}`. Each pass cuts the documents into
windows and finds every entity of a window with the same probability; some of what it finds ends a word too
early or too late, and some of it is invented. What a window's edge cuts is found as far as the window goes.
"""

import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.extraction.merging import merge
from tasks.extraction.values import Entity, Grounding, Item, Mention, Provenance, Window

LENER = Path(__file__).parents[1].parent / "shared" / "data" / "legal" / "lener_br" / "dev.jsonl"

Span = tuple[int, int, str]
"""Start, end and label."""
Windows = dict[tuple[int, int], Window]


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """What a model does wrong, each a share from 0 to 1."""

    recall: float = 0.9
    boundary: float = 0.05
    """Of what it finds: one of the ends is a word off."""
    spurious: float = 0.04
    """Of what it finds, as many again are words that are no entity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How the passes cut a document, in characters."""

    size: int = 1000
    overlap: int = 200
    passes: int = 3
    shifted: bool = True
    """Whether the windows of each pass begin elsewhere."""

    def windows(self, text: str) -> Windows:
        """Return the windows of all passes, with both ends between words."""
        stride = self.size - self.overlap
        cut: Windows = {}
        for number in range(self.passes):
            first = -(number * stride // self.passes) if self.shifted else 0
            chunk = 0
            for start in range(first, max(len(text) - self.overlap, 1), stride):
                begin, end = _between_words(text, max(start, 0)), _between_words(text, start + self.size)
                if begin < end:
                    cut[number, chunk] = Window(start=begin, end=end, context_start=begin, context_end=end)
                    chunk += 1
        return cut


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A text and the spans in it."""

    text: str
    gold: frozenset[Span]


def documents(path: Path = LENER) -> list[Document]:
    """Read documents with their spans."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Document(
            text=record["text"],
            gold=frozenset((one["start"], one["end"], one["label"]) for one in record["entities"]),
        )
        for record in records
    ]


def noisy_mentions(document: Document, windows: Windows, noise: Noise, rng: random.Random) -> list[Mention]:
    """Return what a model with this noise finds in every window."""
    words = [match.span() for match in re.finditer(r"\S+", document.text)]
    labels = sorted({label for _, _, label in document.gold})
    return [
        _mention(span, Provenance(pass_number=number, chunk=chunk, index=index))
        for (number, chunk), window in windows.items()
        for index, span in enumerate(_found(document, window, words, labels, noise, rng))
    ]


def f1(found: Sequence[Entity], gold: frozenset[Span]) -> tuple[int, int, int]:
    """Count the spans that are right, found and gold; F1 is twice the first by the sum of the others."""
    spans = {(one.start, one.end, one.label) for one in found if one.start is not None}
    return len(spans & gold), len(spans), len(gold)


def scored(
    texts: Sequence[Document],
    cut: Cut,
    noise: Noise,
    *,
    min_votes: int,
    seed: int,
    merging: Callable[..., list[Entity]] = merge,
) -> Mapping[str, float]:
    """Return micro precision, recall and F1 of exact spans and labels after merging."""
    rng = random.Random(seed)
    totals = [0, 0, 0]
    for document in texts:
        windows = cut.windows(document.text)
        mentions = noisy_mentions(document, windows, noise, rng)
        found = merging(mentions, windows, document.text, passes=cut.passes, min_votes=min_votes)
        totals = [one + other for one, other in zip(totals, f1(found, document.gold), strict=True)]
    right, guessed, gold = totals
    return {"precision": right / guessed, "recall": right / gold, "f1": 2 * right / (guessed + gold)}


def quality(path: Path = LENER, seeds: Sequence[int] = range(5)) -> list[dict[str, object]]:
    """Return a row for each setting: recall of a call, overlap, passes, votes; the median F1 of the seeds."""
    texts = documents(path)
    rows: list[dict[str, object]] = []
    for recall in (0.9, 0.75):
        for overlap, passes, votes in (
            (0, 1, 1),
            (200, 1, 1),
            (0, 3, 1),
            (0, 3, 2),
            (200, 3, 1),
            (200, 3, 2),
        ):
            cut, noise = Cut(overlap=overlap, passes=passes), Noise(recall=recall)
            scores = [scored(texts, cut, noise, min_votes=votes, seed=seed) for seed in seeds]
            median = sorted(scores, key=lambda score: score["f1"])[len(scores) // 2]
            setting = {"recall of a call": recall, "overlap": overlap, "passes": passes, "min_votes": votes}
            rows.append({**setting, **{name: round(value, 4) for name, value in median.items()}})
    return rows


def speed(spans: int = 4000, passes: int = 3, repetitions: int = 5) -> dict[str, object]:
    """Time the merging of as many spans from each pass over a made-up text; the least of a few times.

    On a machine that does other things as well, `cpu_seconds` says more than `seconds`.
    """
    document = _made_up(spans)
    windows = Cut(passes=passes, overlap=0).windows(document.text)
    mentions = noisy_mentions(document, windows, Noise(recall=1.0), random.Random(0))
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    entities: list[Entity] = []
    for _ in range(repetitions):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        entities = merge(mentions, windows, document.text, passes=passes)
        cpu_seconds.append(time.process_time() - cpu_begun)
        seconds.append(time.perf_counter() - begun)
    return {
        "spans": spans,
        "passes": passes,
        "mentions": len(mentions),
        "windows": len(windows),
        "entities": len(entities),
        "seconds": round(min(seconds), 4),
        "cpu_seconds": round(min(cpu_seconds), 4),
    }


def report(path: Path = LENER) -> dict[str, object]:
    """Return all there is to say, as JSON values; no quality where the data is not there."""
    return {"speed": speed(), "quality": quality(path) if path.exists() else None}


def _between_words(text: str, place: int) -> int:
    """Return where the word ends that a place is in; the text's end at most."""
    while 0 < place < len(text) and not (text[place - 1].isspace() or text[place].isspace()):
        place += 1
    return min(place, len(text))


def _made_up(spans: int) -> Document:
    words = [f"word{number}" for number in range(spans * 4)]
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    gold = frozenset(
        (starts[place], starts[place + 2] - 1, f"label {place % 5}") for place in range(0, len(words), 4)
    )
    return Document(text=" ".join(words), gold=gold)


def _mention(span: Span, provenance: Provenance) -> Mention:
    start, end, label = span
    return Mention(
        item=Item(label=label, text=""),
        grounding=Grounding(status="exact", start=start, end=end, score=1.0),
        provenance=provenance,
    )


def _found(
    document: Document,
    window: Window,
    words: Sequence[tuple[int, int]],
    labels: Sequence[str],
    noise: Noise,
    rng: random.Random,
) -> Iterator[Span]:
    inside = [(start, end) for start, end in words if window.start <= start and end <= window.end]
    for start, end, label in sorted(document.gold):
        seen = max(start, window.start), min(end, window.end)
        if seen[0] >= seen[1] or rng.random() >= noise.recall:
            continue
        if rng.random() < noise.boundary:
            seen = _word_off(seen, inside, rng)
        yield (*seen, label)
        if rng.random() < noise.spurious:
            first = rng.randrange(len(inside))
            last = min(first + rng.randrange(3), len(inside) - 1)
            yield (inside[first][0], inside[last][1], rng.choice(labels))


def _word_off(span: tuple[int, int], words: Sequence[tuple[int, int]], rng: random.Random) -> tuple[int, int]:
    """Move one end of a span to another word's; the start where it can, else the end."""
    start, end = span
    if rng.choice((True, False)):
        others = [first for first, last in words if last <= end and first != start]
        return (min(others, key=lambda first: abs(first - start)), end) if others else span
    others = [last for first, last in words if first >= start and last != end]
    return (start, min(others, key=lambda last: abs(last - end))) if others else span


if __name__ == "__main__":
    print(json.dumps(report(*map(Path, sys.argv[1:2])), indent=2))
