"""Splits a document into overlapping windows: as large as asked for, and cut where it hurts least."""

import bisect
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio.to_thread
from semantic_text_splitter import TextSplitter

from tasks.extraction.budgets import balanced_size, chunk_count
from tasks.extraction.rulers import Ruler, ruler_for
from tasks.extraction.unbroken import kept_together, masked
from tasks.extraction.values import Window
from tasks.tokens.counting import TokenCounter

TAIL = 0.25
"""Of a window: where its end is looked for. A better place before that costs more than it is worth."""
SHIFTED_TAIL = 0.05
"""Likewise of a window of a shifted pass. With the same tail as the others, passes meet at the next ends of
paragraphs and have most borders in common from there on."""
LOOK_AHEAD = 64
"""Characters beyond a possible end that tell whether a sentence ends there."""
SNAP_CHARACTERS = 16
"""Of an overlap in a script without blanks: what may go for beginning with a whole word."""

WITHOUT_BLANKS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Myanmar, Khmer
    "\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # Chinese, Japanese
)
_GAP = re.compile(rf"[\s{WITHOUT_BLANKS}]")
_STOP = re.compile("[\\s\u3000-\u3004\u3008-\u3020\uff01-\uff0f\uff1a-\uff20]")
_INK = re.compile(r"\S")


_Span = tuple[int, int]


async def split(
    text: str,
    *,
    size: int,
    overlap: int = 0,
    counter: TokenCounter | None = None,
    context: int = 0,
    balanced: bool = True,
    shift: float = 0.0,
) -> list[Window]:
    """Split a text into windows, in order, that hold all of it but blanks.

    Every window has at most `size` tokens, counted of its text by itself, unless a single character has more.
    It shares at most `overlap` with the next, by the document's tokens, and about as much where words allow:
    what is shorter than the overlap is whole in one of two neighbours. A window begins and ends with a word,
    in the last quarter of what it may hold, or the last twentieth if it is shifted: behind a paragraph if one
    ends there, else a line, a sentence, a word, and never inside a citation, a section number, a date or a
    name with abbreviations, unless that is longer than a window. It may begin inside one that is whole in the
    window before. In a script without blanks a dictionary tells the words. The same arguments give the same
    windows, and the text of a window gives one.

    Args:
        text: Of the document.
        size: The most tokens of a window, or characters without a counter.
        overlap: Of neighbours, in the same unit.
        counter: Counts tokens; None for characters.
        context: How many characters before and behind a window are shown with it, to the nearest word.
        balanced: Windows are about alike, rather than full and the last one short. They are as few as
            `chunk_count` says where words end at the right places, and some more where they do not.
        shift: The first window is shorter by this part of a step, from 0 up to 1, so that the others lie
            across the borders of those of another pass. A text that is one window stays so.

    Raises:
        ValueError: The overlap is negative or not smaller than the size, the context is negative, or the
            shift is not a part of a step.
        BackendError: The counter's server cannot be asked.
    """
    chunk_count(1, size, overlap)
    if context < 0:
        raise ValueError(f"a context of {context} characters; give 0 or more")
    if not 0 <= shift < 1:
        raise ValueError(f"a shift of {shift} steps; give 0 or more, and less than 1")
    if not text.strip():
        return []
    layout = await anyio.to_thread.run_sync(_Layout.of, text)
    ruler = await ruler_for(text, counter)
    cutter = _Cutter(layout, ruler, counter, size, overlap, balanced=balanced, shift=shift)
    return [_with_context(layout, start, end, context) for start, end in await cutter.windows()]


def shift_of(pass_number: int) -> float:
    """Say by what part of a step a pass is shifted, so that it crosses the borders of all before it.

    0, 1/2, 1/4, 3/4, 1/8, ...: as far from all others as can be, however many follow (van der Corput).
    """
    shift, part = 0.0, 0.5
    while pass_number:
        shift += part * (pass_number & 1)
        pass_number, part = pass_number >> 1, part / 2
    return shift


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a text may be cut."""

    text: str
    masked: str
    """In which each span that is kept together looks like one word."""
    span_starts: Sequence[int]
    span_ends: Sequence[int]
    start: int
    end: int
    """Between them is all that is not blank."""

    @classmethod
    def of(cls, text: str) -> "_Layout":
        spans = kept_together(text)
        return cls(
            text,
            masked(text, spans),
            [start for start, _ in spans],
            [end for _, end in spans],
            len(text) - len(text.lstrip()),
            len(text.rstrip()),
        )

    def span_around(self, place: int) -> _Span | None:
        """Return the span that a cut would be inside of."""
        number = bisect.bisect_left(self.span_starts, place) - 1
        if number >= 0 and place < self.span_ends[number]:
            return self.span_starts[number], self.span_ends[number]
        return None

    def is_between_words(self, place: int) -> bool:
        return not 0 < place < len(self.text) or _GAP.search(self.text, place - 1, place + 1) is not None

    def ink(self, place: int) -> int:
        """Return the first place from here on that is not blank."""
        found = _INK.search(self.text, place)
        return found.start() if found else len(self.text)

    def cut(self, low: int, high: int, floor: int, limit: int) -> int:
        """Return the best end of a window: from `low` to `high`, else before them, but behind `floor`.

        Only for a span that would have to be cut, it is behind `high`, and at `limit` at most.
        """
        low = min(max(low, floor), high - 1)
        piece = self.masked[low : high + LOOK_AHEAD]
        place = low + _first(piece, high - low)
        place = self._safe(place, floor, limit)
        while self.text[place - 1].isspace():
            place -= 1
        return place

    def _safe(self, place: int, floor: int, limit: int) -> int:
        """Move a place up to where it is in no span and between words, else down, else only between words."""
        if (found := self._before(place, floor, self.span_around)) is not None:
            return found
        if (span := self.span_around(place)) is not None and span[1] <= limit:
            return span[1]
        return self._before(place, floor, _no_span) or place

    def _before(self, place: int, floor: int, span_around: Callable[[int], _Span | None]) -> int | None:
        while place > floor:
            if (span := span_around(place)) is not None:
                place = span[0]
            elif self.is_between_words(place):
                return place
            else:
                gap = self._last_gap(floor, place - 1)
                place = max(gap, floor)
        return None

    def _last_gap(self, low: int, high: int) -> int:
        """Return the last place before `high` that is between words; `low` if there is none."""
        while high > low and not self.is_between_words(high):
            high -= 1
        return high

    def begin(self, place: int, before: int) -> int:
        """Return the first place from here on where a window may begin, `before` or more if there is none."""
        if not self.is_between_words(place):
            gap = _GAP.search(self.text, place)
            place = gap.start() if gap else before
        if 0 < place < before and not self.text[place].isspace() and not self.text[place - 1].isspace():
            place = self._word_begin(place, min(before, place + SNAP_CHARACTERS))
        place = self.ink(place)
        if place < before and (span := self.span_around(place)) is not None:
            behind = self.ink(span[1])
            place = behind if behind < before else place
        return place

    def _word_begin(self, place: int, before: int) -> int:
        """Return where a word begins in a script without blanks, as the library's dictionary has it."""
        ahead = self.masked[max(place - SNAP_CHARACTERS, 0) : place]
        known = place - len(_STOP.split(ahead)[-1])
        piece = self.masked[known : before + LOOK_AHEAD]
        for word in TextSplitter((1, before - known), trim=False).chunks(piece):
            if known >= place:
                break
            known += len(word)
        if known < before:
            return known
        while place < before and unicodedata.category(self.text[place]).startswith("M"):
            place += 1  # a vowel or tone belongs to the letter before it
        return place


def _no_span(place: int) -> None:
    del place


def _first(piece: str, capacity: int) -> int:
    """Return where the best place in the first `capacity` characters is, by the library's order of them."""
    return len(TextSplitter(capacity, trim=False).chunks(piece)[0]) if piece else 0


class _Cutter:
    """One splitting of one text."""

    def __init__(
        self,
        layout: _Layout,
        ruler: Ruler,
        counter: TokenCounter | None,
        size: int,
        overlap: int,
        *,
        balanced: bool,
        shift: float,
    ) -> None:
        self._layout = layout
        self._ruler = ruler
        self._counter = counter
        self._size = size
        self._overlap = overlap
        self._balanced = balanced
        self._shift = shift
        self._tail = SHIFTED_TAIL if shift else TAIL

    async def windows(self) -> list[tuple[int, int]]:
        windows = list[tuple[int, int]]()
        start, floor = self._layout.start, self._layout.start
        while True:
            end = await self._end(start, floor, is_first=not windows)
            if end <= floor:  # the overlap fills the window
                start = floor = self._layout.ink(floor)
                continue
            windows.append((start, end))
            if end >= self._layout.end:
                return windows
            start, floor = self._next(start, end), end

    async def _end(self, start: int, floor: int, *, is_first: bool) -> int:
        """Return where a window ends; at `floor` or before if it has no room for more than that."""
        layout, ruler = self._layout, self._ruler
        rest = ruler.length(layout.end) - ruler.length(start)
        if rest <= self._size * (1 + ruler.slack) + 8 and await self._count(start, layout.end) <= self._size:
            return layout.end
        room = self._aim(rest)
        if is_first:
            room -= int((room - self._overlap) * self._shift)
        limit = ruler.place(ruler.length(start) + self._size)
        while True:
            high = max(ruler.place(ruler.length(start) + room), start + 1)
            if high <= floor:
                return floor
            low = ruler.place(ruler.length(start) + int(room * (1 - self._tail)))
            end = layout.cut(low, high, max(floor, start), limit)
            tokens = await self._count(start, end)
            if tokens <= self._size or end == start + 1:
                return end
            limit = 0
            room = max(min(room - 1, room * self._size // tokens), 0)

    def _aim(self, rest: int) -> int:
        if not self._balanced or rest <= self._size:
            return self._size
        return balanced_size(rest, self._size, self._overlap)

    async def _count(self, start: int, end: int) -> int:
        if self._counter is None:
            return end - start
        return await self._counter.count_text(self._layout.text[start:end])

    def _next(self, start: int, end: int) -> int:
        """Return where the window behind one begins."""
        layout, ruler = self._layout, self._ruler
        if not self._overlap:
            return layout.ink(end)
        place = max(ruler.place(ruler.length(end) - self._overlap), start + 1)
        while place < end and ruler.length(end) - ruler.length(place) > self._overlap:
            place += 1
        place = layout.begin(place, end)
        return place if place < end else layout.ink(end)


def _with_context(layout: _Layout, start: int, end: int, context: int) -> Window:
    before, behind = start, end
    if context and start > layout.start:
        before = min(layout.begin(max(start - context, layout.start), start), start)
    if context and end < layout.end:
        reach = min(end + context, layout.end)
        while reach > end and not layout.is_between_words(reach):
            reach -= 1
        behind = end + len(layout.text[end:reach].rstrip())
    return Window(start=start, end=end, context_start=before, context_end=behind)
