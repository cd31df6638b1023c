"""Before it costs: an ICM run can be estimated, and stopped by a budget, and goes on from there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import FOUND, SMALL_SEARCH, ICMProcess, JsonObject, Place, asked_of

PARAMETERS: JsonObject = {**SMALL_SEARCH, "revision": "as served"}


@pytest.mark.timeout(200)
def test_an_estimate_sends_nothing_and_a_budget_stops_a_run_that_goes_on_when_it_is_larger(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    with FakeVLLMProcess() as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        found = process.run(place, {**PARAMETERS, "estimate": True}).require_completed().summary
        assert fake.stats()["prompts"] == 0
        assert found["to_send"] > 50
        assert (found["seconds"], found["max_cost_usd"]) == (None, 0.0)
        assert found["input_tokens"] > found["computed_input_tokens"] > 0

        night = process.run(place, {**PARAMETERS, "estimate": True}, flow="nightly").require_completed()
        assert night.log.count(f"- estimate: {found['calls']} calls, ") == 2  # the flow's own log, too

        stopped = process.run(place, {**PARAMETERS, "max_requests": 30})
        assert stopped.state == "Failed"
        assert "max_requests (30)" in stopped.message
        assert len(asked_of(fake.stats())) <= 30
        # Under the keys that the run will have, since the weights are known by now; nothing of it stays.
        process.run(place, {**PARAMETERS, "estimate": True, "max_requests": 1}).require_completed()
        assert len(asked_of(fake.stats())) <= 30

        whole = process.run(place, PARAMETERS).require_completed()
        asked = asked_of(fake.stats())
        assert set(asked.values()) == {1}
        assert whole.summary["cost"]["sent"] == len(asked) - 30

        again = process.run(place, {**PARAMETERS, "estimate": True}).require_completed().summary
        assert (again["to_send"], again["hits"]) == (0, again["calls"])

    with FakeVLLMProcess() as fake:
        undisturbed = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        expected = process.run(undisturbed, PARAMETERS).require_completed()
        assert whole.bytes_of(*FOUND) == expected.bytes_of(*FOUND)
