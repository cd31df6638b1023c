"""The bench of orders: its statistics, and that a model which minds no order is found to mind none."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.scripted import Scripted
from bench.icm_order import (
    Answers,
    agreement,
    agreements,
    arrangements,
    differences,
    evaluated,
    last_alike,
    pull_of_the_last,
    reported,
    states,
    summary,
)
from bench.icm_run import LABELS
from bench.permutation_test import exact_p
from cache.lookup import Lookup
from tasks.generate import Generator
from tasks.icm.prompts import Prompter
from tests.bench.test_icm_bench import model_of
from tests.tasks.icm.made_up import LogOdds, MemoryStore, answering, made_draw, read_prompt

SMALL = st.lists(st.integers(-5, 5), min_size=1, max_size=5)


def test_two_of_all_ways_part_the_values_as_far_as_possible() -> None:
    assert exact_p(range(8), range(10, 18)) == 2 / 12_870
    assert exact_p([1.0], [2.0]) == 1.0


@given(SMALL, SMALL)
def test_probability_is_that_of_all_ways_counted_exactly(first: list[int], second: list[int]) -> None:
    values = first + second

    def parted(places: Sequence[int]) -> Fraction:
        chosen = [values[place] for place in places]
        rest = sum(values) - sum(chosen)
        return abs(Fraction(sum(chosen), len(chosen)) - Fraction(rest, len(second)))

    ways = [parted(places) for places in combinations(range(len(values)), len(first))]
    extreme = sum(one >= parted(range(len(first))) for one in ways)
    assert exact_p(first, second) == pytest.approx(extreme / comb(len(values), len(first)))
    assert exact_p([one * 0.1 for one in first], [one * 0.1 for one in second]) == exact_p(first, second)


def answers(*scores: float, last: str = "") -> Answers:
    return Answers(
        scores=dict(enumerate(scores)),
        last_is_true={uid: last[uid : uid + 1] == "1" for uid in range(len(scores))},
    )


def test_energy_and_labels_of_one_order() -> None:
    one = answers(2.0, -1.0, -0.5, 0.0)
    assert one.energy({0: 1, 1: 0, 2: 1}) == pytest.approx(50 * (2.0 + 1.0 - 0.5) / 3)
    assert one.proposed == "1000"
    assert one.mean_score == 0.125
    assert agreement("1000", "1011") == 0.5


def test_summary_is_over_the_orders() -> None:
    found = summary([answers(1.0, 1.0), answers(3.0, -1.0)], {0: 1, 1: 1}, "11")
    assert (found.energy, found.energy_spread) == (50.0, 0.0)
    assert (found.accuracy, found.said_true) == (0.75, 0.75)
    assert found.claim_spread == pytest.approx(2**0.5)  # both claims have a variance of 2


def test_pull_of_the_last_compares_a_claim_with_itself() -> None:
    found = [answers(1.5, 8.0, last="10"), answers(0.5, 9.0, last="01")]
    assert pull_of_the_last(found) == pytest.approx(1.0)
    assert pull_of_the_last(found[:1]) == 0.0


def test_last_alike_is_the_share_of_labelled_claims_after_their_own_label() -> None:
    assert last_alike(answers(0, 0, 0, 0, last="1010"), {0: 1, 1: 1, 2: 0, 3: 0}) == 0.5
    assert last_alike(answers(0, 0, 0, last="100"), {0: 1, 2: 0}) == 1.0


def test_spreads_of_energies_are_compared_by_distances_from_the_median() -> None:
    near, far = ([answers(middle * by) for middle in (-1, 0, 1, 2)] for by in (0.1, 10.0))
    assert differences(near, near, {0: 1})["energy_spread_p"] == 1.0
    assert differences(near, far, {0: 1})["energy_spread_p"] == pytest.approx(2 / 70)
    assert differences(near, far, {0: 1})["energy_p"] > 0.2


def test_differences_are_those_of_the_trees() -> None:
    reference = [answers(0.0, 0.0), answers(0.2, 0.2)]
    tree = [answers(1.0, 1.0), answers(1.2, 1.2)]
    found = differences(reference, tree, {0: 1, 1: 0})
    assert found["energy"] == pytest.approx(0.0)
    assert found["mean_score"] == pytest.approx(1.0)
    assert found["mean_score_p"] == pytest.approx(2 / 6)
    assert found["claim_rms"] == pytest.approx(1.0)
    assert found["claim_rms_by_chance"] == pytest.approx((2 * 0.02 / 2) ** 0.5)


def test_pairs_of_orders_are_compared_within_and_across_kinds() -> None:
    found = agreements(
        {
            "published": [answers(1, 1)],
            "again": [answers(1, -1)],
            "reference": [answers(1, 1), answers(1, -1)],
            "tree": [answers(-1, -1), answers(-1, -1)],
        }
    )
    assert found == {
        "within reference": 0.5,
        "within tree": 1.0,
        "reference and tree": 0.25,
        "published and reference": 0.75,
        "published and tree": 0.0,
        "published, asked twice": 0.5,
    }


def test_arrangements_are_different_and_the_same_every_time() -> None:
    found = arrangements(12, 8)
    assert [one.kind for one in found] == ["published", "again", *["reference"] * 8, *["tree"] * 8]
    assert all(sorted(one.uids) == list(range(12)) for one in found)
    assert len({tuple(one.uids) for one in found if one.kind == "reference"}) == 8
    shown = {uid: f"{uid} " for uid in range(12)}
    texts = {next(iter(one.order.contexts(shown, [0]))).text for one in found if one.kind == "tree"}
    assert len(texts) == 8
    assert [one.uids for one in arrangements(12, 8)] == [one.uids for one in found]


def test_states_are_gold_balanced_and_half() -> None:
    drawn = made_draw(groups=4)
    found = states(drawn)
    gold = {uid: claim.gold for uid, claim in enumerate(drawn.claims)}
    assert found["gold"] == gold
    assert sum(found["random"].values()) == len(found["random"]) / 2 == 8
    assert len(found["half"]) == 8
    assert found["half"].items() <= gold.items()


async def asked_in_all_orders(log_odds: LogOdds, number: int = 3) -> dict[str, list[Answers]]:
    drawn = made_draw(groups=4)
    prompter = Prompter(claims=drawn.claims, model="m", labels=LABELS, trailing_space=False)
    generator = Generator(backend=Scripted(answering(log_odds)), lookup=Lookup(MemoryStore()))
    return await evaluated(prompter, states(drawn)["half"], generator, number)


@pytest.mark.parametrize("state", ["gold", "random", "half"])
async def test_a_model_that_minds_no_order_is_found_to_mind_none(state: str) -> None:
    drawn = made_draw(groups=4)
    prompter = Prompter(claims=drawn.claims, model="m", labels=LABELS, trailing_space=False)
    generator = Generator(backend=Scripted(model_of(drawn)), lookup=Lookup(MemoryStore()))
    assigned = states(drawn)[state]
    report = reported(await evaluated(prompter, assigned, generator, 3), assigned, drawn)
    assert len({round(one["energy"], 6) for one in report["kinds"].values()}) == 1
    assert set(report["same_labels"].values()) == {1.0}
    assert report["tree_less_reference"]["energy_p"] == 1.0
    assert report["kinds"]["tree"]["claim_spread"] < 1e-6


async def test_scores_belong_to_the_claims_whatever_their_uids_are() -> None:
    drawn = made_draw(groups=4)
    worth = {claim.choice: float(uid) for uid, claim in enumerate(drawn.claims)}
    found = await asked_in_all_orders(lambda prompt: worth[read_prompt(prompt)[1]] - 8)
    for one in (one for kind in found.values() for one in kind):
        assert sorted(one.scores) == sorted(range(16), key=one.scores.__getitem__) == list(range(16))


async def test_a_model_that_repeats_the_last_label_is_found_out() -> None:
    found = await asked_in_all_orders(lambda prompt: 2.0 if read_prompt(prompt)[0][-1][1] else 0.0)
    assert pull_of_the_last(found["reference"]) == pytest.approx(2.0, abs=1e-3)
    assert len({tuple(one.scores.values()) for one in found["tree"]}) > 1
