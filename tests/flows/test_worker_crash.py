"""A worker and its flow run are killed together; the run is marked crashed, retried and completed."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import (
    FOUND,
    ICMProcess,
    JsonObject,
    Place,
    PrefectServer,
    asked_again,
    asked_of,
    deploy_icm,
    descendants,
    running_worker,
    start_deployed,
    stored_prompts,
    wait_for,
)

POOL = "crash-test"
DEPLOYED: JsonObject = {
    "dataset": "general_knowledge",
    "num_claims": 16,
    "iterations": 400,
    "consistency": "answer",
    "trailing_space": False,
    "test_claims": 8,
    "keep_prompts": True,
}
KILLED_AFTER_LISTS = 12


@dataclass(frozen=True)
class Crashed:
    flow_run_id: str
    states: list[str]
    """As the API showed them: after the kill, after marking, after the retry."""
    before: JsonObject
    """What the fake had answered after the kill."""
    after: JsonObject
    stored: set[str]
    leftovers: list[int]
    place: Place


def kill_all(process: subprocess.Popen[bytes]) -> list[int]:
    """Kill a worker and what it has started, the worker first so that it can tell nobody."""
    victims = [process.pid, *descendants(process.pid)]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    return victims


@pytest.fixture(scope="module")
def crashed(prefect_server: PrefectServer, folders: Callable[[], Path]) -> Iterator[Crashed]:
    with FakeVLLMProcess(latency_seconds=0.05) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        deploy_icm(prefect_server, place.folder, POOL, DEPLOYED)
        flow_run_id = start_deployed(prefect_server, "icm/crash-test", {"iterations": 16})

        def state() -> str:
            return prefect_server.flow_run(flow_run_id)["state"]["name"]

        with running_worker(prefect_server, place, POOL, "first") as first:
            wait_for(
                lambda: fake.stats()["by_status"].get("200", 0) >= KILLED_AFTER_LISTS, "answers", pause=0.01
            )
            victims = kill_all(first)
        wait_for(lambda: fake.stats()["in_flight"] == 0, "the fake to notice")
        before, states = fake.stats(), [state()]
        stored = stored_prompts(place.store)
        # What the automation of flows.services.provisioning does after 90 s of silence.
        crash: JsonObject = {"state": {"type": "CRASHED", "message": "No sign of life"}, "force": False}
        answer = prefect_server.call("POST", f"/flow_runs/{flow_run_id}/set_state", crash)
        assert answer["status"] == "ACCEPT", answer
        states.append(state())
        prefect_server.prefect("flow-run", "retry", flow_run_id)
        with running_worker(prefect_server, place, POOL, "second"):
            wait_for(lambda: state() in {"Completed", "Failed", "Crashed"}, "the retried run")
        states.append(state())
        leftovers = [pid for pid in victims if psutil.pid_exists(pid)]
        yield Crashed(flow_run_id, states, before, fake.stats(), stored, leftovers, place)


pytestmark = pytest.mark.timeout(200)


def test_a_crashed_run_is_retried_under_its_own_id(crashed: Crashed, prefect_server: PrefectServer) -> None:
    assert crashed.states == ["Running", "Crashed", "Completed"]
    assert prefect_server.flow_run(crashed.flow_run_id)["run_count"] == 2
    assert summary(crashed)["flow_run_id"] == crashed.flow_run_id


def test_a_retried_run_asks_only_for_what_is_not_stored(crashed: Crashed) -> None:
    assert crashed.stored
    again = asked_again(crashed.before, crashed.after)
    assert again
    assert not again & crashed.stored
    assert again | crashed.stored == set(asked_of(crashed.after))
    assert summary(crashed)["cost"]["sent"] == len(again)


def test_a_retried_run_finds_what_an_undisturbed_one_finds(
    crashed: Crashed, process: ICMProcess, tmp_path: Path
) -> None:
    with FakeVLLMProcess() as fake:
        place = replace(crashed.place, base_url=fake.base_url, folder=tmp_path)
        outcome = process.run(place, {**DEPLOYED, "iterations": 16}).require_completed()
    [directory] = (crashed.place.folder / "runs").iterdir()
    assert [(directory / name).read_bytes() for name in FOUND] == outcome.bytes_of(*FOUND)


def test_a_run_that_gives_one_parameter_keeps_the_deployments_others(crashed: Crashed) -> None:
    parameters = summary(crashed)["parameters"]
    assert {name: parameters[name] for name in DEPLOYED} == {**DEPLOYED, "iterations": 16}
    assert summary(crashed)["deployment"] == "crash-test"


def test_nothing_of_the_killed_processes_is_left(crashed: Crashed) -> None:
    assert crashed.leftovers == []


def summary(crashed: Crashed) -> JsonObject:
    [path] = (crashed.place.folder / "runs").glob("*/summary.json")
    return json.loads(path.read_text())
