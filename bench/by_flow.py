"""The same work as by_engine.py inside a Prefect flow, a task run for each batch; PREFECT_API_URL says where.

python -m bench.by_flow URL FOLDER NUMBER TASKS
"""

import time

_STARTED = time.perf_counter()  # before the imports, whose time is looked at

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from prefect import flow  # noqa: E402

from backends.vllm_server import VLLMServer  # noqa: E402
from bench.by_engine import cut, requests_for  # noqa: E402
from cache.disk_store import DiskStore  # noqa: E402
from cache.journal import FileJournal  # noqa: E402
from cache.leases import DiskLeases  # noqa: E402
from cache.lookup import CacheMode, Lookup  # noqa: E402
from tasks.batches import TaskAsk  # noqa: E402
from tasks.generate import Generator  # noqa: E402


@flow(name="bench")
async def ask_in_batches(url: str, folder: Path, number: int, tasks: int) -> dict[str, float]:
    """Answer all questions, each part of them by a task run; return what was paid inside the flow."""
    started = time.perf_counter()
    store = DiskStore(folder / "store")
    leases = DiskLeases(folder / "store" / "leases")  # all that a run of the flows has
    journal = FileJournal(folder / "store" / "journal" / "bench.jsonl")
    async with VLLMServer(url) as backend:
        generator = Generator(
            backend=backend, lookup=Lookup(store, CacheMode.USE), leases=leases, journal=journal
        )
        backend.hooks.on_exchange = generator.record
        ask = TaskAsk(generator, results=folder / "receipts")
        batches = enumerate(cut(requests_for(number), tasks))
        parts = await asyncio.gather(*(ask(part, purpose=f"batch {index}") for index, part in batches))
    leases.close()
    journal.close()
    store.close()
    answers = [response.text for part in parts for response in part]
    text = await asyncio.to_thread(json.dumps, answers)
    await asyncio.to_thread((folder / "result.json").write_text, text)
    return {"seconds in the flow": time.perf_counter() - started}


def main() -> None:
    """Run once, and leave result.json and phases.json in the folder."""
    imported = time.perf_counter()
    url, folder, number, tasks = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    inside = asyncio.run(ask_in_batches(url, folder, number, tasks))
    report = {"imports": imported - _STARTED, "flow run": time.perf_counter() - imported, **inside}
    (folder / "phases.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
