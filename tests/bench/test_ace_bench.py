"""The bench of ACE: what its model answers, what it counts, what its bars hold, and that it runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Outcome
from backends.messages import Request, Response, SamplingParams
from bench import ace
from bench.ace import ONE_BY_ONE, STRICT, Bench, add_ratios, bars, main
from bench.ace_live import compare, ratios, train_rows
from bench.ace_prefix import Growth, common, grown, playbooks, prompts, reuse
from bench.ace_run import BATCHES, CountingAsk, Setting, Way, counted
from bench.ace_server import CROWD, REQUEST_SECONDS, TOKEN_SECONDS, Clock
from bench.ace_worlds import KINDS, TASK, Kind, World, world
from tests.fake_vllm import FakeVLLM, FakeVLLMProcess

SAMPLING = SamplingParams(max_tokens=256)


def setting(made: World, most: int | None = None) -> Setting:
    return Setting(task=TASK, rows=made.rows[:most], model=ace.MODEL, sampling=SAMPLING)


@pytest.mark.parametrize(
    ("kind", "way", "calls", "waves"),
    [
        ("worst", ONE_BY_ONE, 180, 180),
        ("worst", STRICT, 160, 160),
        ("worst", BATCHES[0], 142, 16),
        ("all-correct", ONE_BY_ONE, 80, 80),
        ("all-correct", STRICT, 60, 60),
        ("all-correct", BATCHES[0], 42, 6),
    ],
)
async def test_worst_and_best_rows_take_the_calls_of_the_published_loop(
    kind: Kind, way: Way, calls: int, waves: int
) -> None:
    made = world(kind, 20)
    row, ask = await counted(setting(made), way, made)
    assert (row["calls"], row["waves"], row["rows"]) == (calls, waves, 20)
    assert row["calls_by_role"] == ask.calls
    assert row["edits_refused"] == 0


async def test_the_worst_case_says_nothing_twice_and_ends_its_playbook() -> None:
    made = world("worst", 60)
    row, ask = await counted(setting(made), STRICT, made, keeps="reflector")
    assert row["stops"] == {"rounds used up": 60}
    assert row["bullets"] == 20
    said = [made.write("".join(one.content for one in request.messages or ())) for request in ask.kept]
    assert len(set(said)) == 180


async def test_a_mixture_has_rows_of_all_kinds() -> None:
    made = world("mixture", 40)
    row, _ = await counted(setting(made), Way(name="b = 20", batch_size=20), made)
    # 20 rules, 12 of them unknown: known ones, those that the second batch has a lesson for, stubborn ones.
    assert sum(rule.known for rule in made.learner.rules.values()) == 8
    assert row["stops"] == {"right at first": 25, "corrected": 11, "repeated answer": 4}


async def test_waves_are_lists_that_nothing_else_is_asked_beside() -> None:
    asked: list[int] = []

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        asked.append(len(requests))
        if purpose == "a: outer":
            await counting(requests[:1], purpose="b: inner")
        return [Response(text="", finish_reason="stop") for _ in requests]

    counting = CountingAsk(ask=ask, sent=lambda: sum(asked), keeps="b")
    request = Request(model="m", prompt="p", sampling=SAMPLING)
    await counting([request] * 3, purpose="a: outer")
    await counting([request], purpose="b: later")
    assert counting.waves == 2
    assert counting.calls == {"a": 3, "b": 2}
    assert counting.requests == {"a": 4, "b": 2}
    assert len(counting.kept) == 2


def test_a_longer_answer_and_a_fuller_server_take_longer() -> None:
    clock = Clock({"short": "x" * 40, "long": "x" * 400}.__getitem__)
    assert clock.arrived("", ["short"]).seconds == pytest.approx(REQUEST_SECONDS + 10 * TOKEN_SECONDS)
    both = clock.arrived("", ["short", "long"]).seconds
    assert both == pytest.approx(REQUEST_SECONDS + 100 * TOKEN_SECONDS * (1 + 2 * CROWD))
    clock.delivered("", ["short", "long"])
    clock.delivered("", ["short"])
    assert clock.arrived("", ["short"]).seconds == pytest.approx(REQUEST_SECONDS + 10 * TOKEN_SECONDS)


async def test_requests_are_those_that_reach_the_server() -> None:
    made = world("all-correct", 20)
    program = ("-m", "bench.ace_server", "all-correct", "20")
    with FakeVLLMProcess(program=program, models=[ace.MODEL], max_model_len=ace.CONTEXT) as server:
        bench = Bench(made, server, 4)
        rows = {row["way"]: row for row in await bench.rows()}
        again = await bench.timed(BATCHES[0], max_tokens=256)
    assert (rows[ONE_BY_ONE.name]["calls"], rows[ONE_BY_ONE.name]["requests"]) == (80, 80)
    assert rows[ONE_BY_ONE.name]["timed_on"]["requests"] == 16
    assert rows[ONE_BY_ONE.name]["longest_list"] == 1
    assert rows["b = 20"]["waves"] == 3
    assert again["requests"] < rows["b = 10"]["requests"] < rows[STRICT.name]["requests"]
    assert again["requests_by_role"]["generator"] == 2  # shorter answers: a list holds all ten
    assert again["right_afterwards"] == 1


def test_a_ratio_is_of_rows_of_one_kind() -> None:
    rows = [
        {"kind": kind, "way": way, "seconds": seconds, "requests": seconds * 10}
        for kind, way, seconds in (("a", ONE_BY_ONE.name, 24.0), ("a", "b", 2.0), ("b", ONE_BY_ONE.name, 6.0))
    ]
    add_ratios(rows)
    assert [row["times_as_fast"] for row in rows] == [1, 12, 1]
    assert [row["times_fewer_requests"] for row in rows] == [1, 12, 1]


def test_bars_hold_what_was_measured_against_what_was_promised() -> None:
    found: dict[str, list[dict[str, Any]]] = {
        "learning": [
            {"way": way.name, "kind": kind, "rows": 500, "waves": 160, "times_as_fast": 11.9}
            for way in BATCHES
            for kind in KINDS
        ],
        "unscaled": [{"way": BATCHES[-1].name, "rows": 120, "times_as_fast": 12.0}],
        "playbooks": [
            {"growth": "only ADD", "rendering": name, "votes_a_step": 2, "characters": {"mean": 0.95}}
            for name in ("append-only", "reference")
        ],
    }
    judged = {bar.name: bar.met for bar in bars(found)}
    assert judged == {
        "waves, b = 10, worst": True,
        "waves, b = 10, all-correct": True,
        "waves, b = 40, worst": True,
        "waves, b = 40, all-correct": False,
        "times as fast, b = 40, mixture of 120 rows": True,
        "times as fast, b = 40, mixture of 500 rows, scaled": False,
        "prefix reuse, only ADD, 2 votes, characters": True,
    }


def test_reuse_is_what_two_texts_begin_with_alike() -> None:
    assert [common(*pair) for pair in (("abcd", "abxd"), ("", "a"), ("ab", "abc"), ("abc", "ab"))] == [
        2,
        0,
        2,
        2,
    ]
    assert common([1, 2, 3], [1, 2, 4]) == 2
    assert reuse(["ab", "abcd", "xy"]) == {"mean": 0.25, "of_all": 2 / 6}


def test_a_growing_playbook_keeps_its_beginning_where_it_is_shown_append_only() -> None:
    rows = {(row["growth"], row["rendering"], row["votes_a_step"]): row for row in playbooks(80, None)}
    appended = rows["only ADD", "append-only", 2]["characters"]
    assert appended == rows["only ADD", "append-only", 5]["characters"]
    assert appended["mean"] > 0.93
    assert rows["only ADD", "reference", 5]["characters"]["mean"] < 0.5
    mixed = Growth(name="", votes=2, updates=0.1, removes=0.05)
    [*_, last] = grown(mixed, 80)
    assert len(last) < 75
    assert any("seen again" in bullet.text for bullet in last.bullets.values())
    assert sum(one.helpful + one.harmful for one in last.counts.values()) > 100


async def test_prompts_are_those_of_the_generator() -> None:
    appended, reference = await prompts(world("mixture", 30), SAMPLING, None)
    assert appended["texts"] == reference["texts"] > 30
    assert appended["characters"]["mean"] > reference["characters"]["mean"]


async def test_a_real_server_is_asked_about_rows_of_the_demo() -> None:
    made = world("mixture", 4)
    with FakeVLLM(writer=lambda prompt, _, __: made.write(prompt), models=["tiny"]) as server:
        found = await compare(server.base_url, None, made.rows, task=TASK, max_tokens=64)
    slow, fast = found["sides"]
    assert found["model"] == "tiny"
    assert (slow["requests"], fast["way"]) == (slow["calls"], "b = 4")
    assert found["ratios"]["requests"] == slow["requests"] / fast["requests"]
    assert len({row.question.text for row in train_rows(12)}) == 12


def test_ratios_leave_out_what_a_server_does_not_count() -> None:
    slow = {"seconds": 10.0, "calls": 10, "requests": 10, "waves": 10, "prompt_tokens": 0}
    fast = {"seconds": 2.0, "calls": 5, "requests": 1, "waves": 2}
    assert ratios(slow, fast) == {
        "seconds": 5, "requests": 10, "calls": 2, "waves": 5, "seconds_a_call": 2.5,
    }  # fmt: skip


def test_the_result_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    main(["--rows", "4", "--first-rows", "1", "--edits", "20", "--result", str(result)])
    found = json.loads(result.read_text(encoding="utf-8"))
    assert {row["kind"] for row in found["learning"]} == set(KINDS)
    assert len(found["bars"]) == 8
    assert len(found["learning"]) == 15
    assert "times as fast" in capsys.readouterr().out


def test_an_unknown_prompt_is_refused() -> None:
    made = replace(world("worst", 2))
    with pytest.raises(ValueError, match="no prompt of a role"):
        made.write("hello")
