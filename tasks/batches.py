"""One Prefect task for one batch of questions: seen in the UI, skipped when all of it was answered before."""

from collections.abc import Callable, Sequence
from pathlib import Path

import anyio.to_thread
from prefect import task

from backends.messages import Request, Response
from cache.keys import Key, make_key
from cache.lookup import CacheMode
from tasks.codec import ResponseJSON, response_from_json, response_to_json
from tasks.generate import Generator, KeyedRequest, key_requests
from tasks.policies import ByContentKey

MIN_TASK_REQUESTS = 2
"""A single question gets no task run of its own: each costs the Prefect server 31 ms and 19 KB."""


class Batch:
    """Questions asked together. A plain class, because Prefect walks through lists and dataclasses."""

    def __init__(self, title: str, keyed: Sequence[KeyedRequest], generator: Generator) -> None:
        self.title = title
        self.keyed = keyed
        self.generator = generator
        self.ran = False
        """Whether Prefect ran the task; it skips it when it has the result."""
        self.key: Key = make_key("batch", 1, [one.key for one in keyed])


@task(
    name="ask",
    task_run_name="{batch.title}",
    cache_policy=ByContentKey(),
    persist_result=True,
    result_serializer="json",
)
async def ask_batch(batch: Batch) -> list[ResponseJSON]:
    """Answer a batch; the result is plain JSON."""
    batch.ran = True
    return [response_to_json(response) for response in await batch.generator.answer(batch.keyed, batch.title)]


class TaskAsk:
    """Answers through Prefect tasks; satisfies `Ask`.

    Args:
        generator: Does the work.
        results: Folder for the results of tasks.
        title: Turns a purpose into the name of a task run.
    """

    def __init__(
        self, generator: Generator, *, results: Path, title: Callable[[str], str] = lambda purpose: purpose
    ) -> None:
        mode = generator.lookup.mode
        self._generator = generator
        self._title = title
        self._task = ask_batch.with_options(
            result_storage=results, refresh_cache=mode is CacheMode.REFRESH
        ) if mode is not CacheMode.OFF else ask_batch.with_options(persist_result=False)  # fmt: skip

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        """Answer requests, in their order; see `Generator`."""
        keyed = await anyio.to_thread.run_sync(key_requests, requests)
        if len(keyed) < MIN_TASK_REQUESTS:
            return await self._generator.answer(keyed, purpose)
        batch = Batch(self._title(purpose), keyed, self._generator)
        written = await self._task(batch)
        if not batch.ran:
            self._generator.tally.count_stored(len(keyed))
        return [response_from_json(one) for one in written]
