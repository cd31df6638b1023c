"""Lists the files of a source, and the rows of a JSONL file, without holding them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["text", "html", "pdf", "jsonl"]

KINDS: Mapping[str, Kind] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
KNOWN = ", ".join(KINDS)
BLOCK_BYTES = 1 << 16
UTF8_MARK = b"\xef\xbb\xbf"


class DocumentsError(ValueError):
    """A source of documents as a whole cannot be used; the message is one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One file of a source."""

    path: Path
    id: str
    """Its path from the folder on, with "/"; of a single file its name."""
    problem: str | None = None
    """Why it is not to be opened."""


def find(source: Path) -> Iterator[Found]:
    """Return the files of a source in a fixed order.

    Raises:
        DocumentsError: There is no such path, it is a single file of no known kind, or a folder without one
            of a known kind; at once, before the first file is asked for.
    """
    try:
        is_folder, exists = source.is_dir(), source.exists()
    except OSError as error:
        raise DocumentsError(f"{source} cannot be read: {error.strerror or error}") from error
    if not exists:
        raise DocumentsError(f"there is no {source}; give the path of a document or of a folder of them")
    if is_folder:
        return _in_folder(source)
    if source.suffix.lower() not in KINDS:
        raise DocumentsError(f"{source}: the ending tells the kind, and it must be one of {KNOWN}")
    if not source.is_file():
        raise DocumentsError(f"{source} is neither a file nor a folder")
    return iter([Found(path=source, id=source.name)])


def _in_folder(folder: Path) -> Iterator[Found]:
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise DocumentsError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    if not any(found.path.suffix.lower() in KINDS for found in _walk(folder)):
        raise DocumentsError(f"the folder {folder} holds no document; known endings are {KNOWN}")
    return _walk(folder)


def _walk(folder: Path) -> Iterator[Found]:
    """Yield what lies below a folder, sorted; links are followed, into each folder once."""
    entered = set[tuple[int, int]]()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(folder).as_posix()
        try:
            if not path.is_dir():
                yield Found(path=path, id=name, problem=_problem(path))
                continue
            status = path.stat()
            below = [] if (status.st_dev, status.st_ino) in entered else os.listdir(path)  # noqa: PTH208
        except OSError as error:
            yield Found(path=path, id=name, problem=f"it cannot be read: {error.strerror or error}")
            continue
        entered.add((status.st_dev, status.st_ino))
        waiting += [path / each for each in sorted(below, reverse=True) if not each.startswith(".")]


def _problem(path: Path) -> str | None:
    if path.suffix.lower() not in KINDS:
        return f"its ending {path.suffix!r} is of no known kind; known are {KNOWN}"
    if not path.exists():
        return "it is a link to a file that is not there"
    return None if path.is_file() else "it is no regular file"


def json_lines(path: Path, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield (number from 1, line) of every line that is not blank; None in place of one too long.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            is_whole = len(line) <= max_bytes or line.endswith(b"\n")
            if not is_whole:
                _skip_line(file)
                yield number, None
                continue
            if number == 1:
                line = line.removeprefix(UTF8_MARK)
            if line.strip():
                yield number, line


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(BLOCK_BYTES)) and not rest.endswith(b"\n"):
        pass
