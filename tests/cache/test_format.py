"""A folder is opened only where it is a store of this program, and of a version that it can read."""

import json
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import diskcache
import pytest

from cache.disk_store import BytesDisk, DiskStore
from cache.errors import StoreUnavailableError
from cache.format import check_format
from cache.reading import StoreReader
from tests.helpers import some_key

ONE = some_key("one")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = DiskStore(tmp_path / "store")
    store.put({ONE: b"1"})
    store.close()
    return tmp_path / "store"


def refusal(folder: Path) -> str:
    """Open a store for writing and for reading, and return the one sentence of both."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    sentences: set[str] = set()
    for opened in (DiskStore, StoreReader):
        with pytest.raises(StoreUnavailableError) as caught:
            opened(folder)
        sentences.add(str(caught.value))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    [sentence] = sentences
    return sentence


def test_a_store_says_what_it_is(folder: Path) -> None:
    assert json.loads((folder / "store.json").read_text()) == {"format": "vllm-flows store", "version": 1}
    assert check_format(folder)
    assert stat.S_IMODE((folder / "store.json").stat().st_mode) == 0o600


def test_a_store_of_before_versions_is_recognised_read_and_marked(folder: Path) -> None:
    (folder / "store.json").unlink()
    with StoreReader(folder, untouched=True) as source:
        assert [source.read(row) for row in source.rows()] == [b"1"]
    assert not (folder / "store.json").exists()  # a reader marks nothing
    assert DiskStore(folder).get([ONE]).entries == {ONE: b"1"}
    assert check_format(folder)


def test_an_empty_store_of_before_versions_is_recognised(tmp_path: Path) -> None:
    diskcache.Cache(str(tmp_path), disk=BytesDisk, eviction_policy="none", cull_limit=0).close()
    DiskStore(tmp_path).put({ONE: b"1"})
    assert check_format(tmp_path)


def test_a_database_that_was_copied_alone_is_recognised(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(folder / "cache.db", tmp_path / "copy")
    assert DiskStore(tmp_path / "copy").get([ONE]).entries == {ONE: b"1"}


def test_a_newer_store_is_refused(folder: Path) -> None:
    (folder / "store.json").write_text(json.dumps({"format": "vllm-flows store", "version": 2}))
    assert refusal(folder) == (
        f"the store in {folder} is of version 2 and this program reads up to 1; "
        "update the program, or name another folder in VLLM_FLOWS_STORE"
    )


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS rowid, x AS key FROM n"


@pytest.mark.parametrize(
    "statements",
    [
        [f"CREATE VIEW Cache AS {ENDLESS}"],
        [f"CREATE VIEW cache AS {ENDLESS}", "CREATE TABLE Settings (key, value)"],
        ["CREATE TABLE Cache (key, value)", f"CREATE VIEW Settings AS {ENDLESS}"],
        [
            f"CREATE VIEW Cache AS {ENDLESS}",
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET type = 'table', name = 'x', tbl_name = 'x'",
        ],
        ["CREATE VIRTUAL TABLE Cache USING fts5(key, value)"],
    ],
)
@pytest.mark.parametrize("is_marked", [True, False])
def test_a_database_that_computes_its_rows_is_refused_before_any_is_read(
    folder: Path,
    statements: list[str],
    is_marked: bool,  # noqa: FBT001
) -> None:
    (folder / "cache.db").unlink()
    if not is_marked:
        (folder / "store.json").unlink()
    with closing(sqlite3.connect(folder / "cache.db")) as database, database:
        for statement in statements:
            database.execute(statement)
    assert "its database is of another program" in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"format": "another", "version": 1}',
        '{"format": "vllm-flows store"}',
        '{"format": "vllm-flows store", "version": 0}',
        '{"format": "vllm-flows store", "version": true}',
        '{"format": "vllm-flows store", "version": "1"}',
        '{"format": "vllm-flows store", "version": 1.0}',
    ],
)
def test_a_damaged_marker_is_refused_and_mended_by_removing_it(folder: Path, text: str) -> None:
    (folder / "store.json").write_text(text)
    assert "store.json is not what this program writes; if the folder is its store, remove" in refusal(folder)
    (folder / "store.json").unlink()
    assert DiskStore(folder).get([ONE]).entries == {ONE: b"1"}


@pytest.mark.parametrize("filled", [True, False])
def test_the_cache_of_another_program_is_refused_and_left_alone(tmp_path: Path, filled: bool) -> None:  # noqa: FBT001
    other = diskcache.Cache(str(tmp_path))
    if filled:
        other.set(ONE, b"bytes under a key that looks like ours")
    other.close()
    tmp_path.chmod(0o755)
    assert "its database is of another program; name another folder" in refusal(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_store_that_is_being_made_by_another_process_is_no_stranger(tmp_path: Path) -> None:
    """The marker is written before there is a database, and an empty database is nobody's."""
    (tmp_path / "cache.db").touch()
    DiskStore(tmp_path).put({ONE: b"1"})
    assert check_format(tmp_path)


def test_where_there_is_no_store_a_reader_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"there is no store in .*; name its folder"):
        StoreReader(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
