"""The file of a result: JSON that git can compare line by line, on a machine that is named."""

import json
import os
from pathlib import Path

from bench.result_file import machine, write_result


def test_a_result_is_json_of_lines_in_a_folder_that_need_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / "results" / "one.json"
    write_result({"about": "one", "runs": [1, 2]}, path)
    assert json.loads(path.read_text()) == {"about": "one", "runs": [1, 2]}
    assert path.read_text().endswith("]\n}\n")
    write_result({}, path)
    assert path.read_text() == "{}\n"


def test_machine_is_told_with_its_cores() -> None:
    assert machine().endswith(f", {os.cpu_count()} cores")
