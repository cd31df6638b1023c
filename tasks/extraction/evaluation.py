"""How good an extraction is: its entities against gold spans.

Precision, recall and F1, micro and for each label, in three strictnesses. A gold span counts for one entity
at most, and an entity for one gold span; both must have the same label.

exact: start and end are the same, as in CoNLL-2003 and in nervaluate's "strict".
partial: as exact, but one that only overlaps counts half. The half credit is that of SemEval-2013 task 9.1
    (https://aclanthology.org/S13-2056) and of nervaluate's "partial", where labels do not matter.
type: one that overlaps counts in full, as nervaluate's "ent_type".
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge as merge_sorted

from tasks.extraction.gold import GoldSpan
from tasks.extraction.values import Entity, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Precision and recall, and what they are made of. A share of nothing is None."""

    correct: float
    """Gold spans that were found; in `partial`, those that only overlap count half."""
    found: int
    gold: int

    @property
    def precision(self) -> float | None:
        """Share of what was found that is right."""
        return self.correct / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of what should be found that was."""
        return self.correct / self.gold if self.gold else None

    @property
    def f1(self) -> float | None:
        """Twice `correct` by `found` and `gold` together: 0 if only one of those is none."""
        return 2 * self.correct / (self.found + self.gold) if self.found or self.gold else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One set of entities in the three strictnesses of this module."""

    exact: Score
    partial: Score
    type: Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """How often a gold label was given that label."""

    gold: str | None
    """None: there is nothing."""
    found: str | None
    """None: nothing was found."""
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What entities are worth, over the documents that have gold."""

    micro: Scores
    labels: Mapping[str, Scores]
    """Of each label that is in the gold or was found, by name."""
    grounding: Score
    """Whether spans are at the right places, whatever their labels: of `found` entities with a span, those
    whose start and end are those of a gold span are `correct`. Its precision is the grounding precision."""
    confusion: Sequence[Confusion]
    """Most frequent first. An entity and a gold span of another label are taken for each other where the
    spans are the same, or where more than half of the longer is in both."""
    without_span: Mapping[Status, int]
    """{status: findings that have no span}; they count in no score."""
    coverage: float | None
    """Share of the characters that have an answer, as the run has it."""
    documents: int
    """With gold."""
    unscored_documents: int
    """With entities and without gold."""


def evaluate(
    gold: Mapping[str, Sequence[GoldSpan]],
    found: Mapping[str, Sequence[Entity]],
    *,
    coverage: float | None = None,
) -> Evaluation:
    """Compare entities with gold spans.

    Args:
        gold: {document id: spans}; a document without spans counts, since all that is found there is wrong.
        found: {document id: entities}; all spans of a gold document that is missing here were missed.
        coverage: Passed on.
    """
    tally = _Tally()
    without_span: Counter[Status] = Counter()
    for document, spans in gold.items():
        entities = found.get(document, ())
        without_span.update(one.status for one in entities if one.start is None)
        tally.add(sorted(spans), sorted(_spans(entities)))
    return Evaluation(
        micro=tally.scores(tally.labels),
        labels={label: tally.scores([label]) for label in sorted(tally.labels)},
        grounding=tally.grounding(),
        confusion=tally.confusion(),
        without_span=dict(without_span),
        coverage=coverage,
        documents=len(gold),
        unscored_documents=len(found.keys() - gold.keys()),
    )


Row = Mapping[str, str | float | None]
"""{column: value} of a table."""


def compare(runs: Mapping[str, Evaluation]) -> list[Row]:
    """Return a row for each run, all with the same columns."""
    return [
        {
            "run": name,
            "precision": one.micro.exact.precision,
            "recall": one.micro.exact.recall,
            "exact F1": one.micro.exact.f1,
            "partial F1": one.micro.partial.f1,
            "type F1": one.micro.type.f1,
            "grounding precision": one.grounding.precision,
            "coverage": one.coverage,
            "found": one.micro.exact.found,
            "gold": one.micro.exact.gold,
            "without span": sum(one.without_span.values()),
        }
        for name, one in runs.items()
    ]


def compare_labels(runs: Mapping[str, Evaluation]) -> list[Row]:
    """Return a row for each label: its gold spans and, in a column for each run, its exact F1."""
    rows: list[Row] = []
    for label in sorted({label for one in runs.values() for label in one.labels}):
        scores = {name: one.labels[label].exact for name, one in runs.items() if label in one.labels}
        gold = max(score.gold for score in scores.values())
        f1s = {f"{name}: exact F1": scores[name].f1 if name in scores else None for name in runs}
        rows.append({"label": label, "gold": gold, **f1s})
    return rows


NONE = "(none)"
"""What a table says where nothing stands or nothing was found."""


def confusion_table(evaluation: Evaluation) -> list[list[str | int]]:
    """Return a table: a row for each gold label, a column for each found one, the last of both for none."""
    counts = {(one.gold, one.found): one.count for one in evaluation.confusion}
    labels = [*evaluation.labels, None]
    heads = [label or NONE for label in labels]
    rows = [[counts.get((gold, found), 0) for found in labels] for gold in labels]
    return [["gold", *heads], *([head, *row] for head, row in zip(heads, rows, strict=True))]


def _spans(entities: Iterable[Entity]) -> Iterator[GoldSpan]:
    for one in entities:
        if one.start is not None and one.end is not None:
            yield GoldSpan(one.start, one.end, one.label)


class _Tally:
    """Counts over documents."""

    def __init__(self) -> None:
        self._exact: Counter[str] = Counter()
        self._overlapping: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._gold: Counter[str] = Counter()
        self._confusion: Counter[tuple[str | None, str | None]] = Counter()
        self._right_places = 0

    @property
    def labels(self) -> set[str]:
        return {*self._found, *self._gold}

    def add(self, gold: Sequence[GoldSpan], found: Sequence[GoldSpan]) -> None:
        """Count one document; spans are sorted."""
        self._gold.update(span.label for span in gold)
        self._found.update(span.label for span in found)
        pairs = _paired(gold, found)
        for one, other in pairs:
            if one.label == other.label:
                (self._exact if one == other else self._overlapping)[one.label] += 1
            self._confusion[one.label, other.label] += 1
        for span in (Counter(gold) - Counter(one for one, _ in pairs)).elements():
            self._confusion[span.label, None] += 1
        for span in (Counter(found) - Counter(other for _, other in pairs)).elements():
            self._confusion[None, span.label] += 1
        places = {span[:2] for span in gold}
        self._right_places += sum(span[:2] in places for span in found)

    def scores(self, labels: Collection[str]) -> Scores:
        exact, overlapping, found, gold = (
            sum(counts[label] for label in labels)
            for counts in (self._exact, self._overlapping, self._found, self._gold)
        )
        return Scores(
            exact=Score(correct=exact, found=found, gold=gold),
            partial=Score(correct=exact + overlapping / 2, found=found, gold=gold),
            type=Score(correct=exact + overlapping, found=found, gold=gold),
        )

    def grounding(self) -> Score:
        return Score(correct=self._right_places, found=self._found.total(), gold=self._gold.total())

    def confusion(self) -> list[Confusion]:
        counts = sorted(
            self._confusion.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or "")
        )
        return [Confusion(gold=gold, found=found, count=count) for (gold, found), count in counts]


def _paired(gold: Sequence[GoldSpan], found: Sequence[GoldSpan]) -> list[tuple[GoldSpan, GoldSpan]]:
    """Pair gold spans with found ones, each at most once.

    The same span and label go first, then overlaps of the same label, then the same span of another label,
    then what is nearly that; among those the largest overlap first, and then the first in the text.
    """
    overlaps = sorted(_overlaps(gold, found), key=lambda pair: _nearness(gold[pair[0]], found[pair[1]]))
    taken: set[int] = set()
    used: set[int] = set()
    pairs: list[tuple[GoldSpan, GoldSpan]] = []
    for one, other in overlaps:
        if one not in taken and other not in used and _comparable(gold[one], found[other]):
            taken.add(one)
            used.add(other)
            pairs.append((gold[one], found[other]))
    return pairs


def _shared(one: GoldSpan, other: GoldSpan) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _nearness(one: GoldSpan, other: GoldSpan) -> tuple[bool, bool, int, GoldSpan, GoldSpan]:
    return one.label != other.label, one[:2] != other[:2], -_shared(one, other), one, other


def _comparable(one: GoldSpan, other: GoldSpan) -> bool:
    longer = max(one.end - one.start, other.end - other.start)
    return one.label == other.label or 2 * _shared(one, other) > longer


def _overlaps(gold: Sequence[GoldSpan], found: Sequence[GoldSpan]) -> Iterator[tuple[int, int]]:
    """Yield the places of all that overlap, in one sweep over both."""
    events = merge_sorted(
        ((span.start, 0, place) for place, span in enumerate(gold)),
        ((span.start, 1, place) for place, span in enumerate(found)),
    )
    spans = gold, found
    open_ones: tuple[list[int], list[int]] = [], []
    for start, side, place in events:
        other = 1 - side
        open_ones[other][:] = [one for one in open_ones[other] if spans[other][one].end > start]
        yield from ((place, one) if side == 0 else (one, place) for one in open_ones[other])
        open_ones[side].append(place)
