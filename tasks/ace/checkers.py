"""How answers are compared with targets: as texts, numbers, dates, and as two published tasks do it.

What cannot be read is wrong. Nothing that a model wrote is ever run, and no text takes long: parts of a text
that no answer has are not looked at.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.ace.number_words import is_date_changed
from tasks.ace.numbers import HYPHENS, QUOTES, Quantity, plain_decimal, read_quantity
from tasks.ace.units import unit_name
from tasks.ace.values import Checker, Score
from tasks.extraction.normalizers import normalize_date

MAX_FOLDED_CHARACTERS = 4_000
"""Of a text that is folded; what is behind counts for nothing."""

MAX_DATE_CHARACTERS = 200
MAX_FORMULA_CHARACTERS = 1_000

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]{0,6}\.?"
_DATE = re.compile(
    rf"""
    (?<![\w./-])
    (?: [0-9]{{4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,2}}
      | [0-9]{{1,2}}[-/.][0-9]{{1,2}}[-/.][0-9]{{4}}
      | [0-9]{{1,2}}(?:st|nd|rd|th)?\ (?:of\ )?{_MONTH},?\ [0-9]{{4}}
      | [0-9]{{1,2}}[-/.]{_MONTH}[-/.][0-9]{{4}}
      | {_MONTH}\ [0-9]{{1,2}}(?:st|nd|rd|th)?,?\ [0-9]{{4}}
    )
    (?![\w/-]|\.[0-9])
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_BESIDE_MONTH = re.compile(r"[-/.](?=[a-z])|(?<=[a-z])[-/.]+", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<=[0-9])(?:st|nd|rd|th)\b|\bof\b", re.IGNORECASE)


def fold(text: str) -> str:
    """Return a text without case, doubled blanks, quotes around it and the last full stop.

    >>> fold("  “Monday” . ")
    'monday'
    """
    # Not NFKC, to which 5\u00b2 is 52.
    text = unicodedata.normalize("NFC", text[:MAX_FOLDED_CHARACTERS]).casefold()
    return " ".join(text.split()).strip(QUOTES).rstrip(f"{QUOTES}.")


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Exact(_Options):
    """The same text, but for what `fold` takes away."""

    def check(self, answer: str, target: str) -> Score:
        """Compare the folded texts."""
        return Score(right=int(fold(answer) == fold(target)))

    def normal(self, answer: str) -> str:
        """Return the folded text."""
        return fold(answer)


class Number(_Options):
    """The same number, as `read_quantity` reads it, and the same unit where the target has one.

    15 % is 0.15, too. Where the target has no unit, that of the answer does not matter, and for a percentage
    both its number and its hundredth are right.
    """

    tolerance: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    """By how much an answer may differ."""
    relative_tolerance: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal(0)
    """By how much, as a part of the target; the larger of the two holds."""

    def check(self, answer: str, target: str) -> Score:
        """Compare the numbers and the units."""
        given, wanted = read_quantity(answer), read_quantity(target)
        return Score(right=int(bool(given and wanted and self._fits(given, wanted))))

    def normal(self, answer: str) -> str:
        """Return the number without zeros that say nothing, and its unit: `1250.5 kg`."""
        read = read_quantity(answer)
        return f"{plain_decimal(read.value)} {unit_name(read.unit)}".strip() if read else fold(answer)

    def _fits(self, given: Quantity, wanted: Quantity) -> bool:
        unit, wanted_unit = unit_name(given.unit), unit_name(wanted.unit)
        if not wanted_unit:
            values = [given.value, *([_hundredth(given.value)] if unit == "%" else [])]
            return any(self._is_near(value, wanted.value) for value in values)
        if wanted_unit == "%" and not unit:
            return self._is_near(given.value, _hundredth(wanted.value))
        return unit == wanted_unit and self._is_near(given.value, wanted.value)

    def _is_near(self, value: Decimal, wanted: Decimal) -> bool:
        if value == wanted:
            return True
        return abs(value - wanted) <= max(self.tolerance, self.relative_tolerance * abs(wanted))


def _hundredth(value: Decimal) -> Decimal:
    sign, digits, exponent = value.as_tuple()
    return Decimal((sign, digits, int(exponent) - 2))


class Date(_Options):
    """The same day, written as 2024-01-31, 31 January 2024, 31-Jan-2024, Jan 31st, 2024, 31.1.2024 and so on.

    03/04/2024 is no date, for it depends on where one lives; nor are two different days one answer.
    """

    def check(self, answer: str, target: str) -> Score:
        """Compare the days."""
        wanted = read_date(target)
        return Score(right=int(wanted is not None and read_date(answer) == wanted))

    def normal(self, answer: str) -> str:
        """Return the day as 2024-01-31."""
        return read_date(answer) or fold(answer)


def read_date(text: str) -> str | None:
    """Return the one day that a short text names, as 2024-01-31; None for none, and for several.

    `not 2024-01-31` names none, and `after 2024-01-31` another.
    """
    if len(text) > MAX_DATE_CHARACTERS:
        return None
    text = " ".join(text.translate(HYPHENS).split())
    days = {
        None if is_date_changed(text[: one.start()], text[one.end() :]) else _day(one[0])
        for one in _DATE.finditer(text)
    }
    return days.pop() if len(days) == 1 else None


def _day(text: str) -> str | None:
    return normalize_date(" ".join(_ORDINAL.sub("", _BESIDE_MONTH.sub(" ", text)).split()))


class Formula(_Options):
    """Formula's published metric: equal as floats once commas are gone; `$15` and `15%` are wrong."""

    def check(self, answer: str, target: str) -> Score:
        """Compare the floats."""
        given, wanted = _float(answer), _float(target)
        return Score(right=int(given is not None and given == wanted))

    def normal(self, answer: str) -> str:
        """Return the float as Python writes it."""
        value = _float(answer)
        # Quotes and stops are kept: with them it is wrong, and without them perhaps right.
        return answer[:MAX_FOLDED_CHARACTERS].casefold() if value is None else repr(value)


def _float(text: str) -> float | None:
    """Read what `float` reads, for the metric is defined by it; NaN and what has no end are no answers."""
    if len(text) > MAX_FORMULA_CHARACTERS:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class Finer(_Options):
    """FiNER's published metric: tags with commas between them, each compared with the one at its place.

    Tags behind the last wanted one are cut off; those that are missing are wrong, and so is each of a list
    that is written with brackets and quotes.
    """

    def check(self, answer: str, target: str) -> Score:
        """Count the right tags, of all that are wanted."""
        wanted = _tags(target)
        given = _tags(answer, len(wanted))
        right = sum(one == other for one, other in zip(given, wanted, strict=False))
        return Score(right=right, total=len(wanted))

    def normal(self, answer: str) -> str:
        """Return the tags without case, and without blanks around them."""
        return ",".join(_tags(answer[:MAX_FOLDED_CHARACTERS]))


def _tags(text: str, count: int = -1) -> list[str]:
    """Return the first tags; the rest of the text, if there is more, is behind them as one."""
    return [tag.strip().casefold() for tag in text.split(",", count)]


class Auto(_Options):
    """As the target is written: 2024-01-31 is a date, what begins with a number is one, all else a text."""

    def check(self, answer: str, target: str) -> Score:
        """Compare by the kind of the target."""
        return self._checker(target.strip()).check(answer, target)

    def normal(self, answer: str) -> str:
        """Return the normal form of the kind that the answer is of."""
        return self._checker(answer.strip()).normal(answer)

    def _checker(self, text: str) -> Checker:
        if read_date(text) == text:
            return Date()
        return Exact() if text[:1].isalpha() or read_quantity(text) is None else Number()


CHECKERS: Mapping[str, Callable[..., Checker]] = {
    "exact": Exact,
    "number": Number,
    "date": Date,
    "formula": Formula,
    "finer": Finer,
    "auto": Auto,
}
"""{name: makes the checker of its options, which it checks}."""


def accuracy(scores: Iterable[Score]) -> float:
    """Return the share of right parts over all rows, from 0 to 1, as FiNER counts; 0 of no rows."""
    listed = list(scores)
    total = sum(score.total for score in listed)
    return sum(score.right for score in listed) / total if total else 0.0
