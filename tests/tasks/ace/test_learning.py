import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from backends.errors import BackendConnectionError, ContextOverflowError
from backends.messages import Request, Response, prompt_text
from tasks.ace.judging import SelfJudge
from tasks.ace.learning import Lessons
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import CURATOR, GENERATOR, REFLECTOR
from tasks.ace.roles import Role
from tasks.ace.votes import statistics
from tasks.ask import Stop
from tests.tasks.ace.strict import Strict
from tests.tasks.ace.world import TASK, Asker, learner, model, rows, tier

ROLES = {"generator": GENERATOR, "reflector": REFLECTOR, "curator": CURATOR}


def role_of(request: Request) -> str:
    [role] = [name for name, words in ROLES.items() if words in prompt_text(request)]
    return role


def scripted(right_at: int | None, *, same: bool = False, lesson: Callable[[int], str] = str) -> Asker:
    """Return a model that is right at the nth attempt (from 0), and never where that is None."""
    seen = {"generator": 0, "reflector": 0, "curator": 0}

    def script(request: Request) -> Response:
        role = role_of(request)
        number = seen[role]
        seen[role] += 1
        wrong = "wrong" if same else f"wrong {number}"
        said = {
            "generator": {"final_answer": "answer 0" if number == right_at else wrong},
            "reflector": {"key_insight": f"lesson {lesson(number)}"},
            "curator": {"operations": [{"type": "ADD", "section": "OTHERS", "content": f"bullet {number}"}]},
        }
        return Response(text=json.dumps(said[role]), finish_reason="stop")

    return Asker(script=script)


@pytest.mark.parametrize(
    ("right_at", "calls"), [(0, 4), (1, 5), (2, 7), (3, 9), (None, 9)], ids=["right", "1", "2", "3", "never"]
)
async def test_calls_per_question_are_those_of_the_published_loop(right_at: int | None, calls: int) -> None:
    every = rows(1)
    for post, expected in ((True, calls), (False, calls - 1)):
        ask = scripted(right_at)
        made = learner(ask, every, post_generation=post)
        await made.learn(Playbook(), [every[0].question], step=1, name="batch 1")
        assert len(ask.requests) == expected


@pytest.mark.parametrize(
    ("ask", "stop", "calls"),
    [
        (scripted(0), "right at first", 3),
        (scripted(2), "corrected", 6),
        (scripted(None, same=True), "repeated answer", 4),
        (scripted(None, lesson=lambda _: "the same"), "no new lesson", 5),
        (scripted(None), "rounds used up", 8),
    ],
    ids=["right", "corrected", "repeated", "no lesson", "used up"],
)
async def test_each_stop_has_its_reason(ask: Asker, stop: str, calls: int) -> None:
    every = rows(1)
    learned = await learner(ask, every).learn(Playbook(), [every[0].question], step=1, name="b")
    assert [run.stop for run in learned.questions] == [stop]
    assert len(ask.requests) == calls


@pytest.mark.parametrize(
    ("right_at", "teaches"),
    [(0, {"all"}), (1, {"all", "wrong", "corrected"}), (None, {"all", "wrong"})],
    ids=["right at first", "put right", "never right"],
)
@pytest.mark.parametrize("lessons", ["all", "wrong", "corrected"])
async def test_the_curator_hears_of_the_rows_that_teach(
    lessons: Lessons, right_at: int | None, teaches: set[str]
) -> None:
    every = rows(1)
    ask = scripted(right_at)
    learned = await learner(ask, every, lessons=lessons).learn(
        Playbook(), [every[0].question], step=1, name="b"
    )
    assert ask.count("curator") == len(learned.playbook) == int(lessons in teaches)


async def test_early_stops_can_be_switched_off() -> None:
    every = rows(1)
    ask = scripted(None, same=True, lesson=lambda _: "the same")
    learned = await learner(ask, every, stops=frozenset()).learn(
        Playbook(), [every[0].question], step=1, name="b"
    )
    assert learned.questions[0].stop == "rounds used up"
    assert len(ask.requests) == 8


@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("poison", [0, 3])
async def test_a_batch_of_one_makes_the_calls_of_the_published_loop(poison: int, *, post: bool) -> None:
    every = rows(24)
    made_up = model(every, poison=poison)
    strict = Strict(task=TASK, call=made_up, post=post)
    expected = strict.learn(every)
    ask = Asker(script=made_up)
    made = learner(ask, every, stops=frozenset(), post_generation=post)
    playbook = Playbook()
    for step, row in enumerate(every, start=1):
        playbook = (await made.learn(playbook, [row.question], step=step, name="b")).playbook
    assert ask.requests == strict.calls
    assert playbook.sections == expected.sections
    assert statistics(playbook) == statistics(expected)


async def test_a_review_that_cannot_be_read_is_as_in_the_published_loop_or_has_a_reason_of_its_own() -> None:
    every = rows(12)
    made_up = model(every)

    def script(request: Request) -> Response:
        mumbles = (
            role_of(request) == "reflector"
            and "wrong" in prompt_text(request)
            and "case 5" in prompt_text(request)
        )
        return Response(text="I cannot say {", finish_reason="stop") if mumbles else made_up(request)

    strict = Strict(task=TASK, call=script)
    strict.learn(every)
    ask = Asker(script=script)
    playbook, made = Playbook(), learner(ask, every, stops=frozenset())
    for step, row in enumerate(every, start=1):
        playbook = (await made.learn(playbook, [row.question], step=step, name="b")).playbook
    assert ask.requests == strict.calls
    stopped = await learner(Asker(script=script), every).learn(
        Playbook(), [every[5].question], step=1, name="b"
    )
    assert [run.stop for run in stopped.questions] == ["unreadable review"]


async def test_a_batch_is_asked_wave_by_wave() -> None:
    every = rows(10)
    ask = Asker(script=model(every))
    learned = await learner(ask, every).learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert ask.waves == [("generator", 10), ("reflector", 10), ("generator", 6), ("curator", 1)]
    assert len(learned.playbook) == 6


async def test_curators_work_in_chunks_on_one_snapshot() -> None:
    every = rows(10)
    ask = Asker(script=model(every))
    made = learner(ask, every)
    made = replace(made, curation=replace(made.curation, chunk=2))
    learned = await made.learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert ask.waves[-1] == ("curator", 5)  # the published rule: also what was right at first
    systems = {request.messages[0].content for request in ask.asked[-1][1]}
    assert len(systems) == 1
    assert [bullet.number for bullet in learned.playbook.by_age] == [1, 2, 3, 4, 5, 6]


async def test_the_order_of_a_batch_does_not_change_its_votes() -> None:
    every = rows(20)
    made = learner(Asker(script=model(every)), every)
    first = await made.learn(Playbook(), [row.question for row in every[:10]], step=1, name="a")
    questions = [row.question for row in every[10:]]
    forward = await made.learn(first.playbook, questions, step=2, name="b")
    backward = await made.learn(first.playbook, questions[::-1], step=2, name="b")
    assert forward.playbook.counts == backward.playbook.counts
    assert sorted(forward.votes) == sorted(backward.votes)
    assert sum(one.helpful for one in forward.playbook.counts.values()) == 6


async def test_the_same_lesson_from_two_curators_is_taken_once_and_the_other_is_seen() -> None:
    every = [row for row in rows(30) if "topic 7" in row.question.text]
    made = learner(Asker(script=model(rows(30))), rows(30))
    made = replace(made, curation=replace(made.curation, chunk=1))
    learned = await made.learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert len(learned.playbook) == 1
    refused = [change.refused for change in learned.changes if change.refused]
    assert refused == ["the same as [calc-00001]"] * 2


async def test_a_question_without_any_answer_is_not_learnt_from() -> None:
    every = rows(2)
    made_up = model(every)

    def script(request: Request) -> Response | ContextOverflowError:
        if "case 0" in prompt_text(request):
            return ContextOverflowError("too long")
        return made_up(request)

    ask = Asker(script=script)
    learned = await learner(ask, every).learn(Playbook(), [row.question for row in every], step=1, name="b")
    assert [run.stop for run in learned.questions] == ["no answer", "right at first"]
    assert ask.count("reflector") == 1


async def test_nothing_is_learnt_where_nobody_answers() -> None:
    every = rows(2)
    ask = Asker(script=lambda _: BackendConnectionError("gone"))
    made = learner(ask, every)
    guarded = replace(
        made, generator=Role(name="generator", tiers=(replace(tier(ask), ask=Stop().guard(ask)),))
    )
    with pytest.raises(BackendConnectionError):
        await guarded.learn(Playbook(), [row.question for row in every], step=1, name="b")


async def test_an_answer_that_cannot_be_read_is_wrong_and_is_reviewed() -> None:
    every = rows(1)
    texts = iter(["no idea", '{"key_insight": "write JSON"}', '{"final_answer": "answer 0"}', "[]"])
    ask = Asker(script=lambda _: Response(text=next(texts), finish_reason="stop"))
    learned = await learner(ask, every).learn(Playbook(), [every[0].question], step=1, name="b")
    assert learned.questions[0].stop == "corrected"
    assert "no idea" in ask.requests[1].messages[1].content
    assert [change.refused for change in learned.changes if change.refused]


async def test_without_labels_no_request_depends_on_a_target() -> None:
    every = rows(12)
    changed = [replace(row, target="something else") for row in every]
    asked: list[list[Request]] = []
    for given in (every, changed):
        ask = Asker(script=model(every))
        judge = SelfJudge(task=TASK, checker=Role(name="check", tiers=(tier(ask),)))
        made = learner(ask, given, judge=judge)
        await made.learn(Playbook(), [row.question for row in given], step=1, name="b")
        asked.append(ask.requests)
    assert asked[0] == asked[1]
    assert len(asked[0]) > 24


async def test_a_second_review_is_a_larger_tiers_and_what_it_puts_right_is_its_gain() -> None:
    every = rows(1)
    ask = scripted(2)
    reflector = Role(name="reflector", tiers=(tier(ask, "small"), tier(ask, "large")))
    made = learner(ask, every, reflector=reflector)
    learned = await made.learn(Playbook(), [every[0].question], step=1, name="batch 1")
    assert [one.stop for one in learned.questions] == ["corrected"]
    small, large = reflector.counts
    assert (small.asked, small.took_over, small.gained) == (1, 0, 0)
    assert (large.asked, large.took_over, large.gained) == (1, 1, 1)
    assert large.rescued == 0  # the small tier's review could be used


async def test_a_review_of_a_right_answer_may_say_nothing_and_one_of_a_wrong_answer_may_not() -> None:
    every = rows(2)

    def script(request: Request) -> Response:
        said: dict[str, dict[str, object]] = {
            "generator": {"final_answer": "answer 0"},
            "reflector": {"key_insight": "", "bullet_tags": []},
            "curator": {"operations": []},
        }
        return Response(text=json.dumps(said[role_of(request)]), finish_reason="stop")

    ask = Asker(script=script)
    reflector = Role(name="reflector", tiers=(tier(ask, "small"), tier(ask, "large")))
    made = learner(ask, every, reflector=reflector)
    learned = await made.learn(Playbook(), [row.question for row in every], step=1, name="batch 1")
    assert [one.stop for one in learned.questions] == ["right at first", "unreadable review"]
    small, large = reflector.counts
    assert (small.asked, small.usable) == (2, 1)
    assert (large.asked, large.usable, large.rescued) == (1, 0, 0)
