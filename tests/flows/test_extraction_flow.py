"""Documents through the flow `extraction`: what it finds, what fails, what is asked again."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.extraction_oracle import Noise
from flows.json_lines import read_rows
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.made_up_documents import SMALL, SPEC, write_documents
from tests.flows.running import (
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    PrefectServer,
    asked_of,
    free_port,
    one_sentence,
    stored_prompts,
    wait_for,
)
from tests.oracle_server import oracle_program


@dataclass(frozen=True)
class Case:
    """Documents, and a server that knows what is in them."""

    documents: Path
    fake: FakeVLLMProcess

    @property
    def parameters(self) -> JsonObject:
        return {**SMALL, "documents": str(self.documents), "gold": str(self.documents.parent / "gold.jsonl")}


@pytest.fixture(scope="module")
def case(folders: Callable[[], Path]) -> Iterator[Case]:
    folder = folders()
    documents = write_documents(folder, 3)
    program = oracle_program(Noise(hallucinated=0.0), documents=folder / "gold.jsonl")
    with FakeVLLMProcess(program=program, latency_seconds=0.02) as fake:
        yield Case(documents, fake)


@pytest.fixture(scope="module")
def new_place(case: Case, folders: Callable[[], Path]) -> Callable[[], Place]:
    return lambda: Place(base_url=case.fake.base_url, model="fake-model", folder=folders())


@dataclass(frozen=True)
class Finished:
    place: Place
    outcome: Outcome
    asked: frozenset[str]


@pytest.fixture(scope="module")
def finished(process: ICMProcess, case: Case, new_place: Callable[[], Place]) -> Finished:
    place = new_place()
    case.fake.reset()
    outcome = process.run(place, case.parameters, flow="extraction").require_completed()
    asked = asked_of(case.fake.stats())
    assert set(asked.values()) == {1}
    return Finished(place, outcome, frozenset(asked))


def test_every_entity_is_found_where_it_stands(finished: Finished, case: Case) -> None:
    summary, directory = finished.outcome.summary, finished.outcome.directory
    assert summary["documents"] == {"complete": 3}
    assert summary["coverage"] == 1.0
    assert summary["evaluation"]["micro"]["exact"]["f1"] == 1.0
    assert summary["evaluation"]["grounding"]["precision"] == 1.0
    entities = read_rows(directory / "entities.jsonl")
    texts = {str(row["id"]): str(row["text"]) for row in read_rows(directory / "documents.jsonl")}
    assert texts == {path.name: path.read_text() for path in case.documents.iterdir()}
    assert len(entities) == 3 * 60
    for row in entities:
        assert isinstance(row["start"], int)
        assert isinstance(row["end"], int)
        assert texts[str(row["document"])][row["start"] : row["end"]] == row["text"]
        assert (row["status"], row["confidence"]) == ("exact", 1.0)


def test_the_report_holds_texts_labels_and_the_evaluation(finished: Finished) -> None:
    page = (finished.outcome.directory / "report.html").read_text()
    for words in ("d0.txt", "Ada Lovelace", "person", "coverage 100 %"):
        assert words in page


def test_a_second_run_asks_nothing_and_finds_the_same(
    process: ICMProcess, case: Case, finished: Finished
) -> None:
    before = case.fake.stats()
    again = process.run(finished.place, case.parameters, flow="extraction").require_completed()
    assert asked_of(case.fake.stats()) == asked_of(before)
    assert again.summary["cost"]["sent"] == 0
    names = ("entities.jsonl", "documents.jsonl")
    assert again.directory == finished.outcome.directory
    assert again.bytes_of(*names) == finished.outcome.bytes_of(*names)


def test_without_its_server_a_run_of_before_is_replayed(
    process: ICMProcess, case: Case, finished: Finished
) -> None:
    away = Place(base_url=f"http://127.0.0.1:{free_port()}", model="fake-model", folder=finished.place.folder)
    replayed = process.run(away, {**case.parameters, "cache_mode": "replay"}, flow="extraction")
    names = ("entities.jsonl", "documents.jsonl")
    assert replayed.require_completed().bytes_of(*names) == finished.outcome.bytes_of(*names)


def test_a_killed_run_goes_on_where_it_was(
    new_process: Callable[[], ICMProcess], process: ICMProcess, case: Case, new_place: Callable[[], Place],
    finished: Finished,
) -> None:  # fmt: skip
    place, victim = new_place(), new_process()
    case.fake.reset()
    victim.start(place, {**case.parameters, "keep_prompts": True}, flow="extraction")

    def is_time() -> bool:
        victim.require_busy()
        return len(asked_of(case.fake.stats())) >= len(finished.asked) // 2

    wait_for(is_time, "half of the chunks", pause=0.004)
    victim.kill()
    wait_for(lambda: case.fake.stats()["in_flight"] == 0, "the fake to notice")
    stored = stored_prompts(place.store)
    assert len(stored) > 3
    assert not list((place.folder / "runs").rglob("*.jsonl"))
    before = case.fake.stats()
    resumed = process.run(place, case.parameters, flow="extraction").require_completed()
    again = {
        name for name, count in asked_of(case.fake.stats()).items() if count > asked_of(before).get(name, 0)
    }
    assert again == finished.asked - stored
    assert resumed.bytes_of("entities.jsonl") == finished.outcome.bytes_of("entities.jsonl")


def test_an_estimate_sends_nothing_and_leaves_nothing(
    process: ICMProcess, case: Case, new_place: Callable[[], Place], finished: Finished
) -> None:
    place, before = new_place(), case.fake.stats()
    found = process.run(place, {**case.parameters, "estimate": True}, flow="extraction").require_completed()
    assert found.summary["to_send"] == len(finished.asked)
    assert asked_of(case.fake.stats()) == asked_of(before)
    assert not (place.folder / "runs").exists()


def test_a_budget_stops_it_and_what_was_answered_is_not_asked_again(
    process: ICMProcess, case: Case, new_place: Callable[[], Place], finished: Finished
) -> None:
    place = new_place()
    case.fake.reset()
    stopped = process.run(place, {**case.parameters, "max_requests": 10}, flow="extraction")
    assert stopped.state == "Failed"
    one_sentence(stopped.message, "RunStoppedError", "max_requests (10)")
    assert len(asked_of(case.fake.stats())) == 10
    whole = process.run(place, case.parameters, flow="extraction").require_completed()
    assert set(asked_of(case.fake.stats()).values()) == {1}
    assert whole.bytes_of("entities.jsonl") == finished.outcome.bytes_of("entities.jsonl")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, ["ParametersError", "documents"]),
        ({"documents": "nowhere"}, ["DocumentsError", "nowhere"]),
        ({"text": " "}, ["ParametersError", "text is empty"]),
        ({"text": "contract.txt"}, ["DocumentsError", "'contract.txt'", "give it as documents"]),
        ({"text": "a", "spec": "nothing"}, ["SpecError", "nothing"]),
        ({"text": "a", "min_votes": 2}, ["ParametersError", "min_votes"]),
        ({"text": "a", "gold": "nowhere.jsonl"}, ["GoldError", "nowhere.jsonl"]),
        ({"text": "a", "max_completion_tokens": 40_000}, ["ParametersError", "max_completion_tokens"]),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_asked(
    process: ICMProcess, case: Case, new_place: Callable[[], Place], parameters: JsonObject, words: list[str]
) -> None:
    before = asked_of(case.fake.stats())
    failed = process.run(new_place(), {"spec": SPEC, **parameters}, flow="extraction")
    assert failed.state == "Failed"
    one_sentence(failed.message, *words)
    assert asked_of(case.fake.stats()) == before


def test_progress_and_results_are_in_the_ui(prefect_server: PrefectServer, finished: Finished) -> None:
    artifacts = prefect_server.artifacts(finished.outcome.flow_run_id)
    assert artifacts["extraction-progress"]["data"] == 100.0
    assert "3 of 3 documents done (100%)" in artifacts["extraction-progress"]["description"]
    table = json.loads(artifacts["extraction-entities"]["data"])
    assert {row["label"]: row["entities"] for row in table} == {"person": 90, "place": 90}
    assert finished.outcome.summary["headline"] in artifacts["extraction-report"]["data"]
