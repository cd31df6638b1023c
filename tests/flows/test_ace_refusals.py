"""What `ace` cannot do is said in one sentence, before anything is asked, and leaves nothing behind."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.schemas.objects import State

from flows.ace import ace
from flows.ace_parameters import AceParameters
from flows.settings import load_settings
from tests.fake_vllm import FakeVLLM
from tests.flows.ace_runs import ALONE, put_rows, writer
from tests.flows.running import ICMProcess, JsonObject, Place, asked_of, free_port, one_sentence

ROWS = [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(4)]
TASK: JsonObject = {"name": "mine", "question": "{question}", "checker": "number"}

Wrong = Callable[[Path], JsonObject]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLM]:
    with FakeVLLM(writer=writer(), max_model_len=32_768) as server:
        yield server


def files(folder: Path, **rows: list[JsonObject]) -> JsonObject:
    """Return parameters that name files of rows; the given ones in place of four good ones."""
    given = {"train": ROWS, "validation": ROWS, "test": ROWS, **rows}
    return {
        "task": TASK,
        **{f"{name}_path": put_rows(folder / f"{name}.jsonl", lines) for name, lines in given.items()},
    }


def playbook(folder: Path, name: str, content: bytes) -> JsonObject:
    (folder / name).write_bytes(content)
    return {"playbook": str(folder / name)}


REFUSED: dict[str, tuple[Wrong, list[str]]] = {
    "unknown task": (lambda _: {"task": "sums"}, ["TaskError", "'sums'", "demo", "YAML"]),
    "task without a module": (lambda _: {"task": "no_such.module:TASK"}, ["TaskError", "no_such"]),
    "task that is no task": (
        lambda _: {"task": "tasks.ace.demo:INSTRUCTIONS"},
        ["TaskError", "no AceTask but str"],
    ),
    "spec with a wrong checker": (
        lambda _: {"task": {**TASK, "checker": "smart"}},
        ["TaskError", "'smart'", "number"],
    ),
    "spec that shows the target": (
        lambda _: {"task": {**TASK, "question": "{question} {answer}"}},
        ["TaskError", "{answer}", "leave it out"],
    ),
    "formula without its files": (
        lambda _: {"task": "formula"},
        ["RowsError", "'formula'", "not part of this project", "train.jsonl", "test_path"],
    ),
    "own task without files": (lambda _: {"task": TASK}, ["RowsError", "test_path"]),
    "missing file": (lambda _: {"test_path": "nowhere.jsonl"}, ["RowsError", "nowhere.jsonl"]),
    "file that is no text": (
        lambda folder: {"test_path": _binary(folder)},
        ["RowsError", "binary.jsonl", "no UTF-8"],
    ),
    "row without a target": (
        lambda folder: files(folder, train=[*ROWS, {"question": "What?"}]),
        ["RowsError", "train.jsonl, line 5", "'answer'", "'self-check'"],
    ),
    "name that is a path": (
        lambda folder: files(folder) | {"task": {**TASK, "name": "../../evil"}},
        ["TaskError", "'../../evil'", "60 letters"],
    ),
    "target that its checker cannot read": (
        lambda folder: files(folder, train=[{"question": "What?", "answer": "many"}]),
        ["RowsError", "line 1", "'many'", "'number'"],
    ),
    "row without a question": (
        lambda folder: files(folder, test=[{"answer": "1"}]),
        ["RowsError", "test.jsonl, line 1", "'question'"],
    ),
    "row that is no object": (
        lambda folder: files(folder) | {"test_path": _text(folder, "[1, 2]\n")},
        ["RowsError", "line 1", "no JSON object"],
    ),
    "line that is no JSON": (
        lambda folder: files(folder) | {"test_path": _text(folder, "{\n")},
        ["RowsError", "rows.jsonl, line 1"],
    ),
    "no rows": (lambda folder: files(folder, test=[]), ["RowsError", "test.jsonl has no rows"]),
    "the same id twice": (
        lambda folder: {
            **files(folder, test=[{**one, "id": "a"} for one in ROWS]),
            "task": {**TASK, "id": "id"},
        },
        ["RowsError", "test.jsonl, line 2", "'a'", "twice"],
    ),
    "no environment": (
        lambda folder: files(folder) | {"feedback": "environment"},
        ["SettingsError", "'environment'", "'mine'", "self-check"],
    ),
    "missing playbook": (lambda _: {"playbook": "gone.txt"}, ["PlaybookFileError", "gone.txt"]),
    "playbook without a bullet": (
        lambda folder: playbook(folder, "p.txt", b"## OTHERS\nBe brief.\n"),
        ["PlaybookFileError", "p.txt", "no bullet", "helpful=0"],
    ),
    "playbook that is no JSON": (
        lambda folder: playbook(folder, "p.json", b"{"),
        ["PlaybookFileError", "p.json"],
    ),
    "playbook of something else": (
        lambda folder: playbook(folder, "p.json", b'{"bullets": 3}'),
        ["PlaybookFileError", "p.json"],
    ),
    "playbook that is no text": (
        lambda folder: playbook(folder, "p.txt", b"\xff\xfe\x00"),
        ["PlaybookFileError", "p.txt", "no UTF-8"],
    ),
    "unknown parameter": (lambda _: {"epoch": 2}, ["ParametersError", "'epoch'", "'epochs'"]),
    "no rows at a time": (lambda _: {"batch_size": 0}, ["ParametersError", "batch_size"]),
    "unknown baseline": (lambda _: {"baselines": ["luck"]}, ["ParametersError", "baselines"]),
    "tier of an unknown provider": (
        lambda _: {"reflector": [{}, {"model": "nobody:large"}]},
        ["ParametersError", "reflector", "nobody"],
    ),
    "tier with an unknown field": (
        lambda _: {"reflector": [{"modell": "large"}]},
        ["ParametersError", "reflector.0.modell"],
    ),
    "comparison with an unknown task": (
        lambda _: {"compare_with": "sums"},
        ["TaskError", "compare_with is 'sums'"],
    ),
    "comparison with a task of other rows": (
        lambda _: {"compare_with": "finer"},
        ["RowsError", "'context'"],
    ),
}

ONCE_ASKED: dict[str, tuple[Wrong, list[str]]] = {
    "tier of an API without a key": (
        lambda _: {"reflector": [{"model": "openai:gpt"}]},
        ["SettingsError", "OPENAI_API_KEY"],
    ),
    "tier that is not served": (lambda _: {"reflector": [{"model": "large"}]}, ["large", "fake-model"]),
    "context too short": (
        lambda _: {"max_output_tokens": 32_000},
        ["SettingsError", "32,768", "no room for a playbook", "max_output_tokens"],
    ),
}
"""What only the server, or the environment, can say."""


def _binary(folder: Path) -> str:
    (folder / "binary.jsonl").write_bytes(bytes(range(256)))
    return str(folder / "binary.jsonl")


def _text(folder: Path, text: str) -> str:
    (folder / "rows.jsonl").write_text(text)
    return str(folder / "rows.jsonl")


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_used_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", f"http://127.0.0.1:{free_port()}")
    wrong, words = REFUSED[name]
    given = cast("AceParameters", {**ALONE, **wrong(tmp_path)})
    failed = cast("State[Any]", await ace.fn(given))
    assert failed.is_failed()
    one_sentence(failed.message or "", *words)
    assert not load_settings().runs.exists()
    assert not load_settings().store.exists()


@pytest.mark.parametrize("name", ONCE_ASKED)
def test_what_the_server_does_not_have_is_said_before_anything_is_asked(
    process: ICMProcess, fake: FakeVLLM, folders: Callable[[], Path], tmp_path: Path, name: str
) -> None:
    wrong, words = ONCE_ASKED[name]
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    before = asked_of(fake.stats())
    failed = process.run(place, {**ALONE, **wrong(tmp_path)}, flow="ace")
    assert failed.state == "Failed", failed.summary
    one_sentence(failed.message, *words)
    assert "Traceback" not in failed.log
    assert asked_of(fake.stats()) == before
    assert not (place.folder / "runs").exists()


def test_online_says_the_same(process: ICMProcess, fake: FakeVLLM, folders: Callable[[], Path]) -> None:
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    for parameters, words in (
        ({"window": 0}, ["ParametersError", "window"]),
        ({"epochs": 2}, ["ParametersError", "'epochs'"]),
        ({"task": "finer"}, ["RowsError", "'finer'", "test.jsonl"]),
    ):
        failed = process.run(place, parameters, flow="ace-online")
        assert failed.state == "Failed"
        one_sentence(failed.message, *words)
    assert not (place.folder / "runs").exists()


def test_where_nobody_answers_it_says_so_and_leaves_no_files(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    away = Place(base_url=f"http://127.0.0.1:{free_port()}", model="fake-model", folder=folders())
    failed = process.run(away, {**ALONE, "max_wait_seconds": 0}, flow="ace")
    assert failed.state == "Failed"
    one_sentence(failed.message, "RunStoppedError", "VLLM_BASE_URL")
    assert not [path for path in (away.folder / "runs").rglob("*") if path.is_file()]


def test_a_replay_of_what_was_never_asked_says_so(process: ICMProcess, folders: Callable[[], Path]) -> None:
    away = Place(base_url=f"http://127.0.0.1:{free_port()}", model="fake-model", folder=folders())
    failed = process.run(away, {**ALONE, "cache_mode": "replay"}, flow="ace")
    assert failed.state == "Failed"
    one_sentence(failed.message, "replay")
    assert not [path for path in (away.folder / "runs").rglob("*") if path.is_file()]


def test_a_task_of_ones_own_is_a_file(
    process: ICMProcess, fake: FakeVLLM, folders: Callable[[], Path], tmp_path: Path
) -> None:
    """The good case beside all the bad ones."""

    spec = tmp_path / "task.json"
    spec.write_text(json.dumps(TASK))
    place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
    parameters = {**ALONE, **files(tmp_path), "task": str(spec), "structured_output": False}

    def always_3(prompt: str, body: Mapping[str, Any], draw: int) -> str:
        del prompt, body, draw
        return '{"final_answer": "3"}'

    with FakeVLLM(writer=always_3, max_model_len=32_768) as sure:
        own = Place(base_url=sure.base_url, model="fake-model", folder=place.folder)
        outcome = process.run(own, parameters, flow="ace").require_completed()
    [method] = outcome.summary["methods"]
    assert (method["right"], method["total"]) == (1, 4)
