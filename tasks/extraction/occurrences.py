"""Where a text stands in a folded document as words of its own."""

from typing import Final

from tasks.extraction.folding import Folded

_MOST_FOUND: Final = 1_000
_MOST_TRIED: Final = 5_000
"""Of one text in one part of a document. Whoever repeats a letter more often than this only costs time."""


def occurrences(text: str, source: Folded, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of a part of a document where a text stands as words of its own.

    Of spans that overlap the first counts, and of thousands the first thousand.

    Args:
        text: Folded, and neither empty nor with blanks around it.
        source: The document.
        start: Of the part, in the folded text.
        end: Likewise.
    """
    starts, ends = source.boundaries.starts, source.boundaries.ends
    found: list[tuple[int, int]] = []
    at = source.text.find(text, start, end)
    for _ in range(_MOST_TRIED):
        if at < 0 or len(found) == _MOST_FOUND:
            break
        after = at + len(text)
        if starts[at] and ends[after]:
            found.append((at, after))
        else:
            after = at + 1
        at = source.text.find(text, after, end)
    return found
