"""Makes entities of what chunks and passes have found: one for each place, with a vote from each pass.

A chunk's edge may cut an entity in two, overlapping chunks see it twice, and passes disagree about where it
ends. Whatever is decided here is decided by spans, votes and provenance, so the order of the mentions that
come in does not matter.
"""

import unicodedata
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tasks.extraction.values import Entity, Mention, Provenance, Status, Window

Normalize = Callable[[str, str], str | None]
"""From a label and the document's words to a value that can be compared."""

_BEST_FIRST: Sequence[Status] = ("exact", "normalized", "fuzzy", "duplicate", "leaked", "ungrounded")
_Span = tuple[int, int]
_Look = tuple[int, str, str]
"""What makes two findings look the same: their pass, label and folded text."""


def _as_it_is(_label: str, _text: str) -> str | None:
    return None


def merge(
    mentions: Sequence[Mention],
    windows: Mapping[tuple[int, int], Window],
    text: str,
    *,
    passes: int,
    min_votes: int = 1,
    label_priority: Sequence[str] = (),
    normalize: Normalize = _as_it_is,
) -> list[Entity]:
    """Merge the mentions of one document.

    1. A mention that ends where its window ends may be cut off. It is dropped if another window of its pass
       sees all of it and beyond the edge; likewise at the start. That window's answer stands alone there.
    2. Mentions with the same span and label are one candidate, which has a vote from each of their passes.
    3. Where candidates of one label overlap, the one with most votes stands, then the longest, then the
       first; those that overlap it go. Their votes are for other spans and are not added: measured on noisy
       findings in real documents, adding them costs 0.7 points of F1 at two votes of three.
    4. Spans of different labels may overlap and nest. Of several labels on the very same span one stands: by
       votes, then `label_priority`, then whichever was seen first.
    5. A span needs `min_votes`, or all passes that have an answer there if those are fewer: a chunk that has
       failed is no reason to drop what the other passes found.

    `confidence` is votes by the passes that have an answer about the place: those with a window that holds
    all of the span, and those that found it though it reaches out of their window.

    A finding without a span becomes one entity for each label, text (case and blanks aside) and status; its
    confidence is by the passes that have any answer. A `duplicate` that is only a second look at what another
    window of the pass has found in the overlap is left out.

    Attributes go by the majority of the mentions that have the key, then by the first seen; the status is the
    best among the mentions of that span, as is the similarity.

    Args:
        mentions: In any order; spans are in characters of `text`.
        windows: {(pass_number, chunk): window} of those that have an answer.
        text: The document's.
        passes: How many there were.
        min_votes: Passes that must have found a span; findings without a span are not counted.
        label_priority: Labels, the strongest first; others come after them.
        normalize: Called once for each entity that has a span.

    Returns:
        Entities by start, longest first; then the findings without a span by status, label and text.

    Raises:
        ValueError: `min_votes` is not in 1..passes, a window is of no such pass, or a mention is of a window
            that has no answer.
    """
    _check(mentions, windows, passes, min_votes)
    in_order = sorted(mentions, key=_seen)
    reaches = _reaches(windows)
    found, unplaced = _told_apart(in_order, _Edges(windows, reaches, text))
    standing = [group for groups in _by_label(found).values() for group in _settled(groups)]
    confirmed = [
        group
        for group in standing
        if len(group.voters) >= min_votes or len(group.voters) == _answered(group, reaches)
    ]
    contested = {span for span, count in Counter(group.span for group in found).items() if count > 1}
    entities = [
        _entity(group, text, reaches, normalize, conflict=group.span in contested)
        for group in _winners(confirmed, label_priority)
    ]
    entities.sort(key=lambda entity: (entity.start, -(entity.end or 0), entity.label))
    return entities + _without_span(_not_seen_twice(unplaced, in_order, windows), answered=len(reaches))


@dataclass(slots=True)
class _Group:
    """A span with a label, and its mentions in the order seen."""

    span: _Span
    label: str
    mentions: list[Mention] = field(default_factory=list[Mention])
    voters: set[int] = field(default_factory=set[int])

    @property
    def rank(self) -> tuple[int, int, _Span]:
        """Sorts the strongest first."""
        start, end = self.span
        return -len(self.voters), start - end, self.span


class _Reach:
    """What the windows of one pass see."""

    def __init__(self, windows: Iterable[Window]) -> None:
        ordered = sorted((window.start, window.end) for window in windows)
        self._starts = [start for start, _ in ordered]
        self._furthest = list(accumulate((end for _, end in ordered), max))

    def holds(self, start: int, end: int) -> bool:
        """Say whether one window holds all of a span."""
        begun = bisect(self._starts, start)
        return begun > 0 and self._furthest[begun - 1] >= end


class _Edges:
    """Tells which mentions another window of their pass can judge better."""

    def __init__(
        self, windows: Mapping[tuple[int, int], Window], reaches: Mapping[int, _Reach], text: str
    ) -> None:
        self._windows = windows
        self._reaches = reaches
        self._words = {key: _words(window, text) for key, window in windows.items()}

    def may_cut(self, provenance: Provenance, start: int, end: int) -> bool:
        """Say whether a span touches its window's edge, blanks aside, and another window sees past that."""
        key = provenance.pass_number, provenance.chunk
        window, (first, last) = self._windows[key], self._words[key]
        reach = self._reaches[provenance.pass_number]
        return (last <= end <= window.end and reach.holds(start, window.end + 1)) or (
            window.start <= start <= first and reach.holds(window.start - 1, end)
        )


def _words(window: Window, text: str) -> _Span:
    """Return where the first word of a window begins and the last one ends."""
    part = text[window.start : window.end]
    return window.end - len(part.lstrip()), window.start + len(part.rstrip())


def _check(
    mentions: Iterable[Mention], windows: Mapping[tuple[int, int], Window], passes: int, min_votes: int
) -> None:
    if not 1 <= min_votes <= passes:
        raise ValueError(f"min_votes is {min_votes}, and there are {passes} passes; give 1 to {passes}")
    for number, chunk in windows:
        if not 0 <= number < passes:
            raise ValueError(f"chunk {chunk} has an answer of pass {number}, and passes go to {passes - 1}")
    for mention in mentions:
        seen = mention.provenance
        if (seen.pass_number, seen.chunk) not in windows:
            raise ValueError(
                f"an item is of pass {seen.pass_number}, chunk {seen.chunk}, which has no answer"
            )


def _seen(mention: Mention) -> tuple[int, int, int]:
    seen = mention.provenance
    return seen.pass_number, seen.chunk, seen.index


def _reaches(windows: Mapping[tuple[int, int], Window]) -> dict[int, _Reach]:
    by_pass: dict[int, list[Window]] = defaultdict(list)
    for (number, _), window in windows.items():
        by_pass[number].append(window)
    return {number: _Reach(ones) for number, ones in by_pass.items()}


def _told_apart(in_order: Iterable[Mention], edges: _Edges) -> tuple[list[_Group], list[Mention]]:
    """Return the groups of mentions with a span that no edge may have cut, and the mentions without one."""
    groups: dict[tuple[str, int, int], _Group] = {}
    unplaced: list[Mention] = []
    for mention in in_order:
        start, end, label = mention.grounding.start, mention.grounding.end, mention.item.label
        if start is None or end is None:
            unplaced.append(mention)
        elif not edges.may_cut(mention.provenance, start, end):
            key = label, start, end
            if key not in groups:
                groups[key] = _Group(span=(start, end), label=label)
            groups[key].mentions.append(mention)
            groups[key].voters.add(mention.provenance.pass_number)
    return list(groups.values()), unplaced


def _by_label(groups: Iterable[_Group]) -> dict[str, list[_Group]]:
    by_label: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        by_label[group.label].append(group)
    return by_label


def _settled(groups: Iterable[_Group]) -> list[_Group]:
    """Return groups of one label that do not overlap, the strongest first to take their place."""
    starts: list[int] = []
    standing: list[_Group] = []
    for group in sorted(groups, key=lambda group: group.rank):
        start, end = group.span
        place = bisect(starts, start)
        is_free = place == 0 or standing[place - 1].span[1] <= start
        if is_free and (place == len(starts) or end <= starts[place]):
            starts.insert(place, start)
            standing.insert(place, group)
    return standing


def _answered(group: _Group, reaches: Mapping[int, _Reach]) -> int:
    """Count the passes that have an answer about a group's place."""
    return sum(number in group.voters or reach.holds(*group.span) for number, reach in reaches.items())


def _winners(groups: Iterable[_Group], label_priority: Sequence[str]) -> list[_Group]:
    """Return one group for each span."""
    places = {label: place for place, label in reversed(list(enumerate(label_priority)))}

    def strength(group: _Group) -> tuple[int, int, tuple[int, int, int]]:
        place = places.get(group.label, len(label_priority))
        return -len(group.voters), place, _seen(group.mentions[0])

    winners: dict[_Span, _Group] = {}
    for group in sorted(groups, key=strength):
        winners.setdefault(group.span, group)
    return list(winners.values())


def _entity(
    group: _Group, text: str, reaches: Mapping[int, _Reach], normalize: Normalize, *, conflict: bool
) -> Entity:
    start, end = group.span
    return Entity(
        label=group.label,
        text=text[start:end],
        status=_best({mention.grounding.status for mention in group.mentions}),
        start=start,
        end=end,
        votes=len(group.voters),
        confidence=len(group.voters) / _answered(group, reaches),
        attributes=_attributes(group.mentions),
        normalized=normalize(group.label, text[start:end]),
        similarity=max(mention.grounding.score for mention in group.mentions),
        conflict=conflict,
        provenance=tuple(mention.provenance for mention in group.mentions),
    )


def _best(statuses: Container[Status]) -> Status:
    return next(status for status in _BEST_FIRST if status in statuses)


def _attributes(in_order: Iterable[Mention]) -> dict[str, str]:
    said: dict[str, Counter[str]] = {}
    for mention in in_order:
        for key, value in mention.item.attributes.items():
            said.setdefault(key, Counter())[value] += 1
    # Among equals, max takes the first, and a Counter keeps the order in which values were first seen.
    return {key: max(said[key], key=said[key].__getitem__) for key in sorted(said)}


def _not_seen_twice(
    unplaced: Iterable[Mention], in_order: Iterable[Mention], windows: Mapping[tuple[int, int], Window]
) -> list[Mention]:
    """Leave out duplicates that are second looks at what another window of their pass has found.

    Such a thing stands in the duplicate's own window, and that window's answer has nothing else there.
    """
    suspects = [mention for mention in unplaced if mention.grounding.status == "duplicate"]
    if not suspects:
        return list(unplaced)
    wanted = {_look(mention) for mention in suspects}
    elsewhere: dict[_Look, list[tuple[int, _Span]]] = defaultdict(list)
    for mention in in_order:
        start, end = mention.grounding.start, mention.grounding.end
        if start is not None and end is not None and (look := _look(mention)) in wanted:
            elsewhere[look].append((mention.provenance.chunk, (start, end)))
    left: dict[tuple[int, _Look], int] = {}
    kept: list[Mention] = []
    for mention in unplaced:
        key = mention.provenance.chunk, _look(mention)
        if mention.grounding.status == "duplicate" and key not in left:
            window = windows[mention.provenance.pass_number, mention.provenance.chunk]
            left[key] = _open_to(mention.provenance.chunk, window, elsewhere[_look(mention)])
        if mention.grounding.status == "duplicate" and left[key] > 0:
            left[key] -= 1
        else:
            kept.append(mention)
    return kept


def _look(mention: Mention) -> _Look:
    return mention.provenance.pass_number, mention.item.label, _folded(mention.item.text)


def _open_to(chunk: int, window: Window, found: Iterable[tuple[int, _Span]]) -> int:
    """Count the spans inside a chunk's window that other chunks have found and this one has not."""
    own = {span for number, span in found if number == chunk}
    others = {span for number, span in found if number != chunk} - own
    return sum(window.start <= start and end <= window.end for start, end in others)


def _without_span(unplaced: Iterable[Mention], *, answered: int) -> list[Entity]:
    groups: dict[tuple[Status, str, str], list[Mention]] = defaultdict(list)
    for mention in unplaced:
        groups[mention.grounding.status, mention.item.label, _folded(mention.item.text)].append(mention)
    entities: list[Entity] = []
    for status, label, folded in sorted(groups, key=lambda key: (_BEST_FIRST.index(key[0]), *key[1:])):
        mentions = groups[status, label, folded]
        votes = len({mention.provenance.pass_number for mention in mentions})
        entities.append(
            Entity(
                label=label,
                text=mentions[0].item.text,
                status=status,
                start=None,
                end=None,
                votes=votes,
                confidence=votes / answered,
                attributes=_attributes(mentions),
                provenance=tuple(mention.provenance for mention in mentions),
            )
        )
    return entities


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
