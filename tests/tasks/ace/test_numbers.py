from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.numbers import MAX_CHARACTERS, plain_decimal, read_quantity

READ = {
    "about 1,250.50 kg": ("1250.50", "kg"),
    "-3": ("-3", ""),
    "+5": ("5", ""),
    "\u22125": ("-5", ""),
    "15.0 %": ("15", "%"),
    "15\\%": ("15", "%"),
    "$15": ("15", "$"),
    "-$5": ("-5", "$"),
    "$-5": ("-5", "$"),
    "$ 1.5 million": ("1500000", "$"),
    "2 thousand crates": ("2000", "crates"),
    "1 234": ("1234", ""),
    "12\u202f345\u202f678.9 t": ("12345678.9", "t"),
    "3.14.": ("3.14", ""),
    ".5": ("0.5", ""),
    "1e3": ("1000", ""),
    "1e-3": ("0.001", ""),
    "12kg.": ("12", "kg"),
    "12 m2": ("12", "m2"),
    "5 s^-1": ("5", "s^-1"),
    "5 \u00b0C": ("5", "\u00b0C"),
    "CO2: 5": ("5", ""),
    "**42**": ("42", ""),
    "$\\boxed{42}$": ("42", ""),
    "2 + 2 = 4 crowns": ("4", "crowns"),
    "It is **-12** kg": ("-12", "kg"),
    "the length (12 m)": ("12", "m"),
    "12 (twelve)": ("12", ""),
    "12 crowns per day, as agreed": ("12", "crowns per day"),
    "minus 5": ("-5", ""),
    "It is negative 5 kg": ("-5", "kg"),
    "minus $5": ("-5", "$"),
    "5 hundred": ("500", ""),
    "5 hundred thousand crates": ("500000", "crates"),
    "5M": ("5000000", ""),
    "5 M": ("5000000", ""),
    "5k": ("5000", ""),
    "5K": ("5000", ""),
    "5 K": ("5", "K"),
    "5 bn": ("5000000000", ""),
    "5B": ("5000000000", ""),
    "5 B": ("5", "B"),
    "$5M": ("5000000", "$"),
    "\u00a35m": ("5000000", "\u00a3"),
    "5 m": ("5", "m"),
    "5 million/year": ("5000000", ""),
    "USD 5": ("5", "USD"),
    "US$5": ("5", "US$"),
    "-US$5": ("-5", "US$"),
    "eur 5k": ("5000", "eur"),
    "\u20115": ("-5", ""),
    "A -> 5": ("5", ""),
    "so => -5": ("-5", ""),
    "The total is 12 kg.": ("12", "kg"),
    "The log has 5 lines in it": ("5", "lines in it"),
    "The power is 5 kW": ("5", "kW"),
    "I am not sure. It is 5 m.": ("5", "m"),
    "a 5-day trip": ("5", ""),
}


@pytest.mark.parametrize("text", READ)
def test_a_number_is_read_with_its_unit(text: str) -> None:
    value, unit = READ[text]
    read = read_quantity(text)
    assert read is not None
    assert (read.value, read.unit) == (Decimal(value), unit)


NOT_READ = [
    *(
        "2**3",
        "1**234",
        "1\\2",
        "-(5)",
        "- ( 5",
        "sqrt(16)",
        "\\sqrt{16}",
        "\\frac{1}{2}",
        "\u221a16",
        "5 + x",
    ),
    *("not 5", "It is not exactly 5.", "It isn't 5", "5 is wrong", "5 isn't right", "never 5", "5 is not it"),
    *(
        "less than 5",
        "fewer than 5",
        "more than 5",
        "at least 5",
        "at most 5",
        "up to 5",
        "over 5",
        "above $5",
    ),
    *("less than or equal to 5", "<= 5", ">= 5", "> 5", "!= 5", "\u2260 5", "5 or more", "5 kg at most"),
    *("half of 5", "half 5", "a third of 5", "twice 5", "double the 5", "minus half of 5", "5 halves"),
    *("5 factorial", "5!", "factorial of 5", "log 5", "ln 5", "square root of 5", "sqrt 5", "5 squared"),
    *("minus -5", "minus minus 5", "minus about 5", "5-", "5 -", "5 - x", "5 minus x", "5 less than x"),
    *(
        "5 and a half",
        "five hundred and 5",
        "5 hundred and six",
        "point 5",
        "5 point five",
        "5 dozen",
        "5 or six",
    ),
    *("5 degrees below zero", "5 times x", "x times 5", "5 tenths"),
    *("\u00b1 5", "< 5", "-$-5", "1_0 5", "\u0663 5"),
    *("", "three", "NaN", "inf", "-Infinity", "1e999999", "1e100", "0x1F", "1_000", "\u0663", "\ud800"),
    *(
        "(7)",
        "1/2",
        "1,5",
        "1,0000",
        "- 5",
        "--5",
        "12:30",
        "2024-05-01",
        "1.2.3",
        "10^3",
        "5\u00b2",
        "1\u00bd",
    ),
    *(
        "10 \u00bd",
        "12 5",
        "12 or 13",
        "12 (or 13)",
        "3-5",
        "4 hours 30",
        "1_0 5",
        "\u0663 5",
        "-$-5",
        "2 + 2",
        "((((7))))",
        "__import__",
    ),
]


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_no_number_or_has_two_readings_is_not_read(text: str) -> None:
    assert read_quantity(text) is None


@pytest.mark.parametrize(
    "text", ["9" * 10**6, "(" * 10**6, "1," * 10**6, "1 " * 500, "-" * 10**6, "1e" * 600]
)
def test_a_text_without_end_is_not_read(text: str) -> None:
    assert read_quantity(text) is None


def test_a_long_number_is_read_digit_by_digit() -> None:
    digits = "123456789" * 20
    read = read_quantity(f"{digits}.{digits}")
    assert read is not None
    assert plain_decimal(read.value) == f"{digits}.{digits}"
    assert read_quantity("1" * MAX_CHARACTERS) is not None


@given(st.text(max_size=60) | st.text(alphabet="0123456789.,-+eE%$ ()=/^", max_size=40))
def test_no_text_is_an_error(text: str) -> None:
    read = read_quantity(text)
    assert read is None or read.value.is_finite()


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12))
def test_numbers_are_read_however_they_are_written(value: Decimal) -> None:
    for text in (plain_decimal(value), f"{value:,}", f"{value:,} kg", f"It is {value}."):
        read = read_quantity(text)
        assert read is not None
        assert read.value == value


@pytest.mark.parametrize(
    ("value", "plain"), [("12.50", "12.5"), ("-0", "0"), ("1E+3", "1000"), ("1000", "1000"), ("0.000", "0")]
)
def test_a_number_is_written_without_what_says_nothing(value: str, plain: str) -> None:
    assert plain_decimal(Decimal(value)) == plain
