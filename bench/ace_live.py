"""ACE on a real vLLM server, at small size: one call at a time beside a batch, by the server's own counters.

Rows are those of the demo task, answers have at most 64 tokens. Each side has a store of its own, and by a
cache salt a part of the server's prefix cache of its own. What a small model answers differs from side to
side, and so does how many calls that takes; seconds are compared as they are, and for a call. Whoever else
asks the server meanwhile is in its counters, and in the seconds.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.errors import BackendError
from backends.messages import SamplingParams
from backends.vllm_server import VLLMServer
from bench.ace_run import ONE_BY_ONE, Setting, Way, timed
from bench.result_file import machine, write_result
from flows.json_lines import read_rows
from tasks.ace.demo import DEMO
from tasks.ace.values import AceTask, Row

RESULT = Path(__file__).parent / "results" / "ace_live.json"
TRAIN = Path(__file__).parents[1] / "data" / "ace_demo" / "train.jsonl"
ROWS = 12
MAX_TOKENS = 64


def train_rows(number: int) -> list[Row]:
    """Read the first rows of the demo."""
    return [DEMO.read(row, str(row["id"])) for row in read_rows(TRAIN)[:number]]


async def compare(
    url: str, model: str | None, rows: Sequence[Row], *, task: AceTask = DEMO, max_tokens: int = MAX_TOKENS
) -> dict[str, Any]:
    """Learn from rows one call at a time, and in one batch."""
    async with VLLMServer(url) as server:
        name = model or next(iter((await server.capabilities()).roots))
    sides: list[dict[str, Any]] = []
    for way in (ONE_BY_ONE, Way(name=f"b = {len(rows)}", batch_size=len(rows))):
        salt = {"cache_salt": f"{way.name}-{time.time_ns()}"}
        sampling = SamplingParams(max_tokens=max_tokens, extra_body=salt)
        found, _ = await timed(Setting(task=task, rows=rows, model=name, sampling=sampling), way, url)
        print(line(found), flush=True)
        sides.append(found)
    return {"model": name, "sides": sides, "ratios": ratios(*sides)}


def ratios(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> dict[str, float]:
    """Say how many times as much one call at a time took."""
    names = (
        "seconds",
        "requests",
        "calls",
        "waves",
        "prompt_tokens",
        "prompt_tokens_computed",
        "generation_tokens",
    )
    found = {name: slow[name] / fast[name] for name in names if slow.get(name) and fast.get(name)}
    return {**found, "seconds_a_call": slow["seconds"] / slow["calls"] * fast["calls"] / fast["seconds"]}


def line(row: Mapping[str, Any]) -> str:
    """Say what one side took."""
    return (
        f"{row['way']:19} {row['waves']:5} waves {row['calls']:5} calls {row['requests']:5} requests "
        f"{row.get('prompt_tokens_computed', 0):8,} prompt tokens computed {row['seconds']:8.1f} s  "
        f"{row['stops']}"
    )


def main(url: str, model: str | None, result: Path | None) -> None:
    """Compare, print, and write bench/results/ace_live.json."""
    rows, load = train_rows(ROWS), os.getloadavg()[0]
    try:
        found = asyncio.run(compare(url, model, rows))
    except BackendError as error:
        sys.exit(f"{error}; start a server with `make up`, or name another")
    told = ", ".join(f"{name} {one:.2f}" for name, one in found["ratios"].items())
    print(f"one call at a time by a batch: {told}")
    whole = {
        "about": f"{len(rows)} rows of the demo, answers of at most {MAX_TOKENS} tokens, a real vLLM server",
        "command": "make bench-ace-live",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_before_and_after": [load, os.getloadavg()[0]],
        **found,
    }
    write_result(whole, result or RESULT)
