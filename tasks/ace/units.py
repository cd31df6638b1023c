"""One name for each way of writing a unit."""

import re

SYMBOL_LETTERS = 3
"""Of a unit in which capitals matter, as in mW and MW."""

CODES = ("US$", "USD", "EUR", "GBP", "JPY", "CNY", "CHF", "INR", "CAD", "AUD")
"""Currencies that may stand before a number, as their signs do."""

_PHRASES = {
    **dict.fromkeys(("per cent",), "%"),
    **dict.fromkeys(("us dollar", "u.s. dollar"), "$"),
    **dict.fromkeys(("pound sterling",), "£"),
    **dict.fromkeys(("degree celsius", "degree c"), "\u00b0C"),
    **dict.fromkeys(("degree fahrenheit", "degree f"), "\u00b0F"),
    **dict.fromkeys(("metric ton",), "t"),
}

_WORDS = {
    **dict.fromkeys(("percent", "pct"), "%"),
    **dict.fromkeys(("usd", "us$", "dollar"), "$"),
    **dict.fromkeys(("eur", "euro"), "€"),
    **dict.fromkeys(("gbp",), "£"),
    **dict.fromkeys(("inr", "rupee"), "₹"),
    **dict.fromkeys(("second", "sec", "secs"), "s"),
    **dict.fromkeys(("minute", "min", "mins"), "min"),
    **dict.fromkeys(("hour", "hr", "hrs"), "h"),
    **dict.fromkeys(("inch", "inches"), "in"),
    **dict.fromkeys(("foot", "feet", "ft"), "ft"),
    **dict.fromkeys(("yard", "yd", "yds"), "yd"),
    **dict.fromkeys(("mile", "mi"), "mi"),
    **dict.fromkeys(("millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre", "cm"), "cm"),
    **dict.fromkeys(("meter", "metre"), "m"),
    **dict.fromkeys(("kilometer", "kilometre", "km", "kms"), "km"),
    **dict.fromkeys(("milligram", "milligramme"), "mg"),
    **dict.fromkeys(("gram", "gramme"), "g"),
    **dict.fromkeys(("kilogram", "kilogramme", "kilo", "kg", "kgs"), "kg"),
    **dict.fromkeys(("tonne",), "t"),
    **dict.fromkeys(("pound", "lb", "lbs"), "lb"),
    **dict.fromkeys(("ounce", "oz"), "oz"),
    **dict.fromkeys(("milliliter", "millilitre", "ml"), "ml"),
    **dict.fromkeys(("liter", "litre"), "l"),
    **dict.fromkeys(("celsius", "\u00b0c"), "\u00b0C"),
    **dict.fromkeys(("fahrenheit", "\u00b0f"), "\u00b0F"),
}
"""{written without capitals, in the singular: its name}; symbols that capitals tell apart are not here."""

_SYMBOLS = {"L": "l"}


def unit_name(unit: str) -> str:
    """Return one name for the ways of writing a unit: `percent` is `%`, `Hours` `h`; `mW` is not `MW`."""
    return "/".join(_part(one) for one in re.split(r"\s*/\s*|\s+per\s+(?!cent\b)", unit))


def _part(text: str) -> str:
    words = [_singular(word) for word in text.split()]
    phrase = " ".join(words)
    return _PHRASES.get(phrase.casefold()) or " ".join(_word(word) for word in words)


def _singular(word: str) -> str:
    plain = word.casefold()
    return word if len(word) <= SYMBOL_LETTERS or plain in _WORDS else plain.removesuffix("s")


def _word(word: str) -> str:
    return _WORDS.get(word.casefold()) or _SYMBOLS.get(word, word)
