"""What a run that fails says and leaves: one sentence, no traceback, and nothing that is unpickled."""

import base64
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from backends.errors import BadRequestError, ServerError
from cache.errors import StoreUnavailableError
from flows.settings import SettingsError
from flows.workflow import sentence_of
from tasks.generate import UnansweredError
from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import (
    PROJECT,
    SMALL_SEARCH,
    TERMINAL,
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    PrefectServer,
    deploy_icm,
    one_sentence,
    running_worker,
    start_deployed,
    wait_for,
)

ICM: JsonObject = SMALL_SEARCH
UNEXPECTED = """
import asyncio
from flows.run_parameters import RunParameters
from flows.workflow import workflow

@workflow("unexpected")
async def unexpected(parameters: RunParameters) -> None:
    raise ZeroDivisionError("a slip")

asyncio.run(unexpected(RunParameters()))
"""
MISSING = """
import asyncio
from flows.nightly import nightly
from flows.parameters import ICMParameters
from tasks.icm.claims import DataError

try:
    asyncio.run(nightly(ICMParameters(dataset="file", train_path="/none.jsonl")))
except DataError as error:
    print("raised", error)
"""


def failed_in_one_line(failed: Outcome) -> str:
    """Insist on a failed run with one line of the log that says why; return the reason."""
    assert failed.state == "Failed"
    one_sentence(failed.message)
    assert "Traceback" not in failed.log
    [line] = [line for line in failed.log.splitlines() if failed.message in line]
    assert "Finished in state Failed(" in line
    return failed.message


def looks_pickled(path: Path) -> bool:
    """Whether a file holds a pickle, or one in base64, as Prefect writes them."""
    content = path.read_bytes()
    beginnings = [pickle.dumps(ValueError("x"), protocol)[:3] for protocol in (4, 5)]
    return any(
        content.startswith(beginning) or base64.b64encode(beginning) in content for beginning in beginnings
    )


def pickles(*folders: Path) -> list[Path]:
    return [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and looks_pickled(path)
    ]


@pytest.fixture
def nowhere(tmp_path: Path) -> Place:
    return Place(base_url="http://127.0.0.1:9", model="fake-model", folder=tmp_path)


# --- One sentence ---------------------------------------------------------------------------------------


def test_prompts_without_an_answer_are_counted_by_kind_and_the_first_one_speaks() -> None:
    errors = [*[BadRequestError("the server said (HTTP 400): top_k is -7")] * 3, ServerError("boom")]
    group = UnansweredError("4 of 9 prompts have no answer: 3 BadRequestError, 1 ServerError", errors)
    assert sentence_of(group) == group.message
    assert sentence_of(ExceptionGroup("unhandled errors in a TaskGroup", [group])) == group.message


def test_only_what_a_user_can_mend_is_told_without_a_traceback() -> None:
    assert sentence_of(SettingsError("VLLM_MODEL: set it")) == "SettingsError: VLLM_MODEL: set it"
    assert sentence_of(StoreUnavailableError("a\n  b")) == "StoreUnavailableError: a b"
    assert sentence_of(PermissionError(13, "Permission denied", "/runs")) is not None
    assert sentence_of(OSError("closed")) is None
    assert sentence_of(KeyError("slip")) is None
    assert sentence_of(ExceptionGroup("two", [SettingsError("x"), KeyError("slip")])) is None


def test_wrong_parameters_and_missing_files_are_one_line(nowhere: Place, process: ICMProcess) -> None:
    missing = {**ICM, "dataset": "file", "train_path": str(nowhere.folder / "nothing.jsonl")}
    assert "nothing.jsonl" in failed_in_one_line(process.run(nowhere, missing))
    wrong: dict[str, JsonObject] = {
        "num_claims (31) must be a multiple of group_size (4)": {"num_claims": 31},
        "names no provider that is known; the closest is 'openai'": {"model": "opnai:gpt-4o"},
        "num_claims=0: Input should be greater than or equal to 1": {"num_claims": 0},
        "there is no parameter 'iteration'; the closest is 'iterations'": {"iteration": 3},
    }
    for sentence, parameters in wrong.items():
        message = failed_in_one_line(process.run(nowhere, parameters))
        assert sentence in message
        assert message.startswith("ParametersError: ")
        assert "Value error" not in message


def test_prompts_that_a_server_refuses_are_one_line_for_a_task_and_one_for_the_run(
    process: ICMProcess, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        "".join(json.dumps({"prompt": f"Question {n}, the secret?"}) + "\n" for n in range(60))
    )
    parameters: JsonObject = {"input_path": str(prompts), "batch_size": 30}
    with FakeVLLMProcess() as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)
        fake.faults([{"kind": "status", "status": 400, "times": -1, "match": "secret", "message": "no -7"}])
        failed = process.run(place, parameters, flow="batch")
        fake.reset()
        spent = process.run(place, {**ICM, "max_requests": 5})
        unknown = process.run(place, {**ICM, "model": "gpt-2"})
    assert "TooManyFailedError: 60 of 60" in failed_in_one_line(failed)
    tasks = [line for line in failed.log.splitlines() if "BadRequestError" in line and "Task run" in line]
    assert len(tasks) == 2
    assert all(
        "30 of 30 prompts have no answer" in line and "the first: the server" in line for line in tasks
    )
    assert "secret" not in failed.log
    assert failed_in_one_line(spent).startswith(
        "RunStoppedError: the run's budget is spent, max_requests (5)"
    )
    assert "The model `gpt-2` does not exist" in failed_in_one_line(unknown)


def test_called_as_a_function_a_flow_raises_what_it_met(
    prefect_server: PrefectServer, nowhere: Place
) -> None:
    done = run_script(MISSING, prefect_server, nowhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("raised the data set /none.jsonl cannot be read")
    # The parent's flow run ends as the child's does.
    assert done.stderr.count('Finished in state Failed("DataError: the data set /none.jsonl') == 2
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(200)
def test_what_prefect_keeps_of_a_deployed_run_is_the_sentence_too(
    prefect_server: PrefectServer, nowhere: Place
) -> None:
    name = "failing-test"
    deploy_icm(prefect_server, nowhere.folder, name, ICM)

    def ended(run: str, times: int = 1) -> str:
        def message() -> str | None:
            found = prefect_server.flow_run(run)
            is_over = found["state"]["type"] in TERMINAL and found["run_count"] == times
            return found["state"]["message"] if is_over else None

        return wait_for(message, "the end of the run")

    def told(run: str) -> tuple[str, list[str]]:
        message = ended(run)

        def lines() -> list[str] | None:
            query = {"logs": {"flow_run_id": {"any_": [run]}}}
            found = [one["message"] for one in prefect_server.call("POST", "/logs/filter", query)]
            return found if any("Finished in state" in line for line in found) else None

        return message, wait_for(lines, "the log of the run")

    with running_worker(prefect_server, nowhere, name, name):
        # What the form of the UI lets pass; the last is wrong with what the deployment sets.
        for parameters, sentence in (
            ({"model": "opnai:gpt-4o"}, "the closest is 'openai'"),
            ({"num_claims": 30}, "num_claims (30) must be a multiple of group_size (4)"),
            ({"num_seeds": 18}, "num_seeds (18) is more than num_claims (16)"),
        ):
            run = start_deployed(prefect_server, f"icm/{name}", parameters)
            message, lines = told(run)
            assert sentence in message
            assert [line for line in lines if sentence in line] == [f"Finished in state Failed({message!r})"]
            assert not [line for line in lines if "Traceback" in line]
        prefect_server.prefect("flow-run", "retry", run)
        assert ended(run, times=2) == message
    assert "Traceback" not in (nowhere.folder / f"{name}.log").read_text()


# --- What is left ---------------------------------------------------------------------------------------


def run_script(code: str, server: PrefectServer, place: Place) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=PROJECT, capture_output=True, text=True,
        timeout=100, env={**server.environment, **place.environment},
    )  # fmt: skip


def test_an_unexpected_error_has_its_traceback_and_is_left_as_json(
    prefect_server: PrefectServer, process: ICMProcess, nowhere: Place
) -> None:
    home = Path(prefect_server.environment["PREFECT_HOME"])
    before = set(home.rglob("storage/*"))
    failed_in_one_line(process.run(nowhere, {**ICM, "dataset": "file", "train_path": "/none.jsonl"}))
    assert set(home.rglob("storage/*")) == before
    done = run_script(UNEXPECTED, prefect_server, nowhere)
    assert "ZeroDivisionError: a slip" in done.stderr
    assert "Traceback" in done.stderr
    [left] = set(home.rglob("storage/*")) - before
    assert json.loads(left.read_text()) == {"__exc_type__": "builtins.ZeroDivisionError", "message": "a slip"}
    assert not pickles(home, nowhere.folder)


def test_the_scan_finds_what_it_looks_for(tmp_path: Path) -> None:
    for name, protocol in (("a", 4), ("b", 5)):
        (tmp_path / name).write_bytes(pickle.dumps(ValueError("x"), protocol))
        (tmp_path / f"{name}64").write_bytes(
            b'{"result": "' + base64.b64encode(pickle.dumps(KeyError("y"), protocol)) + b'"}'
        )
    assert len(pickles(tmp_path)) == 4
