"""How many prompts belong in one request, and how many requests at once: asked of a real vLLM server.

    VLLM_BASE_URL=http://127.0.0.1:8000 python -m bench.lists        (or `make bench-lists`)

Short prompts whose next token is scored, and long ones. Every measurement has texts of its own, so that no
prefix cache helps. What counts is the ratio within one run, since machines and models differ.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from backends.errors import BackendError
from backends.messages import Label, Request, Response, SamplingParams
from backends.vllm_server import VLLMServer
from flows.settings import Settings, load_settings

RESULT = Path(__file__).parent / "results" / "lists.json"
SIZES = (1, 8, 16, 32, 64)
LABELS = ("True", "False")
WORDS = ("house", "old", "river", "sold", "small", "sum", "owner", "town", "near", "sea", "friends", "music")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Prompts of one kind."""

    name: str
    prompts: int
    words: int
    """Of one prompt; about as many tokens."""
    in_flight: tuple[int, ...]
    """Requests at once, one measurement for each."""


SHORT = Workload(name="short", prompts=256, words=12, in_flight=(16, 4, 1))
LONG = Workload(name="long", prompts=64, words=600, in_flight=(8,))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One way of asking a workload."""

    workload: Workload
    size: int
    """Prompts in one request, at most."""
    in_flight: int

    @property
    def name(self) -> str:
        """Say which, for people."""
        return f"{self.workload.name}, lists of {self.size}, {self.in_flight} requests at once"


def cells(workloads: Sequence[Workload], sizes: Sequence[int]) -> list[Cell]:
    """Return all ways of asking, the sizes side by side."""
    return [
        Cell(workload=workload, size=size, in_flight=in_flight)
        for workload in workloads
        for in_flight in workload.in_flight
        for size in sizes
    ]


class Asker:
    """Asks a server prompts that it has not seen."""

    def __init__(self, settings: Settings, model: str, labels: tuple[Label, ...]) -> None:
        self._settings = settings
        self._model = model
        self._labels = labels
        self._serial = count(time.time_ns())  # no text of an earlier run comes again

    async def prompts_a_second(self, cell: Cell) -> float:
        """Ask a whole workload in one way.

        Raises:
            RuntimeError: A prompt has no answer.
        """
        requests = [self._request(cell.workload) for _ in range(cell.workload.prompts)]
        server = VLLMServer(
            self._settings.base_url,
            api_key=self._settings.api_key,
            max_prompts=cell.size,
            max_in_flight=cell.in_flight,
        )
        async with server as backend:
            await backend.capabilities()
            started = time.perf_counter()
            async with aclosing(backend.answer(requests)) as arrivals:
                outcomes = [outcome async for arrival in arrivals for _, outcome in arrival.outcomes]
            seconds = time.perf_counter() - started
        failed = [outcome for outcome in outcomes if not isinstance(outcome, Response)]
        if failed:
            raise RuntimeError(f"{len(failed)} prompts have no answer ({cell.name}): {failed[0]}")
        return len(outcomes) / seconds

    def _request(self, workload: Workload) -> Request:
        serial = next(self._serial)
        words = random.Random(serial).choices(WORDS, k=workload.words)
        return Request(
            model=self._model,
            sampling=SamplingParams(max_tokens=1),
            prompt=f"{serial} {' '.join(words)}. True or False:",
            labels=self._labels,
        )


async def measure(
    settings: Settings, workloads: Sequence[Workload], sizes: Sequence[int], repetitions: int, limit: float
) -> dict[Cell, list[float]]:
    """Measure every cell so often, forwards and backwards in turn, until the time is up."""
    async with VLLMServer(settings.base_url, api_key=settings.api_key) as backend:
        served = await backend.capabilities()
        model = settings.model or next(iter(served.roots))
        labels = await backend.find_labels(model, LABELS)
    asker = Asker(settings, model, labels)
    found: dict[Cell, list[float]] = {cell: [] for cell in cells(workloads, sizes)}
    warm_up = Workload(name="warm-up", prompts=8, words=12, in_flight=(1,))
    await asker.prompts_a_second(Cell(workload=warm_up, size=8, in_flight=1))  # the first answers are slow
    end = asyncio.get_running_loop().time() + limit
    for repetition in range(repetitions):
        for cell in list(found)[:: -1 if repetition % 2 else 1]:
            try:
                async with asyncio.timeout_at(end):
                    found[cell].append(await asker.prompts_a_second(cell))
            except TimeoutError:
                print(f"stopped after {limit:.0f} s, at {cell.name} of repetition {repetition + 1}")
                return found
    return found


def rows_of(found: dict[Cell, list[float]]) -> list[dict[str, Any]]:
    """Return a row for each cell; `ratio` is to single prompts with as many requests at once."""
    medians = {cell: statistics.median(rates) for cell, rates in found.items() if rates}
    smallest = {(cell.workload.name, cell.in_flight): medians[cell] for cell in reversed(medians)}
    return [
        {
            "workload": cell.workload.name,
            "list_size": cell.size,
            "requests_in_flight": cell.in_flight,
            "prompts_a_second": rate,
            "ratio": rate / smallest[cell.workload.name, cell.in_flight],
            "runs": found[cell],
        }
        for cell, rate in medians.items()
    ]


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows."""
    print(f"{'prompts':8} {'in flight':>9} {'list':>5} {'prompts/s':>10} {'ratio':>6}   runs")
    for row in rows:
        runs = ", ".join(f"{rate:.1f}" for rate in row["runs"])
        print(
            f"{row['workload']:8} {row['requests_in_flight']:9} {row['list_size']:5} "
            f"{row['prompts_a_second']:10.1f} {row['ratio']:6.2f}   {runs}"
        )


def main() -> None:
    """Measure, print, and write bench/results/lists.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--limit-seconds", type=float, default=240.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    settings, workloads = load_settings(), (SHORT, LONG)
    try:
        found = asyncio.run(
            measure(settings, workloads, options.sizes, options.repetitions, options.limit_seconds)
        )
    except BackendError as error:
        sys.exit(f"{error}; start a server with `make up`, or name one in VLLM_BASE_URL")
    rows = rows_of(found)
    print_rows(rows)
    result = {
        "about": "prompts a second of a real vLLM server, by prompts in a request and requests in flight",
        "command": "make bench-lists",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_after": os.getloadavg()[0],
        "workloads": [
            {"name": each.name, "prompts": each.prompts, "words": each.words, "max_tokens": 1}
            for each in workloads
        ],
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
