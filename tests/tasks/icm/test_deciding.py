"""A sequential search asks less, and takes the decisions of a full one but for those that it errs in."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from backends.scripted import Scripted
from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency
from tasks.icm.orders import ContextOrder, ReferenceOrder, TreeOrder, TreeTailOrder
from tasks.icm.search import Search, Step
from tests.tasks.icm.made_up import (
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
