"""Files that users write by hand."""

from pathlib import Path

import pytest

from tasks.written_files import read_written


class OwnError(ValueError):
    """Of who reads."""


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", '{"a": [1]}'), ("a.yaml", "a:\n- 1\n"), ("a.yml", '\ufeff{"a": [1]}'), ("a", "a: [1]")],
)
def test_yaml_and_json_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_written(tmp_path / name, "task", OwnError) == {"a": [1]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"a: 1"),
        ("a.yaml", b"a: [1"),
        ("a.yaml", b"\xff\xfe\xff"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []"),
        ("a.json", b"[" * 100_000),
        ("a.json", rb'["\ud800"]'),
        ("a.yaml", rb'a: "\ud800"'),
    ],
)
def test_what_cannot_be_read_is_an_error_of_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OwnError, match=r"is no task that can be read: .*; give YAML or JSON$") as caught:
        read_written(tmp_path / name, "task", OwnError)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_too(tmp_path: Path) -> None:
    with pytest.raises(OwnError, match="No such file"):
        read_written(tmp_path / "nowhere.yaml", "spec", OwnError)
