"""Entries in the store are whole, intact and ours, whoever else has written there and whoever died."""

import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import diskcache
import pytest

from cache.disk_store import DiskStore
from cache.errors import StoreUnavailableError
from cache.keys import Key
from cache.store import Found
from tests.helpers import some_key

ROOT = Path(__file__).parents[2]
ONE, TWO = some_key("one"), some_key("two")


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def run_rows(store: DiskStore, statement: str, *values: object) -> None:
    """Change the database behind the store's back."""
    connection = sqlite3.connect(store.directory / "cache.db")
    with connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


# --- a store --------------------------------------------------------------------------------------------


def test_entries_come_back_as_they_were_written(store: DiskStore) -> None:
    entries = {ONE: b"", TWO: b"\x00\xff" * 1000, some_key("large"): bytes(5_000_000)}
    store.put(entries)
    assert store.get([*entries, some_key("absent")]) == Found(entries=entries)


def test_a_later_entry_replaces_an_earlier_one(store: DiskStore) -> None:
    store.put({ONE: b"old", TWO: b"other"})
    store.put({ONE: b"new"})
    assert store.get([ONE, TWO]).entries == {ONE: b"new", TWO: b"other"}


def test_keys_are_listed_in_the_order_of_their_first_writing(store: DiskStore) -> None:
    keys = [some_key(number) for number in range(250)]
    for key in keys:
        store.put({key: b"x"})
    store.put({keys[0]: b"again"})
    assert list(store.keys()) == keys


def test_deleted_entries_are_gone_and_counted(store: DiskStore) -> None:
    store.put({ONE: b"1", TWO: b"2"})
    assert store.delete([ONE, some_key("absent")]) == 1
    assert list(store.keys()) == [TWO]
    assert store.delete([ONE]) == 0


def test_nothing_asked_is_nothing_found(store: DiskStore) -> None:
    store.put({})
    assert store.get([]) == Found(entries={})
    assert list(store.keys()) == []


def test_entries_survive_closing_and_opening(store: DiskStore) -> None:
    store.put({ONE: b"1"})
    store.close()
    assert store.get([ONE]).entries == {ONE: b"1"}  # opened again when used
    store.close()
    assert DiskStore(store.directory).get([ONE]).entries == {ONE: b"1"}


@pytest.mark.parametrize("value", ["text", None, 1])
def test_only_bytes_are_entries(store: DiskStore, value: object) -> None:
    with pytest.raises(TypeError):
        store.put({TWO: b"fine", ONE: cast("bytes", value)})
    assert list(store.keys()) == []


def test_the_store_is_its_owner_s_alone(store: DiskStore) -> None:
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


def test_missing_parents_are_made(tmp_path: Path) -> None:
    DiskStore(tmp_path / "a" / "b" / "c").put({ONE: b"1"})
    assert DiskStore(tmp_path / "a" / "b" / "c").get([ONE]).entries


def test_nothing_is_ever_evicted(tmp_path: Path) -> None:
    """A store that somebody gave a limit of 1 KB keeps a thousand times as much."""
    DiskStore(tmp_path).close()
    other = diskcache.Cache(
        str(tmp_path), size_limit=1024, cull_limit=10, eviction_policy="least-recently-stored"
    )
    other.close()
    store = DiskStore(tmp_path)
    entries = {some_key(number): bytes([number]) * 10_000 for number in range(100)}
    for key, value in entries.items():
        store.put({key: value})
    assert store.get(entries) == Found(entries=entries)


def test_every_entry_is_inside_the_database(store: DiskStore) -> None:
    store.put({ONE: bytes(200_000)})  # diskcache itself puts values above 32 KB into files of their own
    names = {path.name for path in store.directory.iterdir()}
    assert names <= {"store.json", "cache.db", "cache.db-wal", "cache.db-shm"}


def test_closing_leaves_everything_in_the_database_file(store: DiskStore, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(store.put, {ONE: b"from another thread"}).result()
        store.put({TWO: b"from here"})
        store.close()
        (tmp_path / "copy").mkdir()
        shutil.copy(store.directory / "cache.db", tmp_path / "copy")
    assert len(DiskStore(tmp_path / "copy").get([ONE, TWO]).entries) == 2


# --- one transaction ------------------------------------------------------------------------------------

WRITER = """
import sys
from contextlib import closing
from pathlib import Path
from cache.disk_store import DiskStore
from tests.helpers import some_key

store = DiskStore(Path(sys.argv[1]))
first, last = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for batch in range(first, last):
    store.put({some_key([batch, item]): b"x" * 2000 for item in range(20)})
    print(batch, flush=True)
"""


def writer(directory: Path, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(directory), str(first), str(last)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def batch_keys(batch: int) -> list[Key]:
    return [some_key([batch, item]) for item in range(20)]


@pytest.mark.parametrize("batches_seen", [1, 4])
def test_a_killed_writer_leaves_whole_batches_only(tmp_path: Path, batches_seen: int) -> None:
    with writer(tmp_path, 0, 100_000) as process:
        assert process.stdout is not None
        written = [process.stdout.readline().strip() for _ in range(batches_seen + 1)]
        time.sleep(0.005 * batches_seen)  # somewhere within the batches that follow
        process.kill()
        last = [line.strip() for line in process.stdout][-1:] or written[-1:]
    acknowledged = int(last[0])
    store = DiskStore(tmp_path)
    found = [len(store.get(batch_keys(batch)).entries) for batch in range(acknowledged + 3)]
    assert found[: acknowledged + 1] == [20] * (acknowledged + 1)  # what was acknowledged is there
    assert set(found[acknowledged + 1 :]) <= {0, 20}


def test_a_batch_that_fails_half_way_is_not_there(store: DiskStore) -> None:
    entries: dict[Key, Any] = {**{some_key(number): b"x" for number in range(50)}, ONE: "no bytes"}
    with pytest.raises(TypeError):
        store.put(entries)
    assert list(store.keys()) == []
    store.put({TWO: b"the store still works"})
    assert list(store.keys()) == [TWO]


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    with writer(tmp_path, 0, 40) as one, writer(tmp_path, 20, 60) as two:
        assert (one.communicate(timeout=60)[0].count("\n"), one.returncode) == (41, 0)
        assert (two.communicate(timeout=60)[0].count("\n"), two.returncode) == (41, 0)
    keys = [key for batch in range(60) for key in batch_keys(batch)]
    store = DiskStore(tmp_path)
    assert store.get(keys) == Found(entries=dict.fromkeys(keys, b"x" * 2000))
    assert sorted(store.keys()) == sorted(keys)


# --- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "zeroblob(16) || substr(value, 17)",  # another seal
        "substr(value, 1, 16) || zeroblob(length(value) - 16)",  # another value
        "substr(value, 1, length(value) - 1)",  # cut
        "value || x'00'",
        "substr(value, 1, 5)",
        "x''",
        "'text'",
        "NULL",
    ],
)
def test_damaged_bytes_are_reported_and_not_returned(store: DiskStore, damage: str) -> None:
    store.put({ONE: b"an answer", TWO: b"another"})
    run_rows(store, f"UPDATE Cache SET value = CAST({damage} AS BLOB) WHERE key = ?", ONE)  # noqa: S608
    assert store.get([ONE, TWO]) == Found(entries={TWO: b"another"}, damaged=(ONE,))


def test_an_entry_under_another_s_key_is_damaged(store: DiskStore) -> None:
    store.put({ONE: b"an answer"})
    run_rows(store, "UPDATE Cache SET key = ?", TWO)
    assert store.get([ONE, TWO]) == Found(entries={}, damaged=(TWO,))


def test_a_damaged_entry_can_be_written_anew(store: DiskStore) -> None:
    store.put({ONE: b"an answer"})
    run_rows(store, "UPDATE Cache SET value = x'00'")
    store.put({ONE: b"an answer"})
    assert store.get([ONE]) == Found(entries={ONE: b"an answer"})


# --- strangers ------------------------------------------------------------------------------------------


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def test_the_payload_is_live(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "trace")))  # noqa: S301 - that is the point
    assert (tmp_path / "trace").exists()


def stranger_in(directory: Path, **settings: Any) -> diskcache.Cache:  # noqa: ANN401 - its settings
    """Another program that writes into a store with diskcache's own ways."""
    DiskStore(directory).close()
    return diskcache.Cache(str(directory), **settings)


def test_a_pickled_value_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    stranger = stranger_in(tmp_path / "store")
    stranger.set(ONE, Payload(trace))
    stranger.close()
    store = DiskStore(tmp_path / "store")
    assert store.get([ONE]) == Found(entries={}, damaged=(ONE,))
    assert list(store.keys()) == [ONE]
    assert store.delete([ONE]) == 1
    assert not trace.exists()


def test_a_pickled_value_in_a_file_of_its_own_is_never_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    stranger = stranger_in(tmp_path / "store", disk_min_file_size=0)
    stranger.set(ONE, Payload(trace))
    stranger.close()
    assert DiskStore(tmp_path / "store").get([ONE]) == Found(entries={}, damaged=(ONE,))
    assert not trace.exists()


def test_a_pickled_key_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    stranger = stranger_in(tmp_path / "store")
    stranger.set(Payload(trace), b"value")
    stranger.close()
    store = DiskStore(tmp_path / "store")
    with pytest.raises(StoreUnavailableError, match="a row that this program did not write"):
        list(store.keys())
    assert store.get([ONE]) == Found(entries={})
    assert not trace.exists()


@pytest.mark.parametrize("value", ["text", b"bytes", b"x" * 100_000, 7, 0.5])
def test_a_stranger_s_plain_value_is_no_entry(tmp_path: Path, value: object) -> None:
    stranger = stranger_in(tmp_path)
    stranger.set(ONE, value)
    stranger.close()
    assert DiskStore(tmp_path).get([ONE]) == Found(entries={}, damaged=(ONE,))


# --- places ---------------------------------------------------------------------------------------------


ROOM = "make room, mend the permissions, or name another place in VLLM_FLOWS_STORE"
VERIFY = "`vllm-flows cache verify` says what is damaged and what to do"


def refused(directory: Path, advice: str = ROOM) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        DiskStore(directory, wait_seconds=0.1)
    text = str(caught.value)
    assert text.startswith(f"the store in {directory} cannot be opened: ")
    assert text.endswith(f"; {advice}")
    assert "\n" not in text
    return text


def test_a_place_under_a_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file")
    refused(tmp_path / "file" / "store")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused_in_one_sentence() -> None:
    refused(Path("/proc/vllm-flows"))  # nobody can, not even root


def test_a_file_that_is_no_database_is_refused_in_one_sentence_and_kept(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_text("my diary, " * 1000)
    assert "file is not a database" in refused(tmp_path, VERIFY)
    assert (tmp_path / "cache.db").read_text() == "my diary, " * 1000


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "cache.db")
    with connection:
        connection.execute("CREATE TABLE Cache (name TEXT)")
        connection.execute("INSERT INTO Cache VALUES ('mine')")
    assert "its database is of another program" in refused(
        tmp_path, "name another folder in VLLM_FLOWS_STORE"
    )
    assert connection.execute("SELECT name FROM Cache").fetchall() == [("mine",)]
    connection.close()


def test_a_store_that_broke_while_open_fails_in_one_sentence(store: DiskStore) -> None:
    store.put({ONE: b"1"})
    other = sqlite3.connect(store.directory / "cache.db")
    with other:
        other.execute("DROP TABLE Cache")
    other.close()
    for verb, act in {
        "read": lambda: store.get([ONE]),
        "written": lambda: store.put({ONE: b"1"}),
    }.items():
        with pytest.raises(StoreUnavailableError, match=f"cannot be {verb}: no such table"):
            act()
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        store.delete([ONE])
    with pytest.raises(StoreUnavailableError, match="cannot be read"):
        list(store.keys())


def test_a_writer_that_never_ends_is_told_and_not_waited_for_for_ever(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store", wait_seconds=0.1)
    store.put({ONE: b"1"})
    with closing(sqlite3.connect(tmp_path / "store" / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreUnavailableError, match="is locked; another process is writing, so try again"
        ):
            store.put({TWO: b"2"})
        assert store.get([ONE]).entries == {ONE: b"1"}
    store.put({TWO: b"2"})
    assert store.get([ONE, TWO]).entries == {ONE: b"1", TWO: b"2"}


def test_a_row_that_names_a_file_elsewhere_removes_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store = DiskStore(tmp_path / "store")
    key = some_key("a")
    store.put({key: b"old"})
    with closing(sqlite3.connect(tmp_path / "store" / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET mode = 2, filename = '../victim'")
    store.put({key: b"new"})
    assert victim.read_text() == "precious"
    assert store.get([key]).entries == {key: b"new"}
    store.close()


def test_a_folder_that_is_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    DiskStore(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
