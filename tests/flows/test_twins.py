"""Two flow runs with the same parameters at once share the work."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import FOUND, SMALL_SEARCH, ICMProcess, JsonObject, Place, asked_of, wait_for

PARAMETERS: JsonObject = SMALL_SEARCH


@pytest.mark.timeout(200)
def test_two_runs_of_the_same_at_once_ask_each_question_once(
    process: ICMProcess, new_process: Callable[[], ICMProcess], folders: Callable[[], Path]
) -> None:
    with FakeVLLMProcess(latency_seconds=0.5) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        twin = new_process()
        process.start(place, PARAMETERS)
        twin.start(place, PARAMETERS)
        one, other = process.finish().require_completed(), twin.finish().require_completed()
        asked = asked_of(fake.stats())
    assert set(asked.values()) == {1}
    assert one.summary["cost"]["sent"] + other.summary["cost"]["sent"] == len(asked)
    assert one.summary["cost"]["shared"] + other.summary["cost"]["shared"] > 0
    assert one.bytes_of(*FOUND) == other.bytes_of(*FOUND)


@pytest.mark.timeout(200)
def test_an_estimate_waits_for_no_run_that_asks_the_same(
    process: ICMProcess, new_process: Callable[[], ICMProcess], folders: Callable[[], Path]
) -> None:
    """Nor does a run wait for it: what it claimed would be answered by nobody."""
    with FakeVLLMProcess(latency_seconds=0.2) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        asker = new_process()
        asker.start(place, PARAMETERS)
        wait_for(lambda: asked_of(fake.stats()), "the search to begin", pause=0.01)
        fake.faults([{"kind": "hang", "seconds": 300, "times": -1}])
        wait_for(lambda: fake.stats()["in_flight"] > 0, "a question to be on its way")
        found = process.run(place, {**PARAMETERS, "estimate": True}).require_completed().summary
        assert found["to_send"] > 0
        asker.require_busy()
        asker.kill()
