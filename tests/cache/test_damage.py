"""Whatever happens to a store's files: never a wrong answer; always the right one, none, or a sentence."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cache.admin import Limits, collect, faults
from cache.disk_store import DiskStore
from cache.errors import StoreDamagedError, StoreUnavailableError
from cache.keys import Key
from cache.portable import export_store, import_file
from cache.reading import Order, StoreReader
from tests.helpers import some_key

ROOT = Path(__file__).parents[2]
SEED = 20261121
FLIPS = {"cache.db": 25}
"""In each kind of store; in the other files 10. Thousands were tried when the store was written."""
WAIT_SECONDS = 5.0
CHECKPOINTED = 18
"""Of the entries of the store that crashed, those that are not in its log."""
NOBODY = 65534

TRUTH: dict[Key, bytes] = {
    some_key(number): random.Random(number).randbytes(size)
    for number, size in enumerate([0, 20, 300, 300, 300, 700, 3000, 9000, 40_000] * 4)
}
NEW = some_key("asked again")


def check(value: bytes) -> None:
    """Anything intact is an entry here."""
    del value


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store that was closed, and one as a crash leaves it: half of it in the write-ahead log."""
    folder = tmp_path_factory.mktemp("stores")
    items = list(TRUTH.items())
    store = DiskStore(folder / "open")
    for key, value in items[:CHECKPOINTED]:
        store.put({key: value})
    store.close()
    for key, value in items[CHECKPOINTED:]:
        store.put({key: value})
    shutil.copytree(folder / "open", folder / "crashed")
    store.close()
    (folder / "open").rename(folder / "closed")
    assert {path.name for path in (folder / "closed").iterdir()} == {"cache.db", "store.json"}
    assert {path.name for path in (folder / "crashed").iterdir()} == {
        "cache.db",
        "cache.db-shm",
        "cache.db-wal",
        "store.json",
    }
    return {name: folder / name for name in ("closed", "crashed")}


FILES = [
    ("closed", "cache.db"),
    ("closed", "store.json"),
    ("crashed", "cache.db"),
    ("crashed", "cache.db-wal"),
    ("crashed", "cache.db-shm"),
    ("crashed", "store.json"),
]


@contextmanager
def said() -> Generator[list[str]]:
    """Collect what was said, and insist that it is a sentence with a way on."""
    sentences: list[str] = []
    try:
        yield sentences
    except StoreUnavailableError as error:
        sentences.append(str(error))
        is_helpful = not isinstance(error, StoreDamagedError) or "vllm-flows cache verify" in str(error)
    else:
        is_helpful = True
    assert is_helpful
    assert all("\n" not in sentence and ";" in sentence for sentence in sentences)


def read_and_write(directory: Path) -> tuple[Mapping[Key, bytes], list[str]]:
    """Use a store as a run does, and return what it read."""
    read: Mapping[Key, bytes] = {}
    with said() as sentences:
        store = DiskStore(directory, wait_seconds=WAIT_SECONDS)
        try:
            found = store.get(TRUTH)
            read = found.entries
            assert all(TRUTH[key] == value for key, value in read.items())
            assert set(found.damaged) <= set(TRUTH) - set(read)
            lost = {key: value for key, value in TRUTH.items() if key not in read}
            store.put({NEW: b"answer", **lost})
            again = store.get([NEW, *lost]).entries  # a damaged page may lose one: then it is asked again
            assert again.items() <= {NEW: b"answer", **lost}.items()
        finally:
            with said():
                store.close()
    return read, sentences


def look_and_save(directory: Path) -> tuple[int, list[str]]:
    """Use a store as a person does who wants to save what is left; return how much that is."""
    saved = 0
    with said() as sentences, TemporaryDirectory() as elsewhere:
        with StoreReader(directory) as source:
            for row in source.rows(Order.NEWEST):
                value = source.read(row)
                assert value is None or row.key is None or value in (TRUTH.get(row.key), b"answer")
            assert len(source.problems()) <= 10
            assert all(fault.reason for fault in faults(source, check))
            saved = export_store(source, Path(elsewhere) / "saved").entries
        target = DiskStore(Path(elsewhere) / "new")
        imported = import_file(target, Path(elsewhere) / "saved", check)
        assert (imported.problem, imported.taken.taken) == (None, saved)
        found = target.get([*TRUTH, NEW]).entries
        assert len(found) == saved
        assert all(value in (TRUTH.get(key), b"answer") for key, value in found.items())
        target.close()
    return saved, sentences


def trial(source: Path, directory: Path, name: str, content: bytes) -> tuple[int, int, list[str]]:
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(source, directory)
    (directory / name).write_bytes(content)
    saved, told = look_and_save(directory)
    shutil.rmtree(directory)
    shutil.copytree(source, directory)
    (directory / name).write_bytes(content)
    read, sentences = read_and_write(directory)
    return len(read), saved, told + sentences


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Change one bit, one byte, or some bytes in a row."""
    changed = bytearray(content)
    place = rng.randrange(len(content))
    if rng.random() < 0.5:
        place = place // 4096 * 4096 + place % 64  # heads of pages, where little things do most harm
    match rng.randrange(3):
        case 0:
            changed[place] ^= 1 << rng.randrange(8)
        case 1:
            changed[place] = rng.randrange(256)
        case _:
            end = min(len(content), place + rng.choice([4, 64, 4096, 20_000]))
            changed[place:end] = rng.randbytes(end - place)
    return bytes(changed)


def least_read(name: str) -> int:
    """Return how many answers must be there whatever was done to this file."""
    if name == "cache.db-wal":
        return CHECKPOINTED  # the log has digests of its own: what follows the damage counts as not written
    return len(TRUTH) if name == "cache.db-shm" else 0


@pytest.mark.parametrize(("state", "name"), FILES)
def test_flipped_bytes_never_give_a_wrong_answer(
    stores: dict[str, Path], tmp_path: Path, state: str, name: str
) -> None:
    rng = random.Random(f"{SEED} {state} {name}")
    content = (stores[state] / name).read_bytes()
    for _ in range(FLIPS.get(name, 10)):
        read, saved, _ = trial(stores[state], tmp_path / "store", name, flipped(content, rng))
        assert min(read, saved) >= least_read(name)


@pytest.mark.parametrize(("state", "name"), FILES)
def test_a_file_cut_short_never_gives_a_wrong_answer(
    stores: dict[str, Path], tmp_path: Path, state: str, name: str
) -> None:
    content = (stores[state] / name).read_bytes()
    length = len(content)
    for cut in sorted(
        {0, 1, 16, 100, length // 3, length // 2, length - 4096, length - 1} & set(range(length))
    ):
        read, saved, _ = trial(stores[state], tmp_path / "store", name, content[:cut])
        assert min(read, saved) >= least_read(name)


def test_the_trials_do_harm_and_leave_something_to_save(stores: dict[str, Path], tmp_path: Path) -> None:
    """Half a database is malformed for whoever writes, and half of it can be saved."""
    content = (stores["closed"] / "cache.db").read_bytes()
    read, saved, told = trial(
        stores["closed"], tmp_path / "store", "cache.db", content[: len(content) // 8192 * 4096]
    )
    assert read < len(TRUTH)
    assert 0 < saved < len(TRUTH)
    assert "`vllm-flows cache verify`" in told[-1]


def test_a_file_that_is_missing_is_told_or_asked_again(stores: dict[str, Path], tmp_path: Path) -> None:
    for state, name in FILES:
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        shutil.copytree(stores[state], tmp_path / "store")
        (tmp_path / "store" / name).unlink()
        read, _ = read_and_write(tmp_path / "store")
        assert len(read) >= (len(TRUTH) if name == "store.json" else least_read(name))


# --- no room --------------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, size: str) -> Generator[Path]:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk needs the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(store: DiskStore) -> tuple[dict[Key, bytes], str]:
    """Write until there is no more room; return what was acknowledged, and the sentence."""
    written: dict[Key, bytes] = {}
    with pytest.raises(StoreUnavailableError) as caught:  # noqa: PT012 - one of the writes fails
        for number in range(10_000):
            batch = {some_key([number, item]): random.Random(number).randbytes(3000) for item in range(5)}
            store.put(batch)
            written |= batch
    return written, str(caught.value)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        store = DiskStore(disk / "store", wait_seconds=WAIT_SECONDS)
        written, sentence = fill(store)
        assert "cannot be written: database or disk is full; make room" in sentence
        assert len(written) > 50
        assert store.get(written).entries == written
        with StoreReader(disk / "store") as source, pytest.raises(OSError, match="No space") as caught:
            export_store(source, disk / "saved")
        assert caught.value.errno == errno.ENOSPC
        assert [path.name for path in disk.iterdir()] == ["store"]
        with pytest.raises(StoreUnavailableError, match="make room"):
            DiskStore(disk / "another", wait_seconds=WAIT_SECONDS).put(written)
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        store.put({NEW: b"answer"})
        assert store.get([NEW, *written]).entries == {NEW: b"answer", **written}
        store.close()


def test_a_limit_on_the_size_of_files_is_told_and_loses_nothing(tmp_path: Path) -> None:
    limit = 1_000_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = DiskStore(tmp_path / "store", wait_seconds=WAIT_SECONDS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        written, sentence = fill(store)
        assert "make room" in sentence
        assert len(written) > 50
        assert store.get(written).entries == written
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    store.put({NEW: b"answer"})
    assert store.get([NEW, *written]).entries == {NEW: b"answer", **written}
    store.close()


# --- no rights ------------------------------------------------------------------------------------------

WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from cache.disk_store import DiskStore
from cache.errors import StoreUnavailableError
from cache.reading import StoreReader
from tests.helpers import some_key

folder, nobody = Path(sys.argv[1]), int(sys.argv[2])
if os.getuid() == 0:
    os.setgid(nobody)
    os.setuid(nobody)
for name in sorted(path.name for path in folder.iterdir()):
    for act in ("use", "look"):
        try:
            if act == "use":
                store = DiskStore(folder / name, wait_seconds=0.2)
                entries = store.get([some_key("one")]).entries
                store.put({some_key("two"): b"2"})
                print(name, act, list(entries.values()))
            else:
                with StoreReader(folder / name) as source:
                    print(name, act, [source.read(row) for row in source.rows()])
        except StoreUnavailableError as error:
            print(name, act, error)
"""


def run_without_rights(folder: Path) -> dict[str, str]:
    """Return what became of each store, by name and act, as a user without special rights sees it."""
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(folder), str(NOBODY)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    return {f"{name} {act}": told for name, act, told in lines}


def test_missing_rights_are_told_and_what_can_be_read_is_right() -> None:
    rights = {"whole": (0o700, 0o600), "closed": (0o000, 0o600), "read-only": (0o500, 0o400)}
    rights |= {"read-only-file": (0o700, 0o400), "closed-file": (0o700, 0o000)}
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        for name, (folder_mode, file_mode) in rights.items():
            store = DiskStore(Path(place) / name)
            store.put({some_key("one"): b"1"})
            store.close()
            for path in store.directory.iterdir():
                path.chmod(file_mode)
                give_away(path)
            store.directory.chmod(folder_mode)
            give_away(store.directory)
        told = run_without_rights(Path(place))
        for name in rights:
            (Path(place) / name).chmod(0o700)
    assert told.pop("whole use") == "[b'1']"
    assert told.pop("whole look") == "[b'1', b'2']"
    assert told.pop("read-only look") == told.pop("read-only-file look") == "[b'1']"
    assert set(told) == {f"{name} use" for name in rights if name != "whole"} | {
        "closed look",
        "closed-file look",
    }
    for name, sentence in told.items():
        assert "cannot be" in sentence, name
        assert "mend the permissions" in sentence, name


def give_away(path: Path) -> None:
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)


# --- others, and the clock ------------------------------------------------------------------------------

RIVAL = """
import sys
from pathlib import Path
from cache.disk_store import DiskStore
from tests.helpers import some_key

store, name = DiskStore(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(60):
    shared = {some_key(["shared", item]): f"{name} {turn} {item}".encode() * 50 for item in range(5)}
    store.put({**shared, some_key([name, turn]): name.encode()})
store.close()
"""


def rival(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_two_processes_that_write_the_same_keys_leave_one_whole_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RIVAL, str(tmp_path)]
    keys = [some_key(["shared", item]) for item in range(5)]
    with rival([*command, "one"]) as one, rival([*command, "two"]) as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        store = DiskStore(tmp_path)
        while None in (one.poll(), two.poll()):
            found = store.get(keys)
            assert not found.damaged
            for item, key in enumerate(keys):
                value = found.entries.get(key, b"").decode()
                assert value == value[: len(value) // 50] * 50
                assert not value or value.endswith(f" {item}")
        assert (one.returncode, two.returncode) == (0, 0)
    own = {some_key([name, turn]): name.encode() for name in ("one", "two") for turn in range(60)}
    assert store.get(own).entries == own
    assert len({value.rsplit(b" ", 1)[0][:6] for value in store.get(keys).entries.values()}) == 1
    store.close()


def test_a_clock_that_jumps_back_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, day = 1_800_000_000.0, 86_400.0
    store = DiskStore(tmp_path / "store")
    for days, key in [(0, "today"), (-3650, "ten years ago"), (-3649, "a day later"), (1, "tomorrow")]:
        monkeypatch.setattr(time, "time", lambda days=days: now + days * day)
        store.put({some_key(key): key.encode(), some_key("always"): b"the last one"})
    names = ["today", "ten years ago", "a day later", "tomorrow"]
    truth = {some_key(key): key.encode() for key in names} | {some_key("always"): b"the last one"}
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert store.get(truth).entries == truth
    with StoreReader(store.directory) as source:
        assert [source.read(row) for row in source.rows(Order.NEWEST)][2:] == [
            b"today",
            b"a day later",
            b"ten years ago",
        ]
    assert collect(store, Limits(stored_before=-3650 * day), lambda _: False).entries == 0
    assert collect(store, Limits(stored_before=now), lambda _: False).entries == 2
    assert set(store.get(truth).entries) == {some_key(key) for key in ("always", "today", "tomorrow")}
    store.close()
