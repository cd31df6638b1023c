"""Extraction with a real vLLM server: documents through the flow, and on again after SIGKILL."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.json_lines import read_rows
from tests.flows.running import PROJECT, ICMProcess, JsonObject, Place, stored_prompts, wait_for
from tests.live.conftest import LiveServer

pytestmark = pytest.mark.live

OPINION = PROJECT.parent / "shared" / "data" / "legal" / "eyecite" / "opinion.txt"
QUICK: JsonObject = {
    "spec": "legal",
    "chunk_tokens": 2000,
    "overlap_tokens": 60,
    "max_completion_tokens": 160,
    "max_items": 3,
    "max_halvings": 0,
}
"""Few and short answers: what a model of 135M parameters says is not the point."""


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Two documents of the project's own, and the opinion where it is there."""
    folder = tmp_path / "documents"
    shutil.copytree(PROJECT / "data" / "extraction" / "documents", folder)
    (folder / "opinion.txt").unlink()
    if OPINION.exists():
        shutil.copy(OPINION, folder / "supreme-court.txt")
    return folder


@pytest.mark.timeout(900)
def test_documents_are_gone_through_and_a_killed_run_asks_only_for_the_rest(
    live_server: LiveServer, new_process: Callable[[], ICMProcess], documents: Path, tmp_path: Path
) -> None:
    place = Place(base_url=live_server.base_url, model=live_server.model, folder=tmp_path)
    parameters: JsonObject = {**QUICK, "documents": str(documents)}
    victim = new_process()
    victim.start(place, parameters, flow="extraction")

    def is_time() -> bool:
        victim.require_busy()
        return len(stored_prompts(place.store)) >= 2

    wait_for(is_time, "two answers", seconds=300, pause=0.2)
    victim.kill()
    before = len(stored_prompts(place.store))
    assert not list((place.folder / "runs").rglob("entities.jsonl"))
    own = new_process()
    outcome = own.run(place, parameters, flow="extraction").require_completed()
    summary = outcome.summary
    assert summary["cost"]["hits"] == before > 0
    rows = read_rows(outcome.directory / "documents.jsonl")
    assert {str(row["id"]) for row in rows} == {path.name for path in documents.iterdir()}
    for row in rows:
        assert row["coverage"] == 1.0 or row["failed"], row["id"]
    texts = {str(row["id"]): str(row["text"]) for row in rows}
    for row in read_rows(outcome.directory / "entities.jsonl"):
        if isinstance(row["start"], int) and isinstance(row["end"], int):
            assert texts[str(row["document"])][row["start"] : row["end"]] == row["text"]
    counted = live_server.counters()
    again = own.run(place, parameters, flow="extraction").require_completed()
    assert again.summary["cost"]["sent"] == 0
    assert live_server.counters() == counted
    assert again.bytes_of("entities.jsonl") == outcome.bytes_of("entities.jsonl")
