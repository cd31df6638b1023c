"""What the parameters of the flow `ace` come to, without a server: a session whose roles are made up."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from backends.base import Outcome
from backends.messages import Message, Request, Response, prompt_text
from flows.ace import learn_and_test
from flows.ace_baselines import EXAMPLES, Baselines
from flows.ace_costs import RoleCosts
from flows.ace_models import Roles
from flows.ace_parameters import AceParameters
from flows.ace_progress import AceProgress
from flows.ace_results import AceResult, write_playbooks
from flows.ace_room import TokenRoom
from flows.ace_running import best_of
from flows.ace_session import Session
from flows.ace_source import Source
from flows.ace_tidying import Tidying
from flows.ledger import Ledger
from flows.run import Run
from tasks.ace.judging import EnvironmentJudge, LabelJudge, SelfJudge
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import from_json
from tasks.ace.playbook_text import to_text
from tasks.ace.prompts import examples_text
from tasks.ace.roles import Role
from tasks.ace.values import Feedback, Question, Row
from tests.flows.ace_runs import role_of
from tests.tasks.ace.world import TASK, Asker, model, rows, tier

TRAIN, VALIDATION, TEST = rows(20), rows(10, first=20), rows(10, first=40)
EVERY = [*TRAIN, *VALIDATION, *TEST]
NO_LABEL = "no label"


class Characters:
    """Satisfies TokenCounter."""

    async def count_text(self, text: str) -> int:
        return len(text)

    async def count_messages(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)


@dataclass
class NoEstimate:
    """Stands in for a run, of which a session asks no more."""

    estimator: None = None


@dataclass
class Watched:
    """A session, and what was asked in it."""

    session: Session
    asker: Asker
    parameters: AceParameters

    async def learn(self) -> None:
        await learn_and_test(self.parameters, self.session)

    def prompts(self, role: str) -> list[str]:
        texts = map(prompt_text, self.asker.requests)
        return [text for text in texts if role_of(text) == role]


Make = Callable[..., Watched]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    async def show(*_: object) -> None:
        pass

    for name in ("show_delta", "show_growth"):
        monkeypatch.setattr(f"flows.ace_session.{name}", show)
    monkeypatch.setattr("flows.ace_session.get_run_logger", lambda: logging.getLogger("a run"))

    async def nothing() -> None:
        pass

    def made(
        given: Mapping[str, Any],
        script: Callable[[Request], Outcome] | None = None,
        room: TokenRoom | None = None,
        start: Playbook | None = None,
        **splits: Sequence[Row],
    ) -> Watched:
        parameters = AceParameters.model_validate({"baselines": [], "batch_size": 5, "eval_rows": 5, **given})
        asker = Asker(script=script or model(EVERY))
        roles = Roles(**{name: Role(name=name, tiers=(tier(asker),)) for name in ROLES})
        room = room or TokenRoom(playbook=parameters.playbook_tokens)
        source = Source(
            task=replace(TASK, environment=environment),
            start=Playbook() if start is None else start,
            train=splits.get("train", TRAIN),
            validation=splits.get("validation", VALIDATION),
            test=splits.get("test", TEST),
        )
        session = Session(
            parameters=parameters,
            run=cast("Run", NoEstimate()),
            source=source,
            roles=roles,
            costs=RoleCosts(Ledger(None, nothing)),
            tidying=Tidying(parameters, Characters(), room, roles.curator),
            progress=AceProgress(total=len(source.train)),
            directory=tmp_path,
        )
        return Watched(session, asker, parameters)

    return made


ROLES = ("generator", "reflector", "curator")


def environment(question: Question, answer: str) -> Feedback:
    """Accept what is right, by the question alone."""
    return Feedback(is_ok=question.text.startswith(f"What is case {answer.removeprefix('answer ')} "))


def answers(said: str) -> Callable[[Request], Outcome]:
    """Return who says the same to everything."""
    return lambda _: Response(text=said, finish_reason="stop")


# --- The learner ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"rounds": 2, "lessons": "all", "post_generation": True, "early_stopping": []},
        {"rounds": 5, "lessons": "corrected", "early_stopping": ["no new lesson"]},
    ],
)
def test_the_learner_has_the_parameters(make: Make, given: Mapping[str, Any]) -> None:
    watched = make({**given, "curator_chunk": 3, "max_operations": 7, "rendering": "reference"})
    session = watched.session
    learner = session.learner(TRAIN)
    assert (learner.rounds, learner.lessons) == (given["rounds"], given["lessons"])
    assert learner.post_generation is given.get("post_generation", False)
    assert learner.stops == set(given["early_stopping"])
    assert learner.tidy is session.tidying
    curation = learner.curation
    assert (curation.chunk, curation.max_operations, curation.rendering) == (3, 7, "reference")
    assert learner.curation.structured
    assert not make({"structured_output": False}).session.learner(TRAIN).curation.structured
    roles = (learner.generator, learner.reflector, curation.curator)
    assert [role.name for role in roles] == list(ROLES)


async def test_rounds_and_early_stops_are_those_of_the_parameters(make: Make) -> None:
    said = '{"final_answer": "wrong", "key_insight": "the same", "operations": []}'

    async def reviews(**given: object) -> int:
        watched = make(given, answers(said), train=TRAIN[:1], validation=[])
        await watched.learn()
        return len(watched.prompts("reflector"))

    assert await reviews(rounds=4, early_stopping=[]) == 4
    assert await reviews(rounds=2, early_stopping=[]) == 2
    assert await reviews(rounds=4, early_stopping=["no new lesson"]) == 2
    assert await reviews(rounds=4) == 1


async def test_chunks_and_operations_of_the_curator_are_those_of_the_parameters(make: Make) -> None:
    watched = make({"curator_chunk": 2, "max_operations": 3, "batch_size": 10}, train=TRAIN[:10])
    await watched.learn()
    assert [text.count("<reflection>") for text in watched.prompts("curator")] == [2, 2, 2]
    schemas = [str(one.json_schema) for one in watched.asker.requests if "operations" in str(one.json_schema)]
    assert {json.loads(one)["properties"]["operations"]["maxItems"] for one in schemas} == {3}


@pytest.mark.parametrize("shows", [False, True])
async def test_the_rendering_is_that_of_the_parameters_for_all_who_are_shown_it(
    make: Make, *, shows: bool
) -> None:
    watched = make({"rendering": "reference" if shows else "append-only"})
    await watched.learn()
    for role in ("generator", "curator"):
        last = watched.prompts(role)[-1]
        assert "] " in last
        assert ("helpful=" in last) is shows
    validated = [text for purpose, one in watched.asker.asked if "validation:" in purpose
                 for text in map(prompt_text, one)]  # fmt: skip
    assert any("helpful=" in text for text in validated) is shows


# --- Room -----------------------------------------------------------------------------------------------


async def test_what_there_is_no_room_for_goes_while_a_run_learns_and_the_curator_is_told(make: Make) -> None:
    wide = make({})
    await wide.learn()
    assert len(wide.session.steps[-1].learned.playbook) > 3
    assert not any("tokens: prefer UPDATE" in text for text in wide.prompts("curator"))
    narrow = make({"playbook_tokens": 110})
    await narrow.learn()
    assert max(narrow.session.tokens) <= 110
    assert {change.by for step in narrow.session.steps for change in step.learned.changes} >= {"budget"}
    assert any("of at most 110 tokens: prefer UPDATE" in text for text in narrow.prompts("curator"))


async def test_duplicates_are_merged_while_a_run_learns(make: Make) -> None:
    usual = model(EVERY)

    def repeats(request: Request) -> Outcome:
        if role_of(prompt_text(request)) != "curator":
            return usual(request)
        adds = [
            {"type": "ADD", "section": "OTHERS", "content": f"Always check the unit{s} of the answer."}
            for s in ("", "s")
        ]
        return Response(text=json.dumps({"operations": adds}), finish_reason="stop")

    for refine, left in (("eager", 1), ("off", 2)):
        watched = make({"refine": refine}, repeats)
        await watched.learn()
        assert len(watched.session.steps[0].learned.playbook) == left


# --- Validation -----------------------------------------------------------------------------------------


async def test_patience_ends_learning(make: Make) -> None:
    never = answers('{"final_answer": "wrong", "operations": []}')
    for patience, steps, plateaus in ((1, 1, 1), (2, 2, 1), (None, 4, 0)):
        watched = make({"patience": patience}, never)
        await watched.learn()
        assert (len(watched.session.steps), watched.session.plateaus) == (steps, plateaus)


def unlabelled(given: Sequence[Row]) -> list[Row]:
    return [replace(row, target=NO_LABEL) for row in given]


@pytest.mark.parametrize("feedback", ["labels", "environment", "self-check"])
async def test_validation_is_by_what_is_learnt_from(make: Make, feedback: str) -> None:
    watched = make(
        {"feedback": feedback}, train=unlabelled(TRAIN), validation=unlabelled(VALIDATION), test=TEST
    )
    await watched.learn()
    right = [one.evaluation.right for one in watched.session.validations]
    assert len(right) == (4 if feedback == "labels" else 5)  # of labels that nobody gets right: a plateau
    if feedback == "environment":
        assert right[0] == 4
        assert right[-1] == 10
    elif feedback == "labels":
        assert set(right) == {0}
    else:
        assert len(watched.prompts("self-check")) >= 5 * len(VALIDATION)
        assert right[0] > 0
    assert (NO_LABEL in " ".join(map(prompt_text, watched.asker.requests))) is (feedback == "labels")


def test_who_judges_is_a_parameter(make: Make) -> None:
    kinds = {"labels": LabelJudge, "environment": EnvironmentJudge, "self-check": SelfJudge}
    for feedback, kind in kinds.items():
        assert type(make({"feedback": feedback}).session.judge(TRAIN)) is kind


# --- Examples in place of a playbook --------------------------------------------------------------------


@pytest.mark.parametrize("fit", [0, 1, 4, 7, 8])
async def test_as_many_examples_are_shown_as_the_context_holds(make: Make, fit: int) -> None:
    shown = [(row.question, row.target or "") for row in TRAIN]
    most = len(examples_text(shown[:fit]))
    room = TokenRoom(playbook=80_000, instead=most)
    watched = make({"baselines": [EXAMPLES], "examples": 8}, room=room)
    [method] = await Baselines(watched.parameters, watched.session).run()
    for prompt in watched.prompts("generator"):
        assert prompt.count("<question>") == fit + 1
    note = f"{fit} train rows with their labels"
    assert method.note == (note if fit == 8 else f"{note}, of 8 that were wanted: the context holds no more")


# --- What is left ---------------------------------------------------------------------------------------


async def test_the_best_playbook_is_the_one_that_is_written_and_tested(make: Make, tmp_path: Path) -> None:
    usual = model(EVERY)

    def overwhelmed(request: Request) -> Outcome:
        prompt = prompt_text(request)
        is_much = prompt.count("takes the number") > 3 and role_of(prompt) == "generator"
        return Response(text='{"final_answer": "?"}', finish_reason="stop") if is_much else usual(request)

    watched = make({"batch_size": 5}, overwhelmed)
    methods = await learn_and_test(watched.parameters, watched.session)
    best, step = best_of(watched.session)
    last = watched.session.steps[-1].learned.playbook
    assert 0 < step < len(watched.session.steps)
    assert len(best) < len(last)
    assert methods[0].evaluation.right == watched.session.validations[step].evaluation.right > 4
    write_playbooks(cast("AceResult", Written(best=best, last=last)), tmp_path)
    assert (tmp_path / "playbook.txt").read_text(encoding="utf-8") == to_text(best)
    assert from_json((tmp_path / "playbook.json").read_text(encoding="utf-8")) == best
    assert from_json((tmp_path / "playbook-last.json").read_text(encoding="utf-8")) == last


@dataclass
class Written:
    """Stands in for a result, of which no more is written here."""

    best: Playbook
    last: Playbook
