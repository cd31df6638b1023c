"""A user's own ACE task: a few lines of YAML about a JSONL file, or an AceTask of the user's own code."""

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.ace.checkers import CHECKERS
from tasks.ace.own_code import guarded, said_of
from tasks.ace.rows import RowError, field_text, filled_text, other_fields
from tasks.ace.testbeds import TESTBEDS
from tasks.ace.values import AceTask, Checker, Question, Row
from tasks.written_files import read_written

PLACE = re.compile(r"\{([^{}]+)\}")
"""Where a template takes in a field of the row."""

ENTRYPOINT = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}", re.ASCII)
"""Of a task; it becomes part of the name of a folder."""

Text = Annotated[str, Field(pattern=r"\S")]


class TaskError(ValueError):
    """A task cannot be used; the message says what to mend."""


class TaskSpec(BaseModel):
    """How rows of a JSONL file become questions, and how answers are judged.

    A template takes in fields by their names, as in `{question}`; other braces cannot be written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    question: Text = "{question}"
    """Template of what is asked."""
    context: str = ""
    """Template of what is shown beside it; empty: nothing."""
    target: Text = "answer"
    """The field of the right answer; no template may hold it."""
    id: Text | None = None
    """The field of the row's id; None: what the reader of the file calls it, such as its number."""
    checker: str = "exact"
    """One of `tasks.ace.checkers.CHECKERS`."""
    checker_options: dict[str, object] = {}
    instructions: str = ""
    """What an answer looks like, for the Generator."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problem := name_problem(self.name):
            raise ValueError(problem)
        self._make_checker()
        for place in ("question", "context", "instructions"):
            if self.target in PLACE.findall(getattr(self, place)):
                raise ValueError(f"{place} shows {{{self.target}}}, which is the target; leave it out")
        if not PLACE.search(self.question):
            raise ValueError(
                "question names no field, so all rows would ask the same; write one as {question}"
            )
        if self.id == self.target:
            raise ValueError(f"id and target are the same field, {self.target!r}; an id is shown")
        return self

    def task(self) -> AceTask:
        """Make the task."""
        checker = self._make_checker()
        return AceTask(
            name=self.name,
            read=partial(self._read, checker),
            checker=checker,
            instructions=self.instructions,
            label_field=self.target,
            made_of=json.dumps(self.model_dump(), ensure_ascii=False, default=str),
        )

    def _make_checker(self) -> Checker:
        if self.checker not in CHECKERS:
            raise ValueError(f"there is no checker {self.checker!r}; there are {', '.join(CHECKERS)}")
        try:
            return CHECKERS[self.checker](**self.checker_options)
        except ValidationError as error:
            raise ValueError(f"checker_options: {_wrong(error)}") from error

    def _read(self, checker: Checker, row: Mapping[str, object], row_id: str) -> Row:
        name = row_id if self.id is None else field_text(row, self.id, row_id)
        target = filled_text(row, self.target)
        if target is not None and not checker.check(target, target).is_correct:
            raise RowError(
                f"row {name} has {target[:80]!r} as its {self.target!r}, which the checker {self.checker!r}"
                " cannot read; mend it, or choose another checker"
            )
        question = Question(
            id=name,
            text=_filled(self.question, row, name),
            context=_filled(self.context, row, name),
            fields=other_fields(row, {self.target}),
        )
        return Row(question=question, target=target)


def _filled(template: str, row: Mapping[str, object], row_id: str) -> str:
    return PLACE.sub(lambda place: field_text(row, place[1], row_id), template)


def name_problem(name: object) -> str | None:
    """Say what is wrong with the name of a task; None: nothing."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    return (
        f"the task's name is {str(name)[:80]!r}; give it at most 60 letters (a to z), digits, blanks, dashes,"
        " underscores and dots, the first of them a letter or a digit"
    )


def find_task(given: object) -> AceTask:
    """Find a task.

    Args:
        given: One that ships with the project, by its name; a spec, as an object or as the path of a YAML or
            JSON file; `package.module:name` of an AceTask in the user's own code; or the AceTask itself.

    Raises:
        TaskError: There is none, it does not fit, or the user's module cannot be run.
    """
    if isinstance(given, AceTask):
        return _named(given)
    if isinstance(given, TaskSpec):
        return given.task()
    if isinstance(given, dict):
        return _read_spec(cast("dict[str, object]", given), "task").task()
    name = str(given)
    if name in TESTBEDS:
        return TESTBEDS[name]
    if _is_file(name):
        return _read_spec(read_written(Path(name), "task", TaskError), name).task()
    if entrypoint := ENTRYPOINT.fullmatch(name):
        return _imported(entrypoint[1], entrypoint[2])
    raise TaskError(
        f"there is no task {name[:200]!r}; give {', '.join(TESTBEDS)}, the path of a YAML or JSON file, or"
        " package.module:name of an AceTask"
    )


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null in it
        return False


def _read_spec(content: object, where: str) -> TaskSpec:
    try:
        return TaskSpec.model_validate(content)
    except ValidationError as error:
        raise TaskError(f"{where}: {_wrong(error)}") from error


def _imported(module: str, name: str) -> AceTask:
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise TaskError(
            f"{module} cannot be imported: {error}; give a module that Python finds from here"
        ) from error
    except (Exception, SystemExit) as error:
        raise TaskError(
            f"{module} of the task {module}:{name} cannot be run: {said_of(error)}; mend it and run again"
        ) from error
    if isinstance(found, TaskSpec):
        return found.task()
    if not isinstance(found, AceTask):
        raise TaskError(f"{module}:{name} is no AceTask but {type(found).__name__}; make it one")
    return guarded(replace(_named(found), made_of=f"{module}:{name} {found.made_of}".strip()))


def _named(task: AceTask) -> AceTask:
    if problem := name_problem(task.name):
        raise TaskError(problem)
    return task


def _wrong(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}".removeprefix(": ")
        for one in error.errors(include_url=False, include_input=False)
    )
