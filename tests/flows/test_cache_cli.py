"""The store is administered from the command line, in sentences and with exit codes."""

import asyncio
import gzip
import json
import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backends.canary import PROMPTS, Canary
from backends.errors import BackendConnectionError
from backends.messages import Label, Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.keys import Key
from cache.lookup import CacheMode, Lookup
from flows.cli import app
from tasks.codec import encode_entry, encode_labels, encode_note
from tasks.generate import Generator
from tasks.identity import Identity
from tasks.keys import request_digests, request_key
from tests.helpers import MODEL, chat, completion, scoring, some_key

DAY = 86_400.0
LABELS = [Label(text="True", token_ids=(1,)), Label(text="False", token_ids=(2,))]
REQUESTS = [
    completion("sky?"),
    chat("and the sea?"),
    scoring("Grass is red.", LABELS),
    completion("x", model="y"),
]
ANSWERS = [
    Response(text="blue", finish_reason="stop"),
    Response(text="blue too", finish_reason="stop"),
    Response(text=" False", finish_reason="length", label_logprobs={"True": -2.0, "False": -0.25}),
    Response(text="\x1b[2J\x9bwiped", finish_reason="stop"),
]
KEYS = [request_key(request) for request in REQUESTS]


def cache(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cache", *map(str, arguments)])


def said(*arguments: object, code: int = 0) -> str:
    """Run a command, insist on its exit code, and return what it printed."""
    result = cache(*arguments)
    assert result.exit_code == code, result.output
    return result.output


def refused(*arguments: object) -> str:
    text = said(*arguments, code=1)
    assert text.startswith("vllm-flows: ")
    assert text.count("\n") == 1
    return text


def read(*arguments: object, code: int = 0) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(said(*arguments, "--json", code=code))


def entry(request: Request, response: Response) -> bytes:
    return encode_entry(request, request_digests(request), response, keep_text=not request.labels)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of the settings, with four answers; answer `i` was stored `10 - i` days ago."""
    folder, now = Path(os.environ["VLLM_FLOWS_STORE"]), time.time()
    store = DiskStore(folder)
    for number, (request, response) in enumerate(zip(REQUESTS, ANSWERS, strict=True)):
        monkeypatch.setattr(time, "time", lambda number=number: now - (10 - number) * DAY)
        store.put({request_key(request): entry(request, response)})
    monkeypatch.setattr(time, "time", lambda: now)
    store.close()
    return folder


class Witness:
    """A server of which only the name is known."""

    async def weights(self, model: str, *, max_attempts: int) -> None:
        del model, max_attempts

    async def canary(self, model: str) -> Canary:
        del model
        return ({1: -0.5},) * len(PROMPTS)


def damage(folder: Path, key: Key) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as database, database:
        assert database.execute("UPDATE Cache SET value = x'00' WHERE key = ?", (key,)).rowcount == 1


def intact(folder: Path) -> set[Key]:
    store = DiskStore(folder)
    found = set(store.get(KEYS).entries)
    store.close()
    return found


# --- stats, ls, show ------------------------------------------------------------------------------------


def test_stats_say_how_much_there_is_and_where(folder: Path) -> None:
    found = read("stats")
    assert (found["folder"], found["version"], found["entries"]) == (str(folder), 1, 4)
    assert found["oldest"] < found["newest"]
    assert found["file_bytes"] >= found["used_bytes"] > found["value_bytes"] > 0
    assert "4 entries" in said("stats")


def test_stats_count_kinds_and_models_when_asked(folder: Path) -> None:
    damage(folder, KEYS[1])
    counted = {(row["kind"], row["model"]): row["entries"] for row in read("stats", "--by-model")["by_model"]}
    assert counted == {
        ("completion", MODEL): 1,
        ("label scores", MODEL): 1,
        ("completion", "y"): 1,
        ("damaged", "?"): 1,
    }
    assert "label scores" in said("stats", "--by-model")


def test_ls_shows_the_newest_first(folder: Path) -> None:
    rows = read("ls")
    assert [row["key"] for row in rows] == KEYS[::-1]
    assert [row["kind"] for row in rows] == ["completion", "label scores", "chat", "completion"]
    assert rows[3]["text"] == "sky? -> blue"
    table = said("ls", "--store", folder)
    assert [line.split()[0] for line in table.splitlines()[1:]] == [key[:12] for key in KEYS[::-1]]


@pytest.mark.usefixtures("folder")
def test_ls_filters() -> None:
    assert [row["key"] for row in read("ls", "--model", "y")] == [KEYS[3]]
    assert read("ls", "--model", "nobody") == []
    assert [row["key"] for row in read("ls", "--limit", 2)] == [KEYS[3], KEYS[2]]
    assert [row["key"] for row in read("ls", "--since", "8.5d")] == [KEYS[3], KEYS[2]]
    assert [row["key"] for row in read("ls", "--since", "2020-01-01")] == KEYS[::-1]
    assert "no entries" in said("ls", "--model", "nobody")
    assert "cannot be read; write it like 30d" in refused("ls", "--since", "yesterday")


@pytest.mark.usefixtures("folder")
def test_show_prints_what_was_asked_and_answered() -> None:
    shown = json.loads(said("show", KEYS[0][:8]))
    assert (shown["key"], shown["kind"], shown["model"]) == (KEYS[0], "completion", MODEL)
    assert shown["entry"]["response"] == {"text": "blue", "finish_reason": "stop"}
    assert shown["entry"]["request"]["prompt"] == "sky?"
    assert "request" not in json.loads(said("show", KEYS[2].upper()))["entry"]


@pytest.mark.usefixtures("folder")
def test_nothing_that_is_shown_steers_the_terminal() -> None:
    for command in (["ls"], ["ls", "--json"], ["show", KEYS[3]]):
        text = said(*command)
        assert "wiped" in text
        assert not {each for each in text if not each.isprintable()} - {"\n"}
    assert json.loads(said("show", KEYS[3]))["entry"]["response"]["text"] == ANSWERS[3].text


def test_show_refuses_what_names_no_entry(folder: Path) -> None:
    assert "is no beginning of a key; give at least 4 hex digits" in refused("show", "abc")
    assert "is no beginning of a key" in refused("show", "wxyz")
    assert "begins with 00000000" in refused("show", "00000000")
    store = DiskStore(folder)
    store.put({Key("abcd" + "0" * 60): b"[]", Key("abcd" + "1" * 60): b"[]"})
    store.close()
    assert f"several keys begin with abcd, among them abcd{'0' * 60} and" in refused("show", "abcd")
    damage(folder, KEYS[0])
    assert "is damaged; it will be asked again" in refused("show", KEYS[0])


# --- verify, gc -----------------------------------------------------------------------------------------


def test_verify_finds_damage_and_removes_it_when_told(folder: Path) -> None:
    assert said("verify") == "every entry is intact\n"
    damage(folder, KEYS[1])
    text = said("verify", code=1)
    assert KEYS[1] in text
    assert "`vllm-flows cache verify --delete` removes them" in text
    found = read("verify", code=1)
    assert [row["entry"] for row in found["damaged"]] == [KEYS[1]]
    assert "1 of 1 damaged entry removed" in said("verify", "--delete")
    assert said("verify") == "every entry is intact\n"
    assert intact(folder) == set(KEYS) - {KEYS[1]}


def test_verify_tells_of_a_damaged_database_and_the_way_on_works(folder: Path, tmp_path: Path) -> None:
    with (folder / "cache.db").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(size - 4096)
    text = said("verify", code=1)
    assert "the database is damaged: " in text
    assert "`vllm-flows cache export FILE`, move the store's folder away" in text
    said("export", tmp_path / "saved")
    folder.rename(tmp_path / "away")
    said("import", tmp_path / "saved")
    assert said("verify") == "every entry is intact\n"


def test_verify_tells_of_a_file_that_is_no_database(folder: Path) -> None:
    (folder / "cache.db").write_bytes(b"my diary" * 1000)
    text = refused("verify")
    assert "file is not a database; nothing of it can be read" in text
    assert f"move {folder} away and run again" in text
    assert "`vllm-flows cache verify`" in refused("stats")


def test_gc_removes_what_is_older(folder: Path) -> None:
    assert "would remove about 2 entries" in said("gc", "--older-than", "8.5d", "--dry-run")
    assert intact(folder) == set(KEYS)
    assert "removed 2 entries" in said("gc", "--older-than", "8.5d")
    assert intact(folder) == set(KEYS[2:])


def test_gc_keeps_what_leads_to_the_answers_that_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    store = DiskStore(folder)
    notes = {some_key("identity"): encode_note("weights", "name"), some_key("labels"): encode_labels(LABELS)}
    monkeypatch.setattr(time, "time", lambda: now - 100 * DAY)  # met long ago, as the first answers were
    store.put(notes)
    monkeypatch.setattr(time, "time", lambda: now)
    store.close()
    assert "would remove about 2 entries" in said("gc", "--older-than", "8.5d", "--dry-run")
    assert "removed 2 entries" in said("gc", "--older-than", "8.5d")
    assert "removed 2 entries" in said("gc", "--max-size", 1)
    store = DiskStore(folder)
    assert store.get(store.keys()).entries == notes
    store.close()
    assert "removed 2 entries" in said("gc", "--max-size", 0)


def test_gc_removes_the_oldest_until_the_rest_fits(folder: Path) -> None:
    assert "removed 0 entries" in said("gc", "--max-size", "5GB")
    assert "removed 4 entries" in said("gc", "--max-size", 0)
    assert intact(folder) == set()


def test_gc_refuses_to_guess(folder: Path) -> None:
    assert refused("gc") == "vllm-flows: say what may go: --older-than 30d, --max-size 5GB, or both\n"
    assert "is no length of time" in refused("gc", "--older-than", "30")
    assert "is no size" in refused("gc", "--max-size", "5 apples")
    assert intact(folder) == set(KEYS)


# --- export, import, merge ------------------------------------------------------------------------------


def replay(folder: Path) -> list[Response]:
    """Answer the questions from a store alone: there is no server."""
    store = DiskStore(folder)
    nobody = Scripted(lambda request: BackendConnectionError("there is no server"))  # noqa: ARG005
    generator = Generator(backend=nobody, lookup=Lookup(store, CacheMode.REPLAY))
    try:
        return asyncio.run(generator(REQUESTS))
    finally:
        store.close()
        assert nobody.asked == []


def test_another_machine_replays_an_exported_store_without_any_server(folder: Path, tmp_path: Path) -> None:
    assert said("export", tmp_path / "answers.gz") == f"4 entries written to {tmp_path / 'answers.gz'}\n"
    assert stat.S_IMODE((tmp_path / "answers.gz").stat().st_mode) == 0o600
    there = tmp_path / "another machine" / "store"
    assert "4 taken, 0 already there" in said("import", tmp_path / "answers.gz", "--store", there)
    assert replay(there) == ANSWERS == replay(folder)
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    said("export", tmp_path / "again.gz", "--store", there)
    assert (tmp_path / "again.gz").read_bytes() == (tmp_path / "answers.gz").read_bytes()


@pytest.mark.usefixtures("folder")
def test_export_takes_a_list_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEYS[2]}\n{'0' * 64}\n")
    text = said("export", tmp_path / "file", "--keys-from", tmp_path / "keys")
    assert "1 entry written" in text
    assert "1 not stored" in text
    (tmp_path / "keys").write_text("sky?")
    assert "which is no key; write one key of 64 hex digits a line" in refused(
        "export", tmp_path / "file", "--keys-from", tmp_path / "keys"
    )


def test_a_run_that_is_exported_by_its_keys_can_be_replayed(folder: Path, tmp_path: Path) -> None:
    def identity(place: Path, mode: CacheMode) -> Identity:
        return Identity(witness=Witness(), store=DiskStore(place), mode=mode, model=MODEL)

    there = tmp_path / "there"
    found = asyncio.run(identity(folder, CacheMode.USE).revision())
    (tmp_path / "keys").write_text("\n".join(KEYS))
    said("export", tmp_path / "file", "--keys-from", tmp_path / "keys")
    said("import", tmp_path / "file", "--store", there)
    assert asyncio.run(identity(there, CacheMode.REPLAY).revision()) == found
    assert replay(there) == ANSWERS


@pytest.mark.usefixtures("folder")
def test_import_says_where_a_file_breaks_and_keeps_what_was_whole(tmp_path: Path) -> None:
    said("export", tmp_path / "whole")
    lines = gzip.decompress((tmp_path / "whole").read_bytes()).splitlines(keepends=True)
    (tmp_path / "cut").write_bytes(gzip.compress(b"".join(lines[:3])))
    result = cache("import", tmp_path / "cut", "--store", tmp_path / "there")
    assert result.exit_code == 1
    assert "2 taken" in result.output
    assert "cut is not whole: it is cut off after 2 entries; what came before was taken" in result.output
    assert len(intact(tmp_path / "there")) == 2


def test_import_of_another_program_s_file_says_so_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    said = refused("import", tmp_path / "p.csv", "--store", tmp_path / "there")
    assert f"{tmp_path / 'p.csv'} is not imported: it is no file of `vllm-flows cache export`" in said
    assert "what came before" not in said


def test_import_refuses_what_is_no_answer(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "evil")
    store.put({KEYS[0]: b"\x80\x04K\x01.", KEYS[1]: encode_labels(LABELS)})
    store.close()
    said("export", tmp_path / "file", "--store", tmp_path / "evil")
    assert "1 taken, 0 already there, 0 there with another answer (which stays), 1 refused" in said(
        "import", tmp_path / "file", "--store", tmp_path / "there", code=1
    )
    assert intact(tmp_path / "there") == {KEYS[1]}


def test_merge_takes_another_store_in(folder: Path, tmp_path: Path) -> None:
    assert "4 taken" in said("merge", folder, "--store", tmp_path / "there")
    assert "0 taken, 4 already there" in said("merge", folder, "--store", tmp_path / "there")
    assert replay(tmp_path / "there") == ANSWERS
    assert "is the store itself" in refused("merge", folder)
    damage(folder, KEYS[0])
    assert "1 refused" in said("merge", folder, "--store", tmp_path / "third", code=1)


# --- places ---------------------------------------------------------------------------------------------


def test_where_there_is_no_store_nothing_is_made(tmp_path: Path) -> None:
    there = tmp_path / "none"
    for command in (["stats"], ["ls"], ["show", "abcd"], ["verify"], ["gc", "--max-size", "1"]):
        assert f"there is no store in {there}; name its folder" in refused(*command, "--store", there)
    assert "there is no store" in refused("export", tmp_path / "file", "--store", there)
    assert "there is no store" in refused("merge", there)
    assert f"there is no file {tmp_path / 'absent'}; give the path" in refused("import", tmp_path / "absent")
    assert not there.exists()
    assert not (tmp_path / "file").exists()


def test_a_file_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "such"
    assert f"there is no folder {nowhere}; make it" in refused("export", nowhere / "file")
    assert f"{folder} is a folder; give the path of a file in it" in refused("export", folder)
    no_keys = refused("export", tmp_path / "file", "--keys-from", tmp_path / "keys")
    assert f"there is no file {tmp_path / 'keys'}; give the path of a file with one key a line" in no_keys
    assert intact(folder) == set(KEYS)
