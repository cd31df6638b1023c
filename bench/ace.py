"""What learning by ACE costs: row by row and in batches, beside one call at a time.

    python -m bench.ace [--tokenizer FILE]                  (or `make bench-ace`; seven minutes)
    python -m bench.ace --live http://127.0.0.1:8000        (or `make bench-ace-live`)

500 made-up rows are learnt from by the engine itself: its loop, its roles, its store, its client. Prefect is
left out, and so are evaluations, which are one list anyway. There are three kinds of rows: the worst case,
all right at first, and a mixture (bench/ace_worlds.py). The server is the fake one, with a clock
(bench/ace_server.py).

One call at a time is how the reference works: every call a request that the next one waits for, each row
asked once more for a metric, no early stops, nothing kept. It, and the strict mode, are timed on the first
rows alone and scaled by the calls that all rows need, which were counted; that is in their favour, because
later prompts are longer. The ratio is also measured in one run on 80 rows of a mixture, with nothing scaled.
"""

import argparse
import asyncio
import os
import platform
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from backends.messages import SamplingParams
from bench import ace_live, ace_prefix, ace_server
from bench.ace_run import BATCHES, CHUNK, ONE_BY_ONE, ROUNDS, STRICT, Setting, Way, accuracy, counted, timed
from bench.ace_worlds import KINDS, TASK, Kind, World, world
from bench.extraction import Bar
from bench.result_file import machine, write_result
from tests.fake_vllm import BATCH_CHAT, CHAT, FakeVLLMProcess

RESULT = Path(__file__).parent / "results" / "ace.json"
MODEL = "made-up"
ROWS = 500
MAX_TOKENS = 1024
"""Of an answer, as the flows have it by default: it bounds how many prompts one list holds."""
OTHER_MAX_TOKENS = (256, 512)
CONTEXT = 200_000
FIRST_ROWS: Mapping[Kind, int] = {"worst": 6, "all-correct": 10, "mixture": 20}
"""What the ways that take a call a wave are timed on."""
UNSCALED: Kind = "mixture"
UNSCALED_ROWS = 80

MOST_WAVES: Mapping[tuple[int, Kind], int] = {
    (10, "worst"): 500, (10, "all-correct"): 200, (40, "worst"): 160, (40, "all-correct"): 80,
}  # fmt: skip
TIMES_AS_FAST = 12.0
LEAST_REUSE = 0.95

Row = dict[str, Any]


class Bench:
    """Learns from one kind of rows in all ways.

    Args:
        made: The rows, and who answers.
        server: Answers, and counts what reaches it.
        first: How many rows slow ways are timed on.
    """

    def __init__(self, made: World, server: FakeVLLMProcess, first: int) -> None:
        self._made = made
        self._server = server
        self._first = first

    async def rows(self) -> list[Row]:
        """Measure all ways: the slow ones on the first rows, scaled."""
        slow = [await self._slow(way) for way in (ONE_BY_ONE, STRICT)]
        return [*slow, *[await self.timed(way) for way in BATCHES]]

    async def unscaled(self) -> list[Row]:
        """Measure one call at a time and all batches on all rows."""
        return [await self.timed(way) for way in (ONE_BY_ONE, *BATCHES)]

    async def timed(self, way: Way, most: int | None = None, max_tokens: int = MAX_TOKENS) -> Row:
        """Measure one way on some rows."""
        setting = self._setting(most, max_tokens)
        self._server.reset()
        row, playbook = await timed(setting, way, self._server.base_url)
        stats = self._server.stats()
        row["requests"] = stats["by_path"].get(CHAT, 0) + stats["by_path"].get(BATCH_CHAT, 0)
        row |= {"kind": self._made.kind, "longest_list": stats["max_list"], "max_tokens": max_tokens}
        right = await accuracy(playbook, self._setting(None, max_tokens), self._made)
        print(line({**row, "right_afterwards": right}), flush=True)
        return {**row, "right_afterwards": right}

    async def _slow(self, way: Way) -> Row:
        row = await self.timed(way, self._first)
        found, _ = await counted(self._setting(None, MAX_TOKENS), way, self._made)
        scale = found["calls"] / row["calls"]
        scaled = {"requests": round(row["requests"] * scale), "seconds": row["seconds"] * scale}
        timed_on = {name: row[name] for name in ("rows", "calls", "requests", "seconds")}
        kept = ("kind", "max_tokens", "longest_list")
        whole = {**found, **scaled, **{name: row[name] for name in kept}, "timed_on": timed_on}
        print(line(whole), flush=True)
        return whole

    def _setting(self, most: int | None, max_tokens: int) -> Setting:
        sampling = SamplingParams(max_tokens=max_tokens)
        return Setting(task=TASK, rows=self._made.rows[:most], model=MODEL, sampling=sampling)


@contextmanager
def serving(kind: Kind, rows: int) -> Generator[FakeVLLMProcess]:
    """Serve the model of a world."""
    program = ("-m", "bench.ace_server", kind, str(rows))
    with FakeVLLMProcess(program=program, models=[MODEL], max_model_len=CONTEXT) as server:
        yield server


async def learning(rows: int, first: Mapping[Kind, int], unscaled: int) -> dict[str, list[Row]]:
    """Measure waves, requests and seconds: of many rows, of few, and with answers of other lengths."""
    found: dict[str, list[Row]] = {"learning": [], "unscaled": [], "answer_tokens": []}
    for kind in KINDS:
        with serving(kind, rows) as server:
            bench = Bench(world(kind, rows), server, min(first[kind], rows))
            found["learning"] += await bench.rows()
            if kind == "all-correct":
                last = BATCHES[-1]
                found["answer_tokens"] = [await bench.timed(last, None, most) for most in OTHER_MAX_TOKENS]
    with serving(UNSCALED, unscaled) as server:
        found["unscaled"] = await Bench(world(UNSCALED, unscaled), server, unscaled).unscaled()
    for some in (found["learning"], found["unscaled"]):
        add_ratios(some)
    return found


def add_ratios(rows: Sequence[Row]) -> None:
    """Say in each row how many times as fast as one call at a time it was."""
    slow = {row["kind"]: row for row in rows if row["way"] == ONE_BY_ONE.name}
    for row in rows:
        row["times_as_fast"] = slow[row["kind"]]["seconds"] / row["seconds"]
        row["times_fewer_requests"] = slow[row["kind"]]["requests"] / row["requests"]


def bars(found: Mapping[str, Sequence[Row]]) -> list[Bar]:
    """Hold what was measured against what was promised."""
    ways = {(row["way"], row["kind"]): row for row in found["learning"]}
    waves = [
        Bar(
            name=f"waves, b = {size}, {kind}",
            found=ways[f"b = {size}", kind]["waves"],
            bound=most,
            at_most=True,
        )
        for (size, kind), most in MOST_WAVES.items()
    ]
    last = BATCHES[-1].name
    measured = next(row for row in found["unscaled"] if row["way"] == last)
    scaled = ways[last, UNSCALED]
    fast = [
        Bar(name=f"times as fast, {last}, {what}", found=row["times_as_fast"], bound=TIMES_AS_FAST)
        for what, row in (
            (f"{UNSCALED} of {measured['rows']} rows", measured),
            (f"{UNSCALED} of {scaled['rows']} rows, scaled", scaled),
        )
    ]
    reuse = [
        Bar(
            name=f"prefix reuse, only ADD, {row['votes_a_step']} votes, {unit}",
            found=row[unit]["mean"],
            bound=LEAST_REUSE,
        )
        for row in found["playbooks"]
        if row["growth"] == "only ADD" and row["rendering"] == "append-only"
        for unit in ("characters", "tokens")
        if unit in row
    ]
    return [*waves, *fast, *reuse]


def line(row: Row) -> str:
    """Say what one way took."""
    scaled = f"timed on {row['timed_on']['rows']} rows" if "timed_on" in row else ""
    right = f"{row['right_afterwards']:.0%} right" if "right_afterwards" in row else ""
    return (
        f"{row['kind']:12} {row['way']:19} {row['rows']:5} {row['waves']:6,} {row['calls']:6,} "
        f"{row['requests']:8,} {row['seconds']:8.1f}  {scaled}{right}"
    )


def print_reuse(rows: Sequence[Row]) -> None:
    """Print how much of prompts is their predecessors'."""
    print(f"\n{'share that begins as the one before':56} {'characters':>10} {'tokens':>7}")
    for row in rows:
        what = f"{row['growth']}, {row['votes_a_step']} votes a step" if "growth" in row else "prompts, b = 1"
        tokens = f"{row['tokens']['mean']:7.1%}" if "tokens" in row else ""
        print(f"{what:38} {row['rendering']:17} {row['characters']['mean']:10.1%} {tokens}")


async def measure(options: argparse.Namespace, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Measure everything that needs no model."""
    rows, most = cast("int", options.rows), cast("int | None", options.first_rows)
    first = FIRST_ROWS if most is None else dict.fromkeys(KINDS, most)
    unscaled = UNSCALED_ROWS if most is None else rows
    sampling = SamplingParams(max_tokens=MAX_TOKENS)
    print(
        f"{'rows':12} {'way':19} {'rows':>5} {'waves':>6} {'calls':>6} {'requests':>8} {'seconds':>8}",
        flush=True,
    )
    found: dict[str, Any] = dict(await learning(rows, first, unscaled))
    found["playbooks"] = ace_prefix.playbooks(options.edits, tokenizer)
    found["prompts"] = await ace_prefix.prompts(world("mixture", rows), sampling, tokenizer)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write bench/results/ace.json; with --live, bench/results/ace_live.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--live", metavar="URL", help="compare on a real vLLM server, and nothing else")
    parser.add_argument("--model", help="of that server; its first by default")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json, to measure prefixes in tokens too")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--first-rows", type=int, help="that slow ways are timed on")
    parser.add_argument("--edits", type=int, default=ace_prefix.EDITS)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args(arguments)
    if options.live:
        ace_live.main(options.live, options.model, options.result)
        return
    tokenizer = Tokenizer.from_file(str(options.tokenizer)) if options.tokenizer else None
    load = os.getloadavg()[0]
    found = asyncio.run(measure(options, tokenizer))
    judged = bars(found)
    print_reuse([*found["playbooks"], *found["prompts"]])
    print("", *judged, sep="\n")
    result = {
        "about": f"{options.rows} made-up rows, {ROUNDS} rounds, Curator chunks of {CHUNK}; no evaluations",
        "command": "make bench-ace",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{machine()}, Python {platform.python_version()}",
        "load_before_and_after": [load, os.getloadavg()[0]],
        "server": {
            "what": "tests/fake_vllm.py in a process of its own; its figures are made up",
            "seconds_a_request": ace_server.REQUEST_SECONDS,
            "seconds_a_token_of_the_longest_answer": ace_server.TOKEN_SECONDS,
            "slower_by_each_other_answer_that_is_computed": ace_server.CROWD,
        },
        "bars": [{**asdict(bar), "met": bar.met} for bar in judged],
        **found,
    }
    write_result(result, options.result or RESULT)


if __name__ == "__main__":
    main()
