"""Files of prompts: the same rows from every format, and a place for everything that is wrong."""

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch import parquet
from tasks.batch.files import MAX_PROBLEMS, read_batches, read_rows, scan
from tasks.batch.rows import InputError, Layout

RECORDS = [{"id": "a", "prompt": 'Hi, "you"\nthere'}, {"id": "b", "prompt": "Grüße \u2028 x"}]


def written(path: Path) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in RECORDS))
        case ".csv":
            path.write_text('\ufeffid,prompt\na,"Hi, ""you""\nthere"\nb,Grüße \u2028 x\n', encoding="utf-8")
        case _:
            pq.write_table(pa.Table.from_pylist(RECORDS), str(path))
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    rows = list(read_rows(written(tmp_path / f"x{ending}"), Layout()))
    assert [dict(row.columns) for row in rows] == RECORDS
    assert [row.prompt for row in rows] == [one["prompt"] for one in RECORDS]
    assert [row.number for row in rows] == [1, 2]


def test_rows_come_in_batches_of_which_the_last_is_shorter(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}"}}\n\n' for n in range(7)))
    batches = list(read_batches(path, Layout(), 3))
    assert [[row.prompt for row in batch] for batch in batches] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert [row.place for row in itertools.chain(*batches)][:3] == ["line 1", "line 3", "line 5"]


def test_every_bad_row_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"prompt": "x"}\n{"prompt": \n[1]\n{"prompt": "\xff"}\n{"n": NaN}\n{"n": 1e999}\n')
    found = scan(path, Layout())
    assert (found.rows, found.bad) == (6, 5)
    expected = ["line 2: it is no JSON", "line 3: it is no JSON object", "line 4: it is no UTF-8 text"]
    expected += ["line 5: it is no JSON: nan is no number", "line 6: it is no JSON: 1e999 is no number"]
    for problem, said in zip(found.problems, expected, strict=True):
        assert problem.casefold().startswith(said.casefold())


def test_problems_are_counted_beyond_those_that_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("[]\n" * (MAX_PROBLEMS + 5))
    found = scan(path, Layout())
    assert (found.bad, len(found.problems)) == (MAX_PROBLEMS + 5, MAX_PROBLEMS)


def test_a_row_of_csv_that_does_not_fit_its_header_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,prompt\n1,a\n2\n3,a,b\n")
    assert scan(path, Layout()).problems == (
        "line 3: it has 1 fields, and the header has 2",
        "line 4: it has 3 fields, and the header has 2",
    )


def test_a_long_field_of_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt\n" + "x" * 300_000 + "\n")
    [row] = read_rows(path, Layout())
    assert len(row.prompt or "") == 300_000


def test_columns_have_the_kind_that_all_their_values_share(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    first = {"prompt": "x", "i": 1, "f": 1, "b": True, "mix": 1, "list": [1], "none": None, "big": 2**70}
    second = {"prompt": "y", "i": 2, "f": 0.5, "b": False, "mix": "1", "late": "z"}
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    assert dict(scan(path, Layout()).columns) == {
        "prompt": "text", "i": "int", "f": "float", "b": "bool", "mix": "json", "list": "json",
        "none": "text", "big": "json", "late": "text",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", b"", "must be one of .jsonl, .ndjson, .csv, .parquet"),
        ("x.jsonl", b"\n \n", "holds no row"),
        ("x.csv", b"id,id\n1,2\n", "two columns have one name"),
        ("x.csv", b"prompt\n\xff\n", "cannot be read"),
        ("x.csv", b'prompt\n"a"b\n', "line 2: "),
        ("x.parquet", b"PAR1", "is no Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        scan(path, Layout())
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: .*No such file"):
        scan(tmp_path / "x.jsonl", Layout())


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "x.parquet")
    monkeypatch.setattr(parquet, "find_spec", lambda _name: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(InputError, match=r"pip install -r requirements/parquet\.txt"):
        scan(path, Layout())
