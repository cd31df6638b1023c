"""What found labels are worth on a test split."""

from dataclasses import replace

import pytest

from tasks.icm.evaluation import accuracy, accuracy_interval, contexts, score_on_test
from tasks.icm.prompts import Prompter
from tests.tasks.icm.made_up import LABELS, asking, made_claims, read_prompt, wanting

TRAIN = made_claims(3)


def prompter(*, trailing_space: bool = True) -> Prompter:
    return Prompter(claims=TRAIN, model="made-up", labels=LABELS, trailing_space=trailing_space)


def test_accuracy_is_the_share_of_assigned_labels_that_equal_gold() -> None:
    gold = [claim.gold for claim in TRAIN]
    assert gold[:4] == [1, 0, 1, 0]
    assert accuracy(TRAIN, {0: 1, 1: 0, 2: 0, 3: 0}) == 0.75
    assert accuracy(TRAIN, {0: 0}) == 0.0


def test_accuracy_leaves_out_claims_without_gold_and_is_none_without_any() -> None:
    claims = [replace(TRAIN[0], gold=None), *TRAIN[1:]]
    assert accuracy(claims, {0: 0, 1: 0}) == 1.0
    assert accuracy(claims, {0: 1}) is None
    assert accuracy(TRAIN, {}) is None


def test_contexts_are_four_ways_over_the_same_claims() -> None:
    found = {8: 1, 0: 0, 5: 1}
    ways = contexts(TRAIN, found, seed=3)
    assert list(ways) == ["zero-shot", "random labels", "found labels", "golden labels"]
    assert ways["zero-shot"] == {}
    assert ways["found labels"] == found
    assert ways["golden labels"] == {uid: TRAIN[uid].gold for uid in found}
    assert set(ways["random labels"]) == set(found)
    assert set(ways["random labels"].values()) <= {0, 1}


def test_random_labels_are_a_function_of_the_seed_and_the_labelled_claims() -> None:
    everything = dict.fromkeys(range(12), 1)
    backwards = dict.fromkeys(reversed(range(12)), 0)
    drawn = [
        contexts(TRAIN, found, seed)["random labels"]
        for found in (everything, backwards)
        for seed in range(9)
    ]
    assert drawn[:9] == drawn[9:]
    assert len({tuple(labels.values()) for labels in drawn}) > 5


def test_bootstrapped_labels_are_a_way_of_their_own_when_there_are_any() -> None:
    found, bootstrapped = {0: 1, 5: 0}, {0: 0, 5: 0, 7: 1}
    ways = contexts(TRAIN, found, seed=3, bootstrapped=bootstrapped)
    names = ["zero-shot", "random labels", "bootstrapped labels", "found labels", "golden labels"]
    assert list(ways) == names
    assert ways.pop("bootstrapped labels") == bootstrapped
    assert ways == contexts(TRAIN, found, seed=3)
    assert contexts(TRAIN, {}, seed=3, bootstrapped={})["bootstrapped labels"] == {}


def test_golden_labels_are_left_out_where_one_is_unknown() -> None:
    claims = [replace(TRAIN[0], gold=None), *TRAIN[1:]]
    assert "golden labels" not in contexts(claims, {0: 1, 1: 0}, seed=0)
    assert "golden labels" in contexts(claims, {1: 0}, seed=0)


async def test_every_test_claim_is_asked_about_once_after_all_demonstrations() -> None:
    test = made_claims(5)[12:]
    assigned = {7: 0, 2: 1, 11: 1}
    ask = asking()
    await score_on_test(prompter(), assigned, test, ask, method="found labels")
    assert ask.purposes == ["test found labels"]
    read = [read_prompt(prompt) for prompt in ask.prompts]
    assert [target for _, target in read] == [claim.choice for claim in test]
    shown = [(TRAIN[uid].choice, label) for uid, label in sorted(assigned.items())]
    assert all(context == shown for context, _ in read)


async def test_score_counts_predictions_that_equal_gold() -> None:
    test = made_claims(1)  # true, false, true, false
    ask = asking(wanting(**{"_0.0": 2.0, "_0.1": -2.0, "_0.2": -0.1}))  # the last is a tie: false
    found = await score_on_test(prompter(), {}, test, ask, method="zero-shot")
    assert (found.method, found.demonstrations) == ("zero-shot", 0)
    assert (found.correct, found.total) == (3, 4)
    assert found.label_mass == pytest.approx(0.9)
    assert found.accuracy == 0.75
    assert (found.low, found.high) == (0.75, 0.75)  # of one question: every draw is the same
    assert found.unreadable == 0


async def test_intervals_draw_whole_questions() -> None:
    """Of two questions, one all right and the other all wrong, as many draws have neither as have both."""
    test = made_claims(2)
    gold = {claim.choice.removeprefix("Claim ").removesuffix("."): claim.gold for claim in test}
    right = {
        f"_{name}": 1.0 if (label == 1) == name.startswith("0") else -1.0 for name, label in gold.items()
    }
    found = await score_on_test(prompter(), {}, test, asking(wanting(**right)), method="zero-shot")
    assert (found.accuracy, found.low, found.high) == (0.5, 0.0, 1.0)
    labels = {uid: int(claim.group == 0) == claim.gold for uid, claim in enumerate(test)}
    assert accuracy_interval(test, {uid: int(label) for uid, label in labels.items()}) == (0.0, 1.0)
    assert accuracy_interval([replace(claim, gold=None) for claim in test], {0: 1}) is None


async def test_test_prompts_end_as_those_of_the_search() -> None:
    for trailing_space in (True, False):
        ask = asking()
        await score_on_test(prompter(trailing_space=trailing_space), {0: 1}, made_claims(1), ask, method="m")
        assert all(prompt.endswith("is ") == trailing_space for prompt in ask.prompts)
