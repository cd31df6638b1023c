import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.bullets import MAX_NUMBER, Counts, likeness_key, number_of

COUNTS = st.builds(
    Counts,
    helpful=st.integers(0, 9),
    harmful=st.integers(0, 9),
    born=st.integers(0, 9),
    used=st.integers(0, 9),
)


@pytest.mark.parametrize(
    ("bullet_id", "number"),
    [("calc-00007", 7), ("a b-3", 3), ("a-999999999999", MAX_NUMBER), ("a-1000000000000", None), ("a", None)],
)
def test_the_number_of_an_id_is_at_its_end(bullet_id: str, number: int | None) -> None:
    assert number_of(bullet_id) == number


def test_case_and_blanks_make_no_other_text() -> None:
    assert likeness_key(" Use  THE\tformula ") == likeness_key("use the formula")
    assert likeness_key("use the formulas") != likeness_key("use the formula")


@given(COUNTS, COUNTS, COUNTS)
def test_counts_are_added_in_any_order(one: Counts, other: Counts, third: Counts) -> None:
    assert one + other == other + one
    assert (one + other) + third == one + (other + third)
    assert (one + other).helpful == one.helpful + other.helpful
    assert (one + other).harmful == one.harmful + other.harmful
    assert (one + other).net == one.net + other.net
    assert ((one + other).born, (one + other).used) == (min(one.born, other.born), max(one.used, other.used))


def test_a_vote_is_counted_and_its_step_noted() -> None:
    counts = Counts(helpful=1, harmful=1, used=3)

    assert counts.tagged("helpful", 5) == Counts(helpful=2, harmful=1, used=5)
    assert counts.tagged("harmful", 2) == Counts(helpful=1, harmful=2, used=3)
    assert counts.tagged("neutral", 4) == Counts(helpful=1, harmful=1, used=4)


def test_counts_never_have_more_digits_than_are_read_again() -> None:
    most = Counts(helpful=MAX_NUMBER, harmful=MAX_NUMBER)

    assert most + most == most
    assert most.tagged("helpful", 0) == most.tagged("harmful", 0) == most
