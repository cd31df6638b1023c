"""Files of prompts through the flow `batch`: what it leaves, what fails, and what is asked again."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import (
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    PrefectServer,
    asked_again,
    asked_of,
    free_port,
    one_sentence,
    stored_prompts,
    wait_for,
)

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"word": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["word", "sure"],
}
ROWS = 60


@dataclass(frozen=True)
class Finished:
    place: Place
    parameters: JsonObject
    outcome: Outcome
    stats: JsonObject


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLMProcess]:
    with FakeVLLMProcess() as server:
        yield server


@pytest.fixture
def place(fake: FakeVLLMProcess, tmp_path: Path) -> Place:
    return Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)


def write_prompts(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"id": f"r{n}", "n": n, "prompt": f"Question number {n}?"} for n in range(1, count + 1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def answered(fake: FakeVLLMProcess) -> int:
    """Count the prompts answered so far, without those that only tell whose weights these are."""
    return sum(asked_of(fake.stats()).values())


def lines_of(path: Path) -> list[JsonObject]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(outcome: Outcome) -> list[JsonObject]:
    return lines_of(Path(outcome.summary["output"]))


@pytest.fixture(scope="module")
def first(fake: FakeVLLMProcess, process: ICMProcess, folders: Callable[[], Path]) -> Finished:
    """A first run, in batches of which the last is shorter."""
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    path = write_prompts(place.folder / "prompts.jsonl", ROWS)
    parameters: JsonObject = {"input_path": str(path), "batch_size": 16, "max_output_tokens": 24}
    fake.reset()
    outcome = process.run(place, parameters, flow="batch").require_completed()
    return Finished(place, parameters, outcome, fake.stats())


# --- What a run leaves ----------------------------------------------------------------------------------


def test_there_is_one_answer_for_each_row_in_the_order_of_the_rows(first: Finished) -> None:
    found = answers(first.outcome)
    assert [row["row"] for row in found] == list(range(1, ROWS + 1))
    assert [row["id"] for row in found] == [f"r{n}" for n in range(1, ROWS + 1)]
    assert [row["prompt"] for row in found] == [f"Question number {n}?" for n in range(1, ROWS + 1)]
    assert len({row["text"] for row in found}) > ROWS / 2
    assert {row["error"] for row in found} == {None}
    assert set(asked_of(first.stats).values()) == {1}
    assert first.outcome.summary["cost"]["sent"] == ROWS == len(asked_of(first.stats))
    assert first.outcome.task_runs == 4


def test_the_ui_shows_progress_counts_and_report(first: Finished, prefect_server: PrefectServer) -> None:
    artifacts = prefect_server.artifacts(first.outcome.flow_run_id)
    assert {key: artifact["type"] for key, artifact in artifacts.items()} == {
        "batch-progress": "progress", "batch-counts": "table", "batch-report": "markdown",
    }  # fmt: skip
    assert artifacts["batch-progress"]["data"] == 100
    assert artifacts["batch-progress"]["description"] == "60 of 60 prompts answered"
    assert first.outcome.summary["headline"] in artifacts["batch-report"]["data"]
    assert "<html" in (first.outcome.directory / "report.html").read_text()
    summary = json.loads((first.outcome.directory / "summary.json").read_text())
    assert summary == first.outcome.summary


def test_a_second_run_sends_nothing_and_writes_the_same_bytes(
    first: Finished, fake: FakeVLLMProcess, process: ICMProcess
) -> None:
    output = Path(first.outcome.summary["output"])
    bytes_before, before = output.read_bytes(), answered(fake)
    other_size = {**first.parameters, "batch_size": 7}
    for parameters in (first.parameters, other_size):
        second = process.run(first.place, parameters, flow="batch").require_completed()
        assert second.directory == first.outcome.directory
        assert output.read_bytes() == bytes_before
    assert answered(fake) == before


def test_an_estimate_sends_nothing_and_writes_nothing(
    first: Finished, fake: FakeVLLMProcess, process: ICMProcess
) -> None:
    before = answered(fake)
    path = write_prompts(first.place.folder / "more.jsonl", ROWS + 5)
    parameters = {**first.parameters, "input_path": str(path), "estimate": True}
    found = process.run(first.place, parameters, flow="batch").require_completed().summary
    assert (found["calls"], found["hits"], found["to_send"]) == (ROWS + 5, ROWS, 5)
    assert found["max_output_tokens"] == 5 * 24
    assert answered(fake) == before
    assert not list((first.place.folder / "runs").glob("batch-more-*"))


def test_conversations_from_csv_are_answered_by_schema_into_parquet(
    place: Place, process: ICMProcess, tmp_path: Path
) -> None:
    path, output = tmp_path / "chats.csv", tmp_path / "out" / "chats.parquet"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "text"])
        writer.writerows([[f"Ann {n}", f"line one\nline two, {n}"] for n in range(5)])
    parameters: JsonObject = {
        "input_path": str(path),
        "output_path": str(output),
        "template": "Say hello to {name}: {text}",
        "system": "You are polite.",
        "json_schema": SCHEMA,
        "logprobs": 2,
        "n": 2,
        "temperature": 0.5,
        "max_output_tokens": 100,
    }
    outcome = process.run(place, parameters, flow="batch").require_completed()
    rows = pq.read_table(str(output)).to_pylist()
    assert [(row["row"], row["sample"]) for row in rows] == [(n, k) for n in range(1, 6) for k in (0, 1)]
    assert rows[2]["input_text"] == "line one\nline two, 1"
    for row in rows:
        assert json.loads(str(row["json"])) == json.loads(str(row["text"]))
        tokens = json.loads(str(row["logprobs"]))
        assert "".join(token["token"] for token in tokens) == row["text"]
        assert {len(token["top"]) for token in tokens} == {2}
    assert outcome.summary["answers"] == 10
    assert outcome.summary["failed"] == 0


# --- What fails -----------------------------------------------------------------------------------------


def test_a_failed_prompt_is_a_row_and_fails_the_run_unless_it_is_allowed_to(
    place: Place, fake: FakeVLLMProcess, process: ICMProcess, tmp_path: Path
) -> None:
    path, output = write_prompts(tmp_path / "prompts.jsonl", 30), tmp_path / "answers.jsonl"
    parameters: JsonObject = {"input_path": str(path), "output_path": str(output), "batch_size": 10}
    fake.faults([{"kind": "status", "status": 400, "times": -1, "match": "number 17?", "message": "no 17"}])
    try:
        failed = process.run(place, parameters, flow="batch")
        allowed = process.run(place, {**parameters, "max_failed_fraction": 0.04}, flow="batch")
    finally:
        fake.reset()
    assert failed.state == "Failed"
    one_sentence(failed.message, "TooManyFailedError", "1 of 30", "BadRequestError", str(output))
    assert allowed.state == "Completed", allowed.log
    assert allowed.summary["failures"] == {"BadRequestError": 1}
    assert allowed.summary["cost"]["sent"] == 0
    found = lines_of(output)
    assert [row["row"] for row in found if row["error"]] == [17]
    assert "no 17" in found[16]["error"]
    assert found[16]["text"] is None
    mended = process.run(place, parameters, flow="batch").require_completed()
    assert mended.summary["cost"]["sent"] == 1
    assert not [row for row in lines_of(output) if row["error"]]


def test_an_answer_that_does_not_follow_the_schema_is_a_failed_row_that_keeps_its_text(
    place: Place, fake: FakeVLLMProcess, process: ICMProcess, tmp_path: Path
) -> None:
    path, output = write_prompts(tmp_path / "prompts.jsonl", 4), tmp_path / "answers.jsonl"
    parameters: JsonObject = {
        "input_path": str(path), "output_path": str(output), "json_schema": SCHEMA, "max_output_tokens": 3,
        "max_failed_fraction": 1,
    }  # fmt: skip
    outcome = process.run(place, parameters, flow="batch").require_completed()
    assert outcome.summary["failures"] == {"answer does not follow the schema": 4}
    for row in lines_of(output):
        assert row["error"] == "answer does not follow the schema: it was cut off at max_output_tokens"
        assert row["text"]
        assert row["json"] is None
    assert "4 of 4 answers were cut off at 3 tokens" in outcome.summary["warnings"][0]
    before = answered(fake)
    process.run(place, parameters, flow="batch").require_completed()
    assert answered(fake) == before


def test_bad_rows_stop_a_run_before_anything_is_sent_or_become_failed_rows(
    place: Place, fake: FakeVLLMProcess, process: ICMProcess, tmp_path: Path
) -> None:
    path, output = write_prompts(tmp_path / "prompts.jsonl", 3), tmp_path / "answers.jsonl"
    with path.open("a") as file:
        file.write('{"promt": "Typo"}\n{"prompt": 7}\n')
    parameters: JsonObject = {"input_path": str(path), "output_path": str(output)}
    before = fake.stats()["all_requests"]
    failed = process.run(place, parameters, flow="batch")
    assert fake.stats()["all_requests"] == before
    assert failed.state == "Failed"
    one_sentence(failed.message, "InputError", f"{path}: 2 of 5 rows", "line 4", "skip_bad_rows")
    assert "line 5: 'prompt' is 7; it must be a text" in failed.log
    skipping = {**parameters, "skip_bad_rows": True, "max_failed_fraction": 0.5}
    outcome = process.run(place, skipping, flow="batch").require_completed()
    assert outcome.summary["failures"] == {"bad row": 2}
    assert [bool(row["error"]) for row in lines_of(output)] == [False] * 3 + [True] * 2


def test_an_output_that_cannot_be_made_is_refused_before_anything_is_sent(
    place: Place, fake: FakeVLLMProcess, process: ICMProcess, tmp_path: Path
) -> None:
    path = write_prompts(tmp_path / "prompts.jsonl", 3)
    parameters: JsonObject = {"input_path": str(path), "output_path": "/proc/no/answers.jsonl"}
    before = fake.stats()["all_requests"]
    failed = process.run(place, parameters, flow="batch")
    assert failed.state == "Failed"
    assert fake.stats()["all_requests"] == before
    one_sentence(failed.message, "InputError", "/proc/no/answers.jsonl", "give another output_path")


def test_a_server_that_is_not_there_is_no_failure_of_rows(
    place: Place, process: ICMProcess, tmp_path: Path
) -> None:
    nowhere = replace(place, base_url=f"http://127.0.0.1:{free_port()}")
    path, output = write_prompts(tmp_path / "prompts.jsonl", 3), tmp_path / "answers.jsonl"
    parameters: JsonObject = {
        "input_path": str(path), "output_path": str(output), "max_failed_fraction": 1, "max_wait_seconds": 0,
    }  # fmt: skip
    failed = process.run(nowhere, parameters, flow="batch")
    assert failed.state == "Failed"
    assert "RunStoppedError" in failed.message
    assert not output.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_budget_stops_a_run_and_a_larger_one_goes_on(
    place: Place, fake: FakeVLLMProcess, process: ICMProcess, tmp_path: Path
) -> None:
    path = write_prompts(tmp_path / "prompts.jsonl", 20)
    parameters: JsonObject = {"input_path": str(path), "batch_size": 5}
    before = answered(fake)
    stopped = process.run(place, {**parameters, "max_requests": 8}, flow="batch")
    assert stopped.state == "Failed"
    assert "max_requests (8)" in stopped.message
    assert answered(fake) - before <= 8
    process.run(place, parameters, flow="batch").require_completed()
    assert answered(fake) - before == 20


# --- A run that is killed -------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_a_killed_run_goes_on_and_writes_the_bytes_of_an_undisturbed_one(
    new_process: Callable[[], ICMProcess], process: ICMProcess, tmp_path: Path
) -> None:
    path = write_prompts(tmp_path / "prompts.jsonl", 400)
    parameters: JsonObject = {"input_path": str(path), "batch_size": 40}
    with FakeVLLMProcess(latency_seconds=0.15) as fake, new_process() as victim:
        place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path / "killed")
        undisturbed = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path / "undisturbed")
        parameters["output_path"] = str(tmp_path / "answers.jsonl")
        fake.faults([{"kind": "hang", "seconds": 300, "match": "number 390?"}])
        victim.start(place, parameters, flow="batch")
        wait_for(lambda: len(stored_prompts(place.store)) >= 100, "stored answers", pause=0.01)
        victim.require_busy()
        victim.kill()
        wait_for(lambda: fake.stats()["in_flight"] == 0, "the fake to notice")
        before, stored = fake.stats(), stored_prompts(place.store)
        [leftover] = tmp_path.glob("answers.jsonl.*.partial")
        fake.faults([])
        resumed = process.run(place, parameters, flow="batch").require_completed()
        assert not asked_again(before, fake.stats()) & stored
        assert 100 <= len(stored) < 400
        assert resumed.summary["cost"]["sent"] == 400 - len(stored)
        assert not leftover.exists()
        found = (tmp_path / "answers.jsonl").read_bytes()
        process.run(undisturbed, parameters, flow="batch").require_completed()
        assert (tmp_path / "answers.jsonl").read_bytes() == found
