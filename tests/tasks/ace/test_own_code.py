from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tasks.ace.judging import EnvironmentJudge, LabelJudge
from tasks.ace.own_code import TaskCodeError, guarded
from tasks.ace.rows import RowError
from tasks.ace.values import AceTask, Feedback, Question, Row, Score

QUESTION = Question(id="r7", text="q", fields={"country": "Norway"})
ROW = Row(question=QUESTION, target="a")
Function = Callable[..., Any]


def failing(error: Exception) -> Function:
    def fail(*_: object) -> object:
        raise error

    return fail


@dataclass(frozen=True)
class Own:
    """A checker of two functions."""

    check: Function
    normal: Function


def task(
    read: Function = lambda *_: ROW,
    check: Function = lambda *_: Score(right=1),
    normal: Function = lambda *_: "x",
    environment: Function | None = lambda *_: Feedback(is_ok=True),
) -> AceTask:
    return guarded(AceTask(name="own", read=read, checker=Own(check, normal), environment=environment))


def test_a_task_that_works_does_the_same() -> None:
    made = task()
    assert made.read({}, "1") is ROW
    assert made.checker.check("a", "b") == Score(right=1)
    assert made.checker.normal("a") == "x"
    assert made.environment is not None
    assert made.environment(QUESTION, "a").is_ok
    assert task(environment=None).environment is None


NUMBERED: dict[str, Any] = {"id": 1, "text": "q"}
CAUSE = KeyError("cou\nntry")
CALLS: Mapping[str, tuple[Callable[[Function], object], str]] = {
    "read": (lambda wrong: task(read=wrong).read({}, "r7"), "read of the task 'own' {} row r7"),
    "check": (
        lambda wrong: task(check=wrong).checker.check("mine", "yours"),
        "checker.check of the task 'own' {} the answer 'mine' and the target 'yours'",
    ),
    "normal": (
        lambda wrong: task(normal=wrong).checker.normal("mine"),
        "checker.normal of the task 'own' {} the answer 'mine'",
    ),
    "environment": (
        lambda wrong: (task(environment=wrong).environment or print)(QUESTION, "a"),
        "environment of the task 'own' {} row r7",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_task_raises_is_told_with_the_function_and_what_it_was_called_with(name: str) -> None:
    call, said = CALLS[name]
    with pytest.raises(TaskCodeError) as error:
        call(failing(CAUSE))
    assert str(error.value).startswith(
        said.format("failed on") + r" with KeyError: 'cou\nntry' (test_own_code.py, line "
    )
    assert str(error.value).endswith("; mend it and run again")
    assert error.value.__cause__ is CAUSE


@pytest.mark.parametrize("name", CALLS)
def test_what_a_task_returns_is_told_where_it_is_something_else(name: str) -> None:
    call, said = CALLS[name]
    with pytest.raises(TaskCodeError) as error:
        call(lambda *_: True)
    assert said.format("returned bool for") + "; have it return " in str(error.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "target": "a"}, "have it return a Row of a Question"),
        ({"question": Question(id="1", text="q"), "target": 5}, "have it return a target that is a text"),
        ({"question": Question(**NUMBERED), "target": "5"}, "returned int"),
    ],
)
def test_what_is_in_a_row_is_looked_at(row: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskCodeError, match=said):
        task(read=lambda *_: Row(**row)).read({}, "1")


def test_what_read_says_of_a_row_stays_its_own_sentence() -> None:
    with pytest.raises(RowError, match=r"^row 1 is empty$"):
        task(read=failing(RowError("row 1 is empty"))).read({}, "1")


async def test_judges_name_the_row() -> None:
    wrong = task(check=failing(CAUSE), environment=failing(CAUSE))
    assert wrong.environment is not None
    with pytest.raises(TaskCodeError, match=r"^row r7: checker\.check of the task 'own' failed on") as error:
        await LabelJudge(checker=wrong.checker, targets={"r7": "a"})([(QUESTION, "b")], purpose="x")
    assert error.value.__cause__ is CAUSE
    with pytest.raises(TaskCodeError, match="failed on row r7"):
        await EnvironmentJudge(environment=wrong.environment)([(QUESTION, "b")], purpose="x")


async def test_a_row_without_a_label_is_not_judged_by_one() -> None:
    with pytest.raises(ValueError, match="row r7 has no label"):
        await LabelJudge(checker=task().checker, targets={"r7": None})([(QUESTION, "b")], purpose="x")
