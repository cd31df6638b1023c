"""A run's journal adds up to what was asked, answered and waited for, and holds nobody's text."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from backends.addresses import Address
from backends.base import Exchange, Hooks
from backends.batching import ListBounds
from backends.errors import BadRequestError
from backends.messages import Request, Response, Usage
from backends.retrying import RetryPolicy
from backends.scripted import Scripted
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.journal import FileJournal
from cache.journal_reading import Rows
from cache.lookup import Lookup
from tasks.budget import Budget
from tasks.generate import Generator
from tasks.journal_rows import MAX_NAME_CHARACTERS, alert_row, call_row, request_row
from tasks.keys import KeyedRequest, key_requests
from tasks.run_report import RunReport, covered_seconds, percentile, run_report
from tasks.tally import Tally
from tests.fake_vllm import FakeVLLM
from tests.helpers import Naps, completion, completions, some_key

PLANTED = "sk-planted-4711"
PROMPT = "the prompt that nobody may read"


def report_of(path: Path) -> RunReport:
    with path.open("rb") as lines:
        return run_report(Rows(lines))


# --- arithmetic -----------------------------------------------------------------------------------------


def request(time: float, seconds: float, outcome: str = "ok", **fields: object) -> dict[str, object]:
    tokens = {"prompts": 4, "input_tokens": 40, "output_tokens": 8, "cached_tokens": 10}
    return {"event": "request", "time": time, "seconds": seconds, "outcome": outcome, **tokens, **fields}


def call(time: float, outcome: str, task: str = "look", **fields: object) -> dict[str, object]:
    return {"event": "call", "time": time, "task": task, "outcome": outcome, **fields}


def test_a_journal_is_summed_up() -> None:
    rows = [
        {"event": "run", "time": 100.0, "run": "r1", "name": "icm", "parameters": {"cache_mode": "use"}},
        {"event": "model", "time": 100.0, "model": "m", "revision": None},
        call(100.0, "hit"),
        call(100.0, "hit", "other"),
        request(101.0, 1.0, "RateLimitError", status=429, waited=0.0, attempt=1),
        request(103.0, 1.5, waited=0.5, attempt=2),
        request(103.5, 1.0, waited=0.0, attempt=1),
        call(103.5, "computed"),
        call(103.5, "shared"),
        call(103.5, "failed", error="BadRequestError", status=400),
        {"event": "weather", "time": 103.6, "outcome": "rain"},
        call(103.6, "dreamt"),
        {
            "event": "end",
            "time": 104.0,
            "state": "completed",
            "cost_usd": 0.25,
            "server_counters": {"prompt_tokens": 90, "preemptions": 1},
        },
    ]
    report = run_report(rows)
    assert (report.run, report.name, report.model, report.state) == ("r1", "icm", "m", "completed")
    assert report.cache_mode == "use"
    calls = report.calls
    assert (calls.hits, calls.computed, calls.shared, calls.failed, calls.total) == (2, 1, 1, 1, 5)
    assert report.hit_rate == pytest.approx(0.6)
    assert report.errors == {"BadRequestError": 1}
    assert (report.tasks["look"].total, report.tasks["other"].total) == (4, 1)
    requests = report.requests
    assert requests.outcomes == {"ok": 2, "RateLimitError": 1}
    assert (requests.total, requests.retries, requests.prompts, requests.prompts_per_request) == (3, 1, 8, 4)
    assert (requests.input_tokens, requests.output_tokens, requests.cached_tokens) == (80, 16, 20)
    assert requests.seconds == pytest.approx(3.5)
    assert requests.waiting_seconds == pytest.approx(3.0)  # 100 to 101, and 101.5 to 103.5
    assert requests.held_seconds == pytest.approx(0.5)
    assert (requests.p50_seconds, requests.p95_seconds) == (1.0, 1.5)
    assert report.wall_seconds == pytest.approx(4.0)
    assert report.cost_usd == 0.25
    assert report.server_counters == {"prompt_tokens": 90, "preemptions": 1}


def test_a_run_that_was_killed_and_retried_is_one_run_without_the_time_between() -> None:
    rows = [
        {"event": "run", "time": 100.0, "run": "r1"},
        call(103.0, "computed"),
        {"event": "run", "time": 9000.0, "run": "r1"},
        call(9000.5, "hit"),
        {"event": "end", "time": 9001.0, "state": "completed", "cost_usd": 0.5},
    ]
    assert run_report(rows[:2]).state == "unfinished"
    assert run_report(rows[:3]).state == "unfinished"
    report = run_report(rows)
    assert (report.state, report.starts, report.wall_seconds) == ("completed", 2, pytest.approx(4.0))


def test_a_clock_that_jumps_back_takes_no_time_off() -> None:
    report = run_report([call(100.0, "hit"), call(101.0, "hit"), call(50.0, "hit"), call(102.0, "hit")])
    assert report.wall_seconds == pytest.approx(2.0)


def test_an_empty_journal_is_a_report_of_nothing() -> None:
    report = run_report([])
    assert (report.state, report.calls.total, report.hit_rate) == ("unfinished", 0, None)
    assert (report.requests.p50_seconds, report.requests.prompts_per_request) == (None, None)


def test_fields_of_another_kind_count_for_nothing() -> None:
    rows = [
        {"event": "request", "time": "now", "seconds": None, "outcome": 3, "attempt": "two"},
        {"event": "end"},
    ]
    assert run_report([*rows, {"event": "end", "server_counters": "many"}]).requests.seconds == 0


def test_time_that_several_requests_share_counts_once() -> None:
    assert covered_seconds([]) == 0
    assert covered_seconds([(5, 6), (0, 4), (1, 2), (3, 5.5)]) == pytest.approx(6.0)
    assert covered_seconds([(3, 1)]) == 0


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 95), percentile([7.0], 95)) == (50.0, 95.0, 7.0)
    assert percentile([], 50) is None


# --- a real run -----------------------------------------------------------------------------------------


async def test_a_run_with_faults_adds_up_to_what_the_server_saw(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "run.jsonl")
    journal.write([{"event": "run", "run": "r1", "cache_mode": "use"}])
    requests = [*completions(40), completions(1)[0]]
    with FakeVLLM() as server:
        server.faults(
            [
                {"kind": "status", "status": 429},
                {"kind": "status", "status": 400, "match": "question 7", "times": -1},
            ]
        )
        async with VLLMServer(
            server.base_url, bounds=ListBounds(max_prompts=8), retrier=Naps().retrier()
        ) as backend:
            generate = Generator(
                backend=backend, lookup=Lookup(DiskStore(tmp_path / "store")), journal=journal
            )
            backend.hooks.on_exchange = generate.record
            await generate.outcomes(keyed(requests), "first")
            await asyncio.gather(*(generate(completions(5), purpose="second") for _ in range(2)))
        stats = server.stats()
    report = report_of(journal.path)
    assert (report.tasks["first"].computed, report.tasks["first"].shared) == (39, 1)
    assert report.tasks["first"].failed == 1
    assert report.tasks["second"].total == 10
    assert report.tasks["second"].computed == 0
    assert report.calls.total == generate.tally.prompts == 51
    assert report.calls.hits == generate.tally.hits
    assert report.calls.shared == generate.tally.shared
    assert report.errors == {"BadRequestError": 1}
    assert report.requests.total == generate.tally.requests == stats["requests"]
    assert report.requests.retries == 1
    assert report.requests.prompts == 39
    assert report.requests.outcomes["RateLimitError"] == 1
    assert report.requests.outcomes["BadRequestError"] >= 1
    usage = generate.tally.usage
    assert (report.requests.input_tokens, report.requests.output_tokens) == (
        usage.input_tokens,
        usage.output_tokens,
    )
    assert 0 < report.requests.waiting_seconds <= report.requests.seconds + 0.01


async def test_what_another_call_failed_to_get_is_a_call_too(tmp_path: Path) -> None:
    """Two tasks ask the same at once, and it fails: both have a failed call, one of them asked."""
    journal = FileJournal(tmp_path / "run.jsonl")

    def refuse(request: Request) -> BadRequestError:
        del request
        return BadRequestError("no", status_code=400)

    generate = Generator(
        backend=Scripted(refuse), lookup=Lookup(DiskStore(tmp_path / "store")), journal=journal
    )
    asked = keyed(completions(3))
    await asyncio.gather(*(generate.outcomes(asked, purpose) for purpose in ("one", "two")))
    report = report_of(journal.path)
    assert report.calls.failed == generate.tally.prompts == 6
    assert report.errors == {"BadRequestError": 6}


async def test_what_a_budget_kept_back_is_a_failed_call(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "run.jsonl")
    generate = Generator(
        backend=Scripted(lambda _: Response(text="", finish_reason="stop")),
        lookup=Lookup(DiskStore(tmp_path / "store")),
        journal=journal,
        budget=Budget(max_requests=2),
    )
    await generate.outcomes(keyed(completions(5)), "one")
    report = report_of(journal.path)
    assert (report.calls.computed, report.errors) == (2, {"BudgetSpentError": 3})


async def test_prompts_that_do_not_fit_are_counted_in_the_tally_and_in_the_journal_alike(
    tmp_path: Path,
) -> None:
    journal = FileJournal(tmp_path / "run.jsonl")
    growths: list[Tally] = []
    with FakeVLLM(max_model_len=64) as server:
        async with VLLMServer(server.base_url, retrier=Naps().retrier()) as backend:
            generate = Generator(
                backend=backend,
                lookup=Lookup(DiskStore(tmp_path / "store")),
                journal=journal,
                spent=lambda _, growth: growths.append(growth),
            )
            server.faults([{"kind": "status", "status": 400, "match": "question 1", "times": -1}])
            long = [completion(f"{word} " * 500) for word in ("long", "longer")]
            await generate.outcomes(keyed([*completions(3), *long]), "one")
    report = report_of(journal.path)
    assert (generate.tally.sent, generate.tally.failed, generate.tally.overflows) == (2, 3, 2)
    assert sum(growth.overflows for growth in growths) == 2
    assert (report.overflows, report.errors) == (2, {"BadRequestError": 1, "ContextOverflowError": 2})


def test_what_was_alarming_is_counted_by_its_kind() -> None:
    rows = [
        alert_row("kv-cache", f"http://user:{PLANTED}@here:8000"),
        alert_row("kv-cache", "there"),
        alert_row("gpu-memory", "GPU 0"),
    ]
    assert run_report(rows).alerts == {"kv-cache": 2, "gpu-memory": 1}
    assert PLANTED not in str(rows)


def keyed(requests: list[Request]) -> list[KeyedRequest]:
    return key_requests(requests)


# --- nobody's text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 400, "message": f"bad prompt: {PROMPT} with key {PLANTED}"},
        {"kind": "status", "status": 401, "message": f"wrong key {PLANTED}"},
        {"kind": "status", "status": 500, "message": f"{PROMPT} {PLANTED}" * 1000},
        {"kind": "reset"},
        {"kind": "bad_index"},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}",
)
async def test_neither_prompts_nor_keys_come_into_a_journal(tmp_path: Path, fault: dict[str, object]) -> None:
    journal = FileJournal(tmp_path / "run.jsonl")
    with FakeVLLM() as server:
        server.faults([{**fault, "times": -1}])
        address = server.base_url.replace("http://", f"http://user:{PLANTED}@")
        policy = RetryPolicy(max_attempts=2)
        async with VLLMServer(
            Address(base_url=address, headers={"X-Team": SecretStr(PLANTED)}),
            retrier=Naps().retrier(policy),
            hooks=Hooks(),
        ) as backend:
            generate = Generator(
                backend=backend, lookup=Lookup(DiskStore(tmp_path / "store")), journal=journal
            )
            backend.hooks.on_exchange = generate.record
            await generate.outcomes(keyed([completion(PROMPT)]), "one")
    written = journal.path.read_text()
    assert PLANTED not in written
    assert PROMPT not in written
    report = report_of(journal.path)
    assert (report.calls.failed, report.requests.outcomes["ok"]) == (1, 0)
    assert report.requests.total >= 1


def test_an_answer_does_not_come_into_a_journal_either() -> None:
    exchange = Exchange(
        server=f"https://user:{PLANTED}@host:8000/base?token={PLANTED}#x",
        path="/v1/completions",
        prompts=3,
        seconds=0.12345,
        outcome="ok",
        usage=Usage(input_tokens=7, output_tokens=2, cached_tokens=1),
    )
    assert request_row(exchange) == {
        "event": "request",
        "server": "https://host:8000/base",
        "path": "/v1/completions",
        "outcome": "ok",
        "status": None,
        "seconds": 0.1235,
        "waited": 0.0,
        "attempt": 1,
        "prompts": 3,
        "input_tokens": 7,
        "output_tokens": 2,
        "cached_tokens": 1,
    }


def test_the_name_of_a_task_is_bounded() -> None:
    assert len(str(call_row("x" * 5000, some_key("a"), "hit")["task"])) == MAX_NAME_CHARACTERS


def test_what_a_fallback_answered_has_not_failed() -> None:
    call: dict[str, object] = {"event": "call", "task": "t", "key": "k"}
    failed = [{**call, "outcome": "failed", "error": "ServerGoneError"}] * 3
    stood_in = [{**call, "outcome": "computed"}] * 2
    report = run_report([*failed, *stood_in, {"event": "stand-in", "model": "openai:m", "answered": 2}])
    assert (report.calls.total, report.calls.computed, report.calls.failed) == (3, 2, 1)
    assert report.stand_ins == {"openai:m": 2}
