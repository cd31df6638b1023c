from dataclasses import replace

import pytest

from backends.base import Outcome
from backends.messages import Request, Response, prompt_text
from tasks.ace.learning import Lessons
from tasks.ace.made_up import is_made_up, make_up_answer, may_be_put_right
from tasks.ace.playbook import Playbook
from tasks.ace.roles import Role
from tests.tasks.ace.test_learning import role_of
from tests.tasks.ace.world import Asker, learner, rows, tier


async def test_made_up_answers_cost_as_much_as_any_can() -> None:
    every = rows(4)
    ask = Asker(script=make_up_answer)
    learned = await learner(ask, every).learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert [run.stop for run in learned.questions] == ["rounds used up"] * 4
    assert [ask.count(role) for role in ("generator", "reflector", "curator")] == [16, 12, 1]
    assert len(learned.playbook) == 4


@pytest.mark.parametrize("lessons", ["all", "wrong", "corrected"])
async def test_every_made_up_row_teaches_and_one_that_was_answered_in_vain_does_not(lessons: Lessons) -> None:
    every = rows(4)

    def script(request: Request) -> Outcome:
        if "case 3" in prompt_text(request) and role_of(request) == "generator":
            return Response(text='{"final_answer": "wrong"}', finish_reason="stop")
        return make_up_answer(request)

    ask = Asker(script=script)
    made = learner(ask, every, lessons=lessons, put_right=may_be_put_right)
    learned = await made.learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert [run.stop for run in learned.questions] == [*["rounds used up"] * 3, "repeated answer"]
    assert len(learned.playbook) == (3 if lessons == "corrected" else 4)


async def test_made_up_answers_go_to_every_tier() -> None:
    every = rows(2)
    ask = Asker(script=make_up_answer)
    doubting = replace(tier(ask, "small"), doubts=is_made_up)
    role = Role(name="generator", tiers=(doubting, tier(ask, "large")))
    made = learner(ask, every, generator=role, rounds=1)
    await made.learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert [one.asked for one in role.counts] == [4, 4]
