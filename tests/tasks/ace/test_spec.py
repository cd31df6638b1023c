import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.ace.checkers import Number
from tasks.ace.rows import RowError
from tasks.ace.spec import TaskError, TaskSpec, find_task
from tasks.ace.testbeds import TESTBEDS

SPEC = {
    "name": "mine",
    "question": "Q: {q} ({unit})",
    "context": "{about}",
    "target": "a",
    "id": "key",
    "checker": "number",
    "checker_options": {"tolerance": 0.5},
    "instructions": "A number.",
}
ROW: dict[str, object] = {"key": 7, "q": "how {far}?", "unit": "km", "about": "a map", "a": 12.5, "more": "x"}


def test_a_row_becomes_a_question_and_its_target() -> None:
    task = TaskSpec.model_validate(SPEC).task()
    row = task.read(ROW, "1")
    assert (row.question.id, row.question.text, row.question.context) == ("7", "Q: how {far}? (km)", "a map")
    assert row.target == "12.5"
    assert dict(row.question.fields) == {
        "key": "7",
        "q": "how {far}?",
        "unit": "km",
        "about": "a map",
        "more": "x",
    }
    assert task.checker == Number.model_validate({"tolerance": 0.5})
    assert (task.name, task.instructions, task.environment) == ("mine", "A number.", None)


def test_what_is_not_said_has_a_default() -> None:
    row = TaskSpec(name="x").task().read({"question": "q", "answer": "a"}, "3")
    assert (row.question.id, row.question.text, row.question.context, row.target) == ("3", "q", "", "a")


@given(st.text(alphabet="secrt{}", min_size=1, max_size=8).filter(str.strip))
def test_no_question_has_a_bit_of_the_target(target: str) -> None:
    row = TaskSpec(name="x").task().read({"question": "q", "answer": f"<{target}>"}, "3")
    assert f"<{target}>" not in repr(row.question)


@pytest.mark.parametrize("missing", ["key", "q", "unit", "about"])
def test_a_row_that_lacks_a_field_is_named_with_it(missing: str) -> None:
    row = {name: value for name, value in ROW.items() if name != missing}
    with pytest.raises(RowError, match=rf"^row (7|line 4) has no field '{missing}';"):
        TaskSpec.model_validate(SPEC).task().read(row, "line 4")


@pytest.mark.parametrize("target", [None, "", " "])
def test_a_row_may_have_no_label(target: str | None) -> None:
    task = TaskSpec.model_validate(SPEC).task()
    assert task.read({**ROW, "a": target}, "1").target is None
    assert task.label_field == "a"


def test_a_target_that_its_checker_cannot_read_is_refused() -> None:
    with pytest.raises(
        RowError, match=r"row 7 has 'twelve' as its 'a', which the checker 'number' cannot read"
    ):
        TaskSpec.model_validate(SPEC).task().read({**ROW, "a": "twelve"}, "1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": "{q} {a}"}, "question shows {a}, which is the target"),
        ({"context": "{a}"}, "context shows {a}"),
        ({"instructions": "as {a}"}, "instructions shows {a}"),
        ({"question": "the same"}, "question names no field"),
        ({"question": " "}, "question"),
        ({"id": "a"}, "the same field, 'a'"),
        ({"checker": "magic"}, "there is no checker 'magic'; there are exact, number"),
        ({"checker_options": {"tolerance": -1}}, "checker_options: tolerance"),
        ({"checker": "exact", "checker_options": {"x": 1}}, "checker_options: x"),
        ({"nmae": "x"}, "nmae"),
        ({"name": "../../evil"}, "the task's name is '../../evil'"),
        ({"name": ".."}, "the task's name is '..'"),
        ({"name": "a" * 61}, "60 letters"),
        ({"name": "a\nb"}, "the task's name"),
        ({"name": "<b>"}, "the task's name is '<b>'"),
        ({"name": " "}, "the task's name is ' '"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        TaskSpec.model_validate({**SPEC, **change})
    assert said in str(error.value)
    with pytest.raises(TaskError) as told:
        find_task({**SPEC, **change})
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_tasks_that_ship_are_found_by_name() -> None:
    assert {name: find_task(name).name for name in TESTBEDS} == {name: name for name in TESTBEDS}


def test_a_task_is_found_in_a_file(tmp_path: Path) -> None:
    as_json, as_yaml = tmp_path / "a.json", tmp_path / "b.yaml"
    as_json.write_text(json.dumps(SPEC), "utf-8")
    as_yaml.write_text("\ufeffname: mine\nquestion: '{q}'\n", "utf-8")
    assert find_task(as_json).read(ROW, "1").question.text == "Q: how {far}? (km)"
    assert find_task(str(as_yaml)).name == "mine"


def test_a_task_is_found_in_code_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("someone_s_tasks")
    task = TaskSpec(name="own").task()
    vars(module).update(TASK=task, SPEC=TaskSpec(name="spec"), NONE=3)
    monkeypatch.setitem(sys.modules, "someone_s_tasks", module)
    found = find_task("someone_s_tasks:TASK")
    assert found.name == "own"
    assert found.read({"question": "q", "answer": "a"}, "1").target == "a"
    assert found.checker.check("A.", "a").is_correct
    assert (found.checker.normal("A."), found.environment) == ("a", None)
    assert found.made_of == f"someone_s_tasks:TASK {task.made_of}"
    assert find_task("someone_s_tasks:SPEC").name == "spec"
    assert find_task(task) is task
    assert find_task(TaskSpec(name="given")).name == "given"
    for name, said in {"NONE": "no AceTask but int", "OTHER": "no AceTask but NoneType"}.items():
        with pytest.raises(TaskError, match=said):
            find_task(f"someone_s_tasks:{name}")


def test_the_name_of_a_task_in_code_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("someone_s_tasks")
    module.__dict__["TASK"] = replace(TaskSpec(name="own").task(), name="../own")
    monkeypatch.setitem(sys.modules, "someone_s_tasks", module)
    for given_task in ("someone_s_tasks:TASK", module.__dict__["TASK"]):
        with pytest.raises(TaskError, match=r"name is '\.\./own'; give it at most 60"):
            find_task(given_task)
    assert find_task(TaskSpec(name="Own task_2.b-" + "c" * 47)).name.startswith("Own")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "x = = 3",
            r"broken of the task broken:task cannot be run: SyntaxError: invalid syntax \(broken.py, line 1",
        ),
        ("a = 1\nb = c", r"NameError: name 'c' is not defined \(broken.py, line 2\); mend it"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def __getattr__(name):\n    return {}['n\\ne']", r"KeyError: 'n\\ne' \(broken.py, line 2\)"),
        ("import nonesuch_at_all", "broken cannot be imported: No module named 'nonesuch_at_all'"),
    ],
)
def test_a_module_that_cannot_be_run_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    (tmp_path / "broken.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(TaskError, match=said) as error:
        find_task("broken:task")
    sys.modules.pop("broken", None)
    assert error.value.__cause__ is not None
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given_task", "said"),
    [
        ("nonesuch", "there is no task 'nonesuch'; give demo, formula, formula-dropped, finer, the path"),
        ("no_such_module_at_all:task", "no_such_module_at_all cannot be imported"),
        ("x" * 100_000, "there is no task 'xxx"),
        ("a\0b", "there is no task"),
        ("", "there is no task ''"),
        ({}, "name: Field required"),
        (None, "there is no task 'None'"),
    ],
)
def test_what_is_no_task_is_said_in_one_sentence(given_task: object, said: str) -> None:
    with pytest.raises(TaskError) as error:
        find_task(given_task)
    assert said in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xff", b"[" * 100_000, b"", b"- 1", b"3"])
@pytest.mark.parametrize("name", ["bad.json", "bad.yaml"])
def test_a_file_that_is_no_task_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TaskError, match="bad"):
        find_task(path)
