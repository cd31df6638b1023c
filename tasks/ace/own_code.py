"""A task of the user's own code: what that code raises, or returns, is told in one sentence."""

import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tasks.ace.values import AceTask, Checker, Environment, Feedback, Question, Row, Score

T = TypeVar("T")

MAX_CHARACTERS = 300
"""Of what an error says."""
SHOWN_CHARACTERS = 80
"""Of an answer or a target."""


class TaskCodeError(RuntimeError):
    """Code of the user's task failed; the sentence names the task, the function, and what it was called with.

    What was raised, if anything was, is its cause.
    """


def said_of(error: BaseException) -> str:
    """Return what was raised, and on which line of which file, as part of a sentence."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_CHARACTERS].removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return said
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


@contextmanager
def of_row(question_id: str) -> Generator[None]:
    """Have an error of the user's code name the row, too."""
    try:
        yield
    except TaskCodeError as error:
        raise TaskCodeError(f"row {question_id}: {error}") from (error.__cause__ or error)


def guarded(task: AceTask) -> AceTask:
    """Return a task that does the same, and raises TaskCodeError where its code fails.

    ValueErrors of `read` are left as they are: it says with them what is wrong with a row.
    """
    return replace(
        task,
        read=_guarded_read(task.name, task.read),
        checker=GuardedChecker(task=task.name, inner=task.checker),
        environment=task.environment and _guarded_environment(task.name, task.environment),
    )


def _guarded_read(
    task: str, read: Callable[[Mapping[str, object], str], Row]
) -> Callable[[Mapping[str, object], str], Row]:
    def guarded_read(row: Mapping[str, object], row_id: str) -> Row:
        call = _Call(task=task, function="read", of=f"row {row_id}")
        with call.told(but=ValueError):
            found = read(row, row_id)
        question = call.returned(call.returned(found, Row, "a Row").question, Question, "a Row of a Question")
        for text in (question.id, question.text, question.context):
            call.returned(text, str, "a Question whose id, text and context are texts")
        if found.target is not None:
            call.returned(found.target, str, "a target that is a text, or None")
        return found

    return guarded_read


def _guarded_environment(task: str, environment: Environment) -> Environment:
    def guarded_environment(question: Question, answer: str) -> Feedback:
        call = _Call(task=task, function="environment", of=f"row {question.id}")
        with call.told():
            found = environment(question, answer)
        return call.returned(found, Feedback, "Feedback")

    return guarded_environment


@dataclass(frozen=True, kw_only=True)
class GuardedChecker:
    """A checker whose errors name its task."""

    task: str
    inner: Checker

    def check(self, answer: str, target: str) -> Score:
        """Compare an answer with a target."""
        of = f"the answer {answer[:SHOWN_CHARACTERS]!r} and the target {target[:SHOWN_CHARACTERS]!r}"
        call = _Call(task=self.task, function="checker.check", of=of)
        with call.told():
            found = self.inner.check(answer, target)
        return call.returned(found, Score, "a Score")

    def normal(self, answer: str) -> str:
        """Return one text for all ways of writing the same answer."""
        of = f"the answer {answer[:SHOWN_CHARACTERS]!r}"
        call = _Call(task=self.task, function="checker.normal", of=of)
        with call.told():
            found = self.inner.normal(answer)
        return call.returned(found, str, "a text")


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A call of the user's code, as part of a sentence."""

    task: str
    function: str
    of: str

    @contextmanager
    def told(self, *, but: type[Exception] | tuple[()] = ()) -> Generator[None]:
        try:
            yield
        except but:
            raise
        except Exception as error:
            raise TaskCodeError(
                f"{self.function} of the task {self.task!r} failed on {self.of} with {said_of(error)};"
                " mend it and run again"
            ) from error

    def returned(self, found: object, kind: type[T], wanted: str) -> T:
        """Return what the user's code did, which may be anything, where it is what it should be."""
        if isinstance(found, kind):
            return found
        raise TaskCodeError(
            f"{self.function} of the task {self.task!r} returned {type(found).__name__} for {self.of};"
            f" have it return {wanted}"
        )
