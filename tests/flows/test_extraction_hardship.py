"""Extractions when things go wrong: spoilt answers, broken documents, many of them, little memory."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.extraction_oracle import LENER_BR, Noise, load_gold
from bench.extraction_spoiling import Spoiling
from flows.json_lines import read_rows
from tasks.extraction.plain_text import cleaned
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.made_up_documents import SMALL, write_documents
from tests.flows.running import ICMProcess, JsonObject, Place
from tests.oracle_server import oracle_program

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def spoiling(folders: Callable[[], Path]) -> Iterator[tuple[Path, FakeVLLMProcess]]:
    """Documents, and a server whose every third answer is spoilt."""
    folder = folders()
    documents = write_documents(folder, 8)
    program = oracle_program(Noise(hallucinated=0.1), Spoiling(share=0.34), documents=folder / "gold.jsonl")
    with FakeVLLMProcess(program=program) as fake:
        yield documents, fake


def test_spoilt_answers_are_mended_and_nothing_made_up_has_a_span(
    spoiling: tuple[Path, FakeVLLMProcess], process: ICMProcess, folders: Callable[[], Path]
) -> None:
    documents, fake = spoiling
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    parameters = {**SMALL, "documents": str(documents), "gold": str(documents.parent / "gold.jsonl")}
    outcome = process.run(place, parameters, flow="extraction").require_completed()
    summary = outcome.summary
    assert summary["documents"] == {"complete": 8}
    assert summary["asked"] > summary["chunks"] > 40
    exact = summary["evaluation"]["micro"]["exact"]
    assert exact["recall"] == 1.0
    assert exact["precision"] == 1.0
    assert summary["findings"]["ungrounded"] > 20
    rows = read_rows(outcome.directory / "entities.jsonl")
    assert all(row["start"] is None for row in rows if row["status"] == "ungrounded")


@pytest.fixture(scope="module")
def hopeless(folders: Callable[[], Path]) -> Iterator[tuple[Path, FakeVLLMProcess]]:
    """190 documents that can be read and 10 that cannot be, one of them with a chunk that always fails."""
    folder = folders()
    documents = write_documents(folder, 190, sentences=12)
    broken = {
        "empty.txt": b"",
        "blank.txt": b" \n\t\n",
        "binary.txt": bytes(range(256)) * 40,
        "latin1.txt": "Grüße aus Köln. ".encode("latin-1") * 50,
        "huge.txt": b"No end of words. " * (20 * MEGABYTE // 17),
        "broken.pdf": b"%PDF-1.7 nothing of the kind",
        "empty.html": b"<html><script>1</script></html>",
        "rows.jsonl": b'{"id": "one", "text": "Nobody was there."}\n{"id": "two"}\nno JSON\n',
        "image.png": b"\x89PNG\r\n",
    }
    for name, content in broken.items():
        (documents / name).write_bytes(content)
    for name in ("fails", "breaks"):
        (documents / f"{name}.txt").write_text(
            "Ada Lovelace was there. " * 40 + f"{name.upper()} ALWAYS. " + "Alan Turing was not. " * 40
        )
    with FakeVLLMProcess(
        program=oracle_program(Noise(hallucinated=0.0), documents=folder / "gold.jsonl")
    ) as fake:
        yield documents, fake


def test_a_folder_of_200_documents_ends_with_a_status_for_each_in_little_memory(
    hopeless: tuple[Path, FakeVLLMProcess], new_process: Callable[[], ICMProcess], folders: Callable[[], Path]
) -> None:
    documents, fake = hopeless
    fake.faults(
        [
            {"kind": "status", "status": 400, "match": "FAILS ALWAYS", "times": -1},
            {"kind": "reset", "match": "BREAKS ALWAYS", "times": -1},
        ]
    )
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    own = new_process()
    outcome = own.run(place, {**SMALL, "documents": str(documents)}, flow="extraction").require_completed()
    rows = {str(row["id"]): row for row in read_rows(outcome.directory / "documents.jsonl")}
    assert len(rows) == 190 + 9 + 2 + 2
    assert Counter(row["status"] for row in rows.values()) == {
        "complete": 191, "partial": 2, "unreadable": 10
    }  # fmt: skip
    for name in ("empty.txt", "binary.txt", "latin1.txt", "huge.txt", "broken.pdf", "image.png"):
        assert rows[name]["status"] == "unreadable", name
        assert rows[name]["reason"], name
    assert rows["fails.txt"]["status"] == rows["breaks.txt"]["status"] == "partial"
    assert "connection" in str(rows["breaks.txt"]["reason"])
    assert own.peak_megabytes() < 500


@pytest.mark.skipif(not LENER_BR.exists(), reason=f"{LENER_BR} is not there")
def test_real_documents_answered_over_http_are_found_again(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    """Bars of grounding and merging, through the whole flow."""
    # The server has to know a chunk by its text, and documents are read without form feeds.
    gold = folders() / "gold.jsonl"
    rows = [{**row, "text": cleaned(str(row["text"]))} for row in read_rows(LENER_BR)]
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = sorted({entity.label for document in load_gold(gold) for entity in document.entities})
    spec = {"name": "lener", "description": "Entities.", "labels": [{"name": one} for one in labels]}
    parameters: JsonObject = {
        "documents": str(gold), "gold": str(gold), "spec": spec, "chunk_characters": 1000
    }  # fmt: skip
    with FakeVLLMProcess(
        program=oracle_program(Noise(kind="normalized", hallucinated=0.1), documents=gold)
    ) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        one = process.run(place, parameters, flow="extraction").require_completed().summary
    assert one["evaluation"]["micro"]["exact"]["recall"] > 0.99
    assert one["evaluation"]["grounding"]["precision"] > 0.99
    noise = Noise(kind="verbatim", hallucinated=0.1, recall=0.9, boundary_noise=0.05, spurious=0.04)
    with FakeVLLMProcess(program=oracle_program(noise, documents=gold)) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        # A document repeats passages with other labels: only what stands around tells the oracle which.
        three = {**parameters, "passes": 3, "min_votes": 2, "context_characters": 1200}
        found = process.run(place, three, flow="extraction").require_completed().summary
    assert found["evaluation"]["micro"]["exact"]["f1"] >= 0.97
