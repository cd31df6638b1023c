"""ACE with a real vLLM server: playbooks are learnt, and a killed run goes on to the same one.

Two runs that ask a server the same can get different answers, since what else is in its batches shows in the
last digits of its numbers. So a run that went on is compared with itself: what it had found before it was
killed, and what it finds when it is run once more.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.json_lines import read_rows
from tasks.ace.playbook_json import from_json
from tasks.ace.playbook_text import parse, to_text
from tests.flows.running import PROJECT, ICMProcess, JsonObject, Place, stored_prompts, wait_for
from tests.live.conftest import LiveServer

pytestmark = pytest.mark.live

FORMULA = PROJECT.parent / "shared" / "data" / "ace" / "formula"
QUICK: JsonObject = {
    "train_rows": 24,
    "validation_rows": 4,
    "test_rows": 6,
    "batch_size": 12,
    "rounds": 2,
    "max_output_tokens": 96,
    "max_operations": 2,
    "lessons": "all",
    "baselines": ["no playbook"],
}
"""Short answers: what a model of 135M parameters learns is not the point."""


@pytest.mark.timeout(900)
def test_a_killed_run_goes_on_to_the_same_playbook(
    live_server: LiveServer, new_process: Callable[[], ICMProcess], tmp_path: Path
) -> None:
    place = Place(base_url=live_server.base_url, model=live_server.model, folder=tmp_path)
    victim = new_process()
    victim.start(place, QUICK, flow="ace")

    def first_step() -> Path | None:
        victim.require_busy()
        return next((tmp_path / "runs").rglob("playbook-last.txt"), None)

    found = wait_for(first_step, "the first step", seconds=400, pause=0.2)
    victim.kill()
    first = found.read_text(encoding="utf-8")
    before = len(stored_prompts(place.store))

    own = new_process()
    outcome = own.run(place, QUICK, flow="ace").require_completed()
    cost = outcome.summary["cost"]
    assert before <= cost["hits"] + cost["shared"] < cost["prompts"]
    steps = read_rows(outcome.directory / "steps.jsonl")
    assert [step["step"] for step in steps] == [1, 2]
    assert len(steps[0]["rows"]) == 12  # pyright: ignore[reportArgumentType]

    counters = live_server.counters()
    again = own.run(place, QUICK, flow="ace").require_completed()
    assert live_server.counters() == counters
    assert again.summary["cost"]["sent"] == 0
    names = ("steps.jsonl", "answers.jsonl", "playbook.json", "playbook-last.json")
    assert again.bytes_of(*names) == outcome.bytes_of(*names)

    last = from_json((outcome.directory / "playbook-last.json").read_text(encoding="utf-8"))
    assert (outcome.directory / "playbook-last.txt").read_text(encoding="utf-8") == to_text(last)
    one_step = {**QUICK, "train_rows": 12}
    alone = own.run(place, one_step, flow="ace").require_completed()
    assert (alone.directory / "playbook-last.txt").read_text(encoding="utf-8") == first
    assert parse(first).notes == ()


@pytest.mark.timeout(600)
def test_formula_is_gone_through(
    live_server: LiveServer, new_process: Callable[[], ICMProcess], tmp_path: Path
) -> None:
    if not FORMULA.exists():
        pytest.skip(f"{FORMULA} is not here")
    place = Place(base_url=live_server.base_url, model=live_server.model, folder=tmp_path)
    parameters: JsonObject = {
        **QUICK,
        "task": "formula",
        "train_path": str(FORMULA / "train.jsonl"),
        "validation_path": str(FORMULA / "val.jsonl"),
        "test_path": str(FORMULA / "test.jsonl"),
        "train_rows": 20,
        "batch_size": 20,
        "rounds": 1,
        "compare_with": "formula-dropped",
    }
    outcome = new_process().run(place, parameters, flow="ace").require_completed()
    steps = read_rows(outcome.directory / "steps.jsonl")
    assert [len(step["rows"]) for step in steps] == [20]  # pyright: ignore[reportArgumentType]
    assert sum(outcome.summary["stops"].values()) == 20
    answers = read_rows(outcome.directory / "answers.jsonl")
    tested = ("ACE", "no playbook", "no playbook, formula-dropped")
    assert [one["method"] for one in answers] == [name for name in tested for _ in range(6)]
    for method in outcome.summary["methods"]:
        own = [one for one in answers if one["method"] == method["name"]]
        assert (method["right"], method["total"]) == (sum(one["right"] == 1 for one in own), 6)
        assert method["failed"] == 0
    last = from_json((outcome.directory / "playbook-last.json").read_text(encoding="utf-8"))
    assert len(last) == steps[-1]["bullets"] <= outcome.summary["edits"]["applied"]
