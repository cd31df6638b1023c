"""The flow from end to end: what it leaves, what it asks again, and what it says when it cannot go on."""

import base64
import json
import pickle
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cache.disk_store import DiskStore
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import (
    CANARY,
    FOUND,
    SMALL_SEARCH,
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    PrefectServer,
    asked_of,
    free_port,
    one_sentence,
)
from tests.model_files import flip_byte, write_model

PARAMETERS: JsonObject = {**SMALL_SEARCH, "iterations": 16}
QUICK_SECONDS = 20.0


@dataclass(frozen=True)
class Finished:
    place: Place
    outcome: Outcome
    stats: JsonObject


@dataclass(frozen=True)
class Harmful:
    """Leaves a file where it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def fake(folders: Callable[[], Path]) -> Iterator[FakeVLLMProcess]:
    """A server on this machine whose model's files are there."""
    with FakeVLLMProcess(model_root=str(write_model(folders()))) as server:
        yield server


@pytest.fixture(scope="module")
def first(
    fake: FakeVLLMProcess, new_process: Callable[[], ICMProcess], folders: Callable[[], Path]
) -> Finished:
    """The first run, in a process of its own."""
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    with new_process() as process:
        outcome = process.run(place, PARAMETERS).require_completed()
    return Finished(place, outcome, fake.stats())


@pytest.fixture
def nowhere(first: Finished, tmp_path: Path) -> Place:
    """A server that is not there, and an empty store."""
    return replace(first.place, base_url=f"http://127.0.0.1:{free_port()}", folder=tmp_path)


def rows(outcome: Outcome, name: str) -> list[JsonObject]:
    text = (outcome.directory / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# --- What a run leaves ----------------------------------------------------------------------------------


def test_a_run_accepts_and_rejects_and_leaves_its_files(first: Finished) -> None:
    summary = first.outcome.summary
    assert summary["accepted"] >= 1
    assert summary["rejected"] >= 1
    assert json.loads((first.outcome.directory / "summary.json").read_text()) == summary
    history = rows(first.outcome, "history.jsonl")
    assert [row["iteration"] for row in history] == list(range(17))
    assert Counter(row["outcome"] for row in history)["accepted"] == summary["accepted"]
    assert history[-1]["energy"] == summary["energy"]
    labels = rows(first.outcome, "labels.jsonl")
    assert len(labels) == 16
    assert sum(row["label"] is not None for row in labels) == summary["labelled"]
    assert "<html" in (first.outcome.directory / "report.html").read_text()
    assert [score["method"] for score in summary["test"]] == [
        "zero-shot", "random labels", "found labels", "golden labels",
    ]  # fmt: skip
    assert summary["flow_run_id"] == first.outcome.flow_run_id


def test_no_prompt_is_asked_twice_in_a_run(first: Finished) -> None:
    asked = asked_of(first.stats)
    assert set(asked.values()) == {1}
    assert first.outcome.summary["cost"]["sent"] == len(asked) == first.stats["answered"] - len(CANARY)
    assert first.outcome.summary["cost"]["requests"] == first.stats["requests"] - 1  # the canary


def test_the_ui_shows_progress_accepted_changes_and_report(
    first: Finished, prefect_server: PrefectServer
) -> None:
    artifacts = prefect_server.artifacts(first.outcome.flow_run_id)
    assert {key: artifact["type"] for key, artifact in artifacts.items()} == {
        "icm-progress": "progress", "icm-accepted-changes": "table", "icm-report": "markdown",
    }  # fmt: skip
    assert artifacts["icm-progress"]["data"] == 100
    assert len(json.loads(artifacts["icm-accepted-changes"]["data"])) == first.outcome.summary["accepted"]
    assert first.outcome.summary["headline"] in artifacts["icm-report"]["data"]
    assert str(first.outcome.directory) in artifacts["icm-report"]["data"]


# --- What is asked again --------------------------------------------------------------------------------


def test_a_second_run_sends_nothing_and_executes_no_task(
    fake: FakeVLLMProcess, process: ICMProcess, first: Finished, prefect_server: PrefectServer
) -> None:
    before, found = fake.stats(), first.outcome.bytes_of(*FOUND)
    second = process.run(first.place, PARAMETERS).require_completed()
    after = fake.stats()
    assert (after["requests"], after["prompts"]) == (before["requests"], before["prompts"])
    assert after["all_requests"] == before["all_requests"] + 1  # which model is served
    assert second.task_runs == first.outcome.task_runs > 10
    states = prefect_server.task_states(second.flow_run_id, count=second.task_runs)
    assert Counter(states) == {"Cached": second.task_runs}
    assert (second.summary["cost"]["sent"], second.summary["cost"]["requests"]) == (0, 0)
    assert second.summary["cost"]["hits"] == second.summary["cost"]["prompts"]
    assert second.directory == first.outcome.directory
    assert second.bytes_of(*FOUND) == found


def test_refresh_asks_everything_once_more(
    fake: FakeVLLMProcess, process: ICMProcess, first: Finished
) -> None:
    before, found = asked_of(fake.stats()), first.outcome.bytes_of(*FOUND)
    again = process.run(first.place, {**PARAMETERS, "cache_mode": "refresh"}).require_completed()
    assert asked_of(fake.stats()) == {digest: times + 1 for digest, times in before.items()}
    assert again.bytes_of(*FOUND) == found


def test_replay_needs_no_server(nowhere: Place, process: ICMProcess, first: Finished) -> None:
    stored = replace(nowhere, folder=first.place.folder)
    found = first.outcome.bytes_of(*FOUND)
    replayed = process.run(stored, {**PARAMETERS, "cache_mode": "replay"}).require_completed()
    assert replayed.summary["cost"]["sent"] == 0
    assert replayed.bytes_of(*FOUND) == found


def test_damaged_answers_are_asked_again_and_end_a_replay_although_the_tasks_have_receipts(
    fake: FakeVLLMProcess, process: ICMProcess, first: Finished, tmp_path: Path
) -> None:
    place = replace(first.place, folder=tmp_path)
    shutil.copytree(first.place.store, place.store)
    with closing(sqlite3.connect(place.store / "cache.db")) as database, database:
        # The labels' token ids, canary and identity are entries too; every other entry is damaged.
        damaged = database.execute(
            "UPDATE Cache SET value = CAST(substr(value, 1, 20) AS BLOB) WHERE rowid % 2 = 0"
        ).rowcount
    assert damaged > 10
    failed = process.run(place, {**PARAMETERS, "cache_mode": "replay"})
    assert failed.state == "Failed"
    one_sentence(failed.message, "CorruptEntryError", "is damaged", "without replay")
    before = sum(asked_of(fake.stats()).values())
    mended = process.run(place, PARAMETERS).require_completed()
    assert damaged - 3 <= sum(asked_of(fake.stats()).values()) - before <= damaged
    assert mended.bytes_of(*FOUND) == first.outcome.bytes_of(*FOUND)


def test_a_result_file_that_would_be_unpickled_is_not_read(
    process: ICMProcess, first: Finished, tmp_path: Path
) -> None:
    place = replace(first.place, folder=tmp_path)
    shutil.copytree(first.place.store, place.store)
    code = base64.b64encode(pickle.dumps(Harmful(tmp_path / "harm"))).decode()
    for path in (place.store / "results").iterdir():
        record = json.loads(path.read_text())
        record["metadata"]["serializer"] = {"type": "pickle"}
        path.write_text(json.dumps({**record, "result": code}))
    outcome = process.run(place, PARAMETERS).require_completed()
    assert not (tmp_path / "harm").exists()
    assert outcome.bytes_of(*FOUND) == first.outcome.bytes_of(*FOUND)


def test_off_stores_nothing_and_finds_the_same(
    fake: FakeVLLMProcess, process: ICMProcess, first: Finished, tmp_path: Path
) -> None:
    """Two runs that know nothing of each other write the same bytes."""
    place = replace(first.place, folder=tmp_path)
    before = sum(asked_of(fake.stats()).values())
    off = process.run(place, {**PARAMETERS, "cache_mode": "off"}).require_completed()
    assert sum(asked_of(fake.stats()).values()) >= before + sum(asked_of(first.stats).values())
    assert off.directory.parent != first.outcome.directory.parent
    assert off.bytes_of(*FOUND) == first.outcome.bytes_of(*FOUND)
    store = DiskStore(place.store)
    assert list(store.keys()) == []
    store.close()
    results = place.store / "results"
    assert not results.exists() or not list(results.iterdir())


# --- What it says when it cannot go on ------------------------------------------------------------------


def test_a_wrong_parameter_is_named(nowhere: Place, process: ICMProcess) -> None:
    failed = process.run(nowhere, {**PARAMETERS, "num_seeds": 3})
    assert failed.state == "Failed"
    assert "num_seeds is 3; it must be even: half true, half false" in failed.error
    failed = process.run(nowhere, {**PARAMETERS, "iteration": 3})
    assert failed.state == "Failed"
    assert "iteration" in failed.error


def test_a_missing_data_set_is_named(nowhere: Place, process: ICMProcess, tmp_path: Path) -> None:
    path = tmp_path / "nothing.jsonl"
    failed = process.run(nowhere, {**PARAMETERS, "dataset": "file", "train_path": str(path)})
    assert failed.state == "Failed"
    one_sentence(failed.message, "DataError", str(path), "cannot be read", "give the path of a JSON file")


def test_a_malformed_record_is_named_by_line_and_field(
    nowhere: Place, process: ICMProcess, tmp_path: Path
) -> None:
    path = tmp_path / "claims.jsonl"
    good = {"question": "Is it?", "choice": "It is.", "label": 1, "consistency_id": 0}
    path.write_text(f"{json.dumps(good)}\n{json.dumps({**good, 'choice': 7})}\n")
    failed = process.run(nowhere, {**PARAMETERS, "dataset": "file", "train_path": str(path)})
    assert failed.state == "Failed"
    one_sentence(failed.message, "DataError", f"{path}, line 2", "'choice'", "not empty")


def test_a_missing_server_is_told_soon(nowhere: Place, process: ICMProcess) -> None:
    started = time.monotonic()
    failed = process.run(nowhere, PARAMETERS)
    seconds = time.monotonic() - started
    assert failed.state == "Failed"
    one_sentence(
        failed.message, "RunStoppedError", "no connection to", nowhere.base_url, "make up", "VLLM_BASE_URL"
    )
    assert seconds < QUICK_SECONDS


def test_an_unknown_model_is_told_in_the_servers_words(
    nowhere: Place, fake: FakeVLLMProcess, process: ICMProcess
) -> None:
    place = replace(nowhere, base_url=fake.base_url)
    started = time.monotonic()
    failed = process.run(place, {**PARAMETERS, "model": "gpt-2"})
    assert time.monotonic() - started < QUICK_SECONDS
    assert failed.state == "Failed"
    one_sentence(failed.message, "The model `gpt-2` does not exist", "fake-model")


def test_a_replay_of_nothing_says_what_to_do(nowhere: Place, process: ICMProcess) -> None:
    failed = process.run(nowhere, {**PARAMETERS, "cache_mode": "replay"})
    assert failed.state == "Failed"
    one_sentence(failed.message, "CacheMissError", "not stored", "cache_mode='use'")


# --- Which weights --------------------------------------------------------------------------------------


def test_weights_that_change_behind_a_name_stop_the_run_before_a_stored_answer_is_used(
    process: ICMProcess, tmp_path: Path
) -> None:
    """A server whose model's files are not here: only the canary tells its weights apart."""
    with FakeVLLMProcess() as server:
        place = Place(base_url=server.base_url, model="fake-model", folder=tmp_path)
        first = process.run(place, PARAMETERS).require_completed()
        assert first.summary["weights"].startswith("name canary:")
        before = asked_of(server.stats())
        again = process.run(place, PARAMETERS).require_completed()
        assert again.summary["cost"]["sent"] == 0
        assert asked_of(server.stats()) == before
        server.config(weight_noise=1.0)
        failed = process.run(place, PARAMETERS)
        assert failed.state == "Failed"
        one_sentence(
            failed.message, "WeightsChangedError", "'fake-model'", "revision", "cache_mode='refresh'"
        )
        assert asked_of(server.stats()) == before
        pinned = process.run(place, {**PARAMETERS, "revision": "two"}).require_completed()
        assert pinned.summary["cost"]["hits"] < pinned.summary["cost"]["prompts"]
        assert process.run(place, {**PARAMETERS, "cache_mode": "refresh"}).state == "Completed"
        warm = process.run(place, PARAMETERS).require_completed()
        assert warm.summary["cost"]["sent"] == 0


def test_a_folder_with_other_weights_under_the_same_name_is_asked_anew(
    first: Finished, process: ICMProcess, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    place = replace(first.place, folder=tmp_path)
    shutil.copytree(first.place.store, place.store)
    with FakeVLLMProcess(model_root=str(folder)) as server:
        place = replace(place, base_url=server.base_url)
        same = process.run(place, PARAMETERS).require_completed()
        assert (same.summary["cost"]["sent"], server.stats()["prompts"]) == (0, 0)
        flip_byte(folder / "model.safetensors", -1)
        other = process.run(place, PARAMETERS).require_completed()
        assert other.summary["cost"]["sent"] == first.outcome.summary["cost"]["sent"]
