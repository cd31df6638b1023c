"""Values that can be compared, and texts that have none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.normalizers import NORMALIZERS, normalize_date


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("January 5, 2024", "2024-01-05"),
        ("5 January 2024", "2024-01-05"),
        ("Jan. 5,\n 2024", "2024-01-05"),
        ("5th day of January, 2024", "2024-01-05"),
        ("the 1st day of May 2012", "2012-05-01"),
        ("Sept. 11, 2001", "2001-09-11"),
        ("DECEMBER 31ST, 1999", "1999-12-31"),
        ("2024-01-05", "2024-01-05"),
        ("2024/01/05", "2024-01-05"),
        ("13/04/2024", "2024-04-13"),
        ("04/13/2024", "2024-04-13"),
        ("05/05/2024", "2024-05-05"),
        ("03/04/2024", None),
        ("3.4.2024", None),
        ("5 Jan 24", None),
        ("January 2024", None),
        ("2024", None),
        ("March 3", None),
        ("31 February 2020", None),
        ("99/99/2020", None),
        ("yesterday", None),
        ("between 1 May 2020 and 2 May 2020", None),
        ("the Effective Date", None),
        ("", None),
    ],
)
def test_a_date_is_a_day_or_nothing(text: str, day: str | None) -> None:
    assert NORMALIZERS["date"](text) == day


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$1.2 million", "USD 1200000"),
        ("US$ 1,000", "USD 1000"),
        ("$1,000.00", "USD 1000"),
        ("$ 0.5", "USD 0.50"),
        ("EUR 3.000,50", "EUR 3000.50"),
        ("3.000,50 euros", "EUR 3000.50"),
        ("€3.000", "EUR 3000"),
        ("$1.234 million", "USD 1234000"),
        ("$1,234 million", "USD 1234000000"),
        ("EUR 1,5 billion", "EUR 1500000000"),
        ("1 000 000 dollars", "USD 1000000"),
        ("CHF 1'000.25", "CHF 1000.25"),
        ("R$ 77.123,45", "BRL 77123.45"),
        ("£1,234,567.891", "GBP 1234567.8910"),
        ("$25-million", "USD 25000000"),
        ("20 million U.S. dollars", "USD 20000000"),
        ("$5m", "USD 5000000"),
        ("$0.125", "USD 0.1250"),
        ("$0.001234 thousand", "USD 1.2340"),
        ("US$5 dollars", "USD 5"),
        ("€5 dollars", None),
        ("1,000", None),
        ("¥100", None),
        ("$1,00,000.1.2", None),
        ("$1,0000,000", None),
        ("$5 to $10", None),
        ("ten dollars", None),
        ("$", None),
        ("", None),
    ],
)
def test_an_amount_is_a_currency_and_a_number_or_nothing(text: str, amount: str | None) -> None:
    assert NORMALIZERS["amount"](text) == amount


@pytest.mark.parametrize(
    "text", ["347 U.S. 483 (1954)", "347 U. S. 483 (1954)", "347 US 483 (1954)", " 347  U.S.\n483 (1954)."]
)
def test_one_citation_has_one_form(text: str) -> None:
    assert NORMALIZERS["citation"](text) == "347 US 483 (1954)"


@pytest.mark.parametrize(
    ("text", "citation"),
    [
        ("Brown v. Board of Educ. , 347 U.S. 483", "Brown v Board of Educ, 347 US 483"),
        ("1 F.Supp.2d 3", "1 F Supp 2d 3"),
        ("1 F. Supp. 2d 3", "1 F Supp 2d 3"),
        ("17 C.F.R. § 240.10b-5", "17 CFR § 240.10b-5"),
        (" . ", None),
    ],
)
def test_periods_and_blanks_of_a_citation(text: str, citation: str | None) -> None:
    assert NORMALIZERS["citation"](text) == citation


def test_capitals_and_blanks() -> None:
    assert NORMALIZERS["upper"](" Straße\n 1 ") == "STRASSE 1"
    assert NORMALIZERS["whitespace"](" Acme\u00a0 Corp.\n") == "Acme Corp."
    assert NORMALIZERS["upper"]("\t") is None
    assert NORMALIZERS["whitespace"]("") is None


@given(st.sampled_from(sorted(set(NORMALIZERS) - {"date"})), st.text("0123456789.,$€ aUSmilon'v-()\n"))
def test_what_is_normal_stays_as_it_is(name: str, text: str) -> None:
    found = NORMALIZERS[name](text)
    assert found is None or NORMALIZERS[name](found) == found


@given(st.text())
def test_no_text_is_refused_with_an_error(text: str) -> None:
    for normalize in NORMALIZERS.values():
        value = normalize(text)
        assert value is None or isinstance(value, str)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2020-12-31", "2020-12-31"),
        ("2020/1/2", "2020-01-02"),
        ("2020-13-01", None),
        ("2020-31-12", None),
        ("2021.02.29", None),
        ("13-04-1100", "1100-04-13"),  # no offset from UTC
        ("04/13/1100", "1100-04-13"),
        ("01.01.1000", "1000-01-01"),
        ("03-04-1100", None),
        ("31.02.2020", None),
    ],
)
def test_days_in_digits(text: str, day: str | None) -> None:
    assert normalize_date(text) == day
