"""A journal survives its writers, lines of several do not mix, and a torn line costs only itself."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from cache.errors import NoSuchRunError, StoreUnavailableError
from cache.journal import FileJournal
from cache.journal_reading import Rows, find_journal, journal_files

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from cache.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
number = 0
while True:
    journal.write([{"event": "call", "writer": sys.argv[2], "number": number + i} for i in range(50)])
    number += 50
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "run.jsonl"


def rows_of(path: Path) -> tuple[list[dict[str, object]], int]:
    with path.open("rb") as lines:
        rows = Rows(lines)
        return list(rows), rows.unreadable


def writer(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


# --- writing --------------------------------------------------------------------------------------------


def test_rows_are_lines_of_json_with_their_time(path: Path) -> None:
    FileJournal(path, clock=lambda: 12.3456).write(
        [{"event": "call", "task": "caf\u00e9\n"}, {"event": "end"}]
    )
    assert path.read_text(encoding="utf-8") == (
        '{"time":12.346,"event":"call","task":"caf\u00e9\\n"}\n{"time":12.346,"event":"end"}\n'
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_half_a_surrogate_pair_is_no_obstacle(path: Path) -> None:
    FileJournal(path).write([{"event": "call", "task": "\ud83d"}])
    assert [row["task"] for row in rows_of(path)[0]] == ["\ud83d"]


def test_no_rows_make_no_file(path: Path) -> None:
    FileJournal(path).write([])
    assert not path.exists()


def test_closing_forgets_nothing(path: Path) -> None:
    journal = FileJournal(path)
    for number in range(2):
        journal.write([{"event": "call", "number": number}])
        journal.close()
    assert [row["number"] for row in rows_of(path)[0]] == [0, 1]


def test_a_journal_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("no folder")
    with pytest.raises(StoreUnavailableError, match=r"run\.jsonl cannot be written"):
        FileJournal(tmp_path / "journal" / "run.jsonl").write([{"event": "end"}])


def test_a_short_write_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write

    def part(file: int, data: bytes) -> int:
        return whole(file, data[:10])

    monkeypatch.setattr(os, "write", part)
    FileJournal(path).write([{"event": "call", "number": number} for number in range(3)])
    assert len(rows_of(path)[0]) == 3


def test_whoever_goes_on_after_a_kill_begins_a_line_of_its_own(path: Path) -> None:
    FileJournal(path).write([{"event": "run"}])
    with path.open("ab") as file:
        file.write(b'{"time":1.0,"event":"call","ta')
    FileJournal(path).write([{"event": "run", "again": True}])
    rows, unreadable = rows_of(path)
    assert [row.get("again") for row in rows] == [None, True]
    assert unreadable == 1


def test_lines_of_two_processes_do_not_mix_and_a_kill_loses_nothing_written(path: Path) -> None:
    writers = [writer(path, name) for name in "ab"]
    said = [0, 0]
    try:
        for _ in range(20):
            for place, process in enumerate(writers):
                assert process.stdout
                said[place] = int(process.stdout.readline())
    finally:
        for process in writers:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=20)
    rows, unreadable = rows_of(path)
    assert unreadable <= 2  # each may have been killed in the middle of its last line
    for name, number in zip("ab", said, strict=True):
        written = [row["number"] for row in rows if row["writer"] == name]
        assert written == list(range(len(written)))
        assert len(written) >= number


# --- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "torn",
    [
        b'{"time":1.0,"eve',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"17",
        b"null",
        b'{"time": 2}',
        b'{"event": 3}',
        b"{" * 50,
    ],
)
def test_what_is_no_row_is_counted_and_costs_only_itself(torn: bytes) -> None:
    rows = Rows([b'{"event":"a"}\n', torn + b"\n", b"\n", b'{"event":"b"}'])
    assert [row["event"] for row in rows] == ["a", "b"]
    assert rows.unreadable == 1


def test_every_cut_of_a_journal_can_be_read(path: Path) -> None:
    FileJournal(path).write([{"event": "call", "number": number} for number in range(3)])
    whole = path.read_bytes()
    for end in range(len(whole)):
        rows = Rows(whole[:end].splitlines(keepends=True))
        numbers = [row["number"] for row in rows]
        assert numbers == list(range(len(numbers)))
        assert whole[:end].count(b"\n") <= len(numbers)


def runs(folder: Path, names: Iterable[str]) -> None:
    for began, name in enumerate(names):
        FileJournal(folder / f"{name}.jsonl", clock=lambda now=float(began): now).write([{"event": "run"}])


def test_a_run_is_found_by_its_name_its_beginning_or_as_the_last(tmp_path: Path) -> None:
    runs(tmp_path, ["abc", "abd", "b", "bc", "a0"])
    FileJournal(tmp_path / "abc.jsonl").write([{"event": "end"}])  # written last, but did not begin last
    assert [path.stem for path in journal_files(tmp_path)] == ["a0", "bc", "b", "abd", "abc"]
    for name, found in {"abc": "abc", "a0": "a0", "b": "b", "bc": "bc", "last": "a0"}.items():
        assert find_journal(tmp_path, name).stem == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ab", r"2 runs begin with 'ab' \(abd, abc\); give more"),
        ("x", r"no run called 'x' has a journal in .*; `vllm-flows run list` names all"),
        ("../store", "no run called"),
    ],
)
def test_a_run_that_is_not_one_is_refused(tmp_path: Path, name: str, message: str) -> None:
    runs(tmp_path, ["abc", "abd"])
    with pytest.raises(NoSuchRunError, match=message):
        find_journal(tmp_path, name)


def test_without_journals_there_is_no_last_run(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRunError):
        find_journal(tmp_path / "nowhere", "last")


def test_a_journal_that_holds_nothing_is_listed_last(tmp_path: Path) -> None:
    runs(tmp_path, ["one", "two"])
    (tmp_path / "zzz.jsonl").write_bytes(b"")
    (tmp_path / "yyy.jsonl").write_text(json.dumps({"event": "run", "time": "yesterday"}))
    assert [path.stem for path in journal_files(tmp_path)] == ["two", "zzz", "yyy", "one"]
