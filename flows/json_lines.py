"""Files of JSON lines that several runs write: a line that a crash has cut off is left out, not an error."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

Row = Mapping[str, object]


def append_row(path: Path, row: Row) -> None:
    """Append a line of JSON; what a crash has left of a line before it stays a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        end = file.tell()
        file.seek(max(0, end - 1))
        separator = b"" if file.read() in {b"", b"\n"} else b"\n"
        file.write(separator + json.dumps(row).encode() + b"\n")


def read_rows(path: Path) -> list[dict[str, object]]:
    """Return the lines that can be read; none where there is no file."""
    rows: list[dict[str, object]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found: object = json.loads(line)
            if isinstance(found, dict):
                rows.append(cast("dict[str, object]", found))
    return rows
