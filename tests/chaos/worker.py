"""One of the processes that share a store and get killed: asks every question, until each has an answer.

python -m tests.chaos.worker STORE URL NAME COUNT SEED
"""

import asyncio
import random
import sys
from pathlib import Path

from pydantic import SecretStr

from backends.batching import ListBounds
from backends.concurrency import AdaptiveLimit
from backends.errors import BackendError
from backends.retrying import Retrier, RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.leases import DiskLeases
from cache.lookup import Lookup
from tasks.generate import Generator
from tests.chaos.questions import questions

CALL = 100
"""Questions of one call, as a batch task has them."""
OPEN_CALLS = 2
TRIES = 20
LIST = 16
AT_ONCE = 48
PATIENCE_SECONDS = 60.0
"""The dead are noticed at once in any case; this is for the living, on a machine that is busy."""

Batch = list[int]


async def work(store: Path, url: str, name: str, count: int, seed: int) -> None:
    """Ask in an order of this worker's own, so that two of them meet now and then."""
    asked = questions(count)
    order = list(range(count))
    random.Random(seed).shuffle(order)
    retrier = Retrier(policy=RetryPolicy(initial_seconds=0.05, max_seconds=0.5))
    leases = DiskLeases(store / "leases", patience_seconds=PATIENCE_SECONDS)
    backend = VLLMServer(
        url,
        api_key=SecretStr(name),
        bounds=ListBounds(max_prompts=LIST),
        limit=AdaptiveLimit(initial=AT_ONCE, largest=AT_ONCE),
        retrier=retrier,
    )
    async with backend, asyncio.TaskGroup() as group:
        generate = Generator(backend=backend, lookup=Lookup(DiskStore(store)), leases=leases)
        free = asyncio.Semaphore(OPEN_CALLS)

        async def ask(numbers: Batch) -> None:
            async with free:
                for attempt in range(TRIES):
                    try:
                        await generate([asked[number] for number in numbers])
                    except* BackendError:  # those of the faults that hit one prompt too often; ask again
                        if attempt == TRIES - 1:
                            raise
                    else:
                        return

        for start in range(0, count, CALL):
            group.create_task(ask(order[start : start + CALL]))
    leases.close()


if __name__ == "__main__":
    _, store, url, name, count, seed = sys.argv
    asyncio.run(work(Path(store), url, name, int(count), int(seed)))
