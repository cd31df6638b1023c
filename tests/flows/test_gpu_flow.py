"""A run of a flow shows what its server has to hold, and counts what was alarming."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import ICMProcess, JsonObject, Outcome, Place, PrefectServer

SHOWN = {"gpu-now": "progress", "gpu": "table"}
ROWS = 24


@pytest.fixture(scope="module")
def watcher(new_process: Callable[[], ICMProcess]) -> ICMProcess:
    """Of its own, since it looks more often than others."""
    return new_process()


def shown(server: PrefectServer, outcome: Outcome) -> dict[str, str]:
    artifacts = server.artifacts(outcome.flow_run_id)
    return {key: one["type"] for key, one in artifacts.items() if key.startswith("gpu")}


def journal_of(place: Place, outcome: Outcome) -> list[JsonObject]:
    lines = (place.store / "journal" / f"{outcome.flow_run_id}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_is_watched_when_it_asks_a_server_and_only_then(
    watcher: ICMProcess, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(ROWS)))
    parameters: JsonObject = {"input_path": str(path), "max_output_tokens": 8}
    with FakeVLLMProcess(
        kv_use=0.97, others_waiting=3, preemptions=5, slots=2, latency_seconds=0.1
    ) as server:
        place = Place(
            base_url=server.base_url,
            model="fake-model",
            folder=tmp_path,
            more={"VLLM_FLOWS_WATCH_SECONDS": "0.05"},
        )
        estimate = watcher.run(place, {**parameters, "estimate": True}, flow="batch").require_completed()
        assert shown(prefect_server, estimate) == {}
        asked = watcher.run(place, parameters, flow="batch").require_completed()
        stored = watcher.run(place, parameters, flow="batch").require_completed()
        never = replace(place, more={"VLLM_FLOWS_WATCH_SECONDS": "0"})
        refreshed = watcher.run(never, {**parameters, "cache_mode": "refresh"}, flow="batch")
    replayed = watcher.run(place, {**parameters, "cache_mode": "replay"}, flow="batch").require_completed()
    assert shown(prefect_server, asked) == SHOWN
    now = prefect_server.artifacts(asked.flow_run_id)["gpu-now"]
    assert now["data"] == pytest.approx(97)
    assert f"{server.base_url}: KV cache 97% full" in now["description"]
    rows = json.loads(prefect_server.artifacts(asked.flow_run_id)["gpu"]["data"])
    assert {row["what"]: row["most"] for row in rows if row["where"] == server.base_url} == {
        "KV cache, %": 97.0,
        "requests waiting": pytest.approx(15, abs=12),
        "requests preempted since the first reading": 0.0,
    }
    assert asked.log.count("is 97% full") == 1
    alerts = [row for row in journal_of(place, asked) if row["event"] == "alert"]
    assert [(row["kind"], row["where"]) for row in alerts] == [("kv-cache", server.base_url)]
    assert (asked.summary["cost"]["alerts"], asked.summary["cost"]["overflows"]) == (1, 0)
    assert stored.summary["cost"]["sent"] == 0
    for unwatched in (stored, refreshed, replayed):
        assert shown(prefect_server, unwatched) == {}
    assert refreshed.summary["cost"]["sent"] == ROWS
