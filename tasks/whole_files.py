"""Files that appear whole or not at all."""

import glob
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def partial_of(path: Path) -> Path:
    """Return where this process writes a file before it is whole."""
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a path to write to, which takes the place of another when the block ends without an error."""
    _remove_leftovers(path)
    partial = partial_of(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _remove_leftovers(path: Path) -> None:
    """Remove what processes have left that were killed while they wrote this file."""
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        pid = leftover.name.removesuffix(".partial").rpartition(".")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            with suppress(FileNotFoundError):
                leftover.unlink()
