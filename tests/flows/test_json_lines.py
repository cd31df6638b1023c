"""Files of JSON lines that may have been cut off anywhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.json_lines import append_row, read_rows


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "nothing.jsonl") == []


def test_what_is_no_object_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n7\nnull\n[1]\n\n{"b": 2}\n', encoding="utf-8")
    assert read_rows(path) == [{"a": 1}, {"b": 2}]


@given(cut=st.integers(1, 10))
def test_whatever_a_crash_has_left_the_next_line_stands_on_its_own(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "deep" / "lines.jsonl"
    append_row(path, {"é": 1})
    append_row(path, {"b": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    append_row(path, {"c": 3})
    append_row(path, {"d": 4})
    assert [row for row in read_rows(path) if "b" not in row][-2:] == [{"c": 3}, {"d": 4}]
    assert read_rows(path)[0] == {"é": 1}
