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
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from backends.batching import ListBounds
from backends.concurrency import AdaptiveLimit
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a way of asking cost; CPU time says it on a busy machine, too."""

    prompts_a_second: float
    client_cpu_ms: float
    """A prompt."""
    server_cpu_ms: float | None
    """A prompt, of all processes of a server on this machine."""


def server_processes(base_url: str) -> list[psutil.Process]:
    """Return the processes of a server on this machine; none where it is elsewhere or somebody else's."""
    port = urlsplit(base_url).port
    try:
        listening = {
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and getattr(each.laddr, "port", None) == port and each.pid
        }
        roots = [psutil.Process(pid) for pid in listening if is_loopback(base_url)]
        return [each for root in roots for each in (root, *root.children(recursive=True))]
    except psutil.Error:
        return []


def is_loopback(base_url: str) -> bool:
    """Say whether an address is on this machine for sure."""
    return urlsplit(base_url).hostname in {"127.0.0.1", "localhost", "::1"}


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Add up what processes have used so far."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


class Asker:
    """Asks a server prompts that it has not seen."""

    def __init__(self, settings: Settings, model: str, labels: tuple[Label, ...]) -> None:
        self._settings = settings
        self._model = model
        self._labels = labels
        self._serial = count(time.time_ns())  # no text of an earlier run comes again
        self._server = server_processes(settings.base_url)

    async def ask(self, cell: Cell) -> Cost:
        """Ask a whole workload in one way.

        Raises:
            RuntimeError: A prompt has no answer.
        """
        requests = [self._request(cell.workload) for _ in range(cell.workload.prompts)]
        at_once = cell.size * cell.in_flight
        server = VLLMServer(
            self._settings.base_url,
            api_key=self._settings.api_key,
            bounds=ListBounds(max_prompts=cell.size),
            limit=AdaptiveLimit(initial=at_once, smallest=at_once, largest=at_once),
        )
        async with server as backend:
            await backend.capabilities()
            started, client, server_cpu = time.perf_counter(), time.process_time(), cpu_seconds(self._server)
            async with aclosing(backend.answer(requests)) as arrivals:
                outcomes = [outcome async for arrival in arrivals for _, outcome in arrival.outcomes]
            seconds, client = time.perf_counter() - started, time.process_time() - client
        failed = [outcome for outcome in outcomes if not isinstance(outcome, Response)]
        if failed:
            raise RuntimeError(f"{len(failed)} prompts have no answer ({cell.name}): {failed[0]}")
        used = cpu_seconds(self._server) - server_cpu
        return Cost(
            prompts_a_second=len(outcomes) / seconds,
            client_cpu_ms=client / len(outcomes) * 1000,
            server_cpu_ms=used / len(outcomes) * 1000 if self._server else None,
        )

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
) -> dict[Cell, list[Cost]]:
    """Measure every cell so often, forwards and backwards in turn, until the time is up."""
    async with VLLMServer(settings.base_url, api_key=settings.api_key) as backend:
        served = await backend.capabilities()
        model = settings.model or next(iter(served.roots))
        labels = await backend.find_labels(model, LABELS)
    asker = Asker(settings, model, labels)
    found: dict[Cell, list[Cost]] = {cell: [] for cell in cells(workloads, sizes)}
    warm_up = Workload(name="warm-up", prompts=8, words=12, in_flight=(1,))
    await asker.ask(Cell(workload=warm_up, size=8, in_flight=1))  # the first answers are slow
    end = asyncio.get_running_loop().time() + limit
    for repetition in range(repetitions):
        for cell in list(found)[:: -1 if repetition % 2 else 1]:
            try:
                async with asyncio.timeout_at(end):
                    found[cell].append(await asker.ask(cell))
            except TimeoutError:
                print(f"stopped after {limit:.0f} s, at {cell.name} of repetition {repetition + 1}")
                return found
    return found


def rows_of(found: dict[Cell, list[Cost]]) -> list[dict[str, Any]]:
    """Return a row for each cell; `ratio` is to single prompts with as many requests at once."""
    medians = {cell: median(costs) for cell, costs in found.items() if costs}
    single = {(cell.workload.name, cell.in_flight): cost for cell, cost in reversed(medians.items())}
    return [
        {
            "workload": cell.workload.name,
            "list_size": cell.size,
            "requests_in_flight": cell.in_flight,
            **asdict(cost),
            "ratio": cost.prompts_a_second / single[cell.workload.name, cell.in_flight].prompts_a_second,
            "runs": [one.prompts_a_second for one in found[cell]],
        }
        for cell, cost in medians.items()
    ]


def median(costs: Sequence[Cost]) -> Cost:
    """Take the median of each figure."""
    server = [one.server_cpu_ms for one in costs if one.server_cpu_ms is not None]
    return Cost(
        prompts_a_second=statistics.median(one.prompts_a_second for one in costs),
        client_cpu_ms=statistics.median(one.client_cpu_ms for one in costs),
        server_cpu_ms=statistics.median(server) if server else None,
    )


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows."""
    print(f"{'':35} {'CPU ms a prompt':>17}")
    print(
        f"{'prompts':8} {'in flight':>9} {'list':>5} {'prompts/s':>10} {'client':>8} {'server':>8} "
        f"{'ratio':>6}   runs"
    )
    for row in rows:
        server = "" if row["server_cpu_ms"] is None else f"{row['server_cpu_ms']:.1f}"
        runs = ", ".join(f"{rate:.1f}" for rate in row["runs"])
        print(
            f"{row['workload']:8} {row['requests_in_flight']:9} {row['list_size']:5} "
            f"{row['prompts_a_second']:10.1f} {row['client_cpu_ms']:8.2f} {server:>8} "
            f"{row['ratio']:6.2f}   {runs}"
        )


def main() -> None:
    """Measure, print, and write bench/results/lists.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--limit-seconds", type=float, default=420.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--in-flight", type=int, nargs="+", help="requests at once, for both workloads")
    parser.add_argument("--short", type=int, default=SHORT.prompts, help="short prompts; 0 for none")
    parser.add_argument("--long", type=int, default=LONG.prompts, help="long prompts; 0 for none")
    options = parser.parse_args()
    settings = load_settings()
    workloads = [
        replace(each, prompts=prompts, in_flight=tuple(options.in_flight or each.in_flight))
        for each, prompts in ((SHORT, options.short), (LONG, options.long))
        if prompts
    ]
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
