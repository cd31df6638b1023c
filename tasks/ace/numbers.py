"""Numbers, with their units, in what a model wrote: read where there is one reading, never computed."""

import re
from dataclasses import dataclass
from decimal import Decimal

MAX_CHARACTERS = 1_000
"""Of a text in which a number is looked for: an answer is short."""

CURRENCY = "$€£¥₹"

QUOTES = " \"'`*_\u201c\u201d\u2018\u2019"
"""What may stand around an answer without being part of it."""

_MINUS_SIGNS = str.maketrans({"\u2212": "-", "\u2013": "-", "\ufe63": "-", "\uff0d": "-", "\uff05": "%"})
_EQUALS = re.compile(r"[=\u2248]")

_NUMBER = re.compile(
    rf"""
    (?<![\w.,/+\-^*:]) (?P<sign>[-+]?) (?:[ ]?(?P<before>[{CURRENCY}])[ ]?(?P<inner>[-+]?))?
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
    r"(?:[-+*/^<\u00d7\u00f7\u00b1\u221a\u2264\u2265][({\[\s]* | (?<!\bboxed)(?<=[\w)])[(\[{])\s*\Z",
    re.VERBOSE,
)

_TIMES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}


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
    `1e3`, `$15`, `-$15`, `15 %`, `\u22125` and `2 million` (which is multiplied) are read.

    None of texts without a number, with several, with more than 1,000 characters, and where a number has two
    readings or is still to be computed: `1,5`, `1/2`, `(7)` (seven, or minus seven in an account), `- 5`,
    `10^3`, `12:30`, `three`.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    text = _EQUALS.split(_plain(text))[-1].strip()
    found = _NUMBER.search(text)
    if found is None or (text.startswith("(") and text.endswith(")")):
        return None
    before, after = text[: found.start()], text[found.end() :]
    if _has_number(before) or _has_number(after) or _is_computed(before, after):
        return None
    if (next_one := after.lstrip()[:1]).isnumeric() and not next_one.isalpha():  # as in 5² and 1 ½
        return None
    signs = found["sign"] + (found["inner"] or "")
    if len(signs) > 1:
        return None
    unit = _UNIT.match(after)
    return _quantity(found, "-" if signs == "-" else "", unit["unit"].strip(QUOTES) if unit else "")


def _plain(text: str) -> str:
    """Take away what only marks a text up: Markdown, and the signs of LaTeX."""
    # Two blanks, so that 1**234 does not become one number.
    text = _BACKSLASH.sub("", text.translate(_MINUS_SIGNS)).replace("**", "  ").strip().strip(QUOTES)
    return text.strip("$") if text.startswith("$") and text.endswith("$") else text


def _has_number(text: str) -> bool:
    return any(one.isdecimal() for one in _WORD_DIGIT.sub("", text))


def _is_computed(before: str, after: str) -> bool:
    """Say whether a sign or a function changes the number, as in `- 5`, `-(5)`, `sqrt(16)` and `5 + x`."""
    return bool(_OPERATOR_BEFORE.search(before)) or after.lstrip()[:1] in {*"+*^\u00d7\u00f7"}


def _quantity(found: re.Match[str], sign: str, unit: str) -> Quantity:
    whole = "".join(filter(str.isdecimal, found["grouped"] or found["whole"] or "0"))
    first, _, rest = unit.partition(" ")
    times = _TIMES.get(first.casefold())
    exponent = int(found["exponent"] or 0) + (times or 0)
    # A Decimal that is made of a text is exact, however many digits it has; arithmetic would round it.
    value = Decimal(f"{sign}{whole}.{found['decimals'] or '0'}E{exponent}")
    return Quantity(value=value, unit=found["before"] or (unit if times is None else rest.strip()))


def plain_decimal(value: Decimal) -> str:
    """Write a number without an exponent, nor zeros that say nothing: 12.50 is 12.5, and -0 is 0."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if value == 0 else text
