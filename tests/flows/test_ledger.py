"""What each part of a run cost, in lines that add up."""

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.messages import Usage
from backends.scripted import Scripted
from flows.json_lines import read_rows
from flows.ledger import Cost, Ledger, costs_by_part, summed_up, tokens_by_step
from tasks.icm.consistency import Consistency
from tasks.tally import Tally
from tests.tasks.icm.made_up import MemoryStore, answering, doubtful, made_draw, search_over, stored


class Servers:
    """Counters that are read one after another."""

    def __init__(self, *readings: int | None) -> None:
        self.readings = list(readings)

    async def __call__(self) -> int | None:
        return self.readings.pop(0)


def sent(prompts: int, tokens: int) -> Tally:
    return Tally(sent=prompts, requests=1, usage=Usage(input_tokens=tokens, output_tokens=prompts))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "ledger.jsonl"


async def test_a_line_holds_what_was_added_since_the_last(path: Path) -> None:
    ledger = Ledger(path, Servers(70, 5))
    ledger.note("evaluate seeds", sent(3, 60))
    ledger.note("evaluate repair", sent(2, 40))
    ledger.note("evaluate repair", Tally(prompts=9))
    await ledger.ended("search", batch=1, iteration=0)
    ledger.note("test zero-shot", sent(1, 10))
    await ledger.ended("test zero-shot")
    assert read_rows(path) == [
        {
            "part": "search", "batch": 1, "iteration": 0, "prompts": 9, "sent": 5, "requests": 2,
            "input_tokens": 100, "tokens_computed": 70, "output_tokens": 5, "counted_by": "server",
        },
        {
            "part": "test zero-shot", "batch": None, "iteration": None, "prompts": 0, "sent": 1,
            "requests": 1, "input_tokens": 10, "tokens_computed": 5, "output_tokens": 1,
            "counted_by": "server",
        },
    ]  # fmt: skip


async def test_where_nothing_was_sent_no_line_is_written_and_no_server_is_asked(path: Path) -> None:
    ledger = Ledger(path, Servers())
    ledger.note("evaluate pool", Tally(prompts=8))
    await ledger.ended("search", batch=1, iteration=3)
    await ledger.ended("test zero-shot")
    assert read_rows(path) == []
    assert ledger.put == {"search": 8, "test zero-shot": 0}


async def test_an_estimate_writes_nothing_and_asks_no_server(tmp_path: Path) -> None:
    ledger = Ledger(None, Servers())
    ledger.note("evaluate seeds", sent(3, 60))
    await ledger.ended("search", batch=1, iteration=0)
    ledger.interrupted("search", batch=1, iteration=1)
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - a test


async def test_parts_at_the_same_time_share_what_the_servers_counted_by_their_tokens(path: Path) -> None:
    ledger = Ledger(path, Servers(40, 7))
    ledger.note("batch 1 of 11: evaluate", sent(1, 300))
    ledger.note("batch 11 of 11: evaluate", sent(1, 100))
    await ledger.ended("search", batch=1, iteration=0, of="batch 1 of 11: ")
    ledger.note("batch 11 of 11: evaluate", sent(1, 50))
    await ledger.ended("search", batch=11, iteration=0, of="batch 11 of 11: ")
    rows = read_rows(path)
    assert [(row["batch"], row["tokens_computed"]) for row in rows] == [(1, 30), (11, 17)]
    assert [row["input_tokens"] for row in rows] == [300, 150]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 100)), min_size=1, max_size=20)
)
async def test_no_token_that_a_server_counted_is_lost_or_told_twice(
    tmp_path_factory: pytest.TempPathFactory, arrivals: list[tuple[int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("run") / "ledger.jsonl"
    counted = [computed for _, _, computed in arrivals]
    ledger = Ledger(path, Servers(*counted, 1, 1, 1, 1))
    for batch, tokens, _ in arrivals:
        ledger.note(f"batch {batch}: evaluate", sent(1, tokens))
        await ledger.ended("search", batch=(batch + 1) % 4, iteration=0, of=f"batch {(batch + 1) % 4}: ")
    for batch in range(4):
        ledger.note(f"batch {batch}: evaluate", sent(1, 1))
    for batch in range(4):
        await ledger.ended("search", batch=batch, iteration=1, of=f"batch {batch}: ")
    rows = read_rows(path)
    # Each line was read for once; at the last three nobody had any tokens that were not shared out yet.
    read = [*counted, 1, 1, 1, 1][: len(rows) - 3]
    assert costs_by_part(rows)["search"].tokens_computed == sum(read)
    assert costs_by_part(rows)["search"].input_tokens == sum(tokens for _, tokens, _ in arrivals) + 4


async def test_servers_that_do_not_tell_are_replaced_by_usage_until_they_have_told_twice(path: Path) -> None:
    ledger = Ledger(path, Servers(5, None, 500, 6))
    for iteration in range(4):
        ledger.note("evaluate", sent(1, 20))
        await ledger.ended("search", batch=1, iteration=iteration)
    assert [(row["tokens_computed"], row["counted_by"]) for row in read_rows(path)] == [
        (5, "server"), (20, "usage"), (20, "usage"), (6, "server"),
    ]  # fmt: skip


async def test_what_servers_counted_for_nobody_before_a_gap_is_not_shared_out_after_it(path: Path) -> None:
    ledger = Ledger(path, Servers(40, 7, None, 500, 6))
    for part in "ab":
        ledger.note(f"{part}: evaluate", sent(1, 20))
    for part in "ab":  # the second reading finds no tokens that are not shared out
        await ledger.ended("search", batch=1, iteration=0, of=part)
    for iteration in (1, 2, 3):
        ledger.note("a: evaluate", sent(1, 20))
        await ledger.ended("search", batch=1, iteration=iteration, of="a")
    assert [row["tokens_computed"] for row in read_rows(path)] == [20, 20, 20, 20, 6]


async def test_a_line_that_rests_on_usage_in_part_says_so(path: Path) -> None:
    ledger = Ledger(path, Servers(None, 500, 6))
    ledger.note("batch 1: seeds", sent(1, 10))
    for _ in range(2):
        ledger.note("batch 2: evaluate", sent(1, 20))
        await ledger.ended("search", batch=2, iteration=0, of="batch 2")
    ledger.note("batch 1: repair", sent(1, 20))
    await ledger.ended("search", batch=1, iteration=0, of="batch 1")
    last = read_rows(path)[-1]
    assert (last["tokens_computed"], last["counted_by"]) == (10 + 6, "usage")


async def test_what_an_interrupted_part_has_cost_is_written_without_asking_a_server(path: Path) -> None:
    ledger = Ledger(path, Servers())
    ledger.note("label", sent(2, 30))
    with pytest.raises(KeyboardInterrupt):
        async with ledger.part("bootstrapping"):
            raise KeyboardInterrupt
    [row] = read_rows(path)
    assert (row["part"], row["sent"], row["tokens_computed"], row["counted_by"]) == (
        "bootstrapping", 2, 30, "usage",
    )  # fmt: skip


async def test_the_parts_of_a_search_add_up_to_the_tally(path: Path) -> None:
    generator = stored(MemoryStore(), Scripted(answering(doubtful)))
    ledger = Ledger(path, Servers(*[None] * 100))
    generator.spent = ledger.note
    search = search_over(made_draw(), Consistency.ANSWER, generator, iterations=30, alpha=10.0)
    async for step in search.steps():
        await ledger.ended("search", batch=1, iteration=step.iteration)
    rows, tally = read_rows(path), generator.tally
    cost = costs_by_part(rows)["search"]
    assert (cost.sent, cost.requests) == (tally.sent, tally.requests)
    assert ledger.put["search"] == tally.prompts > tally.sent
    assert 1 < len(rows) < 30
    iterations = [cast("int", row["iteration"]) for row in rows]
    assert iterations == sorted(set(iterations))


async def test_sums_are_over_all_runs_and_prompts_those_of_one(path: Path) -> None:
    for _ in range(2):
        ledger = Ledger(path, Servers(8, 4))
        ledger.note("evaluate", sent(2, 10))
        ledger.note("evaluate", Tally(prompts=6))
        await ledger.ended("search", batch=2, iteration=0)
        ledger.note("test", sent(1, 5))
        await ledger.ended("test zero-shot")
        with path.open("a") as file:
            file.write('{"part": "sea')  # a crash
    rows = read_rows(path)
    assert costs_by_part(rows) == {
        "search": Cost(prompts=12, sent=4, requests=2, input_tokens=20, tokens_computed=16, output_tokens=4),
        "test zero-shot": Cost(sent=2, requests=2, input_tokens=10, tokens_computed=8, output_tokens=2),
    }
    assert tokens_by_step(rows) == {(2, 0): 16}
    costs = {"sent": 4, "requests": 2, "input_tokens": 20, "tokens_computed": 16, "output_tokens": 4}
    assert summed_up({"search": 6, "test nothing": 3}, rows) == [
        {"part": "search", "prompts": 6, **costs},
        {"part": "test nothing", "prompts": 3, **dict.fromkeys(costs, 0)},
    ]
