"""The flow `extraction` with an API that costs money: tokens are guessed, and its key stays where it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.extraction_oracle import Noise
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.made_up_documents import SPEC, write_documents
from tests.flows.running import ICMProcess, JsonObject, Place, PrefectServer, asked_of, free_port
from tests.oracle_server import oracle_program

KEY = "sk-planted-openai-5"


def holding_the_key(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.timeout(200)
def test_an_external_api_extracts_with_guessed_tokens_and_its_key_is_nowhere(
    new_process: Callable[[], ICMProcess], prefect_server: PrefectServer, tmp_path: Path
) -> None:
    documents = write_documents(tmp_path, 2)
    program = oracle_program(Noise(hallucinated=0.0), documents=tmp_path / "gold.jsonl")
    with FakeVLLMProcess(program=program, api_key=KEY) as api:
        more = {"OPENAI_BASE_URL": api.v1_url, "OPENAI_API_KEY": KEY}
        nowhere = f"http://127.0.0.1:{free_port()}"
        place = Place(base_url=nowhere, model="fake-model", folder=tmp_path, more=more)
        parameters: JsonObject = {
            "documents": str(documents),
            "gold": str(tmp_path / "gold.jsonl"),
            "spec": SPEC,
            "chunk_tokens": 400,
            "overlap_tokens": 60,
            "model": "openai:fake-model",
        }
        outcome = new_process().run(place, parameters, flow="extraction").require_completed()
        asked = sum(asked_of(api.stats()).values())
    assert outcome.log.count("tokens of fake-model are guessed from bytes: nothing here can count them") == 1
    assert outcome.summary["coverage"] == 1.0
    assert asked == outcome.summary["asked"] > 2  # chunks of both documents
    assert outcome.summary["evaluation"]["micro"]["exact"]["f1"] > 0.9
    assert (tmp_path / "store" / "cache.db").exists()
    assert outcome.directory.is_relative_to(tmp_path)
    assert holding_the_key(tmp_path) == []
    assert KEY not in outcome.log
    assert holding_the_key(Path(prefect_server.environment["PREFECT_HOME"])) == []
