"""How SQLite's files are opened apart from diskcache, and how its errors are told in a sentence."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import diskcache

from cache.errors import StoreDamagedError, StoreUnavailableError

DATABASE = "cache.db"

_PRIMARY = 0xFF  # SQLite's extended result codes keep the primary one in the last byte
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_PLACE_FOR_LOCKS = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


def connect_reading(database: Path, *, untouched: bool = False) -> sqlite3.Connection:
    """Open a database so that nothing in it can change.

    Args:
        database: It is not made when missing.
        untouched: Leave no files beside it, which SQLite otherwise does for locks. Where somebody writes
            at the same time it locks all the same; where somebody begins to write, seals tell.

    Raises:
        sqlite3.Error: It is missing, cannot be read, or is no database.
        StoreUnavailableError: What has the names of a store's tables in it computes its rows.
    """
    log = database.with_name(f"{database.name}-wal")
    if untouched and not log.exists():
        return _opened(database, "immutable=1")
    try:
        return _opened(database, "mode=ro")
    except sqlite3.Error as error:
        if primary_code(error) not in _NO_PLACE_FOR_LOCKS or (log.exists() and log.stat().st_size):
            raise
        return _opened(database, "immutable=1")  # a folder, or a disk, that is read only


def connect_writing(database: Path, wait_seconds: float) -> sqlite3.Connection:
    """Open a database that is there, with transactions begun and ended by hand.

    Raises:
        sqlite3.Error: It is missing or cannot be opened.
    """
    uri = f"{database.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=wait_seconds, isolation_level=None)


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code; 0 for errors of Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether the bytes of the database are wrong, or cannot be read from the disk."""
    return primary_code(error) in _DAMAGE | {sqlite3.SQLITE_IOERR}


@contextmanager
def explained(directory: Path, verb: str) -> Generator[None]:
    """Turn what SQLite, diskcache and the system raise into one sentence.

    Raises:
        StoreUnavailableError: Any of them was raised.
    """
    try:
        yield
    except (sqlite3.Error, diskcache.Timeout, OSError) as error:
        cause = _first_cause(error)
        what = f"the store in {directory} cannot be {verb}: {str(cause) or type(cause).__name__}"
        if isinstance(cause, sqlite3.Error):
            if _is_of_the_file(cause):
                raise StoreDamagedError(
                    f"{what}; `vllm-flows cache verify` says what is damaged and what to do"
                ) from error
            if primary_code(cause) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StoreUnavailableError(
                    f"{what}; another process is writing, so try again when it is done"
                ) from error
        raise StoreUnavailableError(
            f"{what}; make room, mend the permissions, or name another place in VLLM_FLOWS_STORE"
        ) from error


def _opened(database: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
    try:
        connection.text_factory = _lenient
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be anybody's
        connection.execute("PRAGMA cell_size_check = ON")
        _look_at(connection)
        _refuse_views(connection, database)
    except (sqlite3.Error, StoreUnavailableError):
        connection.close()
        raise
    return connection


def _look_at(connection: sqlite3.Connection) -> None:
    look = "SELECT 1 FROM sqlite_master LIMIT 1"
    try:
        connection.execute(look).fetchall()
    except sqlite3.Error as error:
        if primary_code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        # Nothing is written here: this lets SQLite read what is left of a file that was cut short.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(look).fetchall()


def _refuse_views(connection: sqlite3.Connection, database: Path) -> None:
    """Refuse a view or a virtual table in place of a store's table: it may have rows without an end."""
    for name in ("Cache", "Settings"):
        # The first is what SQLite made of the schema, whatever that says; before 3.37 it returns nothing.
        kinds = [row[2] for row in connection.execute(f"PRAGMA main.table_list({name})")]
        written = connection.execute(
            "SELECT type FROM sqlite_master WHERE lower(name) = lower(?)", (name,)
        ).fetchall()
        if {*kinds, *(kind for (kind,) in written)} & {"view", "virtual"}:
            raise StoreUnavailableError(
                f"the store in {database.parent} cannot be opened: its database is of another program; "
                "name another folder in VLLM_FLOWS_STORE"
            )


def _lenient(text: bytes) -> str:
    return text.decode(errors="replace")


def _first_cause(error: Exception) -> Exception:
    """Return the error before a failed ROLLBACK: SQLite has rolled back by itself when the disk is full."""
    while isinstance(error.__context__, sqlite3.Error):
        error = error.__context__
    return error


def _is_of_the_file(error: sqlite3.Error) -> bool:
    """Say whether the file is to blame: damaged pages, missing tables, text that is none."""
    code = primary_code(error)
    return code in _DAMAGE or not code or (code == sqlite3.SQLITE_ERROR and "no such" in str(error))
