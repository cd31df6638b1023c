"""What one evaluation costs on this side of the wire: host seconds and bytes on disk.

    python -m bench.engine        (or `make bench`); in process, no HTTP, no Prefect

The model answers in no time. An evaluation asks about every claim of a pool with all others as context.
The reference implementation's numbers are from measurements of the unchanged program with such a model.
"""

import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from backends.messages import Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.keys import Key, make_key
from cache.lookup import CacheMode, Lookup
from tasks.generate import Generator
from tasks.icm.claims import LABEL_TEXTS, Claim
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import score

RESULT = Path(__file__).parent / "results" / "engine.json"
REPETITIONS = 5
REFERENCE = {32: (0.09, 1.2), 64: (0.52, 4.8), 128: (0.84, 19.7), 256: (1.86, 78.8)}
"""{pool size: (host seconds, megabytes written)} of the reference implementation."""

LOGPROBS = {"True": -0.5123456789012345, "False": -1.1234567890123456}


def claims(number: int) -> list[Claim]:
    """Make claims as long as TruthfulQA's, about 120 characters with their frame."""
    return [
        Claim(
            id=i,
            question=f"What is the usual colour of object number {i} in the cupboard of the house?",
            choice=f"Object number {i} in the cupboard is most often green.",
            group=i // 4,
            gold=i % 2,
        )
        for i in range(number)
    ]


def answer(request: Request) -> Response:
    """Answer at once; the numbers do not matter."""
    del request
    return Response(
        text=" True", finish_reason="length", label_logprobs=LOGPROBS, served_by="vllm-0.32.0-d2921ecb"
    )


def bytes_in(folder: Path) -> int:
    """Add up the sizes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def evaluation(pool: Sequence[Claim], folder: Path) -> dict[str, float]:
    """Evaluate a pool cold, then again from the store."""
    store = DiskStore(folder)
    generator = Generator(backend=Scripted(answer), lookup=Lookup(store, CacheMode.USE))
    labels = await generator.find_labels("bench", LABEL_TEXTS)
    prompter = Prompter(claims=pool, model="bench", labels=labels)
    seconds: list[float] = []
    for _ in range(2):
        started = time.perf_counter()
        responses = await generator(
            list(prompter.leave_one_out({claim.id: claim.id % 2 for claim in pool}).values())
        )
        sum(score(response.label_logprobs) for response in responses)
        seconds.append(time.perf_counter() - started)
    store.close()
    return {"cold_seconds": seconds[0], "warm_seconds": seconds[1]}


def median_of(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Take the median of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measure_evaluations() -> list[dict[str, float]]:
    """Measure every pool size on fresh stores."""
    rows: list[dict[str, float]] = []
    for size, (reference_seconds, reference_megabytes) in REFERENCE.items():
        runs: list[dict[str, float]] = []
        for _ in range(REPETITIONS):
            with tempfile.TemporaryDirectory() as folder:
                seconds = asyncio.run(evaluation(claims(size), Path(folder)))
                runs.append({**seconds, "bytes": float(bytes_in(Path(folder)))})
        row = {"pool_size": float(size), **median_of(runs)}
        row |= {"reference_seconds": reference_seconds, "reference_bytes": reference_megabytes * 1e6}
        rows.append(row)
        print(
            f"pool {size:4d}: {row['cold_seconds']:.3f} s cold, {row['warm_seconds']:.3f} s from the store, "
            f"{row['bytes'] / 1e6:.3f} MB (reference {reference_seconds} s, {reference_megabytes} MB)"
        )
    return rows


def measure_reading(entries: int = 10_000) -> dict[str, float]:
    """Read many stored answers, as bytes, sealed and checked."""
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(Path(folder))
        keys: list[Key] = [make_key("bench", 1, number) for number in range(entries)]
        started = time.perf_counter()
        store.put(dict.fromkeys(keys, b"x" * 300))
        written = time.perf_counter()
        found = store.get(keys)
        done = time.perf_counter()
        store.close()
    if len(found.entries) != entries:
        raise RuntimeError(f"{entries} entries were written and {len(found.entries)} read")
    print(f"{entries} answers: written in {written - started:.3f} s, read in {done - written:.3f} s")
    return {"entries": entries, "write_seconds": written - started, "read_seconds": done - written}


def main() -> None:
    """Measure, print, and write bench/results/engine.json."""
    result = {
        "about": "one evaluation with a zero-latency model; medians, in process, no HTTP",
        "command": "make bench",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "repetitions": REPETITIONS,
        "evaluations": measure_evaluations(),
        "reading": measure_reading(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
