"""A text without what tells no two texts apart: case, kinds of quotes and blanks, ligatures, hyphenation.

Every character of a folded text knows the character of the original that it comes from. Characters are taken
apart (NFKD) and not put together (NFKC), so that each is folded for itself and a letter with its accent is
found however either side writes it. Hangul syllables alone stay whole, since one of them is much of a name.
Several marks on one letter are not put in order.
"""

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

import numpy as np
import numpy.typing as npt

from tasks.extraction.boundaries import Boundaries, boundaries
from tasks.extraction.characters import per_character

_UNIFIED: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035`\u00b4\u02bc\u02b9\u02bb\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u301d\u301e\u301f", '"'),
    **dict.fromkeys("\u2212\u2043", "-"),  # minus and bullet; all of category Pd too
    "\u00b0": "o",  # the degree sign, which is written for the ordinal
    "\u2044": "/",  # what fractions fold to
}
_DROPPED: Final = (
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000e0100-\U000e01ef"
)
"""Ranges of a character class: category Cf, variation selectors, the grapheme joiner; none is seen."""
_IS_DROPPED: Final = re.compile(f"[{_DROPPED}]")
_BLANKS: Final = re.compile(rf"(\s)[\s{_DROPPED}]+")
_BROKEN_WORD: Final = re.compile(
    r"[-\u00ad\u2010\u2011](?:(?<=[^\W\d_].)|(?<=[\u0300-\u036f].))[^\S\r\n]*\r?\n\s*(?=[^\W\d_])"
)
_AROUND_WORDS: Final = ".,;:!?()[]{}'\"-/"
_FIRST_MARK: Final = 0x300
_LAST_MARK: Final = 0x36F
_MARKS: Final = re.compile("[\u0300-\u036f]")
_HANGUL: Final = range(0xAC00, 0xD7A4)


class _Table(dict[int, str]):
    """{code point: what it folds to}, each worked out when it is first met."""

    def __missing__(self, point: int) -> str:
        found = self[point] = _fold_character(chr(point))
        return found


def _fold_character(character: str) -> str:
    if character.isspace():
        return " "
    before, text = "", character
    while text != before:
        before = text
        text = "".join(_fold_once(one) for one in text if not one.isspace())
    return text


def _fold_once(character: str) -> str:
    if _IS_DROPPED.match(character):
        return ""
    if ord(character) in _HANGUL:
        return character
    if unicodedata.category(character) == "Pd":
        return "-"
    unified = _UNIFIED.get(character)
    return unified or unicodedata.normalize("NFKD", character).casefold()


_TABLE: Final = _Table()


def fold(text: str) -> str:
    """Return a text without differences of case, blanks, quotes, dashes, ligatures and hyphenation.

    A word that a hyphen breaks at the end of a line is joined if it goes on in lower case. Folding twice is
    folding once.
    """
    if text.isprintable() and "  " not in (folded := text.translate(_TABLE)):
        return folded  # has no blanks or hyphens that need care
    return _cleaned(text).translate(_TABLE)


def _cleaned(text: str) -> str:
    return _BLANKS.sub(r"\1", _BROKEN_WORD.sub(_join, text))


def _join(broken: re.Match[str]) -> str:
    return "" if broken.string[broken.end()].islower() else broken.group()


@dataclass(frozen=True, slots=True)
class Wording:
    """A folded text that still knows what its letters were."""

    text: str
    original: str
    """For each character of `text` the one that it was before: its case tells an article from an acronym."""


def wording(text: str) -> Wording:
    """Fold a text, without the blanks around it."""
    text = _cleaned(text)
    if text.isascii() and text.isprintable():
        return Wording(text.casefold().translate(_TABLE).strip(), text.strip())
    letters = [_TABLE[ord(one)] for one in text]
    folded = "".join(letters)
    original = "".join(map(mul, text, map(len, letters)))
    start, end = len(folded) - len(folded.lstrip()), len(folded.rstrip())
    return Wording(folded[start:end], original[start:end])


def bare_word(word: str) -> str:
    """Return a word without the points around it."""
    return word.strip(_AROUND_WORDS)


def without_marks(text: str) -> str:
    """Return a folded text without accents."""
    return text if text.isascii() else _MARKS.sub("", text)


class Folded:
    """A text, folded, and where in the original each of its characters stands.

    Takes 6 bytes a character beside the two texts, and up to 8 more once accents are set aside. Offsets count
    characters from 0, ends are excluded.
    """

    __slots__ = ("_boundaries", "_letters", "_origins", "_part", "_words", "original", "text")

    def __init__(self, original: str) -> None:
        self.original: Final = original
        self.text: Final = fold(original)
        self._boundaries: Boundaries | None = None
        self._words: frozenset[str] | None = None
        self._letters: tuple[str, Sequence[int]] | None = None
        self._part: tuple[int, int, str, Sequence[int]] | None = None
        self._origins = array("i", _origins(original).tobytes())  # gives out single numbers faster than numpy

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the original that a part of the folded text comes from.

        Args:
            start: In the folded text.
            end: In the folded text, after `start`. A character that folded to several is taken whole, as is
                one whose first part alone is asked for; blanks that became one are cut after the first.
        """
        return self._origins[start], self._origins[end - 1] + 1

    def origin(self, offset: int) -> int:
        """Return where in the original a folded character comes from; the original's length at the end."""
        return self._origins[offset] if offset < len(self.text) else len(self.original)

    def wording(self, start: int, end: int) -> Wording:
        """Return a part of the folded text with what its letters were."""
        origins = self._origins[start:end]
        if origins and origins[-1] - origins[0] == len(origins) - 1:
            original = self.original[origins[0] : origins[-1] + 1]
            if original.isascii():
                return Wording(self.text[start:end], original)
        return Wording(self.text[start:end], "".join([self.original[origin] for origin in origins]))

    @property
    def boundaries(self) -> Boundaries:
        """Where words begin and end."""
        if self._boundaries is None:
            origins = np.frombuffer(self._origins, dtype=np.int32)
            self._boundaries = boundaries(self.text, self.original, origins)
        return self._boundaries

    @property
    def words(self) -> frozenset[str]:
        """All words, without the points around them."""
        if self._words is None:
            self._words = frozenset(map(bare_word, set(self.text.split())))
        return self._words

    def without_marks(self, start: int, end: int) -> tuple[str, Sequence[int]]:
        """Return a part of the folded text without accents, and where its characters stand; the end, too."""
        if self._part is None or self._part[:2] != (start, end):
            self._part = (start, end, *self._letters_of(start, end))
        return self._part[2:]

    def _letters_of(self, start: int, end: int) -> tuple[str, Sequence[int]]:
        if self.text.isascii():
            return self.text[start:end], range(start, end + 1)
        if self._letters is None:
            self._letters = _letters(self.text)
        letters, places = self._letters
        first, last = bisect_left(places, start), bisect_left(places, end)
        return letters[first:last], [*places[first:last], end]

    def folded_offset(self, offset: int) -> int:
        """Return the first folded character that comes from `offset` of the original or from behind it."""
        return bisect_left(self._origins, offset)


def _letters(text: str) -> tuple[str, Sequence[int]]:
    """Return a text without accents, and where its characters stand."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kept = np.flatnonzero((points < _FIRST_MARK) | (points > _LAST_MARK))
    places = array("i", kept.astype(np.int32).tobytes())
    return points[kept].tobytes().decode("utf-32-le", "surrogatepass"), places


def _origins(text: str) -> npt.NDArray[np.int32]:
    """For each character of the folded text, where its character stands in `text`."""
    lengths = _lengths(text)
    for broken in _BROKEN_WORD.finditer(text):
        if not _join(broken):
            lengths[broken.start() : broken.end()] = 0
    for blanks in _BLANKS.finditer(text):
        lengths[blanks.start() + 1 : blanks.end()] = 0
    return np.repeat(np.arange(len(text), dtype=np.int32), lengths)


def _lengths(text: str) -> npt.NDArray[np.uint8]:
    """How many characters each character folds to on its own."""
    return per_character(text, lambda one: len(_TABLE[ord(one)]))
