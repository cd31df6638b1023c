"""The baselines of an ICM run: in the report, costed, stored, and left out where a model has none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import FOUND, SMALL_SEARCH, ICMProcess, JsonObject, Outcome, Place, free_port

PARAMETERS: JsonObject = {**SMALL_SEARCH, "bootstrap_rounds": 2, "chat_baseline": True}
METHODS = [
    "zero-shot", "zero-shot chat", "random labels", "bootstrapped labels", "found labels", "golden labels",
]  # fmt: skip


def methods(outcome: Outcome) -> list[str]:
    return [score["method"] for score in outcome.summary["test"]]


@pytest.mark.timeout(200)
def test_all_baselines_are_in_the_report_and_in_the_store(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    with FakeVLLMProcess() as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        first = process.run(place, PARAMETERS).require_completed()
        prompts = fake.stats()["prompts"]
        again = process.run(place, PARAMETERS).require_completed()
        # The canary asks again what weights are behind a name, and nothing else is asked.
        assert again.summary["cost"]["sent"] == 0
        assert fake.stats()["prompts"] == prompts + 8
    gone = replace(place, base_url=f"http://127.0.0.1:{free_port()}")
    replayed = process.run(gone, {**PARAMETERS, "cache_mode": "replay"}).require_completed()

    for outcome in (first, again, replayed):
        assert methods(outcome) == METHODS
        assert outcome.summary["test"] == first.summary["test"]
        assert outcome.summary["bootstrapping"] == first.summary["bootstrapping"]
        assert outcome.bytes_of(*FOUND) == first.bytes_of(*FOUND)
        report = (outcome.directory / "report.html").read_text(encoding="utf-8")
        assert all(f"<td>{method}</td>" in report for method in METHODS)
    rounds = first.summary["bootstrapping"]
    assert 1 <= len(rounds) <= 2
    parts = {part["part"]: part for part in first.summary["parts"]}
    assert set(parts) == {"search", "bootstrapping", *(f"test {method}" for method in METHODS)}
    assert parts["bootstrapping"]["prompts"] == 16 * len(rounds)
    assert parts["test zero-shot chat"]["prompts"] == 8
    assert sum(part["sent"] for part in parts.values()) == first.summary["cost"]["sent"]


@pytest.mark.timeout(200)
def test_a_model_without_a_chat_template_is_not_asked_in_conversations(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    with FakeVLLMProcess() as fake:
        fake.config(has_chat_template=False)
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        first = process.run(place, PARAMETERS).require_completed()
        assert methods(first) == [method for method in METHODS if method != "zero-shot chat"]
        assert not [path for path in fake.stats()["by_path"] if "chat" in path]
    gone = replace(place, base_url=f"http://127.0.0.1:{free_port()}")
    replayed = process.run(gone, {**PARAMETERS, "cache_mode": "replay"}).require_completed()
    assert methods(replayed) == methods(first)
