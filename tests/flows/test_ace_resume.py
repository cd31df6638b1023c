"""A run of `ace` that is killed, whatever it is doing, goes on where it was: the same playbook in the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.ace_demo_model import demo_rows
from tasks.ace.playbook_text import parse
from tests.fake_vllm import FakeVLLM
from tests.flows.ace_runs import FILES, SMALL, writer
from tests.flows.running import (
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    asked_again,
    asked_of,
    stored_prompts,
    wait_for,
)

PARAMETERS: JsonObject = {**SMALL, "baselines": ["in-context examples", "cheat-sheet"]}
KEEPING = {**PARAMETERS, "keep_prompts": True}

Seen = list[tuple[str, str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Moment:
    """When to kill: a role has answered so many questions of some rows."""

    name: str
    role: str
    count: int
    split: str = ""

    def of(self, seen: Seen) -> int:
        """Return how many questions of it were answered."""
        rows = [row.question.text for row in demo_rows(self.split)] if self.split else [""]
        return sum(
            role == self.role and any(f"{text}\n</question>" in prompt or not text for text in rows)
            for role, prompt, _ in list(seen)
        )


MOMENTS: Sequence[Moment] = (
    Moment("generation", "generator", 3, "train"),
    Moment("reflection", "reflector", 7),
    Moment("curation", "curator", 3),
    Moment("validation", "generator", 23, "val"),
    Moment("a baseline", "cheat-sheet", 2),
)
"""In the order in which a run comes to them."""


@pytest.fixture(scope="module")
def seen() -> Seen:
    return []


@pytest.fixture(scope="module")
def fake(seen: Seen) -> Iterator[FakeVLLM]:
    with FakeVLLM(writer=writer(seen=seen), latency_seconds=0.04, max_model_len=32_768) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(fake: FakeVLLM, process: ICMProcess, folders: Callable[[], Path]) -> Outcome:
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    return process.run(place, PARAMETERS, flow="ace").require_completed()


@pytest.mark.timeout(240)
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_playbook(
    fake: FakeVLLM,
    seen: Seen,
    process: ICMProcess,
    new_process: Callable[[], ICMProcess],
    undisturbed: Outcome,
    folders: Callable[[], Path],
) -> None:
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    fake.reset()
    seen.clear()
    looks: list[tuple[JsonObject, set[str]]] = []
    victim = new_process()
    for moment in MOMENTS:
        following = new_process()  # gets ready meanwhile, since Prefect takes long to import
        victim.start(place, KEEPING, flow="ace")
        kill_at(victim, moment, seen)
        wait_for(lambda: fake.stats()["in_flight"] == 0, "the fake to notice")
        stored = stored_prompts(place.store)
        answered = set(asked_of(fake.stats()))
        assert stored <= answered, moment.name
        assert len(answered - stored) <= 2 * SMALL["batch_size"] + 10, moment.name
        looks.append((fake.stats(), stored))
        require_nothing_half_written(place)
        victim = following

    resumed = process.run(place, PARAMETERS, flow="ace").require_completed()
    looks.append((fake.stats(), stored_prompts(place.store)))
    for (before, stored), (after, _) in pairwise(looks):
        assert not asked_again(before, after) & stored
        assert asked_again(before, after)
    assert resumed.bytes_of(*FILES) == undisturbed.bytes_of(*FILES)
    for name in ("methods", "validation", "stops", "edits", "best_step", "warnings"):
        assert resumed.summary[name] == undisturbed.summary[name]
    put = [(one["role"], one["put"]) for one in resumed.summary["roles"]]
    assert put == [(one["role"], one["put"]) for one in undisturbed.summary["roles"]]


def kill_at(victim: ICMProcess, moment: Moment, seen: Seen) -> None:
    """Kill a process once its run has come to a moment."""
    start = len(seen)

    def is_time() -> bool:
        victim.require_busy()
        return len(seen) > start and moment.of(seen) >= moment.count

    wait_for(is_time, moment.name, pause=0.004)
    victim.require_busy()
    victim.kill()


def require_nothing_half_written(place: Place) -> None:
    """Insist that all files of an unfinished run are whole, and that none looks like a finished one's."""
    names: set[str] = set()
    for path in (place.folder / "runs").rglob("*"):
        if path.is_file():
            names.add(path.name)
    assert names <= {"ledger.jsonl", "playbook-last.txt"}
    for path in (place.folder / "runs").rglob("playbook-last.txt"):
        read = parse(path.read_text())
        assert len(read.playbook)
        assert not read.notes
