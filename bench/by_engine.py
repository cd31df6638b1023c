"""The same work as by_hand.py through this project, without Prefect, saying where the time goes.

python -m bench.by_engine URL FOLDER NUMBER [--asks N] [--profile FILE]
"""

import time

_STARTED = time.perf_counter(), time.process_time()  # before the imports, whose time is looked at

import argparse  # noqa: E402
import asyncio  # noqa: E402
import contextlib  # noqa: E402
import cProfile  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402

from backends.messages import Request, SamplingParams  # noqa: E402
from backends.vllm_server import VLLMServer  # noqa: E402
from bench.questions import questions  # noqa: E402
from cache.disk_store import DiskStore  # noqa: E402
from cache.journal import FileJournal  # noqa: E402
from cache.leases import DiskLeases  # noqa: E402
from cache.lookup import CacheMode, Lookup  # noqa: E402
from tasks.generate import Generator  # noqa: E402


@dataclass(kw_only=True)
class Phases:
    """Seconds by the clock, of the CPU, and of the CPU in the event loop's thread, from phase to phase."""

    seconds: dict[str, tuple[float, float, float]] = field(
        default_factory=dict[str, tuple[float, float, float]]
    )
    _last: tuple[float, float, float] = (*_STARTED, _STARTED[1])

    def end(self, phase: str) -> None:
        """Note the end of a phase."""
        now = (time.perf_counter(), time.process_time(), time.thread_time())
        before, self._last = self._last, now
        self.seconds[phase] = (now[0] - before[0], now[1] - before[1], now[2] - before[2])


def requests_for(number: int) -> list[Request]:
    """Write the same questions as by_hand.py."""
    sampling = SamplingParams(max_tokens=1)
    return [Request(model="slots", prompt=prompt, sampling=sampling) for prompt in questions(number)]


def cut(requests: Sequence[Request], parts: int) -> list[Sequence[Request]]:
    """Cut into so many parts of nearly equal length."""
    size = -(-len(requests) // parts) or 1
    return [requests[start : start + size] for start in range(0, len(requests), size)]


async def answer(url: str, folder: Path, number: int, asks: int, phases: Phases) -> list[str]:
    """Answer all questions, by one call or by several at once, and note the phases."""
    store = DiskStore(folder / "store")
    leases = DiskLeases(folder / "store" / "leases")  # all that a run of the flows has
    journal = FileJournal(folder / "store" / "journal" / "bench.jsonl")
    async with VLLMServer(url) as backend:
        generator = Generator(
            backend=backend, lookup=Lookup(store, CacheMode.USE), leases=leases, journal=journal
        )
        backend.hooks.on_exchange = generator.record
        requests = requests_for(number)
        phases.end("opening")
        parts = await asyncio.gather(*(generator(part, purpose="bench") for part in cut(requests, asks)))
        phases.end("answering")
    leases.close()
    journal.close()
    store.close()
    phases.end("closing")
    return [response.text for part in parts for response in part]


def main() -> None:
    """Run once, and leave result.json and phases.json in the folder."""
    phases = Phases()
    phases.end("imports")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--asks", type=int, default=1, help="calls at once that the prompts are dealt to")
    parser.add_argument("--profile", type=Path, help="write cProfile's statistics of the event loop's thread")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.profile:
            profile = stack.enter_context(cProfile.Profile())
            stack.callback(lambda: profile.dump_stats(options.profile))
        answers = asyncio.run(answer(options.url, options.folder, options.number, options.asks, phases))
    (options.folder / "result.json").write_text(json.dumps(answers), encoding="utf-8")
    phases.end("writing the result")
    report = {"phases": phases.seconds, "prefect_is_imported": "prefect" in sys.modules}
    (options.folder / "phases.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
