"""Items put in their places: for each the span of the document that it stands for, or none.

What a model writes is searched for letter by letter once case, blanks, quotes and hyphenation are set aside.
What stands in several places gets the one that keeps the answer's order, and no place is given twice under
one label. Only what is found nowhere may be a slip of the pen for something that is; where it lies between
two others that keep the order, more of it may be wrong.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from tasks.extraction.chains import Option, Span, best_chain
from tasks.extraction.folding import Folded, fold, wording
from tasks.extraction.occurrences import occurrences
from tasks.extraction.slips import Slip, slip_between, slips
from tasks.extraction.values import Grounding, Item, Window

_OWN_WORDS: Final = 1
_NOT_IN_ANOTHER: Final = 2
_MOST_BONUS: Final = _OWN_WORDS + _NOT_IN_ANOTHER


def ground(
    items: Sequence[Item],
    source: Folded,
    window: Window,
    *,
    examples: Collection[Folded] = (),
    fuzzy: bool = True,
) -> list[Grounding]:
    """Find the place of every item of one answer.

    Where the whole answer keeps the document's order, that order decides which of several occurrences an item
    stands for; else the order of each label's items does. Items left over take the nearest occurrence that no
    item of their label has, in the window or else in its context. What stands in neither may be a slip
    (`slips`) for something that does; where order was kept, the items before and after it say where to look
    for a name that is less alike (`slip_between`). Nothing outside the context is ever looked at.

    Args:
        items: In the answer's order.
        source: The document.
        window: What was asked about, in characters of the document.
        examples: The texts of the prompt's examples.
        fuzzy: Whether what stands nowhere may be a slip.

    Returns:
        One for each item, in their order, with spans in characters of the document.
    """
    work = _Work(items, source, window, fuzzy=fuzzy)
    work.place_in_order()
    work.place_left_over()
    work.place_slips()
    work.place_between()
    return [work.grounding(number, examples) for number in range(len(items))]


class _Work:
    """What is known of the items of one answer, by their numbers; spans are of the folded text."""

    def __init__(self, items: Sequence[Item], source: Folded, window: Window, *, fuzzy: bool) -> None:
        self._items = items
        self._source = source
        self._fuzzy = fuzzy
        self._texts = [fold(item.text).strip() for item in items]
        self._window = _folded(source, window.start, window.end)
        self._context = _folded(source, window.context_start, window.context_end)
        texts = dict.fromkeys(filter(None, self._texts))
        self._in_window = {text: occurrences(text, source, *self._window) for text in texts}
        self._in_context = {
            text: occurrences(text, source, *self._context) if self._context != self._window else []
            for text in texts
        }
        self._covered = _covered(self._in_window.values())
        self._places: dict[int, Span] = {}
        self._slips: dict[int, Slip] = {}
        self._no_slips: set[str] = set()
        self._taken: dict[str, _Taken] = {item.label: _Taken() for item in items}
        self._duplicates: set[int] = set()
        self._in_order = False
        self._labels_in_order: set[str] = set()

    def place_in_order(self) -> None:
        """Place what can be placed in the window in the order of the answer, or else of each label.

        Slips are placed with the others only if there is room for all; else they wait.
        """
        certain = self._options()
        possible = dict(sorted((certain | self._slip_options()).items()))
        self._in_order = any(self._take_whole(some, may_overlap=True) for some in (possible, certain))
        if self._in_order:
            self._labels_in_order.update(self._taken)
            return
        for label in self._taken:
            mine = {number: some for number, some in possible.items() if self._items[number].label == label}
            if self._take_whole(mine, may_overlap=False):
                self._labels_in_order.add(label)
            else:
                self._take_all(
                    best_chain({n: mine[n] for n in mine if n in certain}, may_overlap=False),
                )

    def _take_whole(self, options: Mapping[int, Sequence[Option]], *, may_overlap: bool) -> bool:
        """Place items in their order if each can get a place."""
        chain = best_chain(options, may_overlap=may_overlap)
        return len(chain) == len(options) and self._take_all(chain)

    def _options(self) -> dict[int, list[Option]]:
        """For each item the occurrences it may have, if as many of its equals as can be get one."""
        equals: dict[tuple[str, str], list[int]] = {}
        for number, item in enumerate(self._items):
            equals.setdefault((item.label, self._texts[number]), []).append(number)
        found: dict[int, list[Option]] = {}
        for (_, text), numbers in equals.items():
            spans = self._in_window.get(text, [])
            spare = max(0, len(spans) - len(numbers))
            for rank, number in enumerate(numbers[: len(spans)]):
                found[number] = [self._option(number, span) for span in spans[rank : rank + spare + 1]]
        return dict(sorted(found.items()))

    def _slip_options(self) -> dict[int, list[Option]]:
        known: dict[str, Slip | None] = {}
        for number, item in enumerate(self._items):
            if self._may_be_slip(number):
                if item.text not in known:
                    known[item.text] = next(slips(wording(item.text), self._source, *self._window), None)
                if slip := known[item.text]:
                    self._slips[number] = slip
        self._no_slips = {text for text, slip in known.items() if slip is None}
        return {
            number: [self._option(number, span) for span in slip.spans]
            for number, slip in self._slips.items()
        }

    def _may_be_slip(self, number: int) -> bool:
        text = self._texts[number]
        return self._fuzzy and bool(text) and not self._in_window[text] and not self._in_context[text]

    def _option(self, number: int, span: Span) -> Option:
        bonus = 0 if span in self._covered else _NOT_IN_ANOTHER
        if self._is_verbatim(number, span):
            bonus += _OWN_WORDS
        # The length counts first: all bonuses together are less than one letter.
        return Option(span, (span[1] - span[0]) * (_MOST_BONUS * len(self._items) + 1) + bonus)

    def _take_all(self, chain: Mapping[int, Span]) -> bool:
        """Place items, unless two of one label overlap."""
        taken = {label: _Taken() for label in self._taken}
        for number, span in chain.items():
            if not taken[self._items[number].label].take(span):
                return False
        for number, span in chain.items():
            self._take(number, span)
        return True

    def _take(self, number: int, span: Span) -> bool:
        if not self._taken[self._items[number].label].take(span):
            return False
        self._places[number] = span
        return True

    def place_left_over(self) -> None:
        """Give what stands in the document, and has no place yet, the nearest one that is free."""
        full: set[tuple[str, str]] = set()
        for number, text in enumerate(self._texts):
            if not text or number in self._places:
                continue
            known = (self._items[number].label, text)
            spans = (self._in_window[text], self._in_context[text])
            if known in full or not any(self._take_nearest(number, some) for some in spans):
                full.add(known)
                if any(spans):
                    self._duplicates.add(number)

    def _take_nearest(self, number: int, spans: Iterable[Span]) -> bool:
        taken = self._taken[self._items[number].label]
        free = [span for span in spans if taken.is_free(span)]
        if not free:
            return False
        behind, before = self._neighbours(number)

        def rank(span: Span) -> tuple[bool, bool, int]:
            return (
                span in self._covered,
                not behind <= span[0] <= before,
                abs(span[0] - behind),
            )

        return self._take(number, min(free, key=rank))

    def _neighbours(self, number: int) -> tuple[int, int]:
        """Return the end of the placed item before this one, and the start of the one after it."""
        label = None if self._in_order else self._items[number].label
        behind, before = self._window
        for other in range(number - 1, -1, -1):
            if other in self._places and label in {None, self._items[other].label}:
                behind = self._places[other][1]
                break
        for other in range(number + 1, len(self._items)):
            if other in self._places and label in {None, self._items[other].label}:
                before = self._places[other][0]
                break
        return behind, before

    def place_slips(self) -> None:
        """Give what stands nowhere the place of what it may be a slip for."""
        hopeless: set[tuple[str, str]] = set()
        for number, item in enumerate(self._items):
            known = (item.label, item.text)
            if number in self._places or not self._may_be_slip(number):
                continue
            if known in hopeless or not self._place_slip(number):
                hopeless.add(known)

    def _place_slip(self, number: int) -> bool:
        if number in self._slips and self._take_nearest(number, self._slips[number].spans):
            return True
        text = self._items[number].text
        for part in dict.fromkeys((self._window, self._context)):
            if part == self._window and text in self._no_slips:
                continue
            for slip in slips(wording(text), self._source, *part):
                self._slips[number] = slip
                if self._take_nearest(number, slip.spans):
                    return True
        return False

    def place_between(self) -> None:
        """Give names that are left the one near place between their neighbours, where the order was kept."""
        hopeless: set[tuple[str, str]] = set()
        for number in [one for one in range(len(self._items)) if one not in self._places]:
            item = self._items[number]
            known = (item.label, item.text)
            if (
                known in hopeless
                or item.label not in self._labels_in_order
                or not item.text.lstrip()[:1].isupper()
            ):
                continue
            if number not in self._slips and self._may_be_slip(number) and not self._place_between(number):
                hopeless.add(known)

    def _place_between(self, number: int) -> bool:
        behind, before = self._neighbours(number)
        has_both = behind != self._window[0] and before != self._window[1]
        if not has_both or behind >= before:
            return False
        slip = slip_between(self._texts[number], self._source, behind, before)
        if slip is None or not all(taken.is_free(slip.spans[0]) for taken in self._taken.values()):
            return False
        self._slips[number] = slip
        return self._take(number, slip.spans[0])

    def grounding(self, number: int, examples: Collection[Folded]) -> Grounding:
        """Say where an item stands, after all were placed."""
        if number in self._places:
            span = self._places[number]
            start, end = self._source.original_span(*span)
            if number in self._slips:
                return Grounding(status="fuzzy", start=start, end=end, score=self._slips[number].score)
            status = "exact" if self._is_verbatim(number, span) else "normalized"
            return Grounding(status=status, start=start, end=end, score=1.0)
        if number in self._duplicates or number in self._slips:
            return Grounding(status="duplicate")
        text = self._texts[number]
        if text and any(occurrences(text, example, 0, len(example.text)) for example in examples):
            return Grounding(status="leaked")
        return Grounding(status="ungrounded")

    def _is_verbatim(self, number: int, span: Span) -> bool:
        start, end = self._source.original_span(*span)
        return self._source.original[start:end] == self._items[number].text


def _folded(source: Folded, start: int, end: int) -> Span:
    return source.folded_offset(start), source.folded_offset(end)


def _covered(found: Iterable[Iterable[Span]]) -> frozenset[Span]:
    """Return the spans that stand within a longer one."""
    spans = sorted({span for some in found for span in some}, key=lambda span: (span[0], -span[1]))
    reached = [0, *accumulate((end for _, end in spans), max)]
    return frozenset(span for span, before in zip(spans, reached, strict=False) if span[1] <= before)


class _Taken:
    """Spans of which no two overlap."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def is_free(self, span: Span) -> bool:
        """Say whether a span overlaps none of them."""
        at = bisect_left(self._spans, span)
        after = self._spans[at : at + 1]
        before = self._spans[max(0, at - 1) : at]
        return all(other[0] >= span[1] for other in after) and all(other[1] <= span[0] for other in before)

    def take(self, span: Span) -> bool:
        """Add a span; False if it is not free."""
        free = self.is_free(span)
        if free:
            insort(self._spans, span)
        return free
