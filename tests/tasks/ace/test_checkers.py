from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.ace.checkers import (
    CHECKERS,
    MAX_FOLDED_CHARACTERS,
    Auto,
    Date,
    Exact,
    Finer,
    Formula,
    Number,
    accuracy,
    read_date,
)
from tasks.ace.values import Score
from tests.tasks.ace.vectors import needs_vectors, vector, vectors

TARGETS = ["Monday", "15 %", "15.5", "2024-01-31", "A,B,C,D", "", "nan", "inf", "1e999999", "\ud800"]
HOSTILE = [
    *("", " ", "NaN", "nan", "inf", "-inf", "1e999999", "1e400", "\ud800", "\udfff1", "\x00", "(" * 1_000),
    *("[" * 10**6, "9" * 10**6, "A," * 500_000, "a\u0300\u0316" * 300_000, "1 " * 500_000, "\u20281", "--5"),
    *("2024-" * 200_000, "%" * 200, "9999-99-99", "1" + "0" * 400, "__import__('os').abort()", "1_0", "٣"),
]


@needs_vectors
def test_formula_is_judged_as_published() -> None:
    for one in vectors("formula_correct"):
        answer, target = one["in"]
        assert Formula().check(answer, target).is_correct is one["ref_out"], one["in"]


@needs_vectors
def test_finer_is_judged_as_published() -> None:
    for one in vectors("finer_correct"):
        answer, target = one["in"]
        score = Finer().check(answer, target)
        assert [score.is_correct, score.right, score.total] == one["ref_out"], one["in"]


@needs_vectors
def test_accuracy_is_that_of_finer() -> None:
    one = vector("finer_accuracy")
    scores = [Finer().check(answer, target) for answer, target in zip(*one["in"], strict=True)]
    assert accuracy(scores) == one["ref_out"]


def test_accuracy_weighs_rows_by_their_parts() -> None:
    assert accuracy([Score(right=1), Score(right=0, total=3)]) == 0.25
    assert accuracy([]) == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CHECKERS)
def test_no_answer_is_an_error(name: str, target: str) -> None:
    checker = CHECKERS[name]()
    for answer in HOSTILE:
        score = checker.check(answer, target)
        assert 0 <= score.right <= score.total
        assert isinstance(checker.normal(answer), str)
        checker.check(target, answer)


@pytest.mark.parametrize("name", ["formula", "number"])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "9" * 2_000])
def test_what_has_no_end_is_not_even_equal_to_itself(name: str, text: str) -> None:
    assert not CHECKERS[name]().check(text, text).is_correct


@given(
    st.sampled_from(sorted(CHECKERS)),
    st.text(alphabet="0123456789.,-$% '*kgms", max_size=20),
)
def test_an_answer_and_its_normal_form_are_one(name: str, answer: str) -> None:
    checker = CHECKERS[name]()
    normal = checker.normal(answer)
    assert checker.normal(normal) == normal


@pytest.mark.parametrize(
    "answer", ["Monday", " monday. ", "MONDAY", "\u201cMonday\u201d", "**Monday**", "Monday\u00a0"]
)
def test_texts_are_compared_folded(answer: str) -> None:
    assert Exact().check(answer, "Monday").is_correct
    assert Exact().normal(answer) == "monday"


def test_other_texts_are_wrong() -> None:
    assert not Exact().check("Tuesday", "Monday").is_correct
    assert not Exact().check("", "Monday").is_correct
    assert not Exact().check("5\u00b2", "52").is_correct


RIGHT = [
    *(
        ("1,250.5", "1250.50"),
        ("about 12 kg", "12 kg"),
        ("12 kg", "12"),
        ("24 Hours", "24 hour"),
        ("3 km", "3 km"),
    ),
    *(("15%", "15 %"), ("15 percent", "15%"), ("0.15", "15%"), ("15%", "0.15"), ("15%", "15")),
    *(("USD 7", "7"), ("7 dollars", "$7"), ("$7", "7 USD"), ("10 US dollars", "$10")),
    *(("minus 5", "-5"), ("12 h", "12 hours"), ("12 hrs", "12 h"), ("3 feet", "3 ft"), ("1 foot", "1 feet")),
    *(("5 kilometers", "5 km"), ("5 kilometres", "5 km"), ("5 Km", "5 km"), ("2 litres", "2 L")),
    *(("2 liters", "2 l"), ("3 minutes", "3 min"), ("3 sec", "3 seconds"), ("4 metres", "4 m")),
    *(("4 kilograms", "4 kg"), ("US$5", "$5"), ("USD 5", "$5"), ("5 US$", "$5"), ("5 per cent", "5%")),
    *(("5 kilometers per hour", "5 km/h"), ("20 degrees Celsius", "20 \u00b0C"), ("5 thousand", "5000")),
    *(("$5M", "$5 million"), ("5 crowns per day", "5 crown per days")),
]
WRONG = [
    *(("12", "13"), ("12 g", "12 kg"), ("12", "12 kg"), ("5 mW", "5 MW"), ("15", "15%"), ("0.15%", "15%")),
    *(("15.0000001", "15"),),
    *(("minus 5", "5"), ("5k", "5"), ("5M", "5"), ("$5M", "$5"), ("5 bn", "5"), ("5 m", "5 min")),
    *(("5 M", "5 m"), ("5 K", "5 k"), ("not 5", "5"), ("half of 5", "5"), ("5-", "5"), ("EUR 5", "$5")),
    *(("5 s", "5 h"), ("5 pounds", "\u00a35"), ("5 km per hour", "5 km")),
    *(("fifteen", "15"), ("15 or 16", "15"), ("15", "fifteen"), ("15", "0.15")),
]


@pytest.mark.parametrize(("answer", "target"), RIGHT)
def test_a_number_is_right_whatever_its_form(answer: str, target: str) -> None:
    assert Number().check(answer, target).is_correct


@pytest.mark.parametrize(("answer", "target"), WRONG)
def test_another_number_or_unit_is_wrong(answer: str, target: str) -> None:
    assert not Number().check(answer, target).is_correct


def test_a_number_may_differ_by_a_tolerance() -> None:
    absolute = CHECKERS["number"](tolerance=0.01)
    assert absolute.check("15.01", "15").is_correct
    assert not absolute.check("15.011", "15").is_correct
    relative = CHECKERS["number"](relative_tolerance="0.01")
    assert relative.check("-202", "-200").is_correct
    assert not relative.check("-203", "-200").is_correct


@pytest.mark.parametrize(
    "options", [{"tolerance": -1}, {"tolerance": "nan"}, {"relative_tolerance": 1}, {"x": 1}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CHECKERS["number"](**options)


def test_only_the_beginning_of_a_text_is_looked_at() -> None:
    for checker in CHECKERS.values():
        assert len(checker().normal("a\u0300" * 10**6)) <= MAX_FOLDED_CHARACTERS
    assert read_date(f"{'x ' * 200}2024-01-31") is None
    assert not Formula().check(f"{'0' * 2_000}15", "15").is_correct


def test_what_formula_takes_for_wrong_has_another_normal_form() -> None:
    assert Formula().normal("'4'") != Formula().normal("4") == Formula().normal("4.00")


def test_numbers_have_one_normal_form() -> None:
    assert {Number().normal(text) for text in ("1,250.50 kg", "1250.5 kg", "It is 1 250.5 kg.")} == {
        "1250.5 kg"
    }
    assert Number().normal("15 percent") == "15 %"
    assert Number().normal("Three!") == "three!"


@pytest.mark.parametrize(
    "text",
    [
        *("2024-01-31", "2024/1/31", "31.1.2024", "1/31/2024", "31 January 2024", "Jan 31st, 2024"),
        *("Wednesday, 31 Jan. 2024", "the 31st of January, 2024", "It is 2024-01-31.", "31 January\n2024"),
        *("31-Jan-2024", "31-January-2024", "31/Jan/2024", "2024\u201101\u201131", "31\u2011Jan\u20112024"),
        *("I was not sure. It is 2024-01-31.", "The day after the feast is 2024-01-31"),
    ],
)
def test_a_day_is_read_in_its_common_forms(text: str) -> None:
    assert read_date(text) == "2024-01-31"
    assert Date().check(text, "2024-01-31").is_correct
    assert Date().normal(text) == "2024-01-31"


@pytest.mark.parametrize(
    "text",
    [
        *("03/04/2024", "2024-02-30", "2024-01-31 or 2024-02-01", "January 2024", "31 January"),
        *("12024-01-31", "", "not 2024-01-31", "It is not the 31 January 2024", "It isn't 31-Jan-2024"),
        *("after 2024-01-31", "the day before 2024-01-31", "2024-01-31 or later", "2024-01-31 + 1 day"),
        *("2024-01-31 is wrong", "2024-01-31 and not 2024-01-31"),
    ],
)
def test_what_names_no_day_or_several_is_no_date(text: str) -> None:
    assert read_date(text) is None
    assert not Date().check(text, text).is_correct


@given(
    st.dates(min_value=date(1000, 1, 1)), st.sampled_from(["%d %B %Y", "%B %d, %Y", "%b %d %Y", "%Y/%m/%d"])
)
def test_any_day_is_read(day: date, form: str) -> None:
    assert read_date(f"on {day.strftime(form)}.") == day.isoformat()


@given(st.dates(min_value=date(1000, 1, 1)), st.sampled_from(["%d/%m/%Y", "%m.%d.%Y", "%d-%m-%Y"]))
def test_a_day_in_digits_is_read_where_its_order_can_be_told(day: date, form: str) -> None:
    can_tell = day.day > 12 or day.day == day.month
    assert read_date(day.strftime(form)) == (day.isoformat() if can_tell else None)


@given(
    st.from_regex(r"[0-9]{1,4}(st|th)?[ ./-]([0-9]{1,2}|feb|Sept.|of may)[ ./,-][0-9]{1,4}", fullmatch=True)
)
def test_what_looks_like_a_day_is_one_or_none(text: str) -> None:
    read = read_date(text)
    assert read is None or date.fromisoformat(read)


def test_the_kind_of_an_answer_is_that_of_its_target() -> None:
    auto = Auto()
    assert auto.check("31 January 2024", "2024-01-31").is_correct
    assert auto.check("98.60", "98.6").is_correct
    assert auto.check("monday.", "Monday").is_correct
    assert not auto.check("5", "Room 5").is_correct
    assert not auto.check("2024", "2024-01-31").is_correct


@given(st.lists(st.sampled_from(["A", "B", "C"]), min_size=1, max_size=6), st.integers(0, 8))
def test_finer_cuts_what_is_too_much_and_takes_what_is_missing_for_wrong(tags: list[str], count: int) -> None:
    given_tags = [*tags, "X", "Y", "Z"][:count] if count else [""]
    score = Finer().check(" , ".join(given_tags).lower(), ",".join(tags))
    assert score == Score(right=min(count, len(tags)), total=len(tags))
