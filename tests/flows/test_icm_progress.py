"""What people see while a search goes on, without a Prefect server and with a clock of our own."""

import logging
from dataclasses import dataclass
from itertools import accumulate
from uuid import UUID, uuid4

import pytest
from prefect.logging import disable_run_logger

from flows.icm_progress import Progress
from tasks.icm.claims import Claim
from tasks.icm.search import Step
from tasks.icm.state import State
from tests.flows.icm_results import without_gold
from tests.tasks.icm.made_up import asking, made_claims, made_draw, searched


@dataclass
class Clock:
    """Shows what it is set to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def following(clock: Clock, iterations: int = 200, claims: list[Claim] | None = None) -> Progress:
    """Follow a search that starts when the clock shows 0."""
    return Progress(batches=[claims or made_claims(2)], iterations=iterations, clock=clock)


def step(iteration: int) -> Step:
    """Make a step with three labels, two of which equal gold."""
    assigned = {0: 1, 1: 0, 2: 0}
    state = State(
        assigned=assigned, scores=dict.fromkeys(assigned, 1.0), pairs=(), energy=12.345, label_mass=0.9
    )
    return Step(iteration=iteration, outcome="unchanged", state=state, flips=0, temperature=1.0)


async def shown(progress: Progress, iteration: int) -> str:
    with disable_run_logger():
        await progress.show(step(iteration))
    return progress.line(step(iteration))


# --- titles of task runs --------------------------------------------------------------------------------


def test_evaluations_of_the_pool_are_numbered_with_a_guess_of_how_many() -> None:
    progress = following(Clock(), iterations=200)
    titles = [progress.title("evaluate pool, iteration 4") for _ in range(2)]
    assert titles == ["evaluate pool 1 of about 100", "evaluate pool 2 of about 100"]


@pytest.mark.parametrize("purpose", ["evaluate seeds", "evaluate repair, iteration 3", "test zero-shot"])
def test_other_purposes_are_titles_as_they_are_and_not_counted(purpose: str) -> None:
    progress = following(Clock(), iterations=10)
    assert progress.title(purpose) == purpose
    assert progress.title("evaluate pool, iteration 1") == "evaluate pool 1 of about 5"


async def test_guess_follows_the_pace_of_the_search() -> None:
    progress = following(Clock(), iterations=200)
    for number in range(1, 17):
        progress.title(f"evaluate pool, iteration {number}")
    await shown(progress, 20)
    assert progress.title("evaluate pool, iteration 21") == "evaluate pool 17 of about 170"


def test_guess_is_never_less_than_what_there_is() -> None:
    progress = following(Clock(), iterations=2)
    assert [progress.title("evaluate pool") for _ in range(3)][-1] == "evaluate pool 3 of about 3"


async def test_purposes_of_a_search_are_the_ones_that_are_numbered() -> None:
    ask = asking()
    steps = await searched(made_draw(), ask=ask, iterations=20, alpha=10.0)
    progress = following(Clock(), iterations=20)
    numbered = [title for title in map(progress.title, ask.purposes) if " of about " in title]
    # A change that was rejected is not evaluated again while the state lasts.
    states = accumulate((one.outcome == "accepted" for one in steps), initial=0)
    changes = {(state, one.uid) for state, one in zip(states, steps, strict=False) if one.proposed_energy}
    assert len(numbered) == len(changes)
    assert numbered[0].startswith("evaluate pool 1 of")


# --- the line -------------------------------------------------------------------------------------------


def test_line_says_where_the_search_stands() -> None:
    assert following(Clock()).line(step(0)) == (
        "iteration 0 of 200: 3 of 8 claims labelled, energy 12.35, accuracy 0.67"
    )


def test_line_is_silent_about_accuracy_without_gold_labels() -> None:
    progress = following(Clock(), claims=without_gold(made_claims(2)))
    assert progress.line(step(0)) == "iteration 0 of 200: 3 of 8 claims labelled, energy 12.35"


async def test_line_estimates_the_time_left_from_the_pace_so_far() -> None:
    clock = Clock()
    progress = following(clock, iterations=200)
    clock.now = 10.0
    assert (await shown(progress, 20)).endswith(", about 90 s left")
    clock.now = 100.0
    assert (await shown(progress, 40)).endswith(", about 7 min left")
    clock.now = 300.0
    assert (await shown(progress, 199)).endswith(", about 2 s left")


async def test_line_of_the_last_iteration_has_no_estimate() -> None:
    clock = Clock()
    progress = following(clock, iterations=50)
    clock.now = 10.0
    assert "left" not in await shown(progress, 50)


# --- several batches ------------------------------------------------------------------------------------


def following_batches(clock: Clock) -> Progress:
    batches = [made_claims(2), made_claims(3), made_claims(1)]
    return Progress(batches=batches, iterations=100, clock=clock)


def test_titles_name_the_batch_and_count_for_each_by_itself() -> None:
    progress = following_batches(Clock())
    titles = [
        progress.title(f"{progress.name(batch)}{purpose}", batch)
        for batch, purpose in [(0, "evaluate pool, iteration 1"), (2, "evaluate pool, iteration 1"),
                               (2, "evaluate pool, iteration 2"), (1, "evaluate seeds")]
    ]  # fmt: skip
    assert titles == [
        "batch 1 of 3: evaluate pool 1 of about 50",
        "batch 3 of 3: evaluate pool 1 of about 50",
        "batch 3 of 3: evaluate pool 2 of about 50",
        "batch 2 of 3: evaluate seeds",
    ]


async def test_lines_name_the_batch_and_estimate_the_time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    progress = following_batches(clock)
    shares: list[float] = []

    async def move(share: float, description: str) -> None:
        assert description.startswith("batch ")
        shares.append(share)

    monkeypatch.setattr(progress, "_move", move)
    clock.now = 30.0
    with disable_run_logger():
        await progress.show(step(20), 0)
        clock.now = 60.0
        await progress.show(step(40), 1)
    assert progress.line(step(40), 1) == (
        "batch 2 of 3: iteration 40 of 100: 3 of 12 claims labelled, energy 12.35, accuracy 0.67, "
        "about 4 min left"
    )
    assert shares == [pytest.approx(80 * 20 / 300), pytest.approx(80 * 60 / 300)]
    with disable_run_logger():
        for batch in range(3):
            await progress.show(step(100), batch)
    assert shares[-1] == pytest.approx(80)
    assert "left" not in progress.line(step(100), 2)


async def test_the_bar_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chat baseline comes after the tests."""
    shares: list[float] = []

    async def create(share: float, **_: str) -> UUID:
        shares.append(share)
        return uuid4()

    async def update(_: UUID, *, progress: float, description: str) -> None:
        assert description
        shares.append(progress)

    monkeypatch.setattr("flows.icm_progress.acreate_progress_artifact", create)
    monkeypatch.setattr("flows.icm_progress.aupdate_progress_artifact", update)
    progress = following(Clock())
    await progress.start()
    await progress.show_baseline("bootstrapping")
    await progress.show_test("found labels", 3, of=4)
    await progress.show_baseline("zero-shot chat")
    await progress.finish()
    assert shares == [0, 80, 95, 95, 100]


def test_lists_that_are_answered_at_the_same_time_are_told_of_in_turn(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.icm_progress.get_run_logger", lambda: logging.getLogger("a run"))
    clock = Clock()
    progress = following_batches(clock)
    with caplog.at_level(logging.INFO):
        for seconds in range(0, 26, 2):
            clock.now = float(seconds)
            progress.watch("one", 1 + seconds, 100)
            progress.watch("two", 2 + seconds, 50)
        progress.watch("one", 100, 100)
    assert caplog.messages == [
        "one: 11 of 100 prompts answered, about 81 s left",
        "one: 21 of 100 prompts answered, about 75 s left",
    ]
