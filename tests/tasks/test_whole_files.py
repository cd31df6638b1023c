"""Files that are there whole or not at all, whatever happens while they are written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.whole_files import replacing, write_whole


def test_a_file_that_cannot_be_written_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "before")
    with pytest.raises(TypeError), replacing(path) as partial, partial.open("w") as file:
        json.dump(["half", object()], file)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, "after")
    assert path.read_text() == "after"


@pytest.mark.parametrize("name", ["a.jsonl", "a[1].jsonl"])
def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path, name: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leftover = tmp_path / f"{name}.{dead.pid}.partial"
    of_others = [tmp_path / f"{name}.{os.getppid()}.partial", tmp_path / f"b.jsonl.{dead.pid}.partial"]
    for path in [leftover, *of_others]:
        path.touch()
    write_whole(tmp_path / name, "")
    assert not leftover.exists()
    assert all(path.exists() for path in of_others)
