"""Where the words of a folded text begin and end.

The digits on both sides of a decimal point are one number, and a ligature, a letter with its marks and an
emoji made of several are not taken apart. Raised characters, as in "Corp.²" or "5º", are no part of the word
before them, and in scripts without blanks every character is a word.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tasks.extraction.characters import per_character

_WITHOUT_BLANKS: Final = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua980-\ua9df\uaa60-\uaa7f"  # Thai to Javanese
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u318f\u31f0-\u31ff\u3400-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
"""Scripts that put no blanks between words, and Hangul, where particles follow a name without one."""
_ZERO_WIDTH_JOINER: Final = "\u200d"

_BLANK: Final = 1
_POINT: Final = 2
_DIGIT: Final = 3
_MARK: Final = 4


@dataclass(frozen=True, slots=True)
class Boundaries:
    """For each offset of a folded text, its length included, 1 where a word begins or ends there, else 0."""

    starts: bytes
    ends: bytes


def boundaries(text: str, original: str, origins: npt.NDArray[np.int32]) -> Boundaries:
    """Find where words begin and end; whatever is not blank belongs to one.

    Args:
        text: Folded.
        original: What it was before.
        origins: For each character of `text`, where in `original` it comes from.
    """
    if not text:
        return Boundaries(b"\0", b"\0")
    kinds = per_character(text, _kind)
    cut = ~_goes_on(kinds, original, origins)
    written = kinds != _BLANK
    starts, ends = np.zeros((2, len(text) + 1), dtype=np.bool_)
    starts[:-1], ends[1:] = written, written
    starts[1:-1] &= cut
    ends[1:-1] &= cut
    return Boundaries(starts.tobytes(), ends.tobytes())


def _goes_on(
    kinds: npt.NDArray[np.uint8], original: str, origins: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Say for each character but the first whether it and the one before it are of one word."""
    before, behind = kinds[:-1], kinds[1:]
    of_word = per_character(original, _is_of_word).view(np.bool_)[origins]
    one_word = (origins[:-1] == origins[1:]) | (behind == _MARK) | (of_word[:-1] & of_word[1:])
    one_word[_joined(original, origins)] = True
    digits = kinds == _DIGIT
    in_number = np.zeros_like(one_word)  # a point, and what stands on its both sides
    in_number[:-1] = digits[:-2] & (behind[:-1] == _POINT) & digits[2:]
    in_number[1:] |= in_number[:-1]
    has_point = (before == _POINT) | (behind == _POINT)
    goes_on = (in_number & has_point) | (one_word & ~has_point)
    return goes_on & (before != _BLANK) & (behind != _BLANK)


def _joined(original: str, origins: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Return the gaps between folded characters in which an invisible sign stands that joins them."""
    signs = [found.start() for found in re.finditer(_ZERO_WIDTH_JOINER, original)]
    gaps = np.searchsorted(origins, signs) - 1
    return gaps[(gaps >= 0) & (gaps < len(origins) - 1)]


def _kind(folded: str) -> int:
    if folded == " ":
        return _BLANK
    if folded in ".,":
        return _POINT
    if folded.isdecimal():
        return _DIGIT
    return _MARK if _is_mark(folded) else 0


def _is_of_word(character: str) -> bool:
    if _WITHOUT_BLANKS.match(character) or unicodedata.decomposition(character).startswith("<super>"):
        return False
    return character.isalnum() or _is_mark(character)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
