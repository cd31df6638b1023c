"""Which folder is a store, and of which version: store.json says it, and older stores are recognised."""

import json
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import cast

from cache.errors import StoreUnavailableError
from cache.keys import Key
from cache.sealing import is_key, unseal
from cache.sqlite_files import DATABASE, connect_reading

FORMAT = "vllm-flows store"
VERSION = 1
"""Raised when a program of today could misread what is written; see docs/store-format.md."""

MARKER = "store.json"
_SAMPLE_ROWS = 100


def check_format(directory: Path) -> bool:
    """Make sure that a folder is a store that this program can read, or holds no database yet.

    Returns:
        Whether it says so itself; False for stores from before versions were written, and for new folders.

    Raises:
        StoreUnavailableError: It is of a newer version, of another program, or store.json is damaged.
        OSError: It cannot be read.
        sqlite3.Error: Its database cannot be read.
    """
    if _is_marked(directory):
        return True
    # Whoever makes a store writes store.json first: a database without it, after a second look, is older.
    if (directory / DATABASE).exists() and not _is_marked(directory) and not _is_unversioned(directory):
        raise StoreUnavailableError(
            f"the store in {directory} cannot be opened: its database is of another program; "
            "name another folder in VLLM_FLOWS_STORE"
        )
    return _is_marked(directory)


def mark(directory: Path) -> None:
    """Write store.json, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    descriptor, partial = tempfile.mkstemp(dir=directory, prefix=MARKER)  # readable by the owner only
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps({"format": FORMAT, "version": VERSION}) + "\n")
        Path(partial).replace(directory / MARKER)
    finally:
        Path(partial).unlink(missing_ok=True)


def _is_marked(directory: Path) -> bool:
    try:
        text = (directory / MARKER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        written: object = json.loads(text)
    except (ValueError, RecursionError):
        written = None
    marker = cast("dict[str, object]", written) if isinstance(written, dict) else {}
    version = marker.get("version")
    if marker.get("format") != FORMAT or type(version) is not int or version < 1:
        raise StoreUnavailableError(
            f"{directory / MARKER} is not what this program writes; if the folder is its store, remove that "
            "file (the store is then recognised by its entries), else name another one in VLLM_FLOWS_STORE"
        )
    if version > VERSION:
        raise StoreUnavailableError(
            f"the store in {directory} is of version {version} and this program reads up to {VERSION}; "
            "update the program, or name another folder in VLLM_FLOWS_STORE"
        )
    return True


def _is_unversioned(directory: Path) -> bool:
    """Recognise a store from before versions by its settings and by seals that nobody else could write."""
    with closing(connect_reading(directory / DATABASE, untouched=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchall():
            return True  # an empty file: a process died while it made the store
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"Cache", "Settings"} <= names:
            return False
        rows = connection.execute(
            "SELECT key, value FROM Cache WHERE raw = 1 LIMIT ?", (_SAMPLE_ROWS,)
        ).fetchall()
        settings: dict[object, object] = dict(connection.execute("SELECT key, value FROM Settings"))
    if rows:
        return any(is_key(key) and unseal(Key(key), value) is not None for key, value in rows)
    return settings.get("eviction_policy") == "none" and settings.get("cull_limit") == 0
