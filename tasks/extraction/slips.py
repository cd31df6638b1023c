"""What a text that stands nowhere in a document may be a slip for: spans that are nearly the same."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from tasks.extraction.chains import Span
from tasks.extraction.folding import Folded, Wording, bare_word, without_marks
from tasks.extraction.likeness import is_slip
from tasks.extraction.nearness import SHORTEST, differences, edits, is_near, is_near_in_order, most_edits
from tasks.extraction.occurrences import occurrences

CUTOFF: Final = 88.0
"""How alike a text and a span have to be, of 100."""

_NEAR_CUTOFF: Final = 72.0
_ROUGH_CUTOFF: Final = 70.0
"""Before the span's ends are moved to those of words."""
_SHORTEST: Final = 4
_LONGEST_WHOLE: Final = 256
_ANCHOR: Final = 96
"""Longer texts are looked for by their first and last characters, since time grows with the square."""
_MOST_TRIES: Final = 6
"""Places; those where a slip's wording stands count, too."""
_MOST_LIMITS: Final = 2
_FEW: Final = 2
_FARTHEST: Final = 48
"""Words that are longer are not completed."""
_TRIED: Final = "\0"


@dataclass(frozen=True, slots=True)
class Slip:
    """A wording of the document, where it stands in the folded text, and how alike it is, from 0 to 1."""

    spans: list[Span]
    score: float


def slips(item: Wording, source: Folded, start: int, end: int) -> Iterator[Slip]:
    """Look for what a text may be a slip for, best first.

    Args:
        item: What a model wrote.
        source: The document.
        start: In the folded text, where to look from.
        end: Up to where.
    """
    text = item.text
    if len(text) < _SHORTEST:
        return
    hay, places = source.without_marks(start, end)
    needle = without_marks(text)
    others: list[tuple[int, Span]] = []
    near: list[tuple[int, Span, Slip]] = []
    left = _MOST_TRIES
    while left > 0 and (rough := _roughly(needle, hay)):
        tried = [(places[rough[0]], places[rough[1]])]
        if found := _snapped(text, source, tried[0], (start, end)):
            span, score = found
            wording = source.wording(*span)
            is_certain = score * 100 >= CUTOFF and is_slip(item, wording)
            away = edits(text, wording.text)
            if is_certain or is_near(item, wording):
                slip = Slip(occurrences(wording.text, source, start, end) or [span], score)
                tried += (other for other in slip.spans if other != span)
                if is_certain:
                    yield slip
                else:
                    near.append((away, span, slip))
            else:
                others.append((away, span))
        left -= len(tried)
        hay = _blanked(hay, places, tried[:_MOST_TRIES])
    if near and (lone := _lone(item, near, others)) and not _stands_elsewhere(item.text, lone, source):
        yield lone


def slip_between(text: str, source: Folded, start: int, end: int) -> Slip | None:
    """Look for the one name that a text may be a slip for if its answer keeps the order of the document.

    Args:
        text: A name that a model wrote, folded.
        source: The document.
        start: Where, in the folded text, what comes before it in the answer ends.
        end: Where what comes after it begins.

    Returns:
        The only place that is near; None if there is none, or another that is near.
    """
    if len(text) < SHORTEST:
        return None
    found = [
        (edits(text, source.text[slice(*span)]), span)
        for span in _spans_like(text, source, (start, end), first=text[0])
        if source.text[span[1] - 1] == text[-1]
        and source.original[source.origin(span[0])].isupper()
        and is_near_in_order(text, source.text[slice(*span)])
    ]
    if not found:
        return None
    _, best = min(found)
    for span in _spans_like(text, source, (start, end)):
        is_apart = span[1] <= best[0] or best[1] <= span[0]
        if is_apart and edits(text, source.text[slice(*span)]) <= _FEW:
            return None
    slip = Slip([best], _score(text, source.text[slice(*best)], 0.0) / 100)
    return None if _stands_elsewhere(text, slip, source) else slip


def _spans_like(text: str, source: Folded, within: Span, *, first: str = "") -> Iterator[Span]:
    """Yield the spans from word to word that are about as long as a text, and begin with some letter."""
    starts, ends = source.boundaries.starts, source.boundaries.ends
    shortest, longest = max(len(text) - _FEW, 1), len(text) + _FEW
    at = source.text.find(first, *within)
    while 0 <= at < within[1]:
        if starts[at]:
            last = min(at + longest, within[1])
            end = ends.find(1, at + shortest, last + 1)
            while end >= 0:
                yield at, end
                end = ends.find(1, end + 1, last + 1)
        at = source.text.find(first, at + 1, within[1])


def _blanked(hay: str, places: Sequence[int], spans: Iterable[Span]) -> str:
    """Return a text without letters where spans of the folded text stand in it."""
    for span in spans:
        first, last = (bisect_left(places, offset) for offset in span)
        hay = hay[:first] + _TRIED * (last - first) + hay[last:]
    return hay


def _lone(
    item: Wording, near: Sequence[tuple[int, Span, Slip]], others: Sequence[tuple[int, Span]]
) -> Slip | None:
    """Return the nearest if nothing else is as near or nearly so."""
    away, span, slip = min(near, key=lambda one: one[0])
    wordings = set(slip.spans)
    rivals = [one for one in (*((n, s) for n, s, _ in near), *others) if one[1] not in wordings]
    too_near = max(away, min(away + 1, most_edits(item.text)))
    if any(n <= too_near and not (s[0] < span[1] and span[0] < s[1]) for n, s in rivals):
        return None
    return slip


def _stands_elsewhere(text: str, slip: Slip, source: Folded) -> bool:
    """Say whether words in which a text differs stand in the document: then that is what is meant."""
    span = source.text[slice(*slip.spans[0])]
    told = [word for some, _ in differences(text.split(), span.split()) for word in some]
    bare = [word for word in map(bare_word, told) if len(word) > _FEW or (len(word) > 1 and word.isdecimal())]
    return any(word in source.words for word in bare)


def _roughly(text: str, hay: str) -> Span | None:
    if len(text) > _LONGEST_WHOLE:
        head = _roughly(text[:_ANCHOR], hay)
        tail = _roughly(text[-_ANCHOR:], hay[head[1] :]) if head else None
        return (head[0], head[1] + tail[1]) if head and tail else None
    if len(text) > len(hay):
        return None
    found = fuzz.partial_ratio_alignment(text, hay, score_cutoff=_ROUGH_CUTOFF)
    return (found.dest_start, found.dest_end) if found else None


def _snapped(text: str, source: Folded, rough: Span, within: Span) -> tuple[Span, float] | None:
    """Return the span from word to word around a rough one that is most alike, if it is alike enough."""
    best, best_score = None, _NEAR_CUTOFF
    ends = _nearest(source.boundaries.ends, rough[1], within)
    for start in _nearest(source.boundaries.starts, rough[0], within):
        for end in ends:
            if not _can_be_alike(len(text), end - start, best_score):
                continue
            score = _score(text, source.text[start:end], best_score)
            if score > best_score or (score == best_score and best is None):
                best, best_score = (start, end), score
    return (best, best_score / 100) if best else None


def _can_be_alike(length: int, other: int, at_least: float) -> bool:
    """Say whether two texts of such lengths can have a score, whatever their letters are."""
    if at_least < CUTOFF:  # accents may be left out
        return other > 0
    return 200 * min(length, other) >= at_least * (length + other)


def _score(text: str, span: str, at_least: float) -> float:
    """Return how alike two texts are, of 100, or 0; two letters that are swapped count as one."""
    score = fuzz.ratio(text, span, score_cutoff=at_least)
    if not score and at_least < CUTOFF and not (text.isascii() and span.isascii()):
        bare = fuzz.ratio(without_marks(text), without_marks(span), score_cutoff=at_least)
        score = min(bare, CUTOFF - 1)  # an accent is a letter where it has to be certain
    if (
        not score
        and len(text) == len(span)
        and sorted(text) == sorted(span)
        and OSA.distance(text, span) == 1
    ):
        return 100 - 100 / (2 * len(text))
    return score


def _nearest(boundaries: bytes, near: int, within: Span) -> list[int]:
    """Return the nearest offsets where words begin, or end, some on each side; none outside of a span."""
    first, last = max(within[0], near - _FARTHEST), min(within[1], near + _FARTHEST)
    found: list[int] = []
    at = near + 1
    while len(found) < _MOST_LIMITS and (at := boundaries.rfind(1, first, at)) >= 0:
        found.append(at)
    most, at = len(found) + _MOST_LIMITS, near
    while len(found) < most and (at := boundaries.find(1, at + 1, last + 1)) >= 0:
        found.append(at)
    return found
