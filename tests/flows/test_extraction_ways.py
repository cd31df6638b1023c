"""Other ways through the flow `extraction`: no model, one text, several passes, context, other formats."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from bench.extraction_oracle import Noise
from flows.extraction_files import read_files
from flows.json_lines import read_rows
from tasks.extraction.exports import outermost
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.made_up_documents import SMALL, SPEC, write_documents
from tests.flows.running import ICMProcess, JsonObject, Place, asked_of, free_port, one_sentence
from tests.oracle_server import oracle_program


@pytest.fixture(scope="module")
def documents(folders: Callable[[], Path]) -> Path:
    return write_documents(folders(), 2)


@pytest.fixture(scope="module")
def fake(documents: Path) -> Iterator[FakeVLLMProcess]:
    noise = Noise(hallucinated=0.1, recall=0.8, spurious=0.1)
    with FakeVLLMProcess(program=oracle_program(noise, documents=documents.parent / "gold.jsonl")) as server:
        yield server


@pytest.fixture
def place(fake: FakeVLLMProcess, tmp_path: Path) -> Place:
    return Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)


@pytest.fixture
def nowhere(tmp_path: Path) -> Place:
    return Place(base_url=f"http://127.0.0.1:{free_port()}", model="fake-model", folder=tmp_path)


def test_citations_are_found_without_any_server(process: ICMProcess, nowhere: Place) -> None:
    text = "See Brown v. Board of Educ., 347 U.S. 483 (1954), and 28 U.S.C. § 1331. Id. at 490."
    parameters: JsonObject = {"text": text, "extractor": "citations"}
    outcome = process.run(nowhere, parameters, flow="extraction").require_completed()
    rows = read_rows(outcome.directory / "entities.jsonl")
    assert [(row["label"], row["text"]) for row in rows] == [
        ("case_citation", "347 U.S. 483"),
        ("statute", "28 U.S.C. § 1331"),
        ("id", "Id. at 490"),
    ]
    assert outcome.summary["cost"]["prompts"] == 0
    assert outcome.summary["model"] == "eyecite"


def test_passes_vote_and_spans_with_few_votes_are_left_out(
    process: ICMProcess, place: Place, documents: Path
) -> None:
    parameters = {**SMALL, "documents": str(documents), "gold": str(documents.parent / "gold.jsonl")}
    one = process.run(place, parameters, flow="extraction").require_completed().summary
    several = {**parameters, "passes": 3, "min_votes": 2}
    outcome = process.run(place, several, flow="extraction").require_completed()
    scores = [summary["evaluation"]["micro"]["exact"] for summary in (one, outcome.summary)]
    assert scores[1]["f1"] > scores[0]["f1"] + 0.05
    spans = [one for file in read_files(outcome.directory) for one in file.entities if one.start is not None]
    assert {one.votes for one in spans} == {2, 3}
    assert all(one.confidence == 1.0 for one in spans if one.votes == 3)
    assert outcome.summary["cost"]["hits"] > 0  # the first pass is that of the run before


def test_context_is_shown_and_nothing_is_taken_from_it(
    process: ICMProcess, fake: FakeVLLMProcess, place: Place, documents: Path
) -> None:
    before = set(asked_of(fake.stats()))
    parameters = {**SMALL, "documents": str(documents), "context_characters": 100}
    outcome = process.run(place, parameters, flow="extraction").require_completed()
    assert outcome.summary["coverage"] == 1.0
    assert set(asked_of(fake.stats())) - before


def test_a_context_that_holds_no_question_and_answer_is_told_of_in_a_sentence(
    process: ICMProcess, tmp_path: Path
) -> None:
    with FakeVLLMProcess(max_model_len=150) as short:
        place = Place(base_url=short.base_url, model="fake-model", folder=tmp_path)
        failed = process.run(place, {"text": "Ada spoke."}, flow="extraction")
    one_sentence(failed.message, "SettingsError", "fake-model", "150 tokens", "--max-model-len")
    assert "Traceback" not in failed.log


def test_files_in_another_encoding_are_read_if_it_is_given(
    process: ICMProcess, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes("Grüße aus Köln.".encode("cp1252"))
    parameters: JsonObject = {"documents": str(tmp_path / "a.txt"), "spec": SPEC, "encoding": "cp1252"}
    outcome = process.run(place, parameters, flow="extraction").require_completed()
    [row] = read_rows(outcome.directory / "documents.jsonl")
    assert row["text"] == "Grüße aus Köln."
    failed = process.run(place, {**parameters, "encoding": "latin-99"}, flow="extraction")
    one_sentence(failed.message, "DocumentsError", "latin-99")


def test_a_server_with_a_short_context_is_given_no_more_than_fits(
    process: ICMProcess, tmp_path: Path
) -> None:
    documents = write_documents(tmp_path, 2, sentences=16)
    program = oracle_program(Noise(hallucinated=0.0), documents=documents.parent / "gold.jsonl")
    with FakeVLLMProcess(program=program, max_model_len=2300) as short:
        place = Place(base_url=short.base_url, model="fake-model", folder=tmp_path)
        parameters: JsonObject = {"documents": str(documents), "spec": SPEC, "chunk_tokens": 1500}
        outcome = process.run(place, parameters, flow="extraction").require_completed()
        statuses = short.stats()["by_status"]
    assert outcome.summary["coverage"] == 1.0
    assert "chunks of 1500 tokens do not fit the context" in outcome.log
    assert set(statuses) == {"200"}
    assert outcome.summary["cost"]["overflows"] == 0
    assert outcome.summary["asked"] > outcome.summary["chunks"]  # halves, since its answers are short, too


@pytest.mark.parametrize("template", ["{{ messages[0].content }}", None])
def test_the_server_counts_where_its_template_is_not_that_of_the_files(
    process: ICMProcess, fake: FakeVLLMProcess, tmp_path: Path, template: str | None
) -> None:
    root = tmp_path / "model"
    root.mkdir()
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.save(str(root / "tokenizer.json"))
    (root / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} if template else {}))
    fake.config(model_root=str(root))
    place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)
    outcome = process.run(place, {"text": "Nobody was there.", "spec": SPEC}, flow="extraction")
    fake.config(model_root="/models/fake-model")
    assert "tokens are counted by the server: " in outcome.require_completed().log
    assert ("another chat template" if template else "no chat template") in outcome.log


def test_entities_are_exported_whole(process: ICMProcess, place: Place, documents: Path) -> None:
    parameters = {**SMALL, "documents": str(documents), "exports": ["conll", "brat"]}
    outcome = process.run(place, parameters, flow="extraction").require_completed()
    counted = sum(outcome.summary["entities"].values())
    conll = (outcome.directory / "entities.conll").read_text()
    assert conll.count("-DOCSTART-") == 2
    kept = sum(len(outermost(one.entities)) for one in read_files(outcome.directory))
    assert conll.count(" B-") == kept <= counted
    folder = outcome.directory / "brat"
    assert {path.suffix for path in folder.iterdir()} == {".txt", ".ann"}
    assert sum(path.read_text().count("\nT") + 1 for path in folder.glob("*.ann")) == counted
    again = process.run(place, parameters, flow="extraction").require_completed()
    assert (again.directory / "entities.conll").read_text() == conll
    assert not [path for path in outcome.directory.iterdir() if path.name.startswith(".")]


def test_a_spec_that_leaves_no_room_for_a_text_is_refused_before_anything_is_asked(
    process: ICMProcess, fake: FakeVLLMProcess, place: Place
) -> None:
    before = asked_of(fake.stats())
    long = {**SPEC, "description": "Find people. " * 4000}
    failed = process.run(place, {"text": "Ada was there.", "spec": long}, flow="extraction")
    assert failed.state == "Failed"
    one_sentence(failed.message, "ContextOverflowError", "instructions and examples", "shorten them")
    assert asked_of(fake.stats()) == before


def test_when_all_documents_fail_so_does_the_run_with_everything_written(
    process: ICMProcess, place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"")
    (folder / "b.txt").write_bytes(b"\xff\xfe\x00\x01\x00")
    failed = process.run(place, {"documents": str(folder), "spec": SPEC}, flow="extraction")
    assert failed.state == "Failed"
    one_sentence(failed.message, "TooManyFailedDocumentsError", "2 of 2", "max_failed_fraction")
    [written] = (place.folder / "runs").rglob("documents.jsonl")
    assert [row["status"] for row in read_rows(written)] == ["unreadable", "unreadable"]
