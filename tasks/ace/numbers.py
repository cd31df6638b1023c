"""Numbers, with their units, in what a model wrote: read where there is one reading, never computed."""

import re
from dataclasses import dataclass
from decimal import Decimal

from tasks.ace.number_words import is_number_changed, scale, without_minus
from tasks.ace.units import CODES

MAX_CHARACTERS = 1_000
"""Of a text in which a number is looked for: an answer is short."""

CURRENCY = "$€£¥₹"

QUOTES = " \"'`*_\u201c\u201d\u2018\u2019"
"""What may stand around an answer without being part of it."""

HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-")
"""For `str.translate`: what is written where a hyphen, or a minus, is meant."""

_SIGNS = {**HYPHENS, ord("\uff05"): "%"}
_EQUALS = re.compile(r"[-=]>|[\u2192\u21d2\u2248]|(?<![<>!])=")

_CODE = "|".join(map(re.escape, CODES))

_NUMBER = re.compile(
    rf"""
    (?<![\w.,/+\-^*:]) (?P<sign>[-+]?)
    (?:[ ]?(?P<before>(?i:{_CODE})|[{CURRENCY}])[ ]?(?P<inner>[-+]?))?
    (?:
        (?P<grouped>[0-9]{{1,3}} (?P<mark>[,'\u2019 \u00a0\u2009\u202f]) [0-9]{{3}} (?:(?P=mark)[0-9]{{3}})*)
        | (?P<whole>[0-9]+)
        | (?=\.[0-9])
    )
    (?:\.(?P<decimals>[0-9]+))?
    (?:[eE](?P<exponent>[-+]?[0-9]{{1,2}}))?
    (?![0-9_\^] | x[0-9a-fA-F])
    """,
    re.VERBOSE,
)
_WORD_DIGIT = re.compile(r"(?<=[^\W\d_])\^?[-\u207b]?[0-9]")
"""A digit that belongs to a word, as in m2, CO2 and s^-1."""

_UNIT = re.compile(
    rf"\s*(?P<unit>[%\u2030{CURRENCY}]|[^\W\d_\u00b2\u00b3][^.,;:!?*`\"()\[\]{{}}\n]*|\u00b0[^\W\d_]*)"
)

_BACKSLASH = re.compile(r"\\(?![0-9])")
_OPERATOR_BEFORE = re.compile(
    r"(?:[-+*/^<>=!\u2260\u00d7\u00f7\u00b1\u221a\u2264\u2265][({\[\s]* | (?<!\bboxed)(?<=[\w)])[(\[{])\s*\Z",
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A number and what it counts."""

    value: Decimal
    unit: str = ""
    """As written: "kg", "%", "$", "crowns per day"; empty where there is none."""


def read_quantity(text: str) -> Quantity | None:
    """Read the number of a text, wherever it stands: `about 1,250.50 kg` is 1250.50 with the unit `kg`.

    Of an equation, what is behind the last `=`. The point is before decimals; a comma, an apostrophe or a
    blank stands only between groups of three digits. The sign touches the number, or the currency before it.
    `1e3`, `$15`, `-$15`, `USD 15`, `15 %`, `\u22125` and `minus 5` are read, and `2 million`, `2M` and `2k`
    (which are multiplied).

    None of texts without a number, with several, with more than 1,000 characters, and where a number has two
    readings or is still to be computed: `1,5`, `1/2`, `(7)` (seven, or minus seven in an account), `- 5`,
    `10^3`, `12:30`, `three`; nor where words change it, as in `not 5`, `at least 5`, `half of 5`, `5!`.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    text = _EQUALS.split(_plain(text))[-1].strip()
    found = _NUMBER.search(text)
    if found is None or (text.startswith("(") and text.endswith(")")):
        return None
    before, is_minus = without_minus(text[: found.start()])
    after = text[found.end() :]
    if _has_number(before) or _has_number(after) or _is_computed(before, after):
        return None
    signs = found["sign"] + (found["inner"] or "") + ("-" if is_minus else "")
    if len(signs) > 1:
        return None
    power, behind = scale(after, is_money=bool(found["before"]))
    if is_number_changed(before, behind):
        return None
    unit = _UNIT.match(behind)
    return Quantity(
        value=_value(found, "-" if signs == "-" else "", power),
        unit=found["before"] or (unit["unit"].strip(QUOTES) if unit else ""),
    )


def _plain(text: str) -> str:
    """Take away what only marks a text up: Markdown, and the signs of LaTeX."""
    # Two blanks, so that 1**234 does not become one number.
    text = _BACKSLASH.sub("", text.translate(_SIGNS)).replace("**", "  ").strip().strip(QUOTES)
    return text.strip("$") if text.startswith("$") and text.endswith("$") else text


def _has_number(text: str) -> bool:
    return any(one.isdecimal() for one in _WORD_DIGIT.sub("", text))


def _is_computed(before: str, after: str) -> bool:
    """Say whether a sign or a function changes the number, as in `- 5`, `-(5)`, `sqrt(16)` and `5 + x`."""
    if (next_one := after.lstrip()[:1]).isnumeric() and not next_one.isalpha():  # as in 5² and 1 ½
        return True
    return bool(_OPERATOR_BEFORE.search(before)) or next_one in {*"+*^\u00d7\u00f7"}


def _value(found: re.Match[str], sign: str, power: int) -> Decimal:
    whole = "".join(filter(str.isdecimal, found["grouped"] or found["whole"] or "0"))
    exponent = int(found["exponent"] or 0) + power
    # A Decimal that is made of a text is exact, however many digits it has; arithmetic would round it.
    return Decimal(f"{sign}{whole}.{found['decimals'] or '0'}E{exponent}")


def plain_decimal(value: Decimal) -> str:
    """Write a number without an exponent, nor zeros that say nothing: 12.50 is 12.5, and -0 is 0."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if value == 0 else text
