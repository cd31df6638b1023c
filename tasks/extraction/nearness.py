"""Which differences are too many for certainty, and still no sign that another entity is meant.

Where a text stands nowhere in a document and one place alone is near, two edits in a name, letters that a
scanner takes for digits and numbers that cannot be are more likely slips than another name or number. What is
found so says how alike it is. A number that could be one remains another one, unless it is an identifier with
a digit more or less, or with two digits swapped. Where the order of an answer says which few words are meant,
two edits in a shorter name are a slip, too.
"""

import re
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from typing import Final

from rapidfuzz.distance import OSA, Levenshtein

from tasks.extraction.folding import Wording, without_marks
from tasks.extraction.likeness import (
    NEGATIONS,
    has_suffix,
    is_date,
    is_scattered,
    names_another,
    starts_otherwise,
)

SHORTEST: Final = 5
"""Characters in which one edit may be a slip."""
_TWO_EDITS: Final = 8
"""Characters in which two may be."""
_LONG_WORD: Final = 7
_SHORT_WORD: Final = 3

_SCANNED: Final = (("rn", "m"), ("cl", "d"), ("vv", "w"))
_AS_LETTERS: Final = str.maketrans("01i58", "ollsb")
_AS_DIGITS: Final = str.maketrans("olisb", "01158")
_DIGIT: Final = re.compile(r"\d")
_DECIMALS: Final = re.compile(r"(?<=\d[.,])\d{1,2}(?![.,]?\d)")
_LOST_DIGIT: Final = re.compile(
    r"(?<=\d)[olisb](?![a-z])|(?<![a-z])[olisb](?=\d)|(?<=\d)[olisb](?=[.,/-]|[olisb]*\d)"
)
_LETTER_WITHIN: Final = re.compile(r"(?<=\d)[a-z](?=\d)")
_THOUSANDS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:[.,]\d{3})+(?![\d.,]*\d)")
_POINT: Final = re.compile(r"[.,]\d|\d[.,](?=\w)")
_YEAR: Final = re.compile(r"(?<=\d[./-])(?:1[5-9]\d\d|20\d\d|2100)(?!\w)")
_SLASHED: Final = re.compile(r"[./-]\d+(?!\w)")
_BROKEN: Final = (
    re.compile(r"\d[./,-]{2,}\d"),  # a number without one of its parts
    re.compile(r"(?<![\d./,-])0\d{2,}"),  # a zero in front
    re.compile(r"\d[a-z]\d"),
)
_DIGITS: Final = re.compile(r"\d+")
_SIGN: Final = re.compile("[$€£¥%]")
_AMOUNT: Final = re.compile(r"\d[.,]\d")
_IS_YEAR: Final = re.compile(r"1[5-9]\d\d|20\d\d|2100")
_AROUND: Final = ".,;:()"
_TELLING: Final = 4
_IDENTIFYING: Final = 4
_FEW_DIGITS: Final = 2
_FAR: Final = 3
_MANY: Final = 2
_MEDIUM_WORD: Final = 6
_SIZE: Final = re.compile("ll[lh]?[o0]?(?:ns?|[o0]es|a[o0])$")  # million, milhões, as scanned
_SIDE: Final = re.compile("n[o0]rt|s[o0]ut|east|west|[o0]este|leste")
CALENDAR: Final = frozenset(
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july august "  # noqa: SIM905
    "september october november december janeiro fevereiro abril junho julho agosto setembro outubro".split()
)
"""A day or month, rightly spelt, is no slip for another one."""
_SMALL: Final = re.compile(r"(?<!\S)[^\W\d_]{2,3}(?!\S)")


def edits(item: str, span: str) -> int:
    """Count the edits between two folded texts, accents and what a scanner mistakes aside."""
    if item == span:
        return 0
    return OSA.distance(scanned(item), scanned(span), score_cutoff=_FAR)


def most_edits(text: str) -> int:
    """Return how many edits a text may be away from a span."""
    return 0 if len(text) < SHORTEST else 1 if len(text) < _TWO_EDITS else 2


def is_near(item: Wording, span: Wording) -> bool:
    """Say whether a text may be meant to be the only span of a document that is near."""
    if edits(item.text, span.text) > most_edits(item.text):
        return False
    if has_suffix(item.text, span.text) or has_suffix(span.text, item.text):
        return False
    small = _small_words(span)
    words, others = item.text.split(), span.text.split()
    if not any(map(str.isalpha, span.text)) and not is_broken(item.text, span.text):
        return False  # a bare number is another one
    parts = list(differences(words, others))
    equal = [word for word in others if word in words and len(word) > _SHORT_WORD]
    anchors = (bool(equal) + (len(equal) > 1)) * (len(parts) == 1)
    return all(_near(some, wanted, small, anchors) for some, wanted in parts)


def is_near_in_order(text: str, span: str) -> bool:
    """Say whether a name, folded, may be meant to be the only near one where the order of an answer puts it.

    There two edits may be in a name that is too short for them elsewhere. Its first and last letters stay,
    since those of names that are akin differ (Carla and Carlos), as do its numbers, acronyms and short words.
    """
    return edits(text, span) <= _MANY and all(
        _near_name(_bare(" ".join(some)), _bare(" ".join(wanted)))
        for some, wanted in differences(text.split(), span.split())
    )


def _near_name(name: str, other: str) -> bool:
    return (
        min(len(name), len(other)) >= SHORTEST
        and abs(len(name) - len(other)) < _MANY
        and (name[0], name[-1]) == (other[0], other[-1])
        and not _DIGIT.search(name + other)
        and name not in CALENDAR
        and not names_another(name, other)
        and not _names_another(scanned(name), scanned(other), 0)
    )


def _small_words(span: Wording) -> frozenset[str]:
    """Return the short words without capitals, as articles are."""
    return frozenset(
        word.group()
        for word in _SMALL.finditer(span.text)
        if span.original[word.start() : word.end()].islower() and word.group() not in NEGATIONS
    )


@lru_cache(maxsize=4_096)
def scanned(text: str) -> str:
    """Return a text without what a scanner mistakes."""
    for two, one in _SCANNED:
        text = text.replace(two, one)
    return without_marks(text).translate(_AS_LETTERS)


def differences(words: Sequence[str], others: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield what stands between words that are equal in both."""
    at, other_at = 0, 0
    for block in Levenshtein.editops(words, others).as_matching_blocks():
        if block.a > at or block.b > other_at:
            yield list(words[at : block.a]), list(others[other_at : block.b])
        at, other_at = block.a + block.size, block.b + block.size


def _near(some: list[str], others: list[str], small: Container[str], anchors: int) -> bool:
    joined, other = " ".join(some), " ".join(others)
    if not some or not others:
        return False
    if _DIGIT.search(other):
        return _near_number(joined, other)
    if len(some) == len(others) and all(
        _near_word(word, wanted, anchors) or (wanted in small and _is_slipped(word, wanted))
        for word, wanted in zip(some, others, strict=True)
    ):
        return True
    return len(some) + len(others) > _MANY and _near_word(_bare(joined), _bare(other), anchors)


def _near_word(word: str, other: str, anchors: int = 0) -> bool:
    word, other = scanned(_bare(word)), scanned(_bare(other))
    if word == other:
        return True
    edits, length = OSA.distance(word, other), max(len(word), len(other))
    if length <= _SHORT_WORD or edits > _MANY or _names_another(word, other, anchors):
        return False
    if edits < _MANY:
        return True
    if word[0] != other[0]:
        return False
    has_anchor = anchors > 0 and length >= _MEDIUM_WORD and abs(len(word) - len(other)) < _MANY
    return has_anchor or (length > _LONG_WORD and is_scattered(word, other))


def _names_another(word: str, other: str, anchors: int) -> bool:
    """Say whether two words that differ mean two things, as million and billion, North and South do."""
    return (
        names_another(word, other)
        or (anchors < _MANY and starts_otherwise(word, other))
        or (_names_size(other) and word[:1] != other[:1])
        or _names_side(word) != _names_side(other)
    )


def _names_side(word: str) -> frozenset[str]:
    return frozenset(_SIDE.findall(word))


def _names_size(word: str) -> bool:
    return _SIZE.search(word) is not None


def _is_slipped(word: str, other: str) -> bool:
    return word.isalpha() and OSA.distance(scanned(word), scanned(other)) <= 1


def _near_number(text: str, other: str) -> bool:
    text, other = _with_digits(text), _with_digits(other)
    digits, other_digits = ("".join(_DIGIT.findall(one)) for one in (text, other))
    letters, other_letters = ("".join(filter(str.isalpha, one)) for one in (text, other))
    if digits == other_digits:
        told = len(digits) >= _TELLING
        same = _DECIMALS.findall(text) == _DECIMALS.findall(other)
        return (same or told) and _near_letters(letters, other_letters, told=told)
    if _SIGN.search(text) or _SIGN.search(other):
        return False
    if not is_broken(text, other) and not _has_digit_more_or_less(text, other):
        return False
    return _near_letters(_LETTER_WITHIN.sub("", letters), other_letters, told=True)


def _has_digit_more_or_less(text: str, other: str) -> bool:
    """Say whether a digit of an identifier is lost, added or swapped; no one mistakes one for another so."""
    numbers, others = _DIGITS.findall(text), _DIGITS.findall(other)
    if len(numbers) != len(others) or _AMOUNT.search(other) or _AMOUNT.search(text):
        return False
    changed = [pair for pair in zip(numbers, others, strict=True) if pair[0] != pair[1]]
    if len(changed) != 1 or any(is_date(word.strip(_AROUND)) for word in other.split()):
        return False
    number, wanted = changed[0]
    return (
        len(wanted) >= _IDENTIFYING
        and not _IS_YEAR.fullmatch(wanted)
        and (len(number) != len(wanted) or sorted(number) == sorted(wanted))
        and OSA.distance(number, wanted) == 1
    )


def _near_letters(letters: str, others: str, *, told: bool) -> bool:
    return letters == others or (told and OSA.distance(letters, others) <= 1) or _near_word(letters, others)


def _with_digits(text: str) -> str:
    """Return a text with digits for the letters among digits that a scanner takes for them."""
    return " ".join(
        _LOST_DIGIT.sub(lambda found: found.group().translate(_AS_DIGITS), word)
        if len(_DIGIT.findall(word)) >= _FEW_DIGITS
        else word
        for word in text.split(" ")
    )


def is_broken(text: str, other: str) -> bool:
    """Say whether a text has a number that cannot be one, where another text has one that can."""
    words, others = text.split(), other.split()
    return (
        any(_is_no_date(word, date) for word in words for date in others)
        or any(rule.search(text) and not rule.search(other) for rule in _BROKEN)
        or (
            _THOUSANDS.search(other) is not None
            and _THOUSANDS.search(text) is None
            and _POINT.search(text) is not None
        )
        or (
            _YEAR.search(other) is not None
            and _SLASHED.search(text) is not None
            and _YEAR.search(text) is None
        )
    )


def _is_no_date(word: str, other: str) -> bool:
    word, other = word.strip(_AROUND), other.strip(_AROUND)
    return is_date(other) and not (is_date(word) and _YEAR.search(word))


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word))
