"""Every context is all the others, once each; a tree's share what they can."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency
from tasks.icm.orders import (
    Context,
    ContextOrder,
    OrderName,
    ReferenceOrder,
    TreeOrder,
    TreeTailOrder,
    make_order,
)
from tests.tasks.icm.made_up import asking, made_draw, searched


def orders(number: int, seed: int = 0) -> list[ContextOrder]:
    """Make one of every kind that there is."""
    return [make_order(name, number, seed) for name in get_args(OrderName)]


def parts(context: Context) -> list[int]:
    return [int(part) for part in context.text.split()]


def shown(uids: Sequence[int]) -> dict[int, str]:
    return {uid: f"{uid} " for uid in uids}


@st.composite
def pools(draw: st.DrawFn) -> tuple[int, int, list[int], list[int], list[int]]:
    """Draw (claims, seed, labelled, targets, recently changed)."""
    number = draw(st.integers(1, 40))
    uids = st.integers(0, number - 1)
    labelled = draw(st.lists(uids, unique=True))
    targets = draw(st.lists(uids, unique=True, min_size=1))
    recent = draw(st.lists(st.sampled_from(labelled), unique=True)) if labelled else []
    return number, draw(st.integers(0, 5)), labelled, targets, recent


@given(pools())
def test_fact_18_every_context_holds_exactly_the_others_once_each(
    pool: tuple[int, int, list[int], list[int], list[int]],
) -> None:
    number, seed, labelled, targets, recent = pool
    for order in orders(number, seed):
        found = {one.uid: parts(one) for one in order.contexts(shown(labelled), targets, recent)}
        assert sorted(found) == sorted(targets)
        for uid, context in found.items():
            assert sorted(context) == sorted(set(labelled) - {uid})


@given(pools())
def test_a_context_is_a_function_of_run_labels_and_target(
    pool: tuple[int, int, list[int], list[int], list[int]],
) -> None:
    """Not of who else is asked about, nor of the order in which labels came."""
    number, seed, labelled, targets, recent = pool
    for order in orders(number, seed):
        together = list(order.contexts(shown(labelled), targets, recent))
        for one in together:
            assert list(order.contexts(shown(labelled[::-1]), [one.uid], recent)) == [one]
            others = sorted(set(labelled) - {one.uid})  # whether the target has a label is no matter
            rest = [uid for uid in recent if uid != one.uid]
            assert list(order.contexts(shown(others), [one.uid], rest)) == [one]


@given(pools())
def test_what_changed_lately_comes_last_in_its_order(
    pool: tuple[int, int, list[int], list[int], list[int]],
) -> None:
    number, seed, labelled, targets, recent = pool
    order = TreeTailOrder(TreeOrder(number, seed))
    for one in order.contexts(shown(labelled), targets, recent):
        last = [uid for uid in recent if uid != one.uid]
        assert parts(one)[len(parts(one)) - len(last) :] == last


def computed(contexts: Sequence[Context], *, keep: bool) -> int:
    """Count demonstrations that a server computes: with a cache for all, or for the prompt before only."""
    seen: set[tuple[int, ...]] = set()
    total = 0
    for context in contexts:
        shows = parts(context)
        beginnings = [tuple(shows[:end]) for end in range(1, len(shows) + 1)]
        total += sum(beginning not in seen for beginning in beginnings)
        seen = seen | set(beginnings) if keep else set(beginnings)
    return total


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 64, 100, 256])
def test_a_tree_computes_n_log_n_demonstrations(number: int) -> None:
    contexts = list(TreeOrder(number, 7).contexts(shown(range(number)), range(number)))
    assert computed(contexts, keep=True) <= number * (math.log2(number) + 1)
    assert computed(contexts, keep=False) == computed(contexts, keep=True)  # neighbours share all there is
    reference = list(ReferenceOrder().contexts(shown(range(number)), range(number)))
    assert computed(reference, keep=True) == (number * number + number) // 2 - 1 if number > 1 else 1


@given(st.integers(1, 100), st.integers(0, 100))
def test_segments_of_any_tree_sum_up_to_at_most_n_log_n_plus_n(number: int, seed: int) -> None:
    contexts = list(TreeOrder(number, seed).contexts(shown(range(number)), range(number)))
    assert computed(contexts, keep=True) <= number * (math.log2(number) + 1)
    assert max(len(one.branch) for one in contexts) == math.ceil(math.log2(number))


@given(st.integers(1, 64), st.integers(0, 3), st.data())
def test_a_tree_of_part_of_the_claims_computes_no_more_than_its_depth_for_each(
    number: int, seed: int, data: st.DataObject
) -> None:
    labelled = data.draw(st.lists(st.integers(0, number - 1), unique=True))
    contexts = list(TreeOrder(number, seed).contexts(shown(labelled), labelled))
    assert computed(contexts, keep=True) <= len(labelled) * math.ceil(math.log2(number))
    assert computed(contexts, keep=False) == computed(contexts, keep=True)


def test_branches_say_who_shares_a_beginning() -> None:
    contexts = list(TreeOrder(64, 3).contexts(shown(range(64)), range(64)))
    assert [one.branch for one in contexts] == sorted(one.branch for one in contexts)
    for before, after in pairwise(contexts):
        if before.branch[:3] == after.branch[:3]:
            assert parts(before)[:56] == parts(after)[:56]  # 32, 16 and 8 of them


def test_claims_of_one_question_are_spread_as_in_the_reference() -> None:
    """In the order of the uids, a tree would always show them last."""
    distances: list[int] = []
    for seed in range(40):
        for one in TreeOrder(64, seed).contexts(shown(range(64)), range(64)):
            mates = {uid for uid in range(64) if uid // 4 == one.uid // 4 and uid != one.uid}
            distances += [place for place, uid in enumerate(reversed(parts(one))) if uid in mates]
    assert 29 < sum(distances) / len(distances) < 33  # 31 if they are anywhere
    assert sum(distance < 3 for distance in distances) / len(distances) < 0.08  # 3 of 63 would be 0.048


def test_trees_show_the_others_in_every_order_alike() -> None:
    """As a random order of the uids does, so on average over seeds a tree's scores cannot be others."""
    trees = 4800
    for uid in range(4):
        others = [other for other in range(4) if other != uid]
        found = Counter(
            tuple(parts(one))
            for seed in range(trees)
            for one in TreeOrder(4, seed).contexts(shown(range(4)), [uid])
        )
        assert sorted(found) == sorted(permutations(others))
        for count in found.values():
            assert abs(count - trees / 6) < 4 * math.sqrt(trees * 5 / 36)  # four standard deviations


def test_leaves_are_drawn_by_the_seed_and_by_nothing_global() -> None:
    def order(seed: int) -> list[Context]:
        return list(TreeOrder(20, seed).contexts(shown(range(20)), range(20)))

    random.seed(1)
    first = order(5)
    random.seed(2)
    assert order(5) == first
    assert order(6) != first


# --- searches -------------------------------------------------------------------------------------------


def ordered(drawn: Draw) -> list[ContextOrder]:
    return orders(len(drawn.claims), seed=11)


@pytest.mark.parametrize("consistency", [Consistency.NONE, Consistency.ANSWER])
@pytest.mark.parametrize("which", [0, 1])
async def test_any_lookahead_finds_the_same(which: int, consistency: Consistency) -> None:
    drawn = made_draw()
    found = [
        await searched(
            drawn, consistency, iterations=50, alpha=10.0, lookahead=lookahead, order=ordered(drawn)[which]
        )
        for lookahead in (0, 1, 4, 100)
    ]
    assert found[0] == found[1] == found[2] == found[3]
    assert {"accepted", "rejected"} <= {step.outcome for step in found[0]}


async def test_orders_are_different_searches_of_the_same_claims() -> None:
    drawn = made_draw()
    found = [await searched(drawn, iterations=30, alpha=10.0, order=order) for order in ordered(drawn)]
    energies = [[step.state.energy for step in steps] for steps in found]
    assert energies[0] != energies[1] != energies[2]


async def test_lookahead_needs_fewer_rounds_and_not_fewer_prompts() -> None:
    rounds: list[int] = []
    prompts: list[int] = []
    for lookahead in (0, 4):
        ask = asking()
        await searched(made_draw(), ask=ask, iterations=80, alpha=10.0, lookahead=lookahead)
        rounds.append(ask.rounds)
        prompts.append(len(set(ask.prompts)))
    assert rounds[1] < rounds[0]
    assert prompts[1] >= prompts[0]
