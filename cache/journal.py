"""What a run did, line by line: every look into the store and every HTTP request, as JSON lines."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from cache.errors import StoreUnavailableError

Row = Mapping[str, object]

_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Journal(Protocol):
    """Takes rows of plain JSON."""

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows; when it returns they survive the death of this process."""
        ...


class NoJournal:
    """Keeps nothing."""

    def write(self, rows: Iterable[Row]) -> None:
        """Forget the rows."""


class FileJournal:
    """One file for one run; several processes may add to it.

    All rows of one call are one write to a file opened for appending, so lines of several writers do not mix.

    Args:
        path: Made with its folder when first written, readable by its owner only.
        clock: Seconds since 1970, the field `time` of every row.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._file: int | None = None

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows.

        Raises:
            StoreUnavailableError: The file cannot be written.
        """
        now = round(self._clock(), 3)
        lines = "".join(f"{_written({'time': now, **row})}\n" for row in rows)
        if not lines:
            return
        left = lines.encode(errors="backslashreplace")  # half a surrogate pair, as JSON writes it
        try:
            with self._lock:
                while left:  # a disk that is nearly full takes a part, and refuses the rest
                    left = left[os.write(self._opened(), left) :]
        except OSError as error:
            raise StoreUnavailableError(f"the journal {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file; writing opens it again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _opened(self) -> int:
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # whoever wrote here before was killed in the middle of a line
        return self._file
