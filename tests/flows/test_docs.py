"""What docs/own-workflow.md shows runs as it is, and is cached and resumable as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.ace.checkers import CHECKERS, Number
from tasks.ace.spec import find_task
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import PROJECT, Place, PrefectServer, asked_of

PAGE = PROJECT / "docs" / "own-workflow.md"


def workflow() -> str:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return code


def test_the_workflow_has_thirty_lines() -> None:
    assert len([line for line in workflow().splitlines() if line.strip()]) <= 30


def test_the_workflow_runs_and_its_second_run_sends_nothing(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    script = tmp_path / "reviews.py"
    script.write_text(workflow(), encoding="utf-8")

    def run(place: Place) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(script)], check=False, cwd=PROJECT, capture_output=True, text=True,
            timeout=100, env={**prefect_server.environment, **place.environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    with FakeVLLMProcess() as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)
        table = run(place)
        before = fake.stats()
        assert sum(asked_of(before).values()) == 6
        again = run(place)
        assert asked_of(fake.stats()) == asked_of(before)
    rows = [line.split(" | ") for line in table]
    assert [row[0] for row in rows] == [
        "The soup was cold.", "Our waiter was kind and quick.", "Parking took an hour.",
    ]  # fmt: skip
    assert all(len(row) == 3 and row[1] and row[2] for row in rows)
    assert again == table


def test_the_ace_task_of_the_page_can_be_read_and_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PROJECT / "docs" / "own-ace-task.md").read_text(encoding="utf-8")
    [spec] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "phones.yaml").write_text(spec, encoding="utf-8")
    (tmp_path / "phones.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    row = {"number": "22 34 56 78", "country": "Norway", "answer": "+4722345678"}
    for task in (find_task(str(tmp_path / "phones.yaml")), find_task("phones:task")):
        read = task.read(row, "1")
        assert read.question.text.endswith("22 34 56 78 (Norway)")
        assert read.target is not None
        assert task.checker.check("+4722345678", read.target).is_correct
    judge = find_task("phones:task").environment
    assert judge is not None
    said = [judge(read.question, answer).is_ok for answer in ("+4722345678", "22345678", "+4622345678")]
    assert said == [True, False, False]


def test_the_options_of_the_page_are_those_of_the_checker() -> None:
    text = (PROJECT / "docs" / "own-ace-task.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in CHECKERS)
    [said] = re.findall(r"`checker_options` are (.*?)\.", text, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", said)) == set(Number.model_fields)
