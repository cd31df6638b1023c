"""Iterated self-labelling: what each round shows, how labels become consistent, when it ends."""

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import ServerError
from backends.messages import Request
from backends.scripted import Scripted
from tasks.icm.bootstrapping import Bootstrapped, bootstrap
from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency, consistency_keys, inconsistent_pairs
from tasks.icm.evaluation import accuracy
from tasks.icm.orders import ContextOrder, OrderName, ReferenceOrder, make_order
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import LabelMassError, margin, proposed_label
from tests.tasks.icm.made_up import (
    LABELS,
    MemoryStore,
    PlainAsk,
    answering,
    asking,
    doubtful,
    made_draw,
    one_group,
    read_prompt,
    stored,
    unit,
    wanting,
)


async def bootstrapped(
    drawn: Draw,
    ask: PlainAsk,
    consistency: Consistency = Consistency.NONE,
    order: ContextOrder | None = None,
    rounds: int = 4,
) -> Bootstrapped:
    prompter = Prompter(claims=drawn.claims, model="made-up", labels=LABELS, order=order or ReferenceOrder())
    return await bootstrap(drawn, consistency_keys(drawn.claims, consistency), prompter, ask, rounds=rounds)


def rounds_of(ask: PlainAsk, claims: int) -> list[list[tuple[list[tuple[str, int]], str]]]:
    """Return what each round's prompts show and ask."""
    read = [read_prompt(prompt) for prompt in ask.prompts]
    return [read[start : start + claims] for start in range(0, len(read), claims)]


def majority(prompt: str) -> float:
    """Score a claim by what most demonstrations say."""
    shown = read_prompt(prompt)[0]
    return sum(2 * label - 1 for _, label in shown) + 0.5


def unsure_of_itself(prompt: str) -> float:
    """Score a claim by every byte of its context."""
    return 4 * (unit("noise", prompt) - 0.5)


# --- what is asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["reference", "tree", "tree-tail"])
async def test_every_round_asks_about_every_claim_with_all_others_of_the_round_before(
    order: OrderName,
) -> None:
    drawn, ask = made_draw(), asking()
    found = await bootstrapped(drawn, ask, order=make_order(order, len(drawn.claims), seed=1))
    asked = rounds_of(ask, len(drawn.claims))
    assert len(asked) == len(found.rounds) > 2
    labels = [drawn.seed_labels, *(one.labels for one in found.rounds)]
    choices = [claim.choice for claim in drawn.claims]
    for before, prompts in zip(labels, asked, strict=False):
        assert sorted(target for _, target in prompts) == sorted(choices)
        for shown, target in prompts:
            others = [(choices[uid], label) for uid, label in before.items() if choices[uid] != target]
            assert sorted(shown) == sorted(others)


async def test_scores_belong_to_their_claims_in_any_order() -> None:
    drawn = made_draw()
    model = wanting(**{f"_{n // 4}.{n % 4}": n - 11.5 for n in range(24)})
    for order in (ReferenceOrder(), make_order("tree", 24, seed=2)):
        found = await bootstrapped(drawn, asking(model), order=order)
        assert list(found.labels) == list(found.rounds[-1].scores) == list(range(24))
        assert found.labels == {uid: int(claim.id >= 12) for uid, claim in enumerate(drawn.claims)}


async def test_rounds_are_told_apart_by_their_purposes() -> None:
    ask = asking(unsure_of_itself)
    await bootstrapped(made_draw(), ask, rounds=3)
    assert ask.purposes == [f"bootstrap round {number} of 3" for number in (1, 2, 3)]


async def test_a_second_run_asks_nothing() -> None:
    drawn, store = made_draw(), MemoryStore()
    prompter = Prompter(claims=drawn.claims, model="made-up", labels=LABELS)
    first, second = (Scripted(answering(doubtful)) for _ in range(2))
    found = [await bootstrap(drawn, None, prompter, stored(store, one)) for one in (first, second)]
    assert found[0] == found[1]
    assert first.asked
    assert not second.asked


# --- labels ---------------------------------------------------------------------------------------------


async def test_without_consistency_each_claim_gets_the_label_that_its_score_speaks_for() -> None:
    found = await bootstrapped(made_draw(), asking())
    for one in found.rounds:
        assert one.labels == {uid: proposed_label(score) for uid, score in one.scores.items()}
        assert one.overruled == 0


@given(st.integers(0, 1000), st.sampled_from([Consistency.ANSWER, Consistency.REFERENCE]))
async def test_every_round_ends_consistent(seed: int, consistency: Consistency) -> None:
    drawn = made_draw(seed=seed)
    found = await bootstrapped(drawn, asking(unsure_of_itself), consistency)
    keys = consistency_keys(drawn.claims, consistency)
    for one in found.rounds:
        assert inconsistent_pairs(drawn.claims, keys, one.labels) == []
        assert one.overruled == sum(margin(label, one.scores[uid]) < 0 for uid, label in one.labels.items())
    assert any(one.overruled for one in found.rounds)


async def test_consistency_is_what_the_next_round_shows() -> None:
    drawn = one_group(["red", "blue", "red", "green"], {0: 1, 1: 0})
    ask = asking(wanting(_0=1.0, _1=2.5, _2=1.0, _3=0.5))
    found = await bootstrapped(drawn, ask, Consistency.ANSWER)
    assert found.labels == {0: 0, 1: 1, 2: 0, 3: 0}
    assert found.rounds[0].overruled == 3
    assert found.rounds[0].scores == pytest.approx({0: 1.0, 1: 2.5, 2: 1.0, 3: 0.5}, abs=1e-3)
    shown, target = rounds_of(ask, 4)[1][3]
    assert (shown, target) == ([("Claim 0.", 0), ("Claim 1.", 1), ("Claim 2.", 0)], "Claim 3.")


async def test_labels_of_a_model_that_knows_most_claims_grow_better_than_the_seeds() -> None:
    drawn = made_draw()
    truth = {claim.choice: 2 * (claim.gold or 0) - 1 for claim in drawn.claims}

    def copies_what_it_sees(prompt: str) -> float:
        shown, target = read_prompt(prompt)
        agreement = sum(truth[choice] * (2 * label - 1) for choice, label in shown) / (len(shown) or 1)
        return truth[target] * (0.4 + agreement) + 1.5 * (unit(target) - 0.5)

    found = await bootstrapped(drawn, asking(copies_what_it_sees))
    seeds = accuracy(drawn.claims, drawn.seed_labels)
    assert seeds is not None
    right = [accuracy(drawn.claims, one.labels) or 0.0 for one in found.rounds]
    assert seeds < right[0] < right[-1] == 1.0


async def test_a_model_that_follows_the_majority_ends_with_one_label_and_is_not_corrected() -> None:
    drawn = one_group(["red", "blue", "red", "green"], {0: 1, 1: 1, 2: 0})
    found = await bootstrapped(drawn, asking(majority))
    assert found.labels == dict.fromkeys(range(4), 1)
    assert found.rounds[-1].changed == 0


# --- when it ends ---------------------------------------------------------------------------------------


async def test_it_ends_with_a_round_that_changes_nothing() -> None:
    drawn = one_group(["a", "b", "c", "d"], {0: 1, 1: 0})
    ask = asking(wanting(_0=1.0, _1=-1.0, _2=1.0, _3=-1.0))
    found = await bootstrapped(drawn, ask, rounds=9)
    assert [one.changed for one in found.rounds] == [2, 0]
    assert [one.number for one in found.rounds] == [1, 2]
    assert found.rounds[-1].changed == 0
    assert len(ask.prompts) == 8


async def test_seeds_that_stay_as_they_are_end_it_at_once() -> None:
    drawn = one_group(["a", "b"], {0: 1, 1: 0})
    found = await bootstrapped(drawn, asking(wanting(_0=1.0, _1=-1.0)))
    assert [one.changed for one in found.rounds] == [0]


@pytest.mark.parametrize("rounds", [1, 3])
async def test_it_ends_unsettled_after_the_last_round(rounds: int) -> None:
    ask = asking(unsure_of_itself)
    found = await bootstrapped(made_draw(), ask, rounds=rounds)
    assert len(found.rounds) == rounds
    assert found.rounds[-1].changed
    assert found.labels is found.rounds[-1].labels


async def test_fewer_rounds_are_the_first_of_more() -> None:
    one, four = [await bootstrapped(made_draw(), asking(unsure_of_itself), rounds=n) for n in (1, 4)]
    assert four.rounds[:1] == one.rounds


async def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds is 0; bootstrapping needs at least 1"):
        await bootstrapped(made_draw(), asking(), rounds=0)


# --- what goes wrong ------------------------------------------------------------------------------------


async def test_a_model_that_hardly_considers_the_labels_is_refused_in_any_round() -> None:
    drawn = made_draw()
    ask = PlainAsk(Scripted(answering(doubtful, mass=0.005)))
    with pytest.raises(LabelMassError, match=r"median probability of 0\.005, under min_label_mass 0\.01"):
        await bootstrapped(drawn, ask)

    def later(request: Request, drawn: Draw) -> float:
        return 0.9 if len(read_prompt(request.prompt or "")[0]) <= len(drawn.seed_labels) else 0.001

    mass = partial(later, drawn=drawn)
    ask = PlainAsk(Scripted(lambda request: answering(doubtful, mass=mass(request))(request)))
    with pytest.raises(LabelMassError, match=r"of 0\.001"):
        await bootstrapped(drawn, ask)
    assert ask.purposes == ["bootstrap round 1 of 4", "bootstrap round 2 of 4"]


async def test_label_mass_is_the_median_of_each_round() -> None:
    masses: Sequence[float] = (0.2, 0.4, 0.6, 0.8)

    def by_claim(request: Request) -> float:
        return masses[int(read_prompt(request.prompt or "")[1][-2])]

    ask = PlainAsk(Scripted(lambda request: answering(wanting(_0=1.0), mass=by_claim(request))(request)))
    found = await bootstrapped(one_group(["a", "b", "c", "d"], {0: 1, 1: 0}), ask)
    assert [one.label_mass for one in found.rounds] == pytest.approx([0.4] * len(found.rounds))


async def test_requests_without_an_answer_end_it() -> None:
    ask = PlainAsk(Scripted(lambda _: ServerError("broken")))
    with pytest.raises(ExceptionGroup, match="bootstrap round 1 of 4"):
        await bootstrapped(made_draw(), ask)
