import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.claims import claims_of, plain_number, stem
from tests.tasks.ace.playbooks import texts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Round to 2 decimals", "Round to two decimals"),
        ("It costs 1,000.50 dollars", "It costs $ 1000.5"),
        ("5 km", "5 kilometres"),
        ("15 %", "15 percent"),
        ("Never round early", "Do not round early"),
        ("Don\u2019t round early", "Don't round early"),
        ("ALWAYS round at the end", "Always round at the end"),
        ("Compute NPV", "compute npv"),
        ("Subtract A from B", "From B, subtract A"),
        ("When x rises, y falls", "y falls when x rises"),
        ("For bonds, count days, because it is late", "Because it is late: for bonds, count days"),
        ("To get the ratio, divide. Round it.", "Divide to get the ratio. Round it."),
        ("the bond\u2019s date", "the date of the bond"),
        ("a \u00d7 b \u00f7 c \u2265 d", "a * b / c >= d"),
        ("a well-known follow-up - here", "a well-known follow-up \u2212 here"),
        ("Great!", "Great."),
    ],
)
def test_the_same_claims_in_other_words_agree(one: str, other: str) -> None:
    assert claims_of(one).agree(claims_of(other))


DIFFERENT = [
    ("Round to 2 decimals", "Round to 3 decimals"),
    ("Round to two decimals", "Round to three decimals"),
    ("Multiply by 3, divide by 5", "Multiply by 5, divide by 3"),
    ("It is -5 degrees", "It is 5 degrees"),
    ("It costs 5", "It costs 5 %"),
    ("up to 5 million", "up to 5 thousand"),
    ("heavier than 20 kg", "heavier than 20 lb"),
    ("at most 5 m", "at most 5 h"),
    ("5 M of cash", "5 m of cash"),
    ("the annual rate", "the monthly rate"),
    ("the price in $", "the price in \u20ac"),
    ("Round early", "Do not round early"),
    ("Multiply quorls by 3.5 to get litres.", "It is wrong that: Multiply quorls by 3.5 to get litres."),
    ("Round the rate early", "It is a mistake to round the rate early"),
    ("Dues double at night", "It is false that dues double at night"),
    ("Round early, do not estimate", "Estimate, do not round early"),
    ("Pay with tax", "Pay without tax"),
    ("Arredonde no fim", "N\u00e3o arredonde no fim"),
    ("\u8981\u56db\u820d\u4e94\u5165", "\u4e0d\u8981\u56db\u820d\u4e94\u5165"),
    ("Use FIFO here", "Use LIFO here"),
    ("Tag it as FaceAmount", "Tag it as CarryingAmount"),
    ("the variable tax_rate", "the variable tax_base"),
    ("report of Q1", "report of Q2"),
    ("goods from zone A", "goods from zone B"),
    ("Round up", "Round down"),
    ("before multiplying", "after multiplying"),
    ("The taxable part", "The untaxable part"),
    ("Prices fall when yields rise", "Prices rise when yields fall"),
    ("Divide cost by revenue", "Divide revenue by cost"),
    ("opening balance from closing balance", "closing balance from opening balance"),
    ("day/month", "month/day"),
    ("miles to kilometres", "kilometres to miles"),
    ("x = a - b", "x = b - a"),
    (
        "Put net income in the numerator and total equity in the denominator",
        "Put total equity in the numerator and net income in the denominator",
    ),
    ("the figure of row A and of column B", "the figure of row B and of column A"),
    ("Subtract the dividends from the income", "Subtract the preferred dividends from the income"),
    ("The customer pays the carrier", "The carrier pays the customer"),
    ("Refunds exceed fees", "Fees exceed refunds"),
    ("Sum A, then B", "Sum B, then A"),
    ("Read the table and write the sum", "Write the sum and read the table"),
    ("When x rises, y falls", "When y falls, x rises"),
    ("Before rounding, convert", "Before converting, round"),
    ("the bond's issuer", "the issuer's bond"),
    ("2 - x of it", "x - 2 of it"),
    ("x = a-b", "x = b-a"),
    ("profit = revenue - cost", "profit = revenue + cost"),
    ("FV / (1 + r)^t", "FV * (1 + r)^t"),
    ("if weight >= limit", "if weight <= limit"),
    ("if weight > limit", "if weight \u2265 limit"),
    ("a+b below the line", "a-b below the line"),
    ("answer +x", "answer -x"),
    ("n-x of them", "n of them, x of those"),
    ("the value is !flag", "the value is flag"),
    ("compare by ==", "compare by ="),
    ("x**2 is the area", "x*2 is the area"),
    ("km -> miles", "miles -> km"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_claims_do_not_agree(one: str, other: str) -> None:
    assert not claims_of(one).agree(claims_of(other))
    assert not claims_of(other).agree(claims_of(one))


def test_a_number_has_one_form() -> None:
    assert [plain_number(one) for one in ("1,000", "0.50", "0,5", "12,34", "1.2.30", "000")] == [
        "1000", "0.5", "0.5", "12.34", "1.2.30", "0",
    ]  # fmt: skip


def test_a_minus_between_digits_is_no_sign() -> None:
    assert claims_of("2024-01-05, pages 5-10, (-3), =-4").numbers == ("2024", "1", "5", "10", "-3", "-4")


def test_endings_do_not_count() -> None:
    words = ("multiply", "multiplies", "multiplied", "multiplying")
    assert {stem(one) for one in words} == {"multipl"}
    assert {stem(one) for one in ("percentages", "percentage")} == {"percentag"}
    assert {stem(one) for one in ("use", "uses")} == {"use"}


def test_a_word_of_nothing_but_endings_is_read() -> None:
    for word in ("s", "ing", "ations", "e"):
        assert claims_of(word * 2000).agree(claims_of(word * 2000))


@given(st.one_of(texts(), st.text(max_size=60)))
def test_any_text_agrees_with_itself_whatever_its_case(text: str) -> None:
    assert claims_of(text).agree(claims_of(text))
    assert claims_of(text).agree(claims_of(f" {text}\n"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_agreement_goes_both_ways(one: str, other: str) -> None:
    assert claims_of(one).agree(claims_of(other)) == claims_of(other).agree(claims_of(one))


def test_a_text_without_end_is_read_in_one_go() -> None:
    assert len(claims_of("no by x5 " * 50_000).names) == 1
