"""A sequential search asks less, and takes the decisions of a full one but for those that it errs in."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from backends.scripted import Scripted
from tasks.icm import deciding
from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency
from tasks.icm.deciding import both
from tasks.icm.orders import ContextOrder, ReferenceOrder, TreeOrder, TreeTailOrder
from tasks.icm.scoring import LabelMassError
from tasks.icm.search import Search, Step
from tasks.icm.sequential import Evidence, growing_parts, share_of_doubt
from tests.tasks.icm.made_up import (
    LogOdds,
    MemoryStore,
    PlainAsk,
    answering,
    asking,
    doubtful,
    made_draw,
    read_prompt,
    search_over,
    searched,
    stored,
    unit,
)

GROUPS = 20
CLAIMS = 4 * GROUPS
SEED_CLAIMS = 40
"""A part of a pool has sixteen claims at least."""
SETTINGS: dict[str, Any] = {"iterations": 30, "initial_temperature": 1.0}


def truth(claim: str) -> int:
    return 1 if unit("truth", claim) < 0.5 else -1


def uneven(prompt: str) -> float:
    """Score claims by truths of which some are strong and some weak, and a little by the context."""
    claim = read_prompt(prompt)[1]
    return truth(claim) * (0.2 + 4 * unit("strength", claim)) + 0.05 * (unit("noise", prompt) - 0.5)


def drawn_with_truths() -> Draw:
    """Draw claims half of which start with the label that the model finds true."""
    drawn = made_draw(groups=GROUPS, num_seeds=SEED_CLAIMS)
    labels = {uid: int(truth(drawn.claims[uid].choice) > 0) for uid in range(SEED_CLAIMS)}
    return replace(drawn, seed_labels=labels)


def tree() -> ContextOrder:
    return TreeOrder(CLAIMS, 0)


async def sequential(
    ask: PlainAsk | None = None, order: ContextOrder | None = None, **changes: object
) -> list[Step]:
    settings = {**SETTINGS, "evaluation": "sequential", **changes}
    consistency = settings.pop("consistency", Consistency.NONE)
    assert isinstance(consistency, Consistency)
    return await searched(
        drawn_with_truths(), consistency, ask or asking(uneven), order or tree(), **settings
    )


def in_full_from_any_state() -> Search:
    return search_over(drawn_with_truths(), Consistency.NONE, asking(uneven), tree(), **SETTINGS)


def early(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if (step.evaluated or 1) < 1]


def ways(steps: Sequence[Step]) -> list[tuple[object, ...]]:
    return [(step.outcome, step.uid, step.label, dict(step.state.assigned)) for step in steps]


WAYS = [(Consistency.NONE, 30), (Consistency.ANSWER, 8)]


@pytest.mark.parametrize("order", [ReferenceOrder(), tree(), TreeTailOrder(TreeOrder(CLAIMS, 0))])
@pytest.mark.parametrize(("consistency", "iterations"), WAYS)
async def test_clear_changes_are_rejected_on_a_part_of_the_pool(
    order: ContextOrder, consistency: Consistency, iterations: int
) -> None:
    whole, part = asking(uneven), asking(uneven)
    settings = {"consistency": consistency, "iterations": iterations}
    in_full = await sequential(whole, order, **{**settings, "evaluation": "full"})
    found = await sequential(part, order, **settings)
    assert early(found)
    assert not early(in_full)
    assert len(set(part.prompts)) < len(set(whole.prompts))


async def test_what_is_accepted_has_been_evaluated_in_full() -> None:
    steps = await sequential()
    in_full = in_full_from_any_state()
    accepted = [(one, step) for one, step in pairwise(steps) if step.outcome == "accepted"]
    assert accepted
    for before, step in accepted:
        assert step.evaluated == 1.0
        assert step.state.scores.keys() == step.state.assigned.keys()
        assert await in_full.decide(before.state, step.iteration, before.flips) == step


async def test_early_rejections_are_those_of_full_evaluations() -> None:
    steps = await sequential()
    in_full = in_full_from_any_state()
    wrong = 0
    for before, step in pairwise(steps):
        if step.evaluated is not None and step.evaluated < 1:
            exact = await in_full.decide(before.state, step.iteration, before.flips)
            wrong += exact.outcome != "rejected"
            assert step.proposed_energy == pytest.approx(exact.proposed_energy, abs=1.0)
    assert wrong == 0


async def test_with_next_to_no_doubt_it_is_the_full_search() -> None:
    in_full = await sequential(evaluation="full")
    assert ways(await sequential(error_probability=1e-9)) == ways(in_full)


async def test_a_small_pool_is_always_asked_in_full() -> None:
    drawn = made_draw(groups=6)
    in_full = await searched(drawn, Consistency.ANSWER, iterations=40, alpha=10.0)
    found = await searched(drawn, Consistency.ANSWER, iterations=40, alpha=10.0, evaluation="sequential")
    assert found == in_full


async def test_alpha_zero_has_nothing_to_estimate() -> None:
    in_full = await sequential(evaluation="full", alpha=0.0, consistency=Consistency.ANSWER)
    assert ways(await sequential(alpha=0.0, consistency=Consistency.ANSWER)) == ways(in_full)


@pytest.mark.parametrize(("consistency", "iterations"), WAYS)
async def test_look_ahead_and_lists_change_nothing(consistency: Consistency, iterations: int) -> None:
    plain = await sequential(consistency=consistency, iterations=iterations)
    assert early(plain)
    for lookahead in (1, 4):
        ahead = await sequential(consistency=consistency, iterations=iterations, lookahead=lookahead)
        assert ahead == plain
    lists = PlainAsk(Scripted(answering(uneven), max_prompts=3))
    assert await sequential(lists, consistency=consistency, iterations=iterations) == plain


async def test_a_search_that_is_run_again_asks_nothing() -> None:
    store = MemoryStore()
    drawn = drawn_with_truths()
    found: list[list[Step]] = []
    asked: list[int] = []
    for _ in range(2):
        backend = Scripted(answering(uneven))
        ask = stored(store, backend)
        found.append(await searched(drawn, ask=ask, order=tree(), evaluation="sequential", **SETTINGS))
        asked.append(len(backend.asked))
    assert found[0] == found[1]
    assert asked[0] > 0
    assert asked[1] == 0


async def test_where_all_is_noise_little_is_decided_early() -> None:
    steps = await sequential(asking(doubtful))
    decided = [step for step in steps if step.evaluated is not None]
    assert len(early(steps)) < len(decided) / 2


# --- models in which claims are not alike ----------------------------------------------------------------


def coupled(prompt: str) -> float:
    """Score a claim by its mates' labels most: what a part of a pool would miss."""
    shown, claim = read_prompt(prompt)
    question = claim.split(".")[0]
    mates = [label for mate, label in shown if mate.split(".")[0] == question]
    return uneven(prompt) + truth(claim) * 2.0 * sum(1 if label else -1 for label in mates)


def late(prompt: str) -> float:
    """Score a claim by what it is shown last: claims of a subtree see a change at the same place."""
    shown, claim = read_prompt(prompt)
    weights = [0.8**place for place in range(len(shown))]
    leaning = sum(
        weight * (1 if label == (truth(other) > 0) else -1)
        for weight, (other, label) in zip(weights, reversed(shown), strict=True)
    )
    return uneven(prompt) + truth(claim) * leaning


@pytest.mark.parametrize("model", [coupled, late])
@pytest.mark.parametrize("order", [ReferenceOrder(), tree()])
async def test_few_changes_are_rejected_that_a_full_evaluation_would_accept(
    model: LogOdds, order: ContextOrder
) -> None:
    wrong = accepted = 0
    for seed in range(4):
        steps = await sequential(asking(model), order, seed=seed, error_probability=0.05)
        in_full = search_over(
            drawn_with_truths(), Consistency.NONE, asking(model), order, **SETTINGS, seed=seed
        )
        for before, step in pairwise(steps):
            if step.evaluated is not None:
                exact = await in_full.decide(before.state, step.iteration, before.flips)
                accepted += exact.outcome == "accepted"
                wrong += exact.outcome != step.outcome
    assert accepted > 20
    assert wrong <= 0.05 * accepted


async def test_some_early_rejections_are_checked_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    in_full = await sequential(evaluation="full")
    monkeypatch.setattr(deciding, "AUDITED", 0.5)
    some = await sequential()
    assert any(step.audit == "right" for step in some)
    assert all(step.evaluated == 1.0 for step in some if step.audit)
    assert early(some)
    monkeypatch.setattr(deciding, "AUDITED", 1.0)
    found = await sequential()
    assert ways(found) == ways(in_full)
    assert not early(found)
    assert {step.audit for step in found if step.outcome == "rejected"} >= {"right"}
    assert {step.audit for step in found if step.outcome == "accepted"} <= {None, "wrong"}


async def test_a_wrong_part_is_found_out_and_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where parts say nonsense, the audit tells, and what it looked at is decided as in full."""
    monkeypatch.setattr(deciding, "AUDITED", 1.0)

    def nonsense(*_: object) -> Evidence:
        return Evidence(-1e6, 1.0, 15)

    monkeypatch.setattr(deciding, "difference", nonsense)
    found = await sequential()
    assert ways(found) == ways(await sequential(evaluation="full"))
    assert {step.audit for step in found if step.outcome == "accepted"} == {"wrong"}


async def test_doubt_is_shared_among_all_comparisons_of_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[int, int, float]] = []

    def recorded(number: int, looks: int, doubt: float) -> float:
        shares.append((number, looks, doubt))
        return share_of_doubt(number, looks, doubt)

    monkeypatch.setattr(deciding, "share_of_doubt", recorded)
    await sequential(asking(doubtful), consistency=Consistency.ANSWER, iterations=4, error_probability=0.03)
    assert {doubt for _, _, doubt in shares} == {0.03}
    assert {looks for _, looks, _ in shares} <= {1, 2}
    numbers = [number for number, _, _ in shares]
    assert max(numbers) > 2  # a choice of repairs, another, and the change itself
    assert all(after in {before, before + 1, 1} for before, after in pairwise(numbers))


async def test_every_comparison_draws_a_part_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, ...]] = []

    def recorded(claims: Sequence[int], rng: random.Random) -> list[list[int]]:
        parts = growing_parts(claims, rng)
        drawn.extend(tuple(claims.index(uid) for uid in part) for part in parts[:1])
        return parts

    monkeypatch.setattr(deciding, "growing_parts", recorded)
    await sequential(iterations=20)
    assert len(set(drawn)) > 5


@pytest.mark.parametrize("fails_first", [True, False])
async def test_of_two_evaluations_the_other_ends_where_one_fails(*, fails_first: bool) -> None:
    """What it has on its way is paid for."""
    ended: list[str] = []

    async def failing() -> str:
        await asyncio.sleep(0)
        raise LabelMassError("no")

    async def slow() -> str:
        await asyncio.sleep(0.01)
        ended.append("stored")
        return "yes"

    with pytest.raises(LabelMassError):
        await (both(failing(), slow()) if fails_first else both(slow(), failing()))
    assert ended == ["stored"]


async def test_two_evaluations_are_cancelled_together() -> None:
    ended: list[str] = []

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    running = asyncio.ensure_future(both(long(), long()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["cancelled", "cancelled"]
