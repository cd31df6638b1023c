"""What leaves a store as a file, or is merged into another one, is the same there."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from cache.disk_store import DiskStore
from cache.intake import Taken, merge
from cache.keys import Key
from cache.portable import export_store, import_file
from cache.reading import StoreReader
from tests.helpers import some_key

KEYS = st.integers(0, 12).map(some_key)
ENTRIES = st.dictionaries(KEYS, st.binary(max_size=5000), max_size=8)


def check(value: bytes) -> None:
    """Anything intact is an entry here."""
    del value


def store_of(folder: Path, entries: dict[Key, bytes]) -> DiskStore:
    store = DiskStore(folder)
    store.put(entries)
    return store


def content(store: DiskStore) -> dict[Key, bytes]:
    return dict(store.get(store.keys()).entries)


def expected(ours: dict[Key, bytes], theirs: dict[Key, bytes]) -> Taken:
    shared = ours.keys() & theirs.keys()
    same = sum(ours[key] == theirs[key] for key in shared)
    return Taken(taken=len(theirs) - len(shared), present=same, differing=len(shared) - same)


@settings(max_examples=25)  # each makes two stores
@given(ours=ENTRIES, theirs=ENTRIES)
def test_a_file_brings_what_was_not_there(ours: dict[Key, bytes], theirs: dict[Key, bytes]) -> None:
    with TemporaryDirectory() as place:
        source = store_of(Path(place) / "theirs", theirs)
        target = store_of(Path(place) / "ours", ours)
        with StoreReader(source.directory) as reader:
            assert export_store(reader, Path(place) / "file").entries == len(theirs)
        done = import_file(target, Path(place) / "file", check)
        assert (done.taken, done.problem) == (expected(ours, theirs), None)
        assert content(target) == {**theirs, **ours}
        source.close()
        target.close()


@settings(max_examples=25)  # each makes two stores
@given(ours=ENTRIES, theirs=ENTRIES)
def test_merging_is_exporting_and_importing(ours: dict[Key, bytes], theirs: dict[Key, bytes]) -> None:
    with TemporaryDirectory() as place:
        source = store_of(Path(place) / "theirs", theirs)
        target = store_of(Path(place) / "ours", ours)
        with StoreReader(source.directory, untouched=True) as reader:
            assert merge(target, reader, check) == expected(ours, theirs)
        assert content(target) == {**theirs, **ours}
        assert content(source) == theirs
        source.close()
        target.close()
