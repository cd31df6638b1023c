"""What tells the tasks and rows of ACE runs apart, and which rows need labels."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows.ace_parameters import AceParameters
from flows.ace_source import RowsError, Source, open_offline
from flows.workflow import sentence_of
from tasks.ace.own_code import TaskCodeError
from tasks.ace.playbook import Playbook
from tasks.ace.spec import TaskSpec, find_task
from tasks.ace.values import AceTask, Feedback, Question, Row, Score
from tests.flows.ace_runs import put_rows

SPEC: dict[str, Any] = {"name": "mine", "checker": "number", "checker_options": {"tolerance": 0.5}}
LABELLED = [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(3)]
UNLABELLED = [{"question": f"What is {n}?"} for n in range(3)]


def digest(given: object) -> str:
    return Source(task=find_task(given), start=Playbook()).digest


@pytest.mark.parametrize(
    "change",
    [
        {"checker": "auto", "checker_options": {}},
        {"checker_options": {"tolerance": 0.4}},
        {"question": "Q: {question}"},
        {"context": "{about}"},
        {"target": "label"},
        {"id": "key"},
        {"instructions": "A number."},
        {"name": "yours"},
    ],
)
def test_each_part_of_a_spec_tells_it_apart(change: Mapping[str, object]) -> None:
    assert digest(SPEC) == digest({**SPEC})
    assert digest({**SPEC, **change}) != digest(SPEC)


@dataclass(frozen=True)
class Own:
    """A checker with an option."""

    least: int = 0

    def check(self, answer: str, target: str) -> Score:
        return Score(right=int(answer == target and len(answer) > self.least))

    def normal(self, answer: str) -> str:
        return answer


def test_tasks_in_code_are_told_apart_by_their_names_and_checkers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("someone_s_tasks")
    base = TaskSpec(name="own").task()
    vars(module).update(
        A=base,
        B=base,
        C=replace(base, checker=Own()),
        D=replace(base, checker=Own(least=1)),
    )
    monkeypatch.setitem(sys.modules, "someone_s_tasks", module)
    assert digest("someone_s_tasks:A") == digest("someone_s_tasks:A")
    assert len({digest(f"someone_s_tasks:{name}") for name in "ABCD"}) == 4
    checkers = [base, replace(base, checker=Own()), replace(base, checker=Own(least=1))]
    assert len({digest(one) for one in checkers}) == 3


def test_what_is_compared_with_and_the_fields_of_rows_tell_runs_apart() -> None:
    task = find_task(SPEC)

    def of(**changes: Any) -> str:  # noqa: ANN401 - any field
        return Source(task=task, start=Playbook(), **changes).digest

    other = find_task({**SPEC, "checker": "auto", "checker_options": {}})
    assert len({of(), of(compared=(task, ())), of(compared=(other, ()))}) == 3
    rows = [
        Row(question=Question(id="1", text="q", fields={"country": name}), target=None)
        for name in ("Norway", "Denmark")
    ]
    assert of(train=rows[:1]) != of(train=rows[1:])


def parameters(
    folder: Path, feedback: str, task: object = SPEC, **rows: list[dict[str, str]]
) -> AceParameters:
    given = {"train": LABELLED, "validation": LABELLED, "test": LABELLED, **rows}
    paths = {f"{name}_path": put_rows(folder / f"{name}.jsonl", lines) for name, lines in given.items()}
    return AceParameters.model_validate({"task": task, "feedback": feedback, **paths})


def test_where_no_label_is_used_train_and_validation_rows_need_none(tmp_path: Path) -> None:
    source = open_offline(parameters(tmp_path, "self-check", train=UNLABELLED, validation=UNLABELLED))
    assert [row.target for row in (*source.train, *source.validation)] == [None] * 6
    assert [row.target for row in source.test] == ["0", "1", "2"]
    assert source.notes == ("in-context examples are left out, for no train row has a label",)
    assert open_offline(parameters(tmp_path, "labels")).notes == ()


@pytest.mark.parametrize(
    ("feedback", "name", "said"),
    [
        (
            "labels",
            "train",
            "train.jsonl, line 1: row train-1 has no label, in its field 'answer', and feedback",
        ),
        (
            "labels",
            "validation",
            "validation.jsonl, line 1: row val-1 has no label, in its field 'answer', and fe",
        ),
        (
            "labels",
            "test",
            "test.jsonl, line 1: row test-1 has no label, in its field 'answer', and test rows",
        ),
        ("self-check", "test", "row test-1 has no label, in its field 'answer', and test rows need one"),
    ],
)
def test_other_rows_need_a_label(tmp_path: Path, feedback: str, name: str, said: str) -> None:
    with pytest.raises(RowsError, match=said):
        open_offline(parameters(tmp_path, feedback, **{name: UNLABELLED}))


def test_a_task_whose_code_fails_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(row: Mapping[str, object], _: str) -> Row:
        return Row(question=Question(id="1", text=str(row["q"])), target="x")

    def accept(*_: object) -> Feedback:
        return Feedback(is_ok=True)

    module = ModuleType("someone_s_tasks")
    module.__dict__["TASK"] = AceTask(name="own", read=read, checker=Own(), environment=accept)
    monkeypatch.setitem(sys.modules, "someone_s_tasks", module)
    with pytest.raises(TaskCodeError) as error:
        open_offline(parameters(tmp_path, "environment", "someone_s_tasks:TASK"))
    sentence = sentence_of(error.value)
    assert sentence is not None
    assert "test.jsonl, line 1: read of the task 'own' failed on row test-1 with KeyError: 'q'" in sentence
    assert isinstance(error.value.__cause__, KeyError)


def test_half_of_a_surrogate_pair_is_told_with_its_line(tmp_path: Path) -> None:
    half = [*LABELLED, {"question": "What is \ud800?", "answer": "0"}]
    with pytest.raises(RowsError, match=r"test\.jsonl, line 4: it holds half of a surrogate pair.*; mend"):
        open_offline(parameters(tmp_path, "labels", test=half))
