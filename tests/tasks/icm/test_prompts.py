"""What the model reads, byte for byte."""

import hashlib

import pytest

from tasks.icm.claims import draw
from tasks.icm.prompts import Prompter, claim_prompt
from tests.tasks.icm.made_up import LABELS, made_claims, made_draw, read_prompt, truthfulqa_train, unit


def prompter(*, trailing_space: bool = True) -> Prompter:
    return Prompter(claims=made_claims(5), model="made-up", labels=LABELS, trailing_space=trailing_space)


def test_fact_10_prompt_bytes_of_the_reference() -> None:
    drawn = draw(truthfulqa_train(), size=64, num_seeds=8, group_size=4, seed=0)
    request = Prompter(claims=drawn.claims, model="m", labels=LABELS).about([8], drawn.seed_labels)[8]
    assert request.prompt is not None
    assert len(request.prompt) == 1216
    assert hashlib.sha256(request.prompt.encode()).hexdigest().startswith("fef0c87231eed7f0")
    assert request.prompt.endswith("I think this claim is ")


def test_prompt_is_demonstrations_with_blank_lines_and_then_the_target() -> None:
    assert prompter().about([2], {1: 0, 0: 1})[2].prompt == (
        "Question: Question 0?\nClaim: Claim 0.0.\nI think this claim is True\n\n"
        "Question: Question 0?\nClaim: Claim 0.1.\nI think this claim is False\n\n"
        "Question: Question 0?\nClaim: Claim 0.2.\nI think this claim is "
    )


def test_without_trailing_space_only_the_last_byte_is_missing() -> None:
    assigned = {0: 1, 3: 0, 7: 1}
    for with_space, without in zip(
        prompter().leave_one_out(assigned).values(),
        prompter(trailing_space=False).leave_one_out(assigned).values(),
        strict=True,
    ):
        assert with_space.prompt == f"{without.prompt} "


def test_first_prompt_has_no_header() -> None:
    claim = made_claims(1)[0]
    assert prompter().about([0], {})[0].prompt == claim_prompt(claim)
    assert prompter().about([0], {0: 1})[0].prompt == claim_prompt(claim)


def test_request_asks_for_one_token_without_chance() -> None:
    request = prompter().about([0], {1: 1})[0]
    assert (request.sampling.max_tokens, request.sampling.temperature, request.sampling.top_p) == (
        1,
        0.0,
        1.0,
    )
    assert (request.model, request.labels, request.sample_index) == ("made-up", LABELS, 0)


@pytest.mark.parametrize("seed", range(4))
def test_fact_18_every_context_holds_exactly_the_others_once_each_in_the_order_of_uids(seed: int) -> None:
    drawn = made_draw(seed=seed)
    uids = sorted(range(len(drawn.claims)), key=lambda uid: unit(seed, uid))[:13]
    assigned = {uid: int(unit("label", seed, uid) < 0.5) for uid in uids}
    requests = Prompter(claims=drawn.claims, model="m", labels=LABELS).leave_one_out(assigned)
    assert len(requests) == len(assigned)
    for target, request in requests.items():
        shown, asked = read_prompt(request.prompt or "")
        assert asked == drawn.claims[target].choice
        others = [uid for uid in sorted(assigned) if uid != target]
        assert shown == [(drawn.claims[uid].choice, assigned[uid]) for uid in others]


def test_proposal_for_a_labelled_claim_is_its_leave_one_out_prompt() -> None:
    assigned = {5: 1, 0: 0, 9: 1, 4: 0}
    for uid, request in prompter().leave_one_out(assigned).items():
        assert prompter().about([uid], assigned) == {uid: request}
