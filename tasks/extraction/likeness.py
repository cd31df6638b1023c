"""Which differences between two texts a slip can make, and which mean another entity.

A model that copies badly drops, doubles, swaps or mistakes a letter of a long word, leaves out an article or
an accent, sets other points and blanks. It does not turn Article 5 into Article 6, STF into STJ, million into
billion, lessor into lessee, North into South: where a text differs so from a span of the document, the model
has made it up or means something else. In doubt two texts are different ones.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from rapidfuzz.distance import OSA, Levenshtein

from tasks.extraction.folding import Wording

_SHORT: Final = 3
_MEDIUM: Final = 7
"""Letters of a word: up to here hardly any slip is allowed, and one; beyond it two that are far apart."""
_MOST_SLIPS: Final = 2
_TELLING: Final = 5
"""Digits that agree and settle which thing is meant, whatever its short words are."""
_FORMATTED: Final = 12
"""Digits of numbers whose length is fixed, as those of cases and accounts."""
_DATED: Final = 6
"""Digits of numbers that are the same with one point or stroke more or less; but 2008 is not 20/08."""
_MIXED: Final = 4
"""Digits of a number that a stray letter does not make another one; but 144A is not 144."""

_WORD: Final = re.compile(r"\S+")
_DIGITS: Final = re.compile(r"\d+")
_LEADING_ZEROS: Final = re.compile(r"(?<![\d.,])0+(?=\d)")
_LETTER_WITHIN: Final = re.compile(r"(?<=\d)[^\W\d_](?=\d)")
_LETTER_BEHIND: Final = re.compile(r"\d[^\s\d]*[^\W\d_]")
_THOUSANDS: Final = re.compile(r"(?<=\d)[.,](?=\d{3}(?!\d))")
_DECIMALS: Final = re.compile(r"(?<=\d[.,])\d{1,2}(?![.,]?\d)")
_DATE: Final = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})")
_AROUND_DATES: Final = ".,;:()"
_MONTHS: Final = 12
_DAYS: Final = 31
_ROMAN: Final = re.compile(r"m{0,4}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})")
_PARTY: Final = re.compile(r"(?:er|or|ee)$")
_IDEOGRAPHIC: Final = re.compile(
    "[\u3005-\u3007\u3021-\u318f\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)
NEGATIONS: Final = frozenset({"no", "not", "non", "nor", "não", "nao", "ni", "ne"})

_Case = Literal["small", "capital", "capitals"]


class _Word(NamedTuple):
    """Between two blanks, without points, marks put together with their letters."""

    text: str
    case: _Case
    """As it stands in the document."""


def is_slip(item: Wording, span: Wording) -> bool:
    """Say whether what a model wrote may be meant to be a span of the document."""
    if not _same_numbers(item.text, span.text):
        return False
    words, others = _words(item), _words(span)
    is_told = _longest_number(item.text) >= _TELLING
    return all(_same_words(some, wanted, is_told=is_told) for some, wanted in _differences(words, others))


def _words(wording: Wording) -> list[_Word]:
    original = wording.original
    is_heading = original.isupper() and any(len(word) > _SHORT for word in wording.text.split())
    found: list[_Word] = []
    for word in _WORD.finditer(wording.text):
        bare = _without_points(word.group())
        if bare:
            letters = original[word.start() : word.end()]
            capitals = 0 if letters.islower() else sum(map(str.isupper, letters))
            case: _Case = (
                "small" if not capitals else "capitals" if capitals > 1 and not is_heading else "capital"
            )
            found.append(_Word(unicodedata.normalize("NFC", bare), case))
    return found


def _without_points(word: str) -> str:
    if word.isalnum():
        return word
    return "".join(one for one in word if one.isalnum() or unicodedata.combining(one))


def _differences(words: list[_Word], others: list[_Word]) -> Iterator[tuple[list[_Word], list[_Word]]]:
    """Yield what stands between words that are equal in both."""
    at, other_at = 0, 0
    equal = Levenshtein.editops(
        [word.text for word in words], [word.text for word in others]
    ).as_matching_blocks()
    for block in equal:  # the last is empty and at the end
        if block.a > at or block.b > other_at:
            yield words[at : block.a], others[other_at : block.b]
        at, other_at = block.a + block.size, block.b + block.size


def _same_words(words: Sequence[_Word], others: Sequence[_Word], *, is_told: bool) -> bool:
    joined, other_joined = ("".join(word.text for word in some) for some in (words, others))
    if joined == other_joined:
        return True
    if len(words) == len(others):
        return all(
            _same_word(word.text, other.text, "small" if is_told else other.case)
            for word, other in zip(words, others, strict=True)
        )
    if words and others:  # a blank was lost or came in
        return _same_word(joined, other_joined, others[0].case)
    return all(_is_article(word) for word in (*words, *others))


def _is_article(word: _Word) -> bool:
    """Say whether a word can be left out: it is short, small and neither a number nor a no."""
    return (
        word.case == "small"
        and len(word.text) <= _SHORT
        and word.text.isalpha()
        and word.text not in NEGATIONS
    )


@lru_cache(maxsize=4_096)
def _same_word(word: str, other: str, case: _Case) -> bool:
    word, other = _DIGITS.sub("", word), _DIGITS.sub("", other)
    bare, other_bare = _without_marks(word), _without_marks(other)
    if bare == other_bare:
        return word == other or bare in {word, other}
    if not bare or not other_bare:
        return len(bare) + len(other_bare) == 1  # _same_numbers has seen that it is a stray letter
    if names_another(bare, other_bare):
        return False
    edits = OSA.distance(word, other)
    length = max(len(word), len(other))
    if length <= _SHORT:
        return edits == 1 and _may_differ(word, other, case)
    if starts_otherwise(bare, other_bare):
        return False
    return edits <= 1 or (edits <= _MOST_SLIPS and length > _MEDIUM and is_scattered(word, other))


def is_scattered(word: str, other: str) -> bool:
    """Say whether two words differ in places far apart, and not by a part as solvent and insolvent do."""
    places = [edit.src_pos for edit in Levenshtein.editops(word, other)]
    return max(places) - min(places) > _SHORT


def names_another(word: str, other: str) -> bool:
    """Say whether two words that differ are two numerals, ideographs or parties to one contract."""
    if _ROMAN.fullmatch(other):
        return True
    if _IDEOGRAPHIC.search(word) or _IDEOGRAPHIC.search(other):
        return True
    return bool(_PARTY.search(word) and _PARTY.search(other)) and word[-2:] != other[-2:]


def _may_differ(word: str, other: str, case: _Case) -> bool:
    """Say whether one of two short words can be a slip for the other; acronyms cannot."""
    if len(other) == 1:
        return False
    return case == "small" or (
        case == "capital" and (len(word) != len(other) or sorted(word) == sorted(other))
    )


def starts_otherwise(word: str, other: str) -> bool:
    """Say whether medium words differ by their first letters alone, as million and billion."""
    return len(word) == len(other) <= _MEDIUM and word[0] != other[0] and sorted(word) != sorted(other)


def _without_marks(word: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", word) if not unicodedata.combining(one))


def _longest_number(text: str) -> int:
    return max((sum(map(str.isdecimal, word)) for word in text.split()), default=0)


def _same_numbers(text: str, span: str) -> bool:
    """Say whether two texts have the same numbers.

    Zeros in front and points between thousands do not count, nor does one point or blank more or less; a
    letter within a number shows that something went wrong, and so do lost digits of very long ones.
    """
    if not any(map(str.isdecimal, span)):
        return not any(map(str.isdecimal, text))
    if has_suffix(text, span) or has_suffix(span, text):
        return False
    plain, other_plain = _plain(text), _plain(span)
    if _has_same_digits(text, span) or _has_same_digits(plain, other_plain):
        return _DECIMALS.findall(plain) == _DECIMALS.findall(other_plain)
    return _is_damaged(text.split(), span.split())


def _plain(text: str) -> str:
    return _LEADING_ZEROS.sub("", _THOUSANDS.sub("", _LETTER_WITHIN.sub("", text)))


def _has_same_digits(text: str, span: str) -> bool:
    (digits, cuts), (other_digits, other_cuts) = _cuts(text), _cuts(span)
    return digits == other_digits and len(cuts ^ other_cuts) <= (len(digits) >= _DATED)


def _cuts(text: str) -> tuple[str, frozenset[int]]:
    """Return all digits of a text, and where in them each number begins."""
    digits, cuts = "", set[int]()
    for number in _DIGITS.findall(text):
        cuts.add(len(digits))
        digits += number
    return digits, frozenset(cuts)


def has_suffix(text: str, other: str) -> bool:
    """Say whether a word is a number of the other text with one more letter, as 144A beside 144."""
    if not _LETTER_BEHIND.search(text) or _bare(text) == _bare(other):  # the letter is there, behind a blank
        return False
    numbers = {bare for bare in map(_bare, other.split()) if bare.isdecimal()}
    return any(bare[-1:].isalpha() and bare[:-1] in numbers for bare in map(_bare, text.split()))


def _is_damaged(words: Sequence[str], others: Sequence[str]) -> bool:
    """Say whether the one number in which two texts differ cannot be another number."""
    if len(words) != len(others):
        return False
    pairs = [
        (word, other)
        for word, other in zip(words, others, strict=True)
        if _DIGITS.findall(word) != _DIGITS.findall(other)
    ]
    if len(pairs) != 1:
        return False
    word, other = (_bare(one) for one in pairs[0])
    return _has_letter_for_digit(word, other) or _has_lost_digit(word, other) or _is_no_date(*pairs[0])


def _is_no_date(word: str, other: str) -> bool:
    """Say whether a digit is lost, doubled or swapped so that no date is left: 24/80/2001, 24/08/201."""
    word, other = word.strip(_AROUND_DATES), other.strip(_AROUND_DATES)
    return (
        is_date(other)
        and not is_date(word)
        and OSA.distance(word, other) == 1
        and (len(word) != len(other) or sorted(word) == sorted(other))
    )


def is_date(word: str) -> bool:
    """Say whether a word is a day of a month of a year of four digits, in numbers."""
    found = _DATE.fullmatch(word)
    if not found:
        return False
    smaller, larger = sorted(int(found[part]) for part in (1, 3))
    return 0 < smaller <= _MONTHS and larger <= _DAYS


def _has_letter_for_digit(word: str, other: str) -> bool:
    wrong = [
        (one, right) for one, right in zip(word, other, strict=False) if one != right and not one.isdecimal()
    ]
    same_length = len(word) == len(other) and sum(map(str.isdecimal, word)) >= _MIXED - 1
    return same_length and other.isdecimal() and len(wrong) == 1 and OSA.distance(word, other) == 1


def _has_lost_digit(word: str, other: str) -> bool:
    """Say whether a digit of a very long number is lost, doubled or swapped."""
    return (
        min(sum(map(str.isdecimal, one)) for one in (word, other)) >= _FORMATTED - 1
        and OSA.distance(word, other) == 1
        and (len(word) != len(other) or sorted(word) == sorted(other))
    )


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word))
