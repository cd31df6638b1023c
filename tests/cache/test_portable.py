"""A store travels as one file, of which only what has the right digest arrives."""

import base64
import gzip
import hashlib
import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.disk_store import DiskStore
from cache.errors import CorruptEntryError, StoreUnavailableError
from cache.intake import Taken, merge
from cache.keys import Key
from cache.portable import MAX_ENTRY_BYTES, Exported, Selection, export_store, import_file
from cache.reading import StoreReader
from tests.helpers import some_key

ENTRIES: dict[Key, bytes] = {some_key(number): bytes([number]) * number * 100 for number in range(1, 30)}
SORTED = sorted(ENTRIES)


def check(value: bytes) -> None:
    if value.startswith(b"?"):
        raise CorruptEntryError("no answer")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    store = DiskStore(tmp_path / "source")
    store.put(ENTRIES)
    store.close()
    with StoreReader(tmp_path / "source") as source:
        export_store(source, tmp_path / "answers.gz")
    return tmp_path / "answers.gz"


@pytest.fixture
def target(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "target")


def content(store: DiskStore) -> dict[Key, bytes]:
    return dict(store.get(store.keys()).entries)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def write(path: Path, lines: list[Any]) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()))
    return path


def line_of(key: str, value: bytes) -> dict[str, str]:
    """An entry as somebody without our code would write it, by the documentation."""
    digest = hashlib.sha256(bytes.fromhex(key) + value).hexdigest()
    return {"key": key, "sha256": digest, "entry": base64.b64encode(value).decode()}


HEADER = {"format": "vllm-flows answers", "version": 1}


# --- the format -----------------------------------------------------------------------------------------


def test_the_file_is_what_the_documentation_says(exported: Path) -> None:
    assert lines_of(exported) == [
        HEADER,
        *(line_of(key, ENTRIES[key]) for key in SORTED),
        {"entries": len(ENTRIES)},
    ]


def test_equal_stores_give_equal_files_for_their_owner_only(exported: Path, tmp_path: Path) -> None:
    other = DiskStore(tmp_path / "other")
    for key in reversed(SORTED):
        other.put({key: b"replaced"})
        other.put({key: ENTRIES[key]})
    other.close()
    with StoreReader(tmp_path / "other") as source:
        done = export_store(source, tmp_path / "other.gz")
    assert done == Exported(entries=len(ENTRIES), left_out=0)
    assert (tmp_path / "other.gz").read_bytes() == exported.read_bytes()
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600


def test_a_damaged_entry_is_left_out(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    store.put(ENTRIES)
    store._cache.set(SORTED[0], b"not sealed")  # pyright: ignore[reportPrivateUsage]
    with StoreReader(tmp_path / "store") as source:
        assert export_store(source, tmp_path / "file").left_out == 1
    assert len(lines_of(tmp_path / "file")) == len(ENTRIES) - 1 + 2


def test_only_the_keys_that_are_asked_for_are_written(exported: Path, tmp_path: Path) -> None:
    keys = [SORTED[3], SORTED[1], some_key("absent"), SORTED[3]]
    with StoreReader(tmp_path / "source") as source:
        done = export_store(source, exported, Selection(keys=frozenset(keys), also=lambda _: False))
    assert done == Exported(entries=2, left_out=0, absent=1)
    assert [line["key"] for line in lines_of(exported)[1:-1]] == [SORTED[1], SORTED[3]]


def test_what_others_need_is_written_with_them(exported: Path, tmp_path: Path) -> None:
    note = ENTRIES[SORTED[2]]
    damaged = DiskStore(tmp_path / "source")
    damaged._cache.set(SORTED[1], b"not sealed")  # pyright: ignore[reportPrivateUsage]
    damaged._cache.set(SORTED[4], b"not sealed")  # pyright: ignore[reportPrivateUsage]
    selection = Selection(keys=frozenset([SORTED[1], SORTED[3]]), also=lambda value: value == note)
    with StoreReader(tmp_path / "source") as source:
        assert export_store(source, exported, selection) == Exported(entries=2, left_out=1, absent=0)
    assert [line["key"] for line in lines_of(exported)[1:-1]] == [SORTED[2], SORTED[3]]


def test_a_file_that_cannot_be_written_whole_is_not_written(exported: Path, tmp_path: Path) -> None:
    before = exported.read_bytes()
    with StoreReader(tmp_path / "source") as source:
        source._connection.close()  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(StoreUnavailableError):
            export_store(source, exported)
    assert exported.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.gz", "source"]


# --- taking it in ---------------------------------------------------------------------------------------


def test_another_store_gets_the_same_entries(exported: Path, target: DiskStore) -> None:
    done = import_file(target, exported, check)
    assert (done.taken, done.problem) == (Taken(taken=len(ENTRIES)), None)
    assert content(target) == ENTRIES


def test_what_is_there_stays_and_what_is_damaged_there_is_mended(exported: Path, target: DiskStore) -> None:
    same, other, damaged = SORTED[:3]
    target.put({same: ENTRIES[same], other: b"the answer of this machine"})
    target._cache.set(damaged, b"not sealed")  # pyright: ignore[reportPrivateUsage]
    done = import_file(target, exported, check)
    assert done.taken == Taken(taken=len(ENTRIES) - 2, present=1, differing=1)
    assert content(target) == {**ENTRIES, other: b"the answer of this machine"}
    assert import_file(target, exported, check).taken == Taken(present=len(ENTRIES) - 1, differing=1)


KEY = some_key("forged")


@pytest.mark.parametrize(
    "line",
    [
        {**line_of(KEY, b"a"), "sha256": "0" * 64},
        {**line_of(KEY, b"a"), "entry": base64.b64encode(b"b").decode()},
        {**line_of(KEY, b"a"), "key": some_key("another")},
        line_of(KEY[:-2], b"a"),
        line_of(KEY.upper(), b"a"),
        {**line_of(KEY, b"a"), "key": "../../etc/passwd"},
        {**line_of(KEY, b"a"), "key": 5},
        {**line_of(KEY, b"a"), "entry": "%%%"},
        {**line_of(KEY, b"a"), "entry": "é"},
        {**line_of(KEY, b"a"), "entry": None},
        {**line_of(KEY, b"a"), "entry": ["YQ=="]},
        {"key": KEY},
        {},
        line_of(KEY, b"? not an answer"),
        line_of(KEY, bytes(MAX_ENTRY_BYTES + 1)),
    ],
    ids=range(15),
)
def test_a_forged_entry_is_refused_and_the_others_are_taken(
    target: DiskStore, tmp_path: Path, line: dict[str, Any]
) -> None:
    good = line_of(SORTED[0], ENTRIES[SORTED[0]])
    path = write(tmp_path / "forged", [HEADER, line, good, {"entries": 2}])
    done = import_file(target, path, check)
    assert (done.taken, done.problem) == (Taken(taken=1, refused=1), None)
    assert content(target) == {SORTED[0]: ENTRIES[SORTED[0]]}


def test_a_line_of_more_parts_than_ours_is_not_parsed(target: DiskStore, tmp_path: Path) -> None:
    good = line_of(SORTED[0], ENTRIES[SORTED[0]])
    heavy: dict[str, Any] = {**line_of(SORTED[1], ENTRIES[SORTED[1]]), "more": [{}] * 1000}
    done = import_file(target, write(tmp_path / "heavy", [HEADER, good, heavy, {"entries": 2}]), check)
    assert (done.taken, done.problem) == (Taken(taken=1), "its line 3 is none of this format")


def test_an_entry_that_no_file_could_carry_is_not_merged(target: DiskStore, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "source")
    store.put({SORTED[0]: bytes(MAX_ENTRY_BYTES + 1), SORTED[1]: bytes(MAX_ENTRY_BYTES)})
    with StoreReader(tmp_path / "source") as source:
        assert merge(target, source, check) == Taken(taken=1, refused=1)
    assert list(content(target)) == [SORTED[1]]


def test_a_file_that_is_cut_off_anywhere_gives_what_is_whole(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    taken: list[int] = []
    for cut in range(0, len(whole), len(whole) // 15):
        (tmp_path / "cut").write_bytes(whole[:cut])
        store = DiskStore(tmp_path / f"from {cut}")
        done = import_file(store, tmp_path / "cut", check)
        assert done.problem is not None
        assert content(store).items() <= ENTRIES.items()
        assert len(content(store)) == done.taken.taken
        taken.append(done.taken.taken)
        store.close()
    assert taken == sorted(taken)
    assert taken[-1] > 0


def test_lines_that_are_cut_off_are_counted(exported: Path, target: DiskStore, tmp_path: Path) -> None:
    path = write(tmp_path / "cut", lines_of(exported)[:5])
    done = import_file(target, path, check)
    assert (done.problem, done.taken) == ("it is cut off after 4 entries", Taken(taken=4))


def zeros(count: int) -> bytes:
    return gzip.compress(bytes(count))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: b"", "it is no file of `vllm-flows cache export`"),
        (lambda: b"my diary", "it is no file of `vllm-flows cache export`"),
        (lambda: b"\x80\x04K\x01.", "it is no file of `vllm-flows cache export`"),
        (lambda: gzip.compress(b"my diary")[:12], "it is cut off or damaged at line 1"),
        (lambda: gzip.compress(b"my diary"), "its line 1 is none of this format"),
        (lambda: gzip.compress(b"[" * 1_000_000), "its line 1 is none of this format"),
        (lambda: gzip.compress(b'{"format": "else"}\n'), "it is no file of `vllm-flows cache export`"),
        (lambda: zeros(200 * 2**20), "its line 1 is none of this format"),
        (lambda: gzip.compress(json.dumps({**HEADER, "version": 2}).encode()), "it is of version 2"),
    ],
)
def test_a_file_of_something_else_is_told(
    target: DiskStore, tmp_path: Path, make: Callable[[], bytes], problem: str
) -> None:
    (tmp_path / "file").write_bytes(make())
    done = import_file(target, tmp_path / "file", check)
    assert done.problem is not None
    assert done.problem.startswith(problem)
    assert done.taken == Taken()


def test_what_follows_the_last_line_is_told_and_not_taken(target: DiskStore, tmp_path: Path) -> None:
    lines = [HEADER, line_of(KEY, b"a"), {"entries": 1}, line_of(some_key("more"), b"b")]
    done = import_file(target, write(tmp_path / "file", lines), check)
    assert (done.taken.taken, done.problem) == (1, "it goes on after its last line")
    done = import_file(target, write(tmp_path / "file", [HEADER, {"entries": 3}]), check)
    assert done.problem == "its last line counts 3 entries and there are 0"


def test_a_flipped_byte_in_a_file_is_never_a_wrong_answer(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    for place in range(10, len(whole), len(whole) // 40):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        (tmp_path / "flipped").write_bytes(changed)
        store = DiskStore(tmp_path / f"from {place}")
        done = import_file(store, tmp_path / "flipped", check)
        assert done.problem is not None
        assert content(store).items() <= ENTRIES.items()
        store.close()


def test_a_large_file_is_taken_in_by_parts(target: DiskStore, tmp_path: Path) -> None:
    many = {some_key(number): b"x" for number in range(1300)} | {KEY: bytes(9 * 2**20)}
    lines = [HEADER, *(line_of(key, many[key]) for key in many), {"entries": len(many)}]
    assert import_file(target, write(tmp_path / "file", lines), check).taken == Taken(taken=1301)
    assert content(target) == many


def test_a_key_that_comes_twice_keeps_its_first_entry(target: DiskStore, tmp_path: Path) -> None:
    lines = [HEADER, line_of(KEY, b"first"), line_of(KEY, b"second"), {"entries": 2}]
    done = import_file(target, write(tmp_path / "file", lines), check)
    assert done.taken == Taken(taken=1, differing=1)
    assert content(target) == {KEY: b"first"}


# --- merging --------------------------------------------------------------------------------------------


def test_merging_takes_what_is_intact_and_changes_nothing_there(target: DiskStore, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "source")
    store.put({**ENTRIES, some_key("unreadable"): b"? no answer"})
    store._cache.set(some_key("damaged"), b"not sealed")  # pyright: ignore[reportPrivateUsage]
    store.close()
    target.put({SORTED[0]: ENTRIES[SORTED[0]], SORTED[1]: b"the answer of this machine"})
    before = {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()}
    with StoreReader(tmp_path / "source", untouched=True) as source:
        taken = merge(target, source, check)
    assert taken == Taken(taken=len(ENTRIES) - 2, present=1, differing=1, refused=2)
    assert content(target) == {**ENTRIES, SORTED[1]: b"the answer of this machine"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()} == before


def test_a_store_in_use_can_be_merged(target: DiskStore, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "source")
    store.put(ENTRIES)  # in the write-ahead log
    with StoreReader(tmp_path / "source", untouched=True) as source:
        assert merge(target, source, check).taken == len(ENTRIES)
        store.put({KEY: b"meanwhile"})
    assert content(target) == ENTRIES
    assert store.get([KEY]).entries == {KEY: b"meanwhile"}


def test_reading_a_file_unpickles_nothing() -> None:
    """Neither module imports anything that runs what it reads."""
    source = io.StringIO()
    for name in ("portable", "intake", "reading", "format", "sqlite_files", "admin", "sealing"):
        source.write((Path(__file__).parents[2] / "cache" / f"{name}.py").read_text(encoding="utf-8"))
    text = source.getvalue()
    assert not {word for word in ("pickle", "eval(", "exec(", "marshal", "__import__") if word in text}
