"""On the demo task the made-up learner has to learn, with all that a flow does between two steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from bench.ace_demo_model import demo_learner, demo_rows
from bench.ace_model import MadeUpLearner
from tasks.ace.adapting import Offline, Online, Step, Validated
from tasks.ace.deltas import Change
from tasks.ace.demo import DEMO
from tasks.ace.evaluation import Evaluation, evaluate
from tasks.ace.generating import Asking
from tasks.ace.judging import LabelJudge
from tasks.ace.learning import Learner, Lessons
from tasks.ace.playbook import Playbook
from tasks.ace.pruning import prune
from tasks.ace.refining import refine
from tasks.ace.roles import Role
from tasks.ace.similarity import Lexical
from tasks.ace.values import Row
from tests.tasks.ace.world import Asker, learner, tier

TRAIN, VALIDATION, TEST = map(demo_rows, ("train", "val", "test"))

NOISE = 0.05
"""What one validation of 40 rows may be worse than the one before it."""


async def tidy(playbook: Playbook, step: int) -> tuple[Playbook, list[Change]]:
    """Do what the flow does with plenty of room."""
    refined = refine(playbook, Lexical())
    tokens = dict.fromkeys(refined.playbook.bullets, 1)
    pruned, gone = prune(refined.playbook, tokens, max_tokens=1_000_000, step=step)
    return pruned, [*refined.changes, *gone]


@dataclass(kw_only=True)
class Demo:
    """The demo task, answered by a made-up model."""

    model: MadeUpLearner
    lessons: Lessons = "wrong"

    def __post_init__(self) -> None:
        self.ask = Asker(script=self.model)
        self.generator = Role(name="generator", tiers=(tier(self.ask),))

    async def accuracy(self, playbook: Playbook, rows: Sequence[Row] = TEST) -> float:
        return (await self.evaluate(playbook, rows, "test")).accuracy

    async def evaluate(self, playbook: Playbook, rows: Sequence[Row], purpose: str) -> Evaluation:
        return await evaluate(rows, Asking(DEMO, playbook), self.generator, DEMO.checker, purpose=purpose)

    @property
    def learner(self) -> Learner:
        made = learner(self.ask, [])
        return replace(
            made,
            task=DEMO,
            curation=replace(made.curation, task=DEMO),
            judge=LabelJudge(
                checker=DEMO.checker, targets={row.question.id: row.target for row in (*TRAIN, *TEST)}
            ),
            lessons=self.lessons,
            tidy=tidy,
        )

    async def learn(self, *, batch_size: int) -> tuple[list[float], Playbook]:
        """Return the accuracies on the validation rows, and the best playbook by them."""
        loop = Offline(learner=self.learner, evaluate=self.evaluate, batch_size=batch_size, eval_rows=20)
        events = [one async for one in loop.events(Playbook(), TRAIN, VALIDATION)]
        validations = [one for one in events if isinstance(one, Validated)]
        best = [one.playbook for one in validations if one.is_best][-1]
        return [one.evaluation.accuracy for one in validations], best


@pytest.mark.parametrize("batch_size", [1, 10, 40])
async def test_accuracy_grows_from_40_percent_to_90_and_more(batch_size: int) -> None:
    demo = Demo(model=demo_learner())
    validations, best = await demo.learn(batch_size=batch_size)
    assert validations[0] == 0.4
    assert all(after >= before - NOISE for before, after in pairwise(validations))
    assert validations[-1] >= 0.9
    assert await demo.accuracy(best) >= 0.9


@pytest.mark.parametrize("batch_size", [1, 10, 40])
async def test_with_the_playbook_blanked_all_that_was_learnt_is_gone(batch_size: int) -> None:
    demo = Demo(model=demo_learner())
    _, best = await demo.learn(batch_size=batch_size)
    evaluation = await demo.evaluate(Playbook(), TEST, "test")
    assert (evaluation.right, evaluation.total) == (24, 60)
    assert await demo.accuracy(best.remove(list(best.bullets)[:9])) < await demo.accuracy(best)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("batch_size", "lessons"), [(1, "wrong"), (10, "wrong"), (10, "corrected"), (40, "corrected")]
)
async def test_every_fifth_review_may_be_harmful(batch_size: int, lessons: Lessons, seed: int) -> None:
    clean = Demo(model=demo_learner(), lessons=lessons)
    poisoned = Demo(model=demo_learner(5, seed=seed), lessons=lessons)
    _, of_clean = await clean.learn(batch_size=batch_size)
    _, of_poisoned = await poisoned.learn(batch_size=batch_size)
    assert poisoned.ask.count("reflector") >= 120
    assert await poisoned.accuracy(of_poisoned) >= await clean.accuracy(of_clean) - 0.05


async def test_lessons_from_right_answers_are_what_poison_harms_by() -> None:
    """As published, all reviews teach; what is said of a right answer is tried on nothing before it is."""
    accuracies: dict[str, list[float]] = {"all": [], "wrong": []}
    for lessons in ("all", "wrong"):
        for seed in range(4):
            demo = Demo(model=demo_learner(5, seed=seed), lessons=lessons)
            _, best = await demo.learn(batch_size=10)
            accuracies[lessons].append(await demo.accuracy(best))
    assert sum(accuracies["all"]) / 4 < 0.95 < sum(accuracies["wrong"]) / 4


async def test_bullets_that_harm_are_taken_out() -> None:
    demo = Demo(model=demo_learner(5, seed=1), lessons="all")
    loop = Offline(learner=demo.learner, evaluate=demo.evaluate, batch_size=10, epochs=3)
    events = [one async for one in loop.events(Playbook(), TRAIN, ())]
    changes = [change for one in events if isinstance(one, Step) for change in one.learned.changes]
    gone = [change.replaced[0][1] for change in changes if change.by == "harmful"]
    poison = [text for text in gone if text.startswith("It is wrong that")]
    assert len(poison) > 5
    assert len(poison) > len(gone) / 2


@pytest.mark.parametrize("batch_size", [1, 15])
async def test_later_windows_are_better_than_the_first(batch_size: int) -> None:
    demo = Demo(model=demo_learner())
    loop = Online(learner=demo.learner, evaluate=demo.evaluate, window=15, batch_size=batch_size)
    events = [one async for one in loop.events(Playbook(), [*TEST, *TRAIN])]
    windows = [one.evaluation.accuracy for one in events if isinstance(one, Validated)]
    assert len(windows) == 12
    assert windows[0] <= 0.5
    assert sum(windows[:4]) / 4 + 0.2 < sum(windows[-4:]) / 4
    assert min(windows[-4:]) >= 0.9
