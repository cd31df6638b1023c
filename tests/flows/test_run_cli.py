"""What runs did can be listed, summed up and explained on the command line, from their journals alone."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backends.errors import BackendError, BadRequestError
from backends.messages import Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.journal import FileJournal
from cache.lookup import CacheMode, Lookup
from flows.cli import app
from flows.run_cli import journal_path
from tasks.generate import Generator
from tasks.keys import key_requests, request_key
from tests.helpers import completions, sampling

BROKEN = "question 4"


def answer(request: Request) -> Response | BackendError:
    if request.prompt == BROKEN:
        return BadRequestError("too long", status_code=400)
    return Response(text="fine", finish_reason="stop")


def run(store: Path, name: str, requests: Sequence[Request], *, began: float, ends: bool = True) -> None:
    """Do what a flow does: a row at the start, calls, a row at the end."""
    journal = FileJournal(journal_path(store, name), clock=lambda: began)
    journal.write([{"event": "run", "run": name, "name": "icm", "model": "tiny", "cache_mode": "use"}])
    answers = DiskStore(store)
    generate = Generator(backend=Scripted(answer), lookup=Lookup(answers, CacheMode.USE), journal=journal)
    asyncio.run(generate.outcomes(key_requests(requests), "evaluate [pool] 3"))
    if ends:
        journal.write(
            [{"event": "end", "state": "completed", "cost_usd": 0.5, "server_counters": {"prompt_tokens": 9}}]
        )
    journal.close()
    answers.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three prompts in a run, then five at another temperature or new, of which one is refused."""
    folder = tmp_path / "store"
    monkeypatch.setenv("VLLM_FLOWS_STORE", str(folder))
    cold = completions(3)
    warm = [replace(one, sampling=sampling(8, temperature=0.5)) for one in cold[:2]]
    run(folder, "aaa-1", cold, began=1000.0)
    run(folder, "aab-2", [*cold, *warm, *completions(5)[3:]], began=2000.0, ends=False)
    return folder


def call(*arguments: str, code: int = 0) -> Result:
    group = "cache" if arguments[0] == "explain" else "run"
    result = CliRunner().invoke(app, [group, *arguments])
    assert result.exit_code == code, result.output
    return result


def test_runs_are_listed_the_latest_first(store: Path) -> None:
    lines = [line for line in call("list").stdout.splitlines() if "aa" in line]
    assert ["aab-2" in lines[0], "aaa-1" in lines[1]] == [True, True]
    assert "unfinished" in lines[0]
    assert "completed" in lines[1]
    listed = json.loads(call("list", "--json", "--store", str(store)).stdout)
    assert [(one["run"], one["calls"]["total"], one["calls"]["hits"]) for one in listed] == [
        ("aab-2", 7, 3),
        ("aaa-1", 3, 0),
    ]
    assert "and 1 older runs" in call("list", "--limit", "1").stdout


@pytest.mark.usefixtures("store")
def test_a_run_is_reported_for_people() -> None:
    shown = call("report", "aab").stdout
    assert "icm aab-2" in shown
    assert "7: 3 hits, 3 computed, 0 shared, 1 failed" in shown
    assert "BadRequestError 1" in shown
    assert "evaluate [pool] 3" in shown
    finished = call("report", "aaa-1").stdout
    assert "0.5000 USD" in finished
    assert "prompt_tokens 9" in finished


@pytest.mark.usefixtures("store")
def test_the_last_run_is_reported_as_json() -> None:
    report = json.loads(call("report", "--json").stdout)
    assert (report["run"], report["state"], report["errors"]) == (
        "aab-2",
        "unfinished",
        {"BadRequestError": 1},
    )
    assert report["calls"] == {"hits": 3, "computed": 3, "shared": 0, "failed": 1, "total": 7}
    assert report["requests"]["total"] == 0  # the scripted backend sends none
    assert report["unreadable_lines"] == 0


def test_a_torn_line_is_said_and_not_counted(store: Path) -> None:
    with journal_path(store, "aab-2").open("ab") as file:
        file.write(b'{"time":2000.0,"event":"ca')
    assert "1 lines of the journal were cut off" in call("report").stdout
    assert json.loads(call("report", "--json").stdout)["unreadable_lines"] == 1


@pytest.mark.usefixtures("store")
def test_a_run_is_explained_in_groups() -> None:
    groups = {one["reason"]: one["calls"] for one in json.loads(call("explain", "last", "--json").stdout)}
    assert groups == {
        "its answer was stored": 3,
        "same prompt, other temperature (0.0 before, 0.5 now)": 2,
        "no request with this prompt was stored": 1,
        "BadRequestError (HTTP 400)": 1,
    }
    shown = call("explain", "last").stdout
    assert "other temperature (0.0 before, 0.5 now)" in shown
    assert request_key(completions(1)[0])[:12] in shown


@pytest.mark.usefixtures("store")
def test_each_call_of_a_run_is_explained() -> None:
    lines = call("explain", "aaa", "--all").stdout.splitlines()
    assert len(lines) == 3
    assert all("computed" in line and "no request with this prompt was stored" in line for line in lines)
    each = [json.loads(line) for line in call("explain", "aaa", "--all", "--json").stdout.splitlines()]
    assert [one["key"] for one in each] == [request_key(one) for one in completions(3)]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", ["report", "explain"])
@pytest.mark.parametrize(("name", "says"), [("aa", "2 runs begin with 'aa'"), ("zz", "no run called 'zz'")])
def test_a_run_that_is_not_one_is_a_sentence(command: str, name: str, says: str) -> None:
    result = call(command, name, code=1)
    assert result.stderr.startswith("vllm-flows: ")
    assert says in result.stderr
    assert result.stdout == ""


def test_without_a_store_there_are_no_runs(tmp_path: Path) -> None:
    assert (
        f"there is no store in {tmp_path / 'none'}"
        in call("list", "--store", str(tmp_path / "none"), code=1).stderr
    )
    assert json.loads(call("list", "--json", "--store", str(tmp_path)).stdout) == []
    assert "no run called 'last'" in call("report", "--store", str(tmp_path / "none"), code=1).stderr
    assert not (tmp_path / "none").exists()


def test_what_overflowed_was_alarming_or_was_answered_by_another_is_told(store: Path) -> None:
    journal = FileJournal(journal_path(store, "aab-2"), clock=lambda: 3000.0)
    failed = {"event": "call", "task": "t", "key": "k", "outcome": "failed", "error": "BadRequestError"}
    journal.write(
        [
            {**failed, "overflow": True},
            {"event": "alert", "kind": "kv-cache", "where": "http://here"},
            {"event": "stand-in", "model": "openai:m", "answered": 1},
        ]
    )
    journal.close()
    report = json.loads(call("report", "--json").stdout)
    assert (report["overflows"], report["alerts"]) == (1, {"kv-cache": 1})
    assert report["stand_ins"] == {"openai:m": 1}
    lines = [line.split() for line in call("report").stdout.splitlines()]
    assert ["did", "not", "fit", "the", "context", "1"] in [[w for w in line if w != "│"] for line in lines]
    assert ["alerts", "kv-cache", "1"] in [[w for w in line if w != "│"] for line in lines]
