"""Values of entities in a form that can be compared: 2024-01-31, USD 1200000, 347 US 483.

A normalizer returns None where a text can be read in two ways or not at all; it never picks one of them.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

import dateparser

Normalizer = Callable[[str], str | None]

_YEAR: Final = re.compile(r"(?<!\d)\d{4}(?!\d)")
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", re.ASCII)
_YEAR_LAST: Final = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})", re.ASCII)

_CURRENCIES: Final = {
    **dict.fromkeys(("$", "us$", "u.s.$", "usd", "dollar", "dollars", "us dollars", "u.s. dollars"), "USD"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "EUR"),
    **dict.fromkeys(("£", "gbp", "pounds sterling", "pound sterling", "pounds"), "GBP"),
    **dict.fromkeys(("r$", "brl", "reais", "real"), "BRL"),
    **dict.fromkeys(("jp¥", "jpy", "yen"), "JPY"),
    **dict.fromkeys(("c$", "ca$", "cad", "canadian dollars"), "CAD"),
    **dict.fromkeys(("a$", "au$", "aud", "australian dollars"), "AUD"),
    **dict.fromkeys(("chf", "sfr.", "swiss francs"), "CHF"),
    **dict.fromkeys(("cny", "rmb", "yuan"), "CNY"),
    **dict.fromkeys(("₹", "inr", "rs.", "rupees"), "INR"),
    **{code.lower(): code for code in ("HKD", "SGD", "NZD", "SEK", "NOK", "DKK", "PLN", "MXN", "ZAR", "KRW")},
    "hk$": "HKD",
    "s$": "SGD",
    "nz$": "NZD",
    "mx$": "MXN",
    "₩": "KRW",
    "zł": "PLN",
}
"""A dollar alone is that of the United States. The sign ¥ stands for two currencies, and so for none."""

_TIMES: Final = {
    **dict.fromkeys(("thousand", "k"), 10**3),
    **dict.fromkeys(("million", "m", "mn", "mio"), 10**6),
    **dict.fromkeys(("billion", "b", "bn"), 10**9),
    **dict.fromkeys(("trillion", "tn"), 10**12),
}


def _either(names: Mapping[str, object]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_AMOUNT: Final = re.compile(
    rf"(?P<before>{_either(_CURRENCIES)})?\s*(?P<number>\d[\d.,' \u00a0\u202f\u2019]*\d|\d)"
    rf"(?:[\s-]*(?P<times>{_either(_TIMES)})\b\.?)?\s*(?P<after>{_either(_CURRENCIES)})?",
    re.IGNORECASE,
)
_GROUPED: Final = {mark: re.compile(rf"[1-9]\d{{0,2}}(?:[{mark}]\d{{3}})+") for mark in (",", ".")}
_BLANKS_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[ '\u00a0\u202f\u2019](?=\d{3}(?!\d))")


def normalize_date(text: str) -> str | None:
    """Return the day that a text in English or in digits names, as 2024-01-31.

    None for a day without a year of four digits, for a month or year alone, for days that there are not, and
    for days as 03/04/2024, where it matters whether one writes the month first; 13/04/2024 can be told.
    """
    text = _without_extra_blanks(text)
    if not _YEAR.search(text):
        return None
    if year_first := _YEAR_FIRST.fullmatch(text):  # as ISO 8601 has it, the month is next
        return _real_day(*map(int, year_first.groups()))
    if year_last := _YEAR_LAST.fullmatch(text):
        one, other, year = map(int, year_last.group(1, 3, 4))
        either = {_real_day(year, one, other), _real_day(year, other, one)} - {None}
        return either.pop() if len(either) == 1 else None
    days = {_day(text, order) for order in ("MDY", "DMY")}
    return days.pop() if len(days) == 1 else None


def _real_day(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


@lru_cache(maxsize=4_096)
def _day(text: str, order: Literal["MDY", "DMY"]) -> str | None:
    found = dateparser.parse(
        text,
        languages=["en"],
        settings={"STRICT_PARSING": True, "PARSERS": ["absolute-time"], "DATE_ORDER": order},
    )
    return found.date().isoformat() if found else None


def normalize_amount(text: str) -> str | None:
    """Return an amount of money as its currency and a decimal number, as USD 1200000 or EUR 3000.50.

    Cents are given with two digits (or more, but never three), and not at all if there are none. Of two
    kinds of points the last is the decimal one. One point before exactly three digits separates
    thousands, as in $1,000 and EUR 3.000; but $1.234 million has decimals. None without a currency, for
    two amounts, and for numbers in words.
    """
    found = _AMOUNT.fullmatch(_without_extra_blanks(text))
    if not found:
        return None
    names = {_CURRENCIES[name.lower()] for name in found.group("before", "after") if name}
    times = found["times"]
    number = _number(found["number"], is_scaled=times is not None)
    if len(names) != 1 or number is None:
        return None
    value = number * (_TIMES[times.lower()] if times else 1)
    return f"{names.pop()} {_plain(value)}"


def _plain(value: Decimal) -> str:
    if value == value.to_integral_value():
        return str(int(value))
    text = f"{value.normalize():f}"
    decimals = len(text.rpartition(".")[2])
    return text + ("0" if decimals in {1, 3} else "")  # three would be read as thousands


def _number(text: str, *, is_scaled: bool) -> Decimal | None:
    text = _BLANKS_BETWEEN_DIGITS.sub("", text)
    decimal_mark = _decimal_mark(text, is_scaled=is_scaled)
    whole, _, cents = text.rpartition(decimal_mark) if decimal_mark else (text, "", "")
    for mark in ",.":
        if _GROUPED[mark].fullmatch(whole):
            whole = whole.replace(mark, "")
    return Decimal(f"{whole}.{cents or 0}") if whole.isdecimal() and (cents or "0").isdecimal() else None


def _decimal_mark(text: str, *, is_scaled: bool) -> str | None:
    """Return the one of the marks "," and "." that comes before decimals, if one does."""
    marks = [mark for mark in ",." if mark in text]
    if len(marks) > 1:
        return max(marks, key=text.rindex)
    if not marks or text.count(marks[0]) > 1:
        return None
    separates = bool(_GROUPED[marks[0]].fullmatch(text)) and not (is_scaled and marks[0] == ".")
    return None if separates else marks[0]


def normalize_upper(text: str) -> str | None:
    """Return a text in capitals, with single blanks."""
    return normalize_whitespace(text.upper())


def normalize_whitespace(text: str) -> str | None:
    """Return a text with single blanks, and none around it; None if nothing is left."""
    return _without_extra_blanks(text) or None


def normalize_citation(text: str) -> str | None:
    """Return a citation without the periods and blanks that one may set or not: 347 U. S. 483 is 347 US 483.

    Numbers keep their points; single capitals are put together.
    """
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    text = re.sub(r"\s+([,;:)\]])", r"\1", _without_extra_blanks(text))
    return normalize_whitespace(re.sub(r"(?<=\b[A-Z]) (?=[A-Z]\b)", "", text))


def _without_extra_blanks(text: str) -> str:
    return " ".join(text.split())


NORMALIZERS: Final[Mapping[str, Normalizer]] = MappingProxyType(
    {
        "amount": normalize_amount,
        "citation": normalize_citation,
        "date": normalize_date,
        "upper": normalize_upper,
        "whitespace": normalize_whitespace,
    }
)
"""{name in a spec: the function}"""
