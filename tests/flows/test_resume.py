"""A run that is killed goes on where it was: the same result, and nothing stored is asked again."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess, prompt_digest
from tests.flows.running import (
    FOUND,
    PROJECT,
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    asked_again,
    asked_of,
    stored_prompts,
    wait_for,
)

PARAMETERS: JsonObject = {
    "dataset": "general_knowledge",
    "num_claims": 16,
    "iterations": 16,
    "consistency": "answer",
    "trailing_space": False,
    "test_claims": 8,
}
KEEPING_PROMPTS = {**PARAMETERS, "keep_prompts": True}
"""So that the store tells which prompts it knows; not part of any key."""

RESULTS = ("accuracy", "energy", "labelled", "accepted", "rejected", "warnings", "test")


@dataclass(frozen=True)
class Undisturbed:
    outcome: Outcome
    prompts: frozenset[str]
    lists: int


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLMProcess]:
    with FakeVLLMProcess(latency_seconds=0.03) as server:
        yield server


@pytest.fixture(scope="module")
def new_place(fake: FakeVLLMProcess, folders: Callable[[], Path]) -> Callable[[], Place]:
    return lambda: Place(base_url=fake.base_url, model="fake-model", folder=folders())


@pytest.fixture(scope="module")
def next_victim(new_process: Callable[[], ICMProcess]) -> Callable[[], ICMProcess]:
    """Gives a process to kill; the one after it gets ready meanwhile, since Prefect takes long to import."""
    ready = [new_process()]

    def take() -> ICMProcess:
        ready.append(new_process())
        return ready.pop(0)

    return take


@pytest.fixture(scope="module")
def undisturbed(fake: FakeVLLMProcess, process: ICMProcess, new_place: Callable[[], Place]) -> Undisturbed:
    fake.reset()
    outcome = process.run(new_place(), PARAMETERS).require_completed()
    stats = fake.stats()
    assert set(asked_of(stats).values()) == {1}
    return Undisturbed(outcome, frozenset(asked_of(stats)), answered_lists(fake))


def answered_lists(fake: FakeVLLMProcess) -> int:
    return max(fake.stats()["by_status"].get("200", 0) - 1, 0)  # the first is the canary


def kill_when(
    victim: ICMProcess, fake: FakeVLLMProcess, is_time: Callable[[], bool], what: str
) -> JsonObject:
    """Kill a process at a moment, and return what the server had answered when all was quiet again."""

    def is_time_at_last() -> bool:
        victim.require_busy()
        return is_time()

    wait_for(is_time_at_last, what, pause=0.004)
    victim.kill()
    wait_for(lambda: fake.stats()["in_flight"] == 0, "the fake to notice")
    return fake.stats()


@pytest.mark.parametrize("lists", [1, 3, 7, 15, 25])
@pytest.mark.timeout(180)
def test_a_killed_run_goes_on_where_it_was(
    lists: int,
    fake: FakeVLLMProcess,
    process: ICMProcess,
    undisturbed: Undisturbed,
    new_place: Callable[[], Place],
    next_victim: Callable[[], ICMProcess],
) -> None:
    assert lists < undisturbed.lists
    place, victim = new_place(), next_victim()
    fake.reset()
    victim.start(place, KEEPING_PROMPTS)
    before = kill_when(victim, fake, lambda: answered_lists(fake) >= lists, f"{lists} lists")
    stored = stored_prompts(place.store)
    assert stored <= set(asked_of(before)) < undisturbed.prompts
    lost = set(asked_of(before)) - stored
    # Both repairs of a pair are asked about at once.
    assert len(lost) <= 2 * before["max_list"], "more than the two lists in flight were lost"

    resumed = process.run(place, PARAMETERS).require_completed()
    after = fake.stats()
    assert asked_again(before, after) == undisturbed.prompts - stored
    assert not [digest for digest in stored if asked_of(after)[digest] != 1]
    assert resumed.summary["cost"]["sent"] == len(undisturbed.prompts - stored)
    assert resumed.bytes_of(*FOUND) == undisturbed.outcome.bytes_of(*FOUND)
    for name in RESULTS:
        assert resumed.summary[name] == undisturbed.outcome.summary[name]


@pytest.mark.timeout(180)
def test_the_answered_lists_of_an_unfinished_batch_are_kept(
    fake: FakeVLLMProcess,
    process: ICMProcess,
    undisturbed: Undisturbed,
    new_place: Callable[[], Place],
    next_victim: Callable[[], ICMProcess],
) -> None:
    """A batch of 33 prompts is two lists; Prefect knows nothing of the one that came before the kill."""
    place, victim = new_place(), next_victim()
    parameters = {**PARAMETERS, "test_claims": 33}
    *first_list, last = sorted(DATA[:33], key=zero_shot)  # as lists are: neighbours share beginnings
    fake.reset()
    fake.faults([{"kind": "hang", "seconds": 300, "match": last["choice"]}])
    victim.start(place, {**parameters, "keep_prompts": True})

    def half_is_stored() -> bool:
        return {prompt_digest(zero_shot(claim)) for claim in first_list} <= stored_prompts(place.store)

    wait_for(lambda: not fake.stats()["faults_left"], "the last list", pause=0.05)
    wait_for(half_is_stored, "the first list of the batch to be stored")
    victim.require_busy()
    victim.kill()
    before, stored = fake.stats(), stored_prompts(place.store)
    resumed = process.run(place, parameters).require_completed()
    assert not asked_again(before, fake.stats()) & stored
    assert prompt_digest(zero_shot(last)) in asked_again(before, fake.stats())
    assert resumed.bytes_of(*FOUND) == undisturbed.outcome.bytes_of(*FOUND)


DATA: list[JsonObject] = [
    json.loads(line)
    for line in (PROJECT / "data" / "general_knowledge" / "test.jsonl").read_text().splitlines()
]


def zero_shot(claim: JsonObject) -> str:
    question, choice = claim["question"], claim["choice"]
    return f"Question: {question}\nClaim: {choice}\nI think this claim is"
