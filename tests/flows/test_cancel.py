"""A run that is cancelled in the UI stops asking within seconds, and the server stops computing for it."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.run_report import run_report
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import (
    SMALL_SEARCH,
    JsonObject,
    Place,
    PrefectServer,
    deploy_icm,
    running_worker,
    start_deployed,
    wait_for,
)

POOL = "cancel-test"
PARAMETERS: JsonObject = {**SMALL_SEARCH, "iterations": 16}
SLOW_SECONDS = 600.0


def journal(store: Path, run: str) -> list[JsonObject]:
    lines = (store / "journal" / f"{run}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.timeout(200)
def test_cancelling_stops_the_asks_and_the_server_s_work(
    prefect_server: PrefectServer, folders: Callable[[], Path]
) -> None:
    with FakeVLLMProcess() as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        deploy_icm(prefect_server, place.folder, POOL, PARAMETERS)
        with running_worker(prefect_server, place, POOL, "cancelled"):
            flow_run_id = start_deployed(prefect_server, f"icm/{POOL}", {})
            wait_for(lambda: fake.stats()["answered"] >= 4, "answers", pause=0.01)
            fake.config(latency_seconds=SLOW_SECONDS)
            wait_for(lambda: fake.stats()["in_flight"] > 0, "a question that takes long", pause=0.01)
            # What the button Cancel of the UI does.
            cancelling: JsonObject = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
            answer = prefect_server.call("POST", f"/flow_runs/{flow_run_id}/set_state", cancelling)
            assert answer["status"] == "ACCEPT", answer
            started = time.monotonic()
            wait_for(lambda: fake.stats()["in_flight"] == 0, "the server to be left alone", seconds=30)
            waited = time.monotonic() - started
            asked = fake.stats()["prompts"]

            def state() -> str:
                return prefect_server.flow_run(flow_run_id)["state"]["name"]

            wait_for(lambda: state() == "Cancelled", "the run to be shown as cancelled", seconds=60)
            assert fake.stats()["prompts"] == asked
    assert waited < SLOW_SECONDS / 10
    report = run_report(journal(place.store, flow_run_id))
    assert report.state == "cancelled"
    assert report.requests.outcomes["Cancelled"] >= 1
