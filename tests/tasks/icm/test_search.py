"""What holds for every search: what it depends on, what it costs, how it repairs, when it stops."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import pytest

from backends.base import Outcome
from backends.errors import ServerUnavailableError
from backends.messages import Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from tasks.generate import Generator
from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency, Pair, inconsistent_pairs
from tasks.icm.orders import TreeOrder, TreeTailOrder
from tasks.icm.scoring import LabelMassError
from tasks.icm.search import Step
from tasks.icm.standing import pick_weights
from tasks.icm.state import LONGEST_TAIL
from tests.tasks.icm.made_up import (
    MemoryStore,
    PlainAsk,
    answering,
    asking,
    doubtful,
    made_claims,
    made_draw,
    one_group,
    read_prompt,
    search_over,
    searched,
    stored,
    undecided,
    wanting,
)

ALL_WAYS = list(Consistency)


def flipped_gold(drawn: Draw, *, every: int = 1) -> Draw:
    """Flip the gold label of every claim, or of every other, or third."""
    flipped = (
        replace(claim, gold=1 - (claim.gold or 0)) if uid % every == 0 else claim
        for uid, claim in enumerate(drawn.claims)
    )
    return replace(drawn, claims=tuple(flipped))


def labels(step: Step) -> list[int]:
    return [step.state.assigned[uid] for uid in sorted(step.state.assigned)]


def repairs(ask: PlainAsk) -> int:
    """How many repairs were evaluated."""
    return sum(purpose.startswith("evaluate repair") for purpose in ask.purposes)


# --- what a search depends on ---------------------------------------------------------------------------


@pytest.mark.parametrize("consistency", ALL_WAYS)
async def test_search_is_a_function_of_draw_settings_and_answers(consistency: Consistency) -> None:
    drawn = made_draw()
    first = await searched(drawn, consistency, iterations=30, alpha=10.0, seed=1)
    assert await searched(drawn, consistency, iterations=30, alpha=10.0, seed=1) == first
    assert await searched(drawn, consistency, iterations=30, alpha=10.0, seed=2) != first
    assert await searched(drawn, consistency, iterations=30, alpha=11.0, seed=1) != first
    assert await searched(made_draw(seed=1), consistency, iterations=30, alpha=10.0, seed=1) != first
    other = asking(lambda prompt: -doubtful(prompt))
    assert await searched(drawn, consistency, other, iterations=30, alpha=10.0, seed=1) != first


async def test_global_random_numbers_change_nothing() -> None:
    """Neither their state at the start nor what is drawn from them while a search waits for answers."""

    def gambling(prompt: str) -> float:
        random.random()
        return doubtful(prompt)

    trajectories: list[list[Step]] = []
    for seed, model in ((0, doubtful), (1, doubtful), (2, gambling)):
        random.seed(seed)
        trajectories.append(
            await searched(made_draw(), Consistency.ANSWER, asking(model), iterations=25, alpha=9.0)
        )
    assert trajectories[0] == trajectories[1] == trajectories[2]


async def test_searches_side_by_side_do_not_disturb_each_other() -> None:
    alone = [await searched(made_draw(), iterations=20, seed=seed) for seed in (3, 4)]
    async_steps = [
        search_over(made_draw(), Consistency.NONE, asking(), iterations=20, seed=s).steps() for s in (3, 4)
    ]
    together: list[list[Step]] = [[], []]
    for _ in range(21):
        for steps, found in zip(async_steps, together, strict=True):
            found.append(await anext(steps))
    assert together == alone


async def test_picks_depend_on_seed_iteration_and_pool_and_not_on_what_earlier_iterations_drew() -> None:
    """However many shuffles of pairs the fixes took before."""
    drawn = made_draw()
    for consistency in ALL_WAYS:
        steps = await searched(drawn, consistency, iterations=25, alpha=10.0, seed=6)
        for before, step in pairwise(steps):
            weights = pick_weights(drawn.claims, before.state.assigned)
            rng = random.Random(f"6/pick/{step.iteration}")
            assert step.uid == rng.choices(range(len(weights)), weights)[0]


async def test_shorter_search_is_the_beginning_of_a_longer_one() -> None:
    long = await searched(made_draw(), Consistency.ANSWER, iterations=30, alpha=10.0)
    assert await searched(made_draw(), Consistency.ANSWER, iterations=12, alpha=10.0) == long[:13]
    assert await searched(made_draw(), Consistency.ANSWER, iterations=0, alpha=10.0) == long[:1]


async def test_how_many_prompts_travel_together_changes_nothing() -> None:
    drawn = made_draw()
    ways = [PlainAsk(Scripted(answering(doubtful), max_prompts=size)) for size in (1, 7, 1000)]
    found = [await searched(drawn, Consistency.ANSWER, ask, iterations=20, alpha=10.0) for ask in ways]
    assert found[0] == found[1] == found[2]


# --- consistency and gold labels ------------------------------------------------------------------------


async def test_consistency_none_never_lists_pairs() -> None:
    ask = asking()
    steps = await searched(made_draw(), Consistency.NONE, ask, iterations=40, alpha=10.0)
    assert all(step.state.pairs == () for step in steps)
    assert repairs(ask) == 0


@pytest.mark.parametrize("consistency", [Consistency.NONE, Consistency.ANSWER])
async def test_search_never_looks_at_gold(consistency: Consistency) -> None:
    """With all gold labels flipped, or none there, it is the same search."""
    drawn = made_draw()
    first = await searched(drawn, consistency, iterations=40, alpha=10.0)
    for every in (1, 2, 3):
        other = flipped_gold(drawn, every=every)
        assert await searched(other, consistency, iterations=40, alpha=10.0) == first
    unknown = replace(drawn, claims=tuple(replace(claim, gold=None) for claim in drawn.claims))
    assert await searched(unknown, consistency, iterations=40, alpha=10.0) == first


async def test_reference_consistency_looks_at_gold() -> None:
    """At which claims of a group share their gold label, that is: "A" and "B" may change places."""
    drawn = made_draw()
    first = await searched(drawn, Consistency.REFERENCE, iterations=40, alpha=10.0)
    some, all_of_them = flipped_gold(drawn, every=2), flipped_gold(drawn)
    assert await searched(some, Consistency.REFERENCE, iterations=40, alpha=10.0) != first
    assert await searched(all_of_them, Consistency.REFERENCE, iterations=40, alpha=10.0) == first


async def test_pairs_of_a_state_are_those_among_its_labels() -> None:
    drawn = made_draw()
    steps = await searched(drawn, Consistency.ANSWER, iterations=30, alpha=10.0, consistency_fix_passes=1)
    keys = [claim.answer or "" for claim in drawn.claims]
    assert any(step.state.pairs for step in steps)
    for step in steps:
        assert list(step.state.pairs) == inconsistent_pairs(drawn.claims, keys, step.state.assigned)


# --- what a search costs --------------------------------------------------------------------------------


async def test_fact_15_proposal_for_a_labelled_claim_costs_no_request() -> None:
    """Its prompt was among those of the last evaluation of the state, whenever that was."""
    ask = asking()
    steps = await searched(made_draw(), Consistency.NONE, ask, iterations=60, alpha=10.0)
    assert any(step.outcome == "unchanged" for step in steps)
    changes = {
        (number, step.uid) for number, step in enumerate_states(steps) if step.proposed_energy is not None
    }
    assert sum(one.startswith("evaluate pool") for one in ask.purposes) == len(changes)
    proposals = [one for one in ask.purposes if one.startswith("propose")]
    assert len(proposals) <= len({number for number, _ in changes})
    for proposal in proposals:
        iteration = int(proposal.rpartition(" ")[2])
        unlabelled = len(made_draw().claims) - len(steps[iteration - 1].state.assigned)
        assert proposal == f"propose for {unlabelled} claims, iteration {iteration}"


def enumerate_states(steps: Sequence[Step]) -> list[tuple[int, Step]]:
    """Number the states that the steps start from."""
    numbers = accumulate((step.outcome == "accepted" for step in steps), initial=0)
    return list(zip(numbers, steps, strict=False))


async def test_fact_15_pool_that_agrees_with_itself_is_asked_about_once() -> None:
    drawn = one_group(["a", "b", "c", "a"], {0: 1, 1: 0, 2: 0, 3: 1})

    def agreeing(prompt: str) -> float:
        return 3.0 if read_prompt(prompt)[1] in {"Claim 0.", "Claim 3."} else -3.0

    backend = Scripted(answering(agreeing))
    steps = await searched(drawn, Consistency.ANSWER, stored(MemoryStore(), backend), iterations=25)
    assert {step.outcome for step in steps[1:]} == {"unchanged"}
    assert len(backend.asked) == 4


@pytest.mark.parametrize("consistency", ALL_WAYS)
async def test_fact_16_second_run_in_the_same_store_finds_the_same_and_asks_nothing(
    consistency: Consistency, tmp_path: Path
) -> None:
    """The reference reads answers of another trajectory there."""

    async def run(folder: Path, seed: int) -> tuple[list[Step], int]:
        store = DiskStore(folder)
        try:
            backend = Scripted(answering(doubtful))
            generator = Generator(backend=backend, lookup=Lookup(store))
            steps = await searched(
                made_draw(groups=4), consistency, generator, iterations=8, alpha=10.0, seed=seed
            )
        finally:
            store.close()
        return steps, len(backend.asked)

    first, asked = await run(tmp_path / "store", seed=1)
    assert asked > 0
    other, _ = await run(tmp_path / "store", seed=2)
    assert other != first
    assert await run(tmp_path / "store", seed=1) == (first, 0)
    assert (await run(tmp_path / "empty", seed=2))[0] == other


async def test_search_with_a_store_is_the_search_without() -> None:
    """Fact 14, as far as it concerns the table of answers."""
    store = MemoryStore()
    with_store = await searched(
        made_draw(),
        Consistency.ANSWER,
        stored(store, Scripted(answering(doubtful))),
        iterations=30,
        alpha=10.0,
    )
    ask = asking()
    assert await searched(made_draw(), Consistency.ANSWER, ask, iterations=30, alpha=10.0) == with_store
    assert len(store.entries) == len(set(ask.prompts)) < len(ask.prompts)


async def test_failing_backend_ends_the_search_and_a_second_run_goes_on() -> None:
    undisturbed = await searched(made_draw(), Consistency.ANSWER, iterations=20, alpha=10.0)
    store, answered = MemoryStore(), 0

    def dying(request: Request) -> Outcome:
        nonlocal answered
        answered += 1
        return (
            answering(doubtful)(request)
            if answered <= 150
            else ServerUnavailableError("gone", status_code=503)
        )

    with pytest.raises(ExceptionGroup, match="have no answer"):
        await searched(
            made_draw(), Consistency.ANSWER, stored(store, Scripted(dying)), iterations=20, alpha=10.0
        )
    assert len(store.entries) == 150
    backend = Scripted(answering(doubtful))
    resumed = await searched(
        made_draw(), Consistency.ANSWER, stored(store, backend), iterations=20, alpha=10.0
    )
    assert resumed == undisturbed
    assert len(backend.asked) == len(store.entries) - 150


# --- picking, proposing, accepting ----------------------------------------------------------------------


def test_fact_19_sampling_weights() -> None:
    claims = made_claims(5)
    seeds = dict.fromkeys(range(8), 1)
    assert pick_weights(claims, seeds) == [1] * 20
    assert pick_weights(claims, {**seeds, 13: 0}) == [1] * 12 + [100, 1, 100, 100] + [1] * 4
    assert pick_weights(claims, {}) == [1] * 20


async def test_claims_without_a_label_get_one_only_by_an_accepted_change() -> None:
    steps = await searched(made_draw(), Consistency.NONE, iterations=60, alpha=10.0)
    for before, after in pairwise(steps):
        new = set(after.state.assigned) - set(before.state.assigned)
        assert set(before.state.assigned) <= set(after.state.assigned)
        assert new <= ({after.uid} if after.outcome == "accepted" else set())


async def test_unlabelled_claims_may_stay_unlabelled() -> None:
    steps = await searched(made_draw(), iterations=5)
    assert len(steps[-1].state.assigned) < 24
    assert set(steps[-1].state.scores) == set(steps[-1].state.assigned)


@pytest.mark.parametrize("consistency", ALL_WAYS)
async def test_outcomes_of_steps(consistency: Consistency) -> None:
    steps = await searched(made_draw(), consistency, iterations=60, alpha=10.0)
    assert [step.iteration for step in steps] == list(range(61))
    assert (steps[0].outcome, steps[0].flips, steps[0].uid) == ("start", 0, None)
    assert steps[0].temperature == 10.0
    for before, step in pairwise(steps):
        assert step.uid is not None
        if step.outcome == "unchanged":
            assert (step.state, step.flips) == (before.state, before.flips)
            assert before.state.assigned[step.uid] == step.label
            assert step.proposed_energy is None
        else:
            assert before.state.assigned.get(step.uid) != step.label
        if step.outcome == "rejected":
            assert (step.state, step.flips) == (before.state, before.flips)
        if step.outcome == "accepted":
            assert step.flips == before.flips + 1
            assert step.state.energy == step.proposed_energy


async def test_fact_5_gain_of_hundreds_of_temperatures_does_not_end_the_search() -> None:
    """The reference dies of an OverflowError."""
    steps = await searched(
        made_draw(), iterations=40, alpha=1000.0, initial_temperature=0.01, final_temperature=0.001
    )
    gains = [
        (step.proposed_energy - before.state.energy) / step.temperature
        for before, step in pairwise(steps)
        if step.proposed_energy is not None
    ]
    assert max(gains) > 889
    assert [gain > 0 for gain in gains] == [
        step.outcome == "accepted" for step in steps if step.proposed_energy
    ]


async def test_phantom_accept_counts_as_a_flip_though_the_labels_stay() -> None:
    """The model wants claim 0 false, the pair of equal answers is worth more: the fix undoes the proposal."""
    drawn = one_group(["a", "a"], {0: 1, 1: 1})

    def model(prompt: str) -> float:
        shown, target = read_prompt(prompt)
        together = shown == [("Claim 0.", 1)]
        return (9.0 if together else 1.0) if target == "Claim 1." else -1.0 if shown[0][1] else 1.0

    steps = await searched(drawn, Consistency.ANSWER, asking(model), iterations=30, seed=0)
    phantoms = [step for step in steps if step.uid == 0]
    assert phantoms
    assert {(step.label, step.outcome) for step in phantoms} == {(0, "accepted")}
    assert all(labels(step) == [1, 1] for step in steps)
    assert steps[-1].flips == len(phantoms)
    assert steps[-1].temperature < steps[0].temperature
    assert phantoms[0].proposed_energy == steps[0].state.energy


# --- repairs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "seeds", "tried"),
    [("ab", (1, 1), [{(1, 0)}, {(0, 1)}]), ("aa", (1, 0), [{(1, 1)}, {(0, 0)}])],
    ids=["contradiction", "implication"],
)
@pytest.mark.parametrize("better", [0, 1])
async def test_both_options_of_a_repair_are_tried_and_the_better_is_taken(
    answers: str, seeds: tuple[int, int], tried: Sequence[set[tuple[int, int]]], better: int
) -> None:
    [option] = tried[better]
    ask = asking(wanting(_0=2.0 if option[0] else -2.0, _1=2.1 if option[1] else -2.1))
    steps = await searched(one_group(answers, dict(enumerate(seeds))), Consistency.ANSWER, ask, iterations=0)
    assert labels(steps[0]) == list(option)
    assert repairs(ask) == 2
    shown = [
        read_prompt(prompt)[0][0][1] for prompt in ask.prompts
    ]  # of each pool: claim 1's label, claim 0's
    pools = list(zip(shown[1::2], shown[::2], strict=True))
    assert pools == [seeds, *(next(iter(labels)) for labels in tried)]


@pytest.mark.parametrize(
    ("answers", "seeds", "expected"), [("ab", (1, 1), [1, 0]), ("aa", (0, 1), [1, 1])],
    ids=["contradiction", "implication"],
)  # fmt: skip
async def test_first_option_of_a_repair_is_taken_on_ties(
    answers: str, seeds: tuple[int, int], expected: list[int]
) -> None:
    drawn = one_group(answers, dict(enumerate(seeds)))
    steps = await searched(drawn, Consistency.ANSWER, asking(undecided), iterations=0)
    assert labels(steps[0]) == expected


async def test_repair_of_the_seeds_is_taken_only_if_it_is_at_least_as_good() -> None:
    ask = asking(wanting(_0=4.0, _1=4.0))  # both true is worth far more than one contradiction costs
    steps = await searched(one_group("ab", {0: 1, 1: 1}), Consistency.ANSWER, ask, iterations=0)
    assert labels(steps[0]) == [1, 1]
    assert steps[0].state.pairs == (Pair(0, 1, "contradiction"),)
    assert repairs(ask) == 2


async def test_repair_of_equal_energy_is_taken() -> None:
    drawn = one_group("ab", {0: 1, 1: 1})
    model = asking(wanting(_0=2.0, _1=2.0))
    [as_it_is] = await searched(drawn, Consistency.NONE, model, iterations=0)
    alpha = 1 / as_it_is.state.scores[0]
    [start] = await searched(
        drawn, Consistency.ANSWER, model, iterations=0, alpha=alpha, consistency_fix_passes=0
    )
    assert (
        start.state.energy == 0.0
    )  # the pair costs exactly what both labels are worth, and repaired it is 0 too
    [repaired] = await searched(drawn, Consistency.ANSWER, model, iterations=0, alpha=alpha)
    assert labels(repaired) == [1, 0]
    assert repaired.state.energy == 0.0


async def test_first_repair_of_a_proposal_is_taken_whatever_its_energy() -> None:
    """Both claims true is worth far more than the contradiction costs, and either repair is a disaster."""

    def model(prompt: str) -> float:
        shown, _ = read_prompt(prompt)
        return 9.0 if not shown or shown[0][1] else -9.0

    steps = await searched(one_group("ab", {0: 1}), Consistency.ANSWER, asking(model), iterations=12, seed=1)
    proposals = [step for step in steps if step.uid == 1]
    assert proposals
    for step in proposals:
        assert (step.label, step.outcome) == (1, "rejected")
        assert step.proposed_energy == pytest.approx(-50 * 9, rel=0.01)
    assert labels(steps[-1]) == [1]


@pytest.mark.parametrize(
    ("passes", "true", "pairs"), [(0, 4, 6), (1, 3, 3), (2, 2, 1), (3, 1, 0), (10, 1, 0)]
)
async def test_every_pass_repairs_one_pair_and_passes_are_limited(passes: int, true: int, pairs: int) -> None:
    drawn = one_group("abcd", dict.fromkeys(range(4), 1))
    ask = asking(undecided)
    steps = await searched(drawn, Consistency.ANSWER, ask, iterations=0, consistency_fix_passes=passes)
    assert sum(labels(steps[0])) == true
    assert len(steps[0].state.pairs) == pairs
    assert steps[0].state.energy == pytest.approx(-pairs, abs=1e-9)
    assert repairs(ask) == 2 * min(passes, 3)


async def test_contradiction_is_never_repaired_by_two_false_labels() -> None:
    model = wanting(_0=-4.0, _1=-4.0)
    steps = await searched(one_group("ab", {0: 1, 1: 1}), Consistency.ANSWER, asking(model), iterations=0)
    assert sorted(labels(steps[0])) == [0, 1]


async def test_order_in_which_pairs_are_repaired_is_shuffled_by_seed() -> None:
    drawn = one_group("abcd", dict.fromkeys(range(4), 1))
    found: set[tuple[int, ...]] = set()
    for seed in range(12):
        [start] = await searched(
            drawn, Consistency.ANSWER, asking(undecided), iterations=0, seed=seed, consistency_fix_passes=1
        )
        found.add(tuple(labels(start)))
    assert found == {(1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)}  # the first option spares the first claim


async def test_consistent_state_asks_for_no_repair() -> None:
    ask = asking(undecided)
    await searched(one_group("abca", {0: 0, 1: 0, 2: 0, 3: 0}), Consistency.ANSWER, ask, iterations=0)
    assert ask.purposes == ["evaluate seeds"]


async def test_repairs_happen_in_the_searches_of_these_tests() -> None:
    for consistency in (Consistency.ANSWER, Consistency.REFERENCE):
        ask = asking()
        steps = await searched(made_draw(), consistency, ask, iterations=60, alpha=10.0)
        assert repairs(ask) >= 20
        assert min(Counter(step.outcome for step in steps[1:]).values()) >= 3


# --- label mass -----------------------------------------------------------------------------------------


def mute(request: Request) -> Outcome:  # noqa: ARG001 - whatever the request
    minus_infinity = float("-inf")
    return Response(
        text=" Paris",
        finish_reason="length",
        label_logprobs={"False": minus_infinity, "True": minus_infinity},
    )


async def test_fact_20_model_that_never_says_true_or_false_stops_the_run() -> None:
    """The reference scores all claims 0 and returns labels."""
    with pytest.raises(
        LabelMassError, match=r"median probability of 0, .* wanted to say ' Paris' \(8 of 8\)"
    ):
        await searched(made_draw(), ask=PlainAsk(Scripted(mute)), iterations=5)


async def test_label_mass_is_looked_at_in_every_evaluation() -> None:
    """Also when the model loses its way only after some iterations."""

    def fading(request: Request) -> Outcome:
        shown, _ = read_prompt(request.prompt or "")
        script: Callable[[Request], Outcome] = answering(doubtful, mass=0.9 if len(shown) < 9 else 0.001)
        return script(request)

    with pytest.raises(LabelMassError, match=r"under min_label_mass 0\.01"):
        await searched(made_draw(), ask=PlainAsk(Scripted(fading)), iterations=200, alpha=1.0)
    await searched(
        made_draw(), ask=PlainAsk(Scripted(fading)), iterations=60, alpha=1.0, min_label_mass=0.0001
    )


async def test_state_tells_its_label_mass() -> None:
    steps = await searched(made_draw(), iterations=3)
    assert steps[-1].state.label_mass == pytest.approx(0.9)


# --- look-ahead where it could show ---------------------------------------------------------------------


async def test_look_ahead_does_not_show_in_tree_tail() -> None:
    """Whose order depends on what changed lately, also for proposals that are asked ahead."""
    drawn = made_draw(groups=10)
    order = TreeTailOrder(TreeOrder(len(drawn.claims), 0))
    for seed in range(4):
        plain, ahead = [
            await searched(drawn, order=order, iterations=80, alpha=3.0, seed=seed, lookahead=lookahead)
            for lookahead in (0, 3)
        ]
        assert sum(step.outcome == "accepted" for step in plain) > 2 * LONGEST_TAIL
        assert ahead == plain


async def test_look_ahead_does_not_fail_on_what_is_not_wanted() -> None:
    """A repair that is evaluated ahead, and would fail, is not looked at by the search."""
    drawn = made_draw()
    plain = asking()
    steps = await searched(drawn, Consistency.ANSWER, plain, iterations=30, alpha=10.0)
    wanted = set(plain.prompts)

    def script(request: Request) -> Response:
        mass = 0.9 if request.prompt in wanted else 0.001
        outcome = answering(doubtful, mass=mass)(request)
        assert isinstance(outcome, Response)
        return outcome

    ahead = PlainAsk(Scripted(script))
    found = await searched(drawn, Consistency.ANSWER, ahead, iterations=30, alpha=10.0, lookahead=1)
    assert set(ahead.prompts) > wanted
    assert found == steps


async def test_an_error_ends_the_search_when_what_is_asked_beside_it_is_there() -> None:
    """Of two repairs that are evaluated at the same time one fails; the answers to the other are paid for."""
    asked: list[str] = []
    arrived: list[str] = []

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Response]:
        if purpose.startswith("evaluate repair") and len(asked) == 2:
            raise ExceptionGroup(purpose, [ServerUnavailableError("gone")])
        asked.append(purpose)
        if purpose.startswith("evaluate repair"):
            await asyncio.sleep(0.05)
        outcomes = [answering(doubtful)(request) for request in requests]
        arrived.append(purpose)
        return [outcome for outcome in outcomes if isinstance(outcome, Response)]

    before = asyncio.all_tasks()
    drawn = one_group(("red", "blue", "red", "green"), {0: 1, 1: 1})
    with pytest.raises(ExceptionGroup):
        await searched(drawn, Consistency.ANSWER, ask, iterations=5)
    assert asked == arrived
    assert asyncio.all_tasks() == before
