"""Answer files: the same records in every format, and a whole file or none."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backends.messages import Response
from tasks.batch.files import Kind
from tasks.batch.outputs import OutputLayout, check_output, open_output, output_layout
from tasks.batch.questions import Answer
from tasks.batch.rows import InputError, Row

COLUMNS: dict[str, Kind] = {"id": "text", "text": "text", "n": "int", "x": "float", "tags": "json"}
ANSWERS = [
    Answer(
        row=Row(number=1, place="", columns={"id": "a", "text": "in", "n": 1, "x": 1, "tags": [1, "é"]}),
        sample=0,
        response=Response(text="out\n", finish_reason="stop"),
        json={"k": 1},
    ),
    Answer(row=Row(number=2, place="", columns={"text": "\ud800"}), sample=0, error="E: no", failure="E"),
]


def write(path: Path, layout: OutputLayout) -> Path:
    with open_output(path, layout.kinds) as add:
        add([layout.record(answer) for answer in ANSWERS])
    return path


def test_a_record_has_its_row_its_columns_and_its_answer() -> None:
    layout = output_layout(COLUMNS, None, "m")
    first, second = (layout.record(answer) for answer in ANSWERS)
    assert list(first) == list(layout.kinds) == list(second)
    assert first == {
        "row": 1, "id": "a", "sample": 0, "input_text": "in", "n": 1, "x": 1, "tags": [1, "é"],
        "text": "out\n", "reasoning": None, "logprobs": None, "json": {"k": 1}, "finish_reason": "stop",
        "model": "m", "error": None,
    }  # fmt: skip
    assert (second["id"], second["text"], second["error"]) == ("2", None, "E: no")


def test_columns_are_kept_by_choice() -> None:
    layout = output_layout(COLUMNS, ["n"], "m")
    assert layout.kept == {"n": "n"}
    assert output_layout(COLUMNS, [], "m").kept == {}
    with pytest.raises(InputError, match="keep_columns names 'm'"):
        output_layout(COLUMNS, ["m"], "m")
    with pytest.raises(InputError, match="rename one"):
        output_layout({"text": "text", "input_text": "text"}, None, "m")


def test_every_format_holds_the_same(tmp_path: Path) -> None:
    layout = output_layout(COLUMNS, None, "m")
    lines = write(tmp_path / "a.jsonl", layout).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[0] == layout.record(ANSWERS[0])
    with write(tmp_path / "a.csv", layout).open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert table[0]["tags"] == '[1, "é"]'
    assert (table[0]["text"], table[1]["text"], table[1]["error"]) == ("out\n", "", "E: no")
    columnar = pq.read_table(str(write(tmp_path / "a.parquet", layout))).to_pylist()
    assert (columnar[0]["x"], columnar[0]["n"], columnar[0]["json"]) == (1.0, 1, '{"k": 1}')
    assert (columnar[1]["x"], columnar[1]["json"], columnar[1]["input_text"]) == (None, None, "\\ud800")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.jsonl"
    path.parent.mkdir()
    path.write_text("before")
    with pytest.raises(TypeError), open_output(path, {}) as add:
        add([{"row": 1}, {"row": object()}])
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    long = tmp_path / f"{'long' * 60}.jsonl"
    for path in (
        tmp_path / "a.txt", tmp_path / "file" / "a.jsonl", tmp_path / "a.csv", long, Path("/proc/no/a.csv"),
    ):  # fmt: skip
        (tmp_path / "a.csv").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=str(path)):
            check_output(path)
    check_output(tmp_path / "new" / "folder" / "a.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "a.csv"}
