"""A run reads and writes the store as its cache mode says."""

import logging
from collections.abc import Iterable, Iterator, Mapping

import pytest

from cache.errors import CacheMissError, CorruptEntryError
from cache.keys import Key
from cache.lookup import CacheMode, Lookup
from cache.store import Found
from tests.helpers import some_key

OLD, GONE, BAD = some_key("old"), some_key("gone"), some_key("bad")


class Shelf:
    """A store in memory; `damaged` keys hold damaged entries."""

    def __init__(self, entries: Mapping[Key, bytes], damaged: Iterable[Key] = ()) -> None:
        self.entries = dict(entries)
        self.damaged = set(damaged)
        self.looks = 0

    def get(self, keys: Iterable[Key]) -> Found:
        self.looks += 1
        asked = list(keys)
        whole = {key: self.entries[key] for key in asked if key in self.entries and key not in self.damaged}
        return Found(entries=whole, damaged=tuple(key for key in asked if key in self.damaged))

    def put(self, entries: Mapping[Key, bytes]) -> None:
        self.entries |= entries
        self.damaged -= set(entries)

    def add(self, entries: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
        present = self.get(entries).entries
        self.put({key: value for key, value in entries.items() if key not in present})
        return present

    def delete(self, keys: Iterable[Key]) -> int:
        return sum(self.entries.pop(key, None) is not None for key in keys)

    def keys(self) -> Iterator[Key]:
        yield from self.entries

    def close(self) -> None: ...


@pytest.fixture
def shelf() -> Shelf:
    return Shelf({OLD: b"old"}, damaged=[BAD])


def test_modes_are_written_as_words() -> None:
    assert [str(mode) for mode in CacheMode] == ["use", "refresh", "replay", "off"]


def test_use_reads_what_is_there_and_keeps_the_rest(shelf: Shelf) -> None:
    lookup = Lookup(shelf)
    assert lookup.mode is CacheMode.USE
    assert lookup.find([OLD, GONE], bytes) == {OLD: b"old"}
    lookup.keep({GONE: b"new"}, bytes)
    assert lookup.find([OLD, GONE], bytes) == {OLD: b"old", GONE: b"new"}


@pytest.mark.parametrize("mode", [CacheMode.USE, CacheMode.REFRESH])
def test_a_damaged_entry_is_reported_and_asked_again(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, mode: CacheMode
) -> None:
    lookup = Lookup(shelf, mode)
    lookup.keep({BAD: b"first"}, bytes)
    shelf.damaged.add(BAD)
    with caplog.at_level(logging.WARNING):
        assert lookup.find([BAD], bytes) == {}
    assert [record.getMessage() for record in caplog.records] == [
        f"the stored answer {BAD} is damaged and will be asked again"
    ]
    lookup.keep({BAD: b"mended"}, bytes)
    assert lookup.find([BAD], bytes) == {BAD: b"mended"}


def pronounceable(entry: bytes) -> str:
    if entry.startswith(b"?"):
        raise CorruptEntryError("of another kind")
    return entry.decode()


def test_of_two_who_store_an_answer_the_first_is_believed_by_both(shelf: Shelf) -> None:
    lookup = Lookup(shelf)
    assert lookup.keep({OLD: b"late", GONE: b"new"}, pronounceable) == {OLD: "old"}
    assert lookup.find([OLD, GONE], pronounceable) == {OLD: "old", GONE: "new"}
    assert Lookup(shelf, CacheMode.REFRESH).keep({OLD: b"late"}, pronounceable) == {}
    assert lookup.find([OLD], pronounceable) == {OLD: "late"}


def test_an_intact_entry_of_another_kind_is_damaged_and_replaced(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.entries[GONE] = b"?!"
    with pytest.raises(CorruptEntryError, match=f"{GONE} is damaged; run without replay"):
        Lookup(shelf, CacheMode.REPLAY).find([OLD, GONE], pronounceable)
    lookup = Lookup(shelf)
    assert lookup.find([OLD, GONE], pronounceable) == {OLD: "old"}
    assert lookup.damaged == {GONE}
    assert "is damaged and will be asked again" in caplog.text
    assert lookup.keep({GONE: b"new"}, pronounceable) == {}
    assert lookup.find([GONE], pronounceable) == {GONE: "new"}


def test_refresh_asks_everything_once_per_run(shelf: Shelf) -> None:
    lookup = Lookup(shelf, CacheMode.REFRESH)
    assert lookup.find([OLD, GONE], bytes) == {}
    lookup.keep({OLD: b"new"}, bytes)
    assert lookup.find([OLD, GONE], bytes) == {OLD: b"new"}
    assert Lookup(shelf, CacheMode.REFRESH).find([OLD], bytes) == {}  # another run asks again
    assert Lookup(shelf).find([OLD], bytes) == {OLD: b"new"}


def test_replay_reads_only(shelf: Shelf) -> None:
    lookup = Lookup(shelf, CacheMode.REPLAY)
    assert lookup.find([OLD], bytes) == {OLD: b"old"}
    lookup.keep({GONE: b"new"}, bytes)
    assert list(shelf.keys()) == [OLD]


def test_replay_says_how_many_answers_are_missing_and_what_to_do(shelf: Shelf) -> None:
    with pytest.raises(CacheMissError, match=rf"1 of 2 answers are not stored \(the first: {GONE}\).*'use'"):
        Lookup(shelf, CacheMode.REPLAY).find(iter([OLD, GONE]), bytes)


def test_replay_refuses_a_damaged_answer(shelf: Shelf) -> None:
    with pytest.raises(CorruptEntryError, match=f"{BAD} is damaged; run without replay"):
        Lookup(shelf, CacheMode.REPLAY).find([OLD, BAD], bytes)


def test_off_reads_nothing_and_keeps_nothing(shelf: Shelf) -> None:
    lookup = Lookup(shelf, CacheMode.OFF)
    assert lookup.find([OLD, BAD], bytes) == {}
    lookup.keep({GONE: b"new"}, bytes)
    assert lookup.find([GONE], bytes) == {}
    assert list(shelf.keys()) == [OLD]
    assert shelf.looks == 0
