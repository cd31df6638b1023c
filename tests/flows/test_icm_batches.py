"""Several batches in one run: searched at the same time, told apart, stored once, and costed part by part."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from unittest.mock import AsyncMock

import pytest

from backends.messages import Request, Response
from flows.icm_parts import BatchAsk, Parts, at_once
from flows.icm_progress import Progress
from flows.json_lines import read_rows
from flows.ledger import Ledger, costs_by_part
from flows.parameters import ICMParameters
from flows.run import Run
from tasks.ask import Ask
from tasks.icm.claims import Draw, batch_seed, draw, draw_batches, load_claims
from tasks.icm.orders import make_order
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import LabelMassError
from tasks.icm.search_settings import SearchSettings
from tasks.icm.standing import pick_weights
from tests.fake_vllm import FakeVLLMProcess, prompt_digest
from tests.flows.running import (
    FOUND,
    PROJECT,
    SMALL_SEARCH,
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    PrefectServer,
    asked_again,
    asked_of,
    one_sentence,
    stored_prompts,
    wait_for,
)
from tests.tasks.icm.made_up import made_claims

ONE: JsonObject = {**SMALL_SEARCH, "context_order": "tree"}
THREE: JsonObject = {**ONE, "batches": 3}


@dataclass(frozen=True)
class Finished:
    place: Place
    outcome: Outcome
    asked: frozenset[str]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLMProcess]:
    with FakeVLLMProcess(latency_seconds=0.02) as server:
        yield server


@pytest.fixture(scope="module")
def new_place(fake: FakeVLLMProcess, folders: Callable[[], Path]) -> Callable[[], Place]:
    return lambda: Place(base_url=fake.base_url, model="fake-model", folder=folders())


@pytest.fixture(scope="module")
def one(fake: FakeVLLMProcess, process: ICMProcess, new_place: Callable[[], Place]) -> Finished:
    place = new_place()
    fake.reset()
    outcome = process.run(place, ONE).require_completed()
    return Finished(place, outcome, frozenset(asked_of(fake.stats())))


@pytest.fixture(scope="module")
def three(fake: FakeVLLMProcess, process: ICMProcess, new_place: Callable[[], Place]) -> Finished:
    place = new_place()
    fake.reset()
    outcome = process.run(place, THREE).require_completed()
    asked = asked_of(fake.stats())
    assert set(asked.values()) == {1}
    return Finished(place, outcome, frozenset(asked))


def rows(outcome: Outcome, name: str) -> list[JsonObject]:
    return [json.loads(line) for line in (outcome.directory / name).read_text().splitlines()]


def test_all_batches_are_in_one_report(three: Finished, one: Finished, prefect_server: PrefectServer) -> None:
    summary, labels = three.outcome.summary, rows(three.outcome, "labels.jsonl")
    assert Counter(row["batch"] for row in labels) == {1: 16, 2: 16, 3: 16}
    assert len({row["id"] for row in labels}) == 48
    assert [row["claims"] for row in summary["batches"]] == [16, 16, 16]
    report = (three.outcome.directory / "report.html").read_text()
    assert "in 3 batches" in report
    assert "those of batch 1 of 3" in report
    # The first batch is what a run of one batch is.
    assert [row for row in labels if row["batch"] == 1] == rows(one.outcome, "labels.jsonl")
    assert summary["test"] == one.outcome.summary["test"]
    artifacts = prefect_server.artifacts(three.outcome.flow_run_id)
    assert artifacts["icm-progress"]["data"] == 100
    accepted = json.loads(artifacts["icm-accepted-changes"]["data"])
    assert len(accepted) == summary["accepted"]
    assert {row["batch"] for row in accepted} <= {1, 2, 3}


def test_each_batch_has_a_search_and_an_order_of_its_own(three: Finished) -> None:
    """Which claim comes first, and in which order labels are shown, follow from the batch's seed."""
    seed = ICMParameters().seed
    claims = load_claims(PROJECT / "data" / "general_knowledge" / "train.jsonl")
    drawn = draw_batches(claims, size=16, batches=3, num_seeds=8, group_size=4, seed=seed)
    found = rows(three.outcome, "history.jsonl")
    for number, one in enumerate(drawn):
        own = batch_seed(seed, number)
        weights = pick_weights(one.claims, one.seed_labels)
        [uid] = SearchSettings(seed=own).random("pick", 1).choices(range(16), weights)
        [row] = [row for row in found if (row["batch"], row["iteration"]) == (number + 1, 1)]
        assert row["claim"] == one.claims[uid].id
        assert first_prompts(one, own) <= three.asked
        assert number == 0 or not first_prompts(one, seed) <= three.asked


def first_prompts(drawn: Draw, seed: int) -> set[str]:
    order = make_order("tree", 16, seed)
    prompter = Prompter(claims=drawn.claims, model="m", labels=(), trailing_space=False, order=order)
    asked = prompter.leave_one_out(drawn.seed_labels).values()
    return {prompt_digest(one.prompt or "") for one in asked}


async def test_the_first_error_is_raised_as_it_is_when_what_the_others_have_on_its_way_is_there() -> None:
    failed, ended = asyncio.Event(), list[str]()

    async def answered() -> None:
        await failed.wait()
        await asyncio.sleep(0.01)  # an answer that is on its way
        ended.append("stored")
        raise asyncio.CancelledError

    async def failing() -> None:
        await asyncio.sleep(0)
        raise LabelMassError("no")

    with pytest.raises(LabelMassError, match="no"):
        await at_once([answered(), failing(), answered()], failed)
    assert ended == ["stored", "stored"]


async def test_when_one_batch_has_failed_the_answers_to_the_others_arrive_and_nothing_more_is_asked() -> None:
    asked, arrived = list[str](), list[str]()

    class SlowRun:
        def ask(self, title: Callable[[str], str]) -> Ask:
            del title

            async def answer(requests: Sequence[Request], *, purpose: str) -> list[Response]:
                del requests
                asked.append(purpose)
                await parts.failed.wait()
                await asyncio.sleep(0.01)
                arrived.append(purpose)
                return []

            return answer

    progress = Progress(batches=[[], []], iterations=1)
    parts = Parts(run=cast("Run", SlowRun()), progress=progress, ledger=Ledger(None, AsyncMock()))

    async def going_on() -> None:
        ask = BatchAsk(parts, 0)
        for purpose in ("first", "second"):
            await ask([], purpose=purpose)

    async def failing() -> None:
        await asyncio.sleep(0)
        raise LabelMassError("no")

    with pytest.raises(LabelMassError):
        await at_once([going_on(), failing()], parts.failed)
    assert asked == arrived == ["batch 1 of 2: first"]


async def test_who_is_cancelled_cancels_all() -> None:
    failed, ended = asyncio.Event(), list[str]()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("long")

    running = asyncio.ensure_future(at_once([long(), long()], failed))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["long", "long"]


def test_task_runs_and_log_lines_name_the_batch(three: Finished) -> None:
    for batch in (1, 2, 3):
        assert f"batch {batch} of 3: evaluate seeds" in three.outcome.log
        assert f"batch {batch} of 3: evaluate pool 1 of about" in three.outcome.log
        assert f"batch {batch} of 3: iteration 12 of 12: " in three.outcome.log
    assert "of 3: test" not in three.outcome.log


def test_batches_are_searched_at_the_same_time(three: Finished) -> None:
    journal = three.place.store / "journal" / f"{three.outcome.flow_run_id}.jsonl"
    tasks = [str(row["task"]) for row in read_rows(journal) if row["event"] == "call"]
    batches = [task[:10] for task in tasks if task.startswith("batch ")]
    first_half = batches[: len(batches) // 2]
    assert set(first_half) == {"batch 1 of", "batch 2 of", "batch 3 of"}


def test_a_run_of_one_batch_finds_what_a_run_of_several_has_stored_and_the_other_way_round(
    fake: FakeVLLMProcess, process: ICMProcess, three: Finished, one: Finished
) -> None:
    assert one.asked < three.asked
    before = fake.stats()
    again = process.run(three.place, ONE).require_completed()
    assert again.summary["cost"]["sent"] == 0
    more = process.run(one.place, THREE).require_completed()
    assert asked_again(before, fake.stats()) == three.asked - one.asked
    assert more.summary["cost"]["sent"] == len(three.asked - one.asked)
    assert more.bytes_of(*FOUND) == three.outcome.bytes_of(*FOUND)


def test_the_ledger_adds_up_to_what_the_run_cost(
    process: ICMProcess, three: Finished, fake: FakeVLLMProcess
) -> None:
    summary = three.outcome.summary
    lines = read_rows(three.outcome.directory / "ledger.jsonl")
    searching = [line for line in lines if line["part"] == "search"]
    assert {line["batch"] for line in searching} == {1, 2, 3}
    assert len({(line["batch"], line["iteration"]) for line in searching}) == len(searching) > 6
    assert {line["counted_by"] for line in lines} == {"usage"}  # the fake counts no tokens
    parts = summary["parts"]
    assert [part["part"] for part in parts] == [
        "search",
        *(f"test {one['method']}" for one in summary["test"]),
    ]
    cost = summary["cost"]
    for name, whole in [("prompts", cost["prompts"]), ("sent", cost["sent"]), ("requests", cost["requests"]),
                        ("input_tokens", cost["usage"]["input_tokens"])]:  # fmt: skip
        assert sum(part[name] for part in parts) == whole > 0
    assert all(part["tokens_computed"] == part["input_tokens"] for part in parts)

    before = asked_of(fake.stats())
    again = process.run(three.place, THREE).require_completed()
    assert asked_of(fake.stats()) == before
    assert again.summary["cost"]["sent"] == 0
    assert again.summary["parts"] == parts
    assert read_rows(again.directory / "ledger.jsonl") == lines


@pytest.mark.timeout(180)
def test_a_killed_run_goes_on_where_it_was_in_all_batches(
    fake: FakeVLLMProcess,
    process: ICMProcess,
    new_process: Callable[[], ICMProcess],
    new_place: Callable[[], Place],
    three: Finished,
) -> None:
    place, victim = new_place(), new_process()
    fake.reset()
    victim.start(place, {**THREE, "keep_prompts": True})

    def is_time() -> bool:
        victim.require_busy()
        return len(asked_of(fake.stats())) >= len(three.asked) // 2

    wait_for(is_time, "half of the prompts", pause=0.004)
    victim.kill()
    wait_for(lambda: fake.stats()["in_flight"] == 0, "the fake to notice")
    before, stored = fake.stats(), stored_prompts(place.store)
    assert stored <= set(asked_of(before)) < three.asked
    resumed = process.run(place, THREE).require_completed()
    assert asked_again(before, fake.stats()) == three.asked - stored
    assert resumed.bytes_of(*FOUND) == three.outcome.bytes_of(*FOUND)
    parts, undisturbed = resumed.summary["parts"], three.outcome.summary["parts"]
    assert [(one["part"], one["prompts"]) for one in parts] == [
        (one["part"], one["prompts"]) for one in undisturbed
    ]
    # A step that was under way when the process was killed is in no line.
    assert resumed.summary["cost"]["sent"] < sum(one["sent"] for one in parts) <= len(three.asked)


def test_a_budget_stops_all_batches_and_the_ledger_holds_what_both_runs_cost(
    fake: FakeVLLMProcess, process: ICMProcess, new_place: Callable[[], Place], three: Finished
) -> None:
    place = new_place()
    fake.reset()
    stopped = process.run(place, {**THREE, "max_requests": 150})
    assert stopped.state == "Failed"
    one_sentence(stopped.message, "RunStoppedError", "max_requests (150)")
    assert 100 < len(asked_of(fake.stats())) <= 150
    whole = process.run(place, THREE).require_completed()
    assert set(asked_of(fake.stats()).values()) == {1}
    assert whole.bytes_of(*FOUND) == three.outcome.bytes_of(*FOUND)
    costs = costs_by_part(read_rows(whole.directory / "ledger.jsonl"))
    expected = {one["part"]: one["sent"] for one in three.outcome.summary["parts"]}
    assert {part: cost.sent for part, cost in costs.items()} == expected


def test_an_estimate_is_of_all_batches_and_leaves_nothing(
    fake: FakeVLLMProcess, process: ICMProcess, new_place: Callable[[], Place], three: Finished
) -> None:
    place, before = new_place(), fake.stats()
    found = [
        process.run(place, {**each, "estimate": True}).require_completed().summary for each in (ONE, THREE)
    ]
    assert found[1]["to_send"] > found[0]["to_send"] > 50
    assert asked_of(fake.stats()) == asked_of(before)
    assert not (place.folder / "runs").exists()
    known = process.run(three.place, {**THREE, "estimate": True}).require_completed().summary
    assert (known["to_send"], known["hits"]) == (0, three.outcome.summary["cost"]["prompts"])


def test_more_batches_than_there_are_is_told_before_anything_is_sent(
    fake: FakeVLLMProcess, process: ICMProcess, new_place: Callable[[], Place]
) -> None:
    before = asked_of(fake.stats())
    failed = process.run(new_place(), {**ONE, "batches": 21})
    assert failed.state == "Failed"
    one_sentence(
        failed.message, "DataError", "21 batches", "the data set has 20 of 16 claims", "lower batches"
    )
    assert asked_of(fake.stats()) == before


def test_room_is_looked_for_in_every_batch_before_anything_is_sent(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    """The claims of the first batch are short; a prompt with all of another's does not fit."""
    claims = made_claims(8)
    first = {claim.id for claim in draw(claims, size=16, num_seeds=8, group_size=4, seed=1).claims}
    place = Place(base_url="", model="fake-model", folder=folders())
    data = place.folder / "claims.jsonl"
    records = [
        {"question": claim.question, "choice": claim.choice + " Or so." * (0 if claim.id in first else 30),
         "consistency_id": claim.group, "label": claim.gold}
        for claim in claims
    ]  # fmt: skip
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    parameters = {"dataset": "file", "train_path": str(data), "num_claims": 16, "iterations": 4, "seed": 1}
    with FakeVLLMProcess(max_model_len=800) as fake:
        place = replace(place, base_url=fake.base_url)
        process.run(place, parameters).require_completed()
        before = asked_of(fake.stats())
        failed = process.run(place, {**parameters, "batches": 2})
        one_sentence(failed.message, "DataError", "16 claims", "the model takes 800; lower num_claims to")
        assert asked_of(fake.stats()) == before


def test_a_test_claim_that_fits_behind_no_full_pool_is_found_before_the_search(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    claims = made_claims(8)
    paths = {name: folders() / f"{name}.jsonl" for name in ("train", "test")}
    for name, more in (("train", 0), ("test", 100)):
        records = [
            {"question": claim.question, "choice": claim.choice + " Or so." * (more if claim.id == 30 else 0),
             "consistency_id": claim.group, "label": claim.gold}
            for claim in claims
        ]  # fmt: skip
        paths[name].write_text("".join(json.dumps(record) + "\n" for record in records))
    parameters = {"dataset": "file", "train_path": str(paths["train"]), "num_claims": 16, "iterations": 4}
    with FakeVLLMProcess(max_model_len=800) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        process.run(place, parameters).require_completed()
        before = asked_of(fake.stats())
        failed = process.run(place, {**parameters, "test_path": str(paths["test"])})
        one_sentence(failed.message, "DataError", "longest test claim", "lower num_claims to")
        assert asked_of(fake.stats()) == before
