"""Where a text stands in a folded document as words of its own."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from tasks.extraction.folding import Folded

_MOST_FOUND: Final = 1_000
_MOST_TRIED: Final = 5_000
"""Of one text in one part of a document. Whoever repeats a letter more often than this only costs time."""

_WITHOUT_BLANKS: Final = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua980-\ua9df\uaa60-\uaa7f"  # Thai to Javanese
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u318f\u31f0-\u31ff\u3400-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
"""Scripts that put no blanks between words, and Hangul, where particles follow a name without one."""
_ZERO_WIDTH_JOINER: Final = "\u200d"
_POINTS: Final = ".,"
_NO: Final = 1
_YES: Final = 2


def occurrences(text: str, source: Folded, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of a part of a document where a text stands as words of its own.

    Of spans that overlap the first counts, and of thousands the first thousand.

    Args:
        text: Folded, and neither empty nor with blanks around it.
        source: The document.
        start: Of the part, in the folded text.
        end: Likewise.
    """
    found: list[tuple[int, int]] = []
    at = source.text.find(text, start, end)
    for _ in range(_MOST_TRIED):
        if at < 0 or len(found) == _MOST_FOUND:
            break
        after = at + len(text)
        if splits_word(source, at) or splits_word(source, after):
            after = at + 1
        else:
            found.append((at, after))
        at = source.text.find(text, after, end)
    return found


def splits_word(source: Folded, at: int) -> bool:
    """Say whether what stands before an offset of the folded text and what stands behind it are one word.

    So do the digits on both sides of a decimal point make one number, and a ligature, a letter with its marks
    and an emoji made of several are not taken apart. Raised characters, as in "Corp.²" or "5º", are no part
    of the word before them.
    """
    if not 0 < at < len(source.text):
        return False
    if not source.splits[at]:
        source.splits[at] = _YES if _splits_word(source, at) else _NO
    return source.splits[at] == _YES


def _splits_word(source: Folded, at: int) -> bool:
    text = source.text
    before, behind = text[at - 1], text[at]
    if before == " " or behind == " ":
        return False
    if before in _POINTS or behind in _POINTS:
        return _is_in_number(text, at)
    first, second = source.origin(at - 1), source.origin(at)
    if first == second or (second - first > 1 and _ZERO_WIDTH_JOINER in source.original[first:second]):
        return True
    return _is_mark(behind) or _is_one_word(source.original[first], source.original[second])


def _is_in_number(text: str, at: int) -> bool:
    """Say whether the point beside an offset has digits on its both sides."""
    point = at if text[at] in _POINTS else at - 1
    return text[point - 1 : point].isdecimal() and text[point + 1 : point + 2].isdecimal()


@lru_cache(maxsize=65_536)
def _is_one_word(before: str, behind: str) -> bool:
    return all(_is_of_word(one) and not _WITHOUT_BLANKS.match(one) for one in (before, behind))


def _is_of_word(character: str) -> bool:
    if unicodedata.decomposition(character).startswith("<super>"):
        return False
    return character.isalnum() or _is_mark(character)


@lru_cache(maxsize=65_536)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
