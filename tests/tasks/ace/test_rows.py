import pytest

from tasks.ace.rows import RowError, field_text, filled_text, other_fields


def test_fields_are_read_as_texts() -> None:
    row = {"a": "x", "b": 2, "c": 0.5, "d": True, "e": ["é", 1], "f": None}
    assert [field_text(row, name, "1") for name in "abcde"] == ["x", "2", "0.5", "true", '["é", 1]']
    assert other_fields(row, {"a", "e"}) == {"b": "2", "c": "0.5", "d": "true"}


@pytest.mark.parametrize("row", [{}, {"answer": None}, {"answer": " "}, {"answer": ""}])
def test_a_field_that_is_missing_is_named_with_its_row(row: dict[str, object]) -> None:
    with pytest.raises(RowError, match=r"row 17 has no.* field 'answer'"):
        field_text(row, "answer", "17")
    assert filled_text(row, "answer") is None
