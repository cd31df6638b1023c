"""Windows on a text: how much of it they cover, and their halves."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from tasks.extraction.values import Window

NOT_BLANK = re.compile(r"\S")


def uncovered(text: str, windows: Iterable[Window]) -> list[tuple[int, int]]:
    """Return the parts (start, end) of a text that lie in no window, those of blanks only left out."""
    edges = [0]
    for window in sorted(windows, key=lambda one: one.start):
        if window.start > edges[-1]:
            edges += [window.start, window.end]
        else:
            edges[-1] = max(edges[-1], window.end)
    # Covered and uncovered parts by turns, a covered one (perhaps empty) first.
    gaps = [*pairwise([*edges, len(text)])][len(edges) % 2 == 0 :: 2]
    return [(start, end) for start, end in gaps if NOT_BLANK.search(text, start, end)]


def coverage(text: str, windows: Iterable[Window]) -> float:
    """Return the share of a text's characters that lie in a window, or are blanks between windows.

    A text without a character is covered.
    """
    missed = sum(end - start for start, end in uncovered(text, windows))
    return 1 - missed / len(text) if text else 1.0


def halves(text: str, window: Window, *, overlap: int, least: int) -> Sequence[Window]:
    """Cut a window in two that overlap, at blanks where there are some; nothing if they would be too small.

    Args:
        text: The document's.
        window: What to cut.
        overlap: Characters that both have, about.
        least: A half has at least so many characters.
    """
    size = window.end - window.start
    overlap = min(overlap, size // 4)
    if (size - overlap) // 2 < least:
        return ()
    middle = (window.start + window.end) // 2
    left_end = _blank_near(text, middle + overlap // 2, (middle, window.end - size // 8))
    right_start = _blank_near(text, middle - overlap // 2, (window.start + size // 8, left_end))
    # As much context as before, and not the other half.
    before, after = window.start - window.context_start, window.context_end - window.end
    return (
        replace(window, end=left_end, context_end=left_end + after),
        replace(window, start=right_start, context_start=right_start - before),
    )


def _blank_near(text: str, place: int, bounds: tuple[int, int]) -> int:
    """Return the start of the first word from a place on, or else the last before it; else the place."""
    low, high = bounds
    after = re.compile(r"(?<=\s)\S").search(text, place, high)
    if after:
        return after.start()
    before = max(text.rfind(blank, low, place) for blank in (" ", "\n"))
    return before + 1 if before >= 0 else place
