"""A store is looked into, checked and made smaller without a wrong answer for anybody who uses it."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import diskcache
import pytest

from cache.admin import Freed, Limits, collect, estimate, faults
from cache.disk_store import DiskStore
from cache.errors import CorruptEntryError, StoreUnavailableError
from cache.keys import Key
from cache.reading import Order, StoreReader
from tests.helpers import some_key

NOW = 1_800_000_000.0
DAY = 86_400.0


def check(value: bytes) -> None:
    if value.startswith(b"?"):
        raise CorruptEntryError("no answer")


def nothing(value: bytes) -> bool:
    del value
    return False


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskStore:
    """Ten entries of 10 KB; entry `i` was stored `i` days ago."""
    store = DiskStore(tmp_path / "store")
    for days in range(10):
        monkeypatch.setattr(time, "time", lambda days=days: NOW - days * DAY)
        store.put({key(days): bytes([days]) * 10_000})
    monkeypatch.setattr(time, "time", lambda: NOW)
    return store


def key(days: int) -> Key:
    return some_key(days)


def left(store: DiskStore) -> list[int]:
    return [days for days in range(10) if store.get([key(days)]).entries]


def change(store: DiskStore, statement: str, *values: object) -> None:
    """Change a row behind the store's back."""
    with closing(sqlite3.connect(store.directory / "cache.db")) as database, database:
        assert database.execute(statement, values).rowcount == 1


def faults_of(store: DiskStore) -> dict[str, str]:
    with StoreReader(store.directory) as source:
        return {fault.row.name: fault.reason for fault in faults(source, check)}


# --- looking --------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_that_is_asked_for(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        newest = [row.key for row in source.rows(Order.NEWEST)]
        assert newest == [key(days) for days in range(10)]
        assert [row.key for row in source.rows(Order.OLDEST)] == newest[::-1]
        assert [row.key for row in source.rows()] == sorted(key(days) for days in range(10))


def test_a_row_says_when_it_was_stored_and_how_large_it_is(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        [row] = source.find(key(3))
        assert (row.stored_at, row.size_bytes, source.read(row)) == (NOW - 3 * DAY, 10_016, b"\x03" * 10_000)


def test_more_rows_than_a_page_are_all_listed_once(tmp_path: Path) -> None:
    entries = {some_key(number): b"x" for number in range(2500)}
    store = DiskStore(tmp_path)
    store.put(entries)
    with StoreReader(tmp_path) as source:
        assert [row.key for row in source.rows()] == sorted(entries)


def test_a_listing_is_of_one_moment(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        rows = source.rows(Order.OLDEST)
        first = next(rows)
        store.put({some_key("new"): b"x", key(0): b"another"})
        assert len([first, *rows]) == 10


def test_a_prefix_finds_what_begins_with_it(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        assert [row.key for row in source.find(key(4)[:10])] == [key(4)]
        assert source.find("0" * 20) == []
        assert len(source.find("")) == 2
        assert len(source.find("", limit=100)) == 10


def test_the_extent_adds_up(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        extent = source.extent()
    assert (extent.rows, extent.value_bytes) == (10, 100_160)
    assert (extent.oldest, extent.newest) == (NOW - 9 * DAY, NOW)
    assert extent.value_bytes < extent.used_bytes < 2 * extent.value_bytes


def test_a_reader_can_change_nothing(store: DiskStore) -> None:
    with StoreReader(store.directory) as source, pytest.raises(sqlite3.OperationalError, match="readonly"):
        source._connection.execute("DELETE FROM Cache")  # pyright: ignore[reportPrivateUsage]


# --- checking -------------------------------------------------------------------------------------------


def test_an_intact_store_has_no_faults(store: DiskStore) -> None:
    assert faults_of(store) == {}
    with StoreReader(store.directory) as source:
        assert source.problems() == []


def test_every_kind_of_damage_is_found_and_can_be_removed(store: DiskStore) -> None:
    change(store, "UPDATE Cache SET value = zeroblob(10016) WHERE key = ?", key(0))
    change(store, "UPDATE Cache SET value = CAST(value AS TEXT) WHERE key = ?", key(1))
    change(store, "UPDATE Cache SET value = NULL WHERE key = ?", key(2))
    change(store, "UPDATE Cache SET key = 'no key' WHERE key = ?", key(3))
    change(store, "UPDATE Cache SET key = ?, store_time = 'never' WHERE key = ?", some_key("else"), key(4))
    store.put({key(5): b"? no answer"})
    stranger = diskcache.Cache(str(store.directory))
    stranger.set(("a", "pickled", "key"), b"x")
    stranger.close()
    bad = "its bytes do not have their digest"
    found = faults_of(store)
    assert found == {
        **dict.fromkeys([key(0), key(1), key(2), some_key("else")], bad),
        key(5): "it is intact, but no answer that this version can read",
        "row 4": "it is not of this program",
        "row 11": "it is not of this program",
    }
    with StoreReader(store.directory) as source:
        assert store.remove(fault.row for fault in faults(source, check)) == 7
    assert faults_of(store) == {}
    assert left(store) == [6, 7, 8, 9]


def test_what_was_mended_since_it_was_found_is_not_removed(store: DiskStore) -> None:
    change(store, "UPDATE Cache SET value = zeroblob(16) WHERE key = ?", key(1))
    with StoreReader(store.directory) as source:
        [fault] = faults(source, check)
    store.put({key(1): b"asked again"})
    assert store.remove([fault.row]) == 0
    assert store.get([key(1)]).entries == {key(1): b"asked again"}


def test_text_in_place_of_bytes_is_damage_and_asked_again(store: DiskStore) -> None:
    """SQLite refuses to hand out text that is none; that must not stop a run."""
    change(store, "UPDATE Cache SET value = CAST(x'ff00fe' AS TEXT) WHERE key = ?", key(1))
    assert store.get([key(0), key(1)]).damaged == (key(1),)
    store.put({key(1): b"asked again"})
    assert store.get([key(1)]).entries == {key(1): b"asked again"}


# --- making smaller -------------------------------------------------------------------------------------


def test_what_is_older_goes_and_the_rest_stays(store: DiskStore) -> None:
    size = (store.directory / "cache.db").stat().st_size
    limits = Limits(stored_before=NOW - 4.5 * DAY)
    with StoreReader(store.directory) as source:
        assert estimate(source, limits, nothing).entries == 5
    freed = collect(store, limits, nothing)
    assert (freed.entries, left(store)) == (5, [0, 1, 2, 3, 4])
    assert freed.freed_bytes > 40_000
    assert (store.directory / "cache.db").stat().st_size <= max(size, freed.used_bytes)
    assert collect(store, limits, nothing).entries == 0


def test_the_oldest_go_until_the_rest_fits(store: DiskStore) -> None:
    freed = collect(store, Limits(max_bytes=80_000), nothing)
    assert freed.used_bytes <= 80_000
    assert left(store) == list(range(10 - freed.entries))
    assert len(left(store)) >= 3


def test_the_file_really_shrinks(store: DiskStore) -> None:
    store.close()
    before = (store.directory / "cache.db").stat().st_size
    freed = collect(store, Limits(max_bytes=40_000), nothing)
    store.close()
    after = (store.directory / "cache.db").stat().st_size
    assert after <= 40_000
    assert before - after == freed.freed_bytes


def test_an_estimate_removes_nothing_and_comes_close(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        guess = estimate(source, Limits(max_bytes=80_000), nothing)
    assert left(store) == list(range(10))
    done = collect(store, Limits(max_bytes=80_000), nothing)
    assert abs(guess.entries - done.entries) <= 1


def test_a_store_that_fits_stays_as_it_is(store: DiskStore) -> None:
    assert collect(store, Limits(max_bytes=10**9), nothing).entries == 0
    assert left(store) == list(range(10))


def test_everything_may_go(store: DiskStore) -> None:
    freed = collect(store, Limits(max_bytes=0), nothing)
    assert freed == Freed(entries=10, freed_bytes=freed.freed_bytes, used_bytes=freed.used_bytes)
    assert left(store) == []
    store.put({key(1): b"asked again"})
    assert left(store) == [1]


def test_what_must_stay_stays_however_old_it_is_and_goes_only_with_everything(store: DiskStore) -> None:
    def stays(value: bytes) -> bool:
        return value[0] in {8, 9}

    assert collect(store, Limits(stored_before=NOW - 4.5 * DAY), stays).entries == 3
    assert left(store) == [0, 1, 2, 3, 4, 8, 9]
    with StoreReader(store.directory) as source:
        assert estimate(source, Limits(max_bytes=1), stays).entries == 5
    assert collect(store, Limits(max_bytes=1), stays).entries == 5
    assert left(store) == [8, 9]
    assert collect(store, Limits(max_bytes=0), stays).entries == 2


def test_what_is_written_while_others_go_stays(store: DiskStore) -> None:
    with StoreReader(store.directory) as source:
        rows = list(source.rows(Order.OLDEST))
    store.put({key(9): b"asked again"})
    assert store.remove(rows) == 9
    assert store.get([key(9)]).entries == {key(9): b"asked again"}


def test_a_store_that_vanished_is_told(store: DiskStore) -> None:
    store.close()
    (store.directory / "cache.db").unlink()
    for act in (store.compact, lambda: store.remove([]), store.close):
        with pytest.raises(StoreUnavailableError, match="unable to open database file"):
            act()
    assert not (store.directory / "cache.db").exists()
