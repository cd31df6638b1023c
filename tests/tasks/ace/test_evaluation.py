"""What tiers gain and lose in an evaluation, and which rows have no answer, and why."""

import json
from collections.abc import Mapping

import pytest

from backends.base import Outcome
from backends.errors import BackendConnectionError, ContextOverflowError
from backends.messages import Request, Response, SamplingParams, TokenLogprob
from tasks.ace.evaluation import evaluate
from tasks.ace.generating import Asking
from tasks.ace.playbook import Playbook
from tasks.ace.roles import Role, Tier
from tests.tasks.ace.world import TASK, Asker, rows

UNSURE = -3.0
ROWS = rows(5)


def answering(said: Mapping[int, str], logprob: float = UNSURE) -> Asker:
    """Return who answers case n with what is said of it."""

    def script(request: Request) -> Outcome:
        case = int(request.messages[-1].content.split("What is case ")[1].split()[0])
        return Response(
            text=json.dumps({"final_answer": said[case]}),
            finish_reason="stop",
            token_logprobs=(TokenLogprob(token="x", logprob=logprob),),
        )

    return Asker(script=script)


def right(*wrong: int) -> dict[int, str]:
    return {case: "wrong" if case in wrong else f"answer {case}" for case in range(len(ROWS))}


def role_of(small: Asker, large: Asker) -> Role:
    sampling = SamplingParams(max_tokens=50)
    return Role(
        name="test",
        tiers=(
            Tier(ask=small, model="small", sampling=sampling, min_confidence=0.5),
            Tier(ask=large, model="large", sampling=sampling),
        ),
    )


async def test_answers_that_take_the_place_of_others_are_counted_by_what_they_change() -> None:
    role = role_of(answering(right(0, 1, 2)), answering(right(2, 4)))
    evaluation = await evaluate(ROWS, Asking(TASK, Playbook()), role, TASK.checker, purpose="all")
    assert [one.score.right for one in evaluation.rows] == [1, 1, 0, 1, 0]
    small, large = role.counts
    assert (small.asked, small.usable, small.unsure) == (5, 5, 5)
    assert (large.asked, large.took_over, large.rescued) == (5, 5, 0)
    assert (large.gained, large.lost) == (2, 1)


async def test_what_the_small_tier_is_sure_of_is_not_asked_again() -> None:
    role = role_of(answering(right(0), logprob=-0.1), answering(right()))
    evaluation = await evaluate(ROWS, Asking(TASK, Playbook()), role, TASK.checker, purpose="all")
    assert evaluation.right == 4
    assert role.counts[1].asked == 0


@pytest.mark.parametrize(
    ("error", "overflowed"), [(ContextOverflowError("too long"), 5), (BackendConnectionError("gone"), 0)]
)
async def test_rows_without_an_answer_are_wrong_and_it_is_known_why(error: Outcome, overflowed: int) -> None:
    def nobody(_: Request) -> Outcome:
        return error

    role = role_of(Asker(script=nobody), Asker(script=nobody))
    evaluation = await evaluate(ROWS, Asking(TASK, Playbook()), role, TASK.checker, purpose="all")
    assert (evaluation.right, evaluation.total, evaluation.readable) == (0, 5, 0)
    assert (evaluation.failed, evaluation.overflowed) == (5, overflowed)
    assert [one.rescued for one in role.counts] == [0, 0]
