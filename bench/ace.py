"""ACE: what learning costs in waves, requests and seconds, row by row and in batches, beside one call at a time.

    python -m bench.ace [--tokenizer FILE]                  (or `make bench-ace`; six minutes)
    python -m bench.ace --live http://127.0.0.1:8000        (or `make bench-ace-live`)

500 made-up rows are learnt from by the engine itself: its loop, its roles, its store, its client; only Prefect
is left out, and evaluations, which are one list anyway. Three kinds of rows: the worst case, all right at
first, and a mixture (bench/ace_worlds.py). The server is the fake one, with a clock (bench/ace_server.py).

One call at a time is how the reference works: every call a request that the next one waits for, each row
asked once more for a metric, no early stops, nothing kept. It, and the strict mode, are timed on the first
rows alone and scaled by the calls that all rows need, which were counted; that is in their favour, because
later prompts are longer. The ratio is also measured in one run on the same first rows, with nothing scaled.
"""

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from backends.messages import SamplingParams
from bench import ace_live, ace_prefix, ace_server
from bench.ace_run import BATCHES, CHUNK, ONE_BY_ONE, ROUNDS, STRICT, Setting, Way, accuracy, counted, timed
from bench.ace_worlds import KINDS, TASK, Kind, World, world
from bench.extraction import Bar
from tests.fake_vllm import BATCH_CHAT, CHAT, FakeVLLMProcess

RESULT = Path(__file__).parent / "results" / "ace.json"
MODEL = "made-up"
ROWS = 500
MAX_TOKENS = 1024
"""Of an answer, as the flows have it by default: it bounds how many prompts one list holds."""
OTHER_MAX_TOKENS = (256, 512)
CONTEXT = 200_000
FIRST_ROWS: Mapping[Kind, int] = {"worst": 20, "all-correct": 20, "mixture": 120}
"""What the ways that take a call a wave are timed on; of a mixture, the others are too."""
RATIO_ROWS: Kind = "mixture"

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
        url: Of the server.
        server: Counts what reaches it.
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

    async def first_rows(self) -> list[Row]:
        """Measure one call at a time and all batches on the first rows, unscaled."""
        ways = (ONE_BY_ONE, *BATCHES)
        return [await self.timed(way, self._first) for way in ways]

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
def serving(kind: Kind, rows: int):  # noqa: ANN201
    """Serve the model of a world."""
    program = ("-m", "bench.ace_server", kind, str(rows))
    with FakeVLLMProcess(program=program, models=[MODEL], max_model_len=CONTEXT) as server:
        yield server


async def learning(rows: int, first: Mapping[Kind, int]) -> dict[str, list[Row]]:
    """Measure waves, requests and seconds: all rows, the first ones, and other lengths of answers."""
    found: dict[str, list[Row]] = {"learning": [], "first_rows": [], "answer_tokens": []}
    for kind in KINDS:
        with serving(kind, rows) as server:
            bench = Bench(world(kind, rows), server, min(first[kind], rows))
            found["learning"] += await bench.rows()
            if kind == RATIO_ROWS:
                found["first_rows"] = await bench.first_rows()
                last = BATCHES[-1]
                found["answer_tokens"] = [await bench.timed(last, None, most) for most in OTHER_MAX_TOKENS]
    for some in (found["learning"], found["first_rows"]):
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
    measured = next(row for row in found["first_rows"] if row["way"] == last)
    fast = [
        Bar(name=f"times as fast, {last}, {what}", found=row["times_as_fast"], bound=TIMES_AS_FAST)
        for what, row in (
            (f"{RATIO_ROWS} of {measured['rows']} rows", measured),
            (f"{RATIO_ROWS} of {ways[last, RATIO_ROWS]['rows']} rows, scaled", ways[last, RATIO_ROWS]),
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


async def measure(
    rows: int, first: Mapping[Kind, int], edits: int, tokenizer: Tokenizer | None
) -> dict[str, Any]:
    """Measure everything that needs no model."""
    sampling = SamplingParams(max_tokens=MAX_TOKENS)
    print(
        f"{'rows':12} {'way':19} {'rows':>5} {'waves':>6} {'calls':>6} {'requests':>8} {'seconds':>8}",
        flush=True,
    )
    found: dict[str, Any] = dict(await learning(rows, first))
    found["playbooks"] = ace_prefix.playbooks(edits, tokenizer)
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
    first = dict.fromkeys(KINDS, options.first_rows) if options.first_rows else FIRST_ROWS
    tokenizer = Tokenizer.from_file(str(options.tokenizer)) if options.tokenizer else None
    load = os.getloadavg()[0]
    found = asyncio.run(measure(options.rows, first, options.edits, tokenizer))
    judged = bars(found)
    print_reuse([*found["playbooks"], *found["prompts"]])
    print("", *judged, sep="\n")
    result = {
        "about": f"{options.rows} made-up rows, {ROUNDS} rounds, Curator chunks of {CHUNK}; no evaluations",
        "command": "make bench-ace",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
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
    path = options.result or RESULT
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
