"""Rows without labels are learnt from where no label is used; what a task's code raises is one line."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.json_lines import read_rows
from tests.fake_vllm import FakeVLLM
from tests.flows.ace_runs import SMALL, methods_of, put_rows, steps_of, writer
from tests.flows.running import PROJECT, ICMProcess, JsonObject, Place, one_sentence

FOLDER = PROJECT / "data" / "ace_demo"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLM]:
    with FakeVLLM(writer=writer(), max_model_len=32_768) as server:
        yield server


def unlabelled(folder: Path) -> JsonObject:
    """Return parameters that name the demo's train and validation rows, without their answers."""

    def put(split: str) -> str:
        rows = [
            {key: value for key, value in row.items() if key != "answer"} for row in read_rows(FOLDER / split)
        ]
        return put_rows(folder / split, rows)

    return {"train_path": put("train.jsonl"), "validation_path": put("val.jsonl")}


def test_a_playbook_is_learnt_from_rows_without_labels(
    process: ICMProcess, fake: FakeVLLM, folders: Callable[[], Path], tmp_path: Path
) -> None:
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    parameters = {
        **SMALL,
        **unlabelled(tmp_path),
        "feedback": "environment",
        "baselines": ["in-context examples"],
    }
    outcome = process.run(place, parameters, flow="ace").require_completed()
    assert any(change["refused"] is None for step in steps_of(outcome) for change in step["changes"])
    [method] = methods_of(outcome).values()
    assert (method["name"], method["total"]) == ("ACE", 12)
    assert "in-context examples are left out, for no train row has a label" in outcome.log


def test_an_environment_that_fails_ends_the_run_in_one_sentence(
    process: ICMProcess, fake: FakeVLLM, folders: Callable[[], Path]
) -> None:
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    task = "tests.flows.ace_own_task:task"
    parameters: JsonObject = {**SMALL, "task": task, "feedback": "environment", "baselines": []}
    paths = {f"{name}_path": str(FOLDER / f"{split}.jsonl") for name, split in SPLITS.items()}
    failed = process.run(place, {**parameters, **paths}, flow="ace")
    assert failed.state == "Failed"
    one_sentence(
        failed.message, "TaskCodeError", "environment of the task 'own'", "row val-1", "KeyError: 'country'"
    )
    assert "Traceback" not in failed.log


SPLITS = {"train": "train", "validation": "val", "test": "test"}
