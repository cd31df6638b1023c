"""What an ACE run is given, checked before anything is asked: a task, its rows, a playbook to begin with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from cache.keys import make_key
from flows.ace_parameters import AceBase, AceOnlineParameters, AceParameters
from flows.settings import PROJECT, SettingsError
from tasks.ace.own_code import GuardedChecker, TaskCodeError
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import PlaybookFileError, from_json, to_json
from tasks.ace.playbook_text import parse
from tasks.ace.spec import TaskError, find_task
from tasks.ace.values import AceTask, Row

FILES: Mapping[str, str] = {
    "demo": "data/ace_demo",
    "formula": "data/formula",
    "formula-dropped": "data/formula",
    "finer": "data/finer",
}
"""{task: where its files are, if they are not named}"""

ELSEWHERE = ("formula", "formula-dropped", "finer")
"""Tasks whose files are not part of the project."""


class RowsError(ValueError):
    """The rows of a task cannot be read; the message says what to mend."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A task and its rows."""

    task: AceTask
    start: Playbook
    train: Sequence[Row] = ()
    validation: Sequence[Row] = ()
    test: Sequence[Row] = ()
    compared: tuple[AceTask, Sequence[Row]] | None = None
    """Another task for the test rows."""
    notes: tuple[str, ...] = ()
    """What could not be taken as it was."""

    @property
    def digest(self) -> str:
        """Names the content of all of it."""
        splits = (self.train, self.validation, self.test, self.compared[1] if self.compared else ())
        return make_key(
            "ace-rows",
            2,
            [
                [identity(task) for task in (self.task, *(self.compared[:1] if self.compared else ()))],
                to_json(self.start),
                [
                    [
                        [asked.id, asked.context, asked.text, sorted(asked.fields.items()), row.target]
                        for row in split
                        for asked in (row.question,)
                    ]
                    for split in splits
                ],
            ],
        )


def identity(task: AceTask) -> list[object]:
    """Return what tells a task from others: equal for equal tasks, in any process."""
    checker = task.checker.inner if isinstance(task.checker, GuardedChecker) else task.checker
    kind = type(checker)
    return [
        task.name,
        task.instructions,
        task.made_of,
        f"{kind.__module__}.{kind.__qualname__}",
        _options(checker),
        task.environment is not None,
    ]


def _options(checker: object) -> str:
    """Return a checker's options as text; nothing is known of one that is no model and no dataclass."""
    if isinstance(checker, BaseModel):
        return checker.model_dump_json()
    if not is_dataclass(checker):
        return ""
    options = {one.name: getattr(checker, one.name) for one in fields(checker)}
    return json.dumps(options, default=lambda value: type(value).__qualname__, skipkeys=True)


def open_offline(parameters: AceParameters) -> Source:
    """Read everything that offline adaptation needs.

    Raises:
        TaskError: There is no such task.
        RowsError: A file is not there, or has a row that cannot be used.
        PlaybookFileError: The playbook to begin with is none.
        SettingsError: What was asked for does not go together.
    """
    task = _task(parameters)
    start, notes = open_playbook(parameters.playbook)
    test = read_rows(task, parameters, "test", parameters.test_path, parameters.test_rows)
    compared = None
    if parameters.compare_with:
        compared = _compared(parameters)
    train = read_rows(task, parameters, "train", parameters.train_path, parameters.train_rows)
    if "in-context examples" in parameters.baselines and all(row.target is None for row in train):
        notes = (*notes, "in-context examples are left out, for no train row has a label")
    return Source(
        task=task,
        start=start,
        train=train,
        validation=read_rows(task, parameters, "val", parameters.validation_path, parameters.validation_rows),
        test=test,
        compared=compared,
        notes=notes,
    )


def _compared(parameters: AceParameters) -> tuple[AceTask, Sequence[Row]]:
    try:
        other = find_task(parameters.compare_with)
        return other, read_rows(other, parameters, "test", parameters.test_path, parameters.test_rows)
    except (TaskError, RowsError) as error:
        raise type(error)(f"compare_with is {parameters.compare_with!r}: {error}") from error


def open_online(parameters: AceOnlineParameters) -> Source:
    """Read everything that online adaptation needs; see `open_offline`."""
    task = _task(parameters)
    start, notes = open_playbook(parameters.playbook)
    test = read_rows(task, parameters, "test", parameters.test_path, parameters.test_rows)
    return Source(task=task, start=start, test=test, notes=notes)


def open_playbook(name: str) -> tuple[Playbook, tuple[str, ...]]:
    """Read the playbook to begin with, and what could not be taken of it as it was; the empty one by default.

    Raises:
        PlaybookFileError: There is none.
    """
    if not name:
        return Playbook(), ()
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise PlaybookFileError(f"playbook is {name!r}, which cannot be read: {reason}") from error
    try:
        if name.endswith(".json"):
            return from_json(text), ()
    except PlaybookFileError as error:
        raise PlaybookFileError(f"playbook is {name!r}: {error}") from error
    read = parse(text)
    if not len(read.playbook):
        raise PlaybookFileError(
            f"playbook is {name!r}, which has no bullet like `[calc-00001] helpful=0 harmful=0 :: text`"
        )
    return read.playbook, tuple(f"{name}: {note}" for note in read.notes)


def read_rows(task: AceTask, parameters: AceBase, split: str, given: str, most: int | None) -> list[Row]:
    """Read the rows of a split.

    Raises:
        RowsError: The file is not there, or has a row that cannot be used.
    """
    if most == 0:
        return []
    path = _path(parameters, split, given)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RowsError(_missing(parameters, path, error)) from error
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=1):
        if len(rows) == most:
            break
        if not line.strip():
            continue
        row = _row(task, line, f"{split}-{number}", f"{path}, line {number}")
        if row.target is None and (split == "test" or parameters.feedback == "labels"):
            raise RowsError(f"{path}, line {number}: {_unlabelled(task, row, split)}")
        if row.question.id in rows:
            raise RowsError(
                f"{path}, line {number}: the id {row.question.id!r} is there twice; ids are unique"
            )
        rows[row.question.id] = row
    if not rows:
        raise RowsError(f"{path} has no rows; give a JSONL file with at least one")
    return list(rows.values())


def _row(task: AceTask, line: str, row_id: str, where: str) -> Row:
    try:
        content: object = json.loads(line)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RowsError(
            f"{where}: it holds half of a surrogate pair, which is no Unicode text; mend the line, or leave "
            "it out"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RowsError(f"{where}: it is no JSON ({error}); mend the line, or leave it out") from error
    if not isinstance(content, dict):
        raise RowsError(f"{where}: it is no JSON object; write the row as one, or leave it out")
    try:
        return task.read(cast("dict[str, object]", content), row_id)
    except TaskCodeError as error:
        raise TaskCodeError(f"{where}: {error}") from (error.__cause__ or error)
    except ValueError as error:
        raise RowsError(f"{where}: {error}") from error


def _unlabelled(task: AceTask, row: Row, split: str) -> str:
    field = f", in its field {task.label_field!r}" if task.label_field else ""
    if split == "test":
        return (
            f"row {row.question.id} has no label{field}, and test rows need one; give it one, or leave it out"
        )
    return (
        f"row {row.question.id} has no label{field}, and feedback is 'labels'; give it one, leave it"
        " out, or set feedback to 'environment' or 'self-check'"
    )


def _task(parameters: AceBase) -> AceTask:
    task = find_task(parameters.task)
    if parameters.feedback == "environment" and task.environment is None:
        raise SettingsError(
            f"feedback is 'environment', and the task {task.name!r} has none; use 'labels' or 'self-check'"
        )
    return task


def _path(parameters: AceBase, split: str, given: str) -> Path:
    if given:
        return Path(given).expanduser()
    folder = FILES.get(parameters.task) if isinstance(parameters.task, str) else None
    if folder is None:
        field = {"train": "train_path", "val": "validation_path (or validation_rows 0)", "test": "test_path"}
        raise RowsError(f"the {split} rows are not named; give {field[split]}, a JSONL file")
    return PROJECT / folder / f"{split}.jsonl"


def _missing(parameters: AceBase, path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
    if parameters.task in ELSEWHERE and isinstance(error, FileNotFoundError):
        return (
            f"{path} is not there: the files of {parameters.task!r} are not part of this project; put "
            "train.jsonl, val.jsonl and test.jsonl of the ACE repository (ace-agent/ace) there, or name them "
            "by train_path, validation_path and test_path"
        )
    return f"{path} cannot be read: {reason}"
