import json
from collections.abc import Sequence
from typing import Any

from backends.messages import Request, Response, prompt_text
from tasks.ace.adapting import Evaluate, Event, Offline, Online, Plateau, Step, Validated
from tasks.ace.evaluation import Evaluation, evaluate
from tasks.ace.generating import Asking
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import CURATOR, REFLECTOR
from tasks.ace.roles import Role
from tasks.ace.values import Row
from tests.tasks.ace.world import TASK, Asker, learner, model, rows, tier


def evaluator(ask: Asker, name: str = "evaluation") -> Evaluate:
    generator = Role(name=name, tiers=(tier(ask),))

    async def evaluated(playbook: Playbook, some: Sequence[Row], purpose: str) -> Evaluation:
        return await evaluate(some, Asking(TASK, playbook), generator, TASK.checker, purpose=purpose)

    return evaluated


async def offline(ask: Asker, every: Sequence[Row], **changes: Any) -> list[Event]:  # noqa: ANN401
    train, validation = every[:20], every[20:]
    loop = Offline(learner=learner(ask, every), evaluate=evaluator(ask), **changes)
    return [event async for event in loop.events(Playbook(), train, validation)]


async def test_it_learns_what_the_model_does_not_know() -> None:
    every = rows(30)
    events = await offline(Asker(script=model(every)), every, batch_size=5, eval_rows=10)
    accuracies = [event.evaluation.accuracy for event in events if isinstance(event, Validated)]
    assert accuracies == [0.4, 1.0, 1.0]
    assert [event.is_best for event in events if isinstance(event, Validated)] == [True, True, False]


async def test_the_playbook_it_begins_with_competes() -> None:
    every = rows(30)
    ask = Asker(script=model(every, known=10))
    events = await offline(ask, every, batch_size=10)
    assert [event.step for event in events if isinstance(event, Validated) and event.is_best] == [0]


async def test_a_run_smaller_than_an_evaluation_step_is_evaluated_at_its_end() -> None:
    every = rows(30)
    events = await offline(Asker(script=model(every)), every, batch_size=7, eval_rows=100, epochs=2)
    assert [event.step for event in events if isinstance(event, Validated)] == [0, 3, 6]


async def test_a_plateau_of_the_validation_ends_it() -> None:
    every = rows(30)
    events = await offline(Asker(script=model(every)), every, batch_size=5, eval_rows=5, epochs=9, patience=2)
    assert isinstance(events[-1], Plateau)
    steps = [event.number for event in events if isinstance(event, Step)]
    assert steps == [1, 2, 3, 4]  # best after the second


async def test_without_validation_rows_nothing_is_evaluated() -> None:
    ask = Asker(script=model(rows(20)))
    events = await offline(ask, rows(20), batch_size=10)
    assert ask.count("evaluation") == 0
    assert [type(event) for event in events] == [Step, Step]


async def test_windows_are_answered_before_they_are_learnt_from() -> None:
    every = rows(30)
    ask = Asker(script=model(every))
    loop = Online(learner=learner(ask, every), evaluate=evaluator(ask), window=10, batch_size=10)
    events = [event async for event in loop.events(Playbook(), every)]
    scores = [event.evaluation.accuracy for event in events if isinstance(event, Validated)]
    assert scores == [0.4, 1.0, 1.0]


async def test_a_window_is_learnt_from_with_the_questions_that_it_was_tested_with() -> None:
    every = rows(10)
    ask = Asker(script=model(every))
    loop = Online(learner=learner(ask, every), evaluate=evaluator(ask), window=10, batch_size=10)
    async for _ in loop.events(Playbook(), every):
        pass
    assert ask.asked[0][1] == ask.asked[1][1]  # so that the store answers the second time


async def test_the_published_example_comes_to_its_60_calls() -> None:
    """Vector 17 of the facts: two epochs of four rows, one fixed in round 1, one never, all else right."""
    every = rows(9)
    reflections = 0

    def script(request: Request) -> Response:
        nonlocal reflections
        text = prompt_text(request)
        if CURATOR in text:
            number = text.count("\n[") if "(empty)" not in text else 0
            operation = {"type": "ADD", "section": "formulas_and_calculations", "content": f"b{len(text)}"}
            return said(operations=[operation], number=number)
        if REFLECTOR in text:
            reflections += 1
            tags = [{"id": "calc-00001", "tag": "helpful"}]
            return said(key_insight=f"lesson {reflections}", bullet_tags=tags)
        number = int(text.split("case ")[1].split(" ")[0])
        cited = ["calc-00001"] if "[calc-00001]" in text else []
        is_right = number > 1 or (number == 0 and "earlier attempt" in text)
        answer = f"answer {number}" if is_right else f"wrong {len(text)}"
        return said(bullet_ids=cited, final_answer=answer)

    def said(**fields: object) -> Response:
        return Response(text=json.dumps(fields), finish_reason="stop")

    ask = Asker(script=script)
    train, validation, test = every[:4], every[4:7], every[7:]
    evaluated = evaluator(ask, "generator")
    await evaluated(Playbook(), test, "initial test")
    made = learner(ask, every, stops=frozenset(), post_generation=True)
    loop = Offline(learner=made, evaluate=evaluated, epochs=2, eval_rows=2)
    events = [event async for event in loop.events(Playbook(), train, validation)]
    playbook = [event for event in events if isinstance(event, Step)][-1].learned.playbook
    await evaluated(playbook, test, "final test")
    first_validation = len(validation)  # ours lets the first playbook compete; the reference does not
    counts = {role: ask.count(role) for role in ("generator", "reflector", "curator")}
    assert counts == {"generator": 40 + first_validation, "reflector": 12, "curator": 8}
    assert playbook.counts["calc-00001"].helpful == 11
    assert len(playbook) == 8
