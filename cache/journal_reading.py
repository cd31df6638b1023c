"""Reads journals, whoever was killed while writing them and whatever later versions put into them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cache.errors import NoSuchRunError

NEWEST = "last"
"""In place of a name: the run that began last."""


@dataclass(slots=True)
class Rows:
    """The rows of a journal, as they are iterated over; what is no row is counted and left out.

    A line that was cut off by a kill is no row; everything before and after it is.
    """

    lines: Iterable[bytes]
    unreadable: int = field(default=0, init=False)
    """Lines left out so far."""

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Yield the rows in the order in which they were written."""
        for line in self.lines:
            try:
                row: object = json.loads(line)
            except (ValueError, RecursionError):
                self.unreadable += bool(line.strip())
                continue
            if isinstance(row, dict) and isinstance(cast("dict[str, object]", row).get("event"), str):
                yield cast("dict[str, object]", row)
            else:
                self.unreadable += 1


def journal_files(folder: Path) -> list[Path]:
    """Return the journals in a folder, the run that began last first."""
    files = [path for path in folder.glob("*.jsonl") if path.is_file()]
    return sorted(files, key=lambda path: (_began(path), path.name), reverse=True)


def find_journal(folder: Path, name: str) -> Path:
    """Return the journal of a run, by the run's name, the beginning of it, or `last`.

    Raises:
        NoSuchRunError: None is called so, or several are.
    """
    files = journal_files(folder)
    if name == NEWEST and files:
        return files[0]
    fitting = [path for path in files if path.stem.startswith(name)]
    exact = [path for path in fitting if path.stem == name]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    if fitting:
        several = ", ".join(path.stem for path in fitting[:3])
        raise NoSuchRunError(f"{len(fitting)} runs begin with {name!r} ({several}); give more of the name")
    raise NoSuchRunError(f"no run called {name!r} has a journal in {folder}; `vllm-flows run list` names all")


def _began(path: Path) -> float:
    with path.open("rb") as lines:
        for row in Rows(lines):
            time = row.get("time")
            return float(time) if isinstance(time, int | float) else 0.0
    return 0.0
