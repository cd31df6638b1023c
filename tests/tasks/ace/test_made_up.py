from tasks.ace.made_up import make_up_answer
from tasks.ace.playbook import Playbook
from tests.tasks.ace.world import Asker, learner, rows


async def test_made_up_answers_cost_as_much_as_any_can() -> None:
    every = rows(4)
    ask = Asker(script=make_up_answer)
    learned = await learner(ask, every).learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert [run.stop for run in learned.questions] == ["rounds used up"] * 4
    assert [ask.count(role) for role in ("generator", "reflector", "curator")] == [16, 12, 1]
    assert len(learned.playbook) == 1
