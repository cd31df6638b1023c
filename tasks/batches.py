"""One Prefect task for one batch of questions: seen in the UI, skipped when all of it was answered before."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio.to_thread
from prefect import task
from prefect.filesystems import LocalFileSystem

from backends.base import Outcome
from backends.messages import Request, Response
from cache.keys import Key, make_key
from cache.lookup import CacheMode
from tasks.generate import Generator, UnansweredError, all_answered
from tasks.keys import KeyedRequest, key_requests
from tasks.policies import ByContentKey

MIN_TASK_REQUESTS = 2
"""A single question gets no task run of its own: each costs the Prefect server 31 ms and 19 KB."""


class Batch:
    """Questions asked together. A plain class, because Prefect walks through lists and dataclasses."""

    def __init__(self, title: str, keyed: Sequence[KeyedRequest], generator: Generator) -> None:
        self.title = title
        self.keyed = keyed
        self.generator = generator
        self.outcomes: list[Outcome] | None = None
        """What came of it, if Prefect ran the task; it skips it when it has the receipt."""
        self.key: Key = make_key("batch", 1, [one.key for one in keyed])


class Receipts(LocalFileSystem):
    """A folder for the results of tasks that reads JSON only.

    Prefect reads a result with the serializer that its file names, which may be one that unpickles.
    """

    _block_type_name = "vllm-flows receipts"
    _block_type_slug = "vllm-flows-receipts"

    async def aread_path(self, path: str) -> bytes:
        """Return a result; one that is not JSON is no result."""
        return _only_json(await super().aread_path(path))

    def read_path(self, path: str, _sync: bool | None = None) -> bytes:  # noqa: FBT001 - Prefect's signature
        """Return a result; one that is not JSON is no result."""
        del _sync
        return _only_json(Path(self._resolve_path(path)).read_bytes())


def _only_json(record: bytes) -> bytes:
    serializer = json.loads(record)["metadata"]["serializer"]
    if serializer["type"] != "json":
        raise ValueError("the result of a task is not JSON and is not read")
    return record


def _never(*_: object) -> bool:
    return False


@task(
    name="ask",
    task_run_name="{batch.title}",
    cache_policy=ByContentKey(),
    persist_result=True,
    result_serializer="json",
    # Prefect logs the traceback of a failed task, with each error of the group, unless it could have been
    # tried again and a condition was against it. What failed is told by the flow, in one sentence.
    retries=1,
    retry_condition_fn=_never,
)
async def ask_batch(batch: Batch) -> dict[str, int]:
    """Answer a batch. The result is a receipt: the answers are in the store, sealed, and nowhere else.

    A batch that partly failed is a failed task, so it is no receipt, and a rerun asks again for the rest.
    """
    batch.outcomes = await batch.generator.outcomes(batch.keyed, batch.title)
    return {"answered": len(all_answered(batch.keyed, batch.outcomes, batch.title))}


class TaskAsk:
    """Answers through Prefect tasks; satisfies `Ask`.

    Args:
        generator: Does the work.
        results: Folder for the receipts of tasks.
        title: Turns a purpose into the name of a task run.
    """

    def __init__(
        self, generator: Generator, *, results: Path, title: Callable[[str], str] = lambda purpose: purpose
    ) -> None:
        mode = generator.lookup.mode
        self._generator = generator
        self._title = title
        if mode is CacheMode.OFF:
            self._task = ask_batch.with_options(persist_result=False)
            return
        results.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._task = ask_batch.with_options(refresh_cache=mode is CacheMode.REFRESH)
        # Not as an option: there Prefect takes only storage that its server knows.
        self._task.result_storage = Receipts(basepath=str(results))

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        """Answer requests, in their order; see `Generator`."""
        keyed = await anyio.to_thread.run_sync(key_requests, requests)
        return all_answered(keyed, await self._outcomes(keyed, purpose), purpose)

    async def outcomes(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        """Return an answer or a reason for each request, in their order."""
        return await self._outcomes(await anyio.to_thread.run_sync(key_requests, requests), purpose)

    async def _outcomes(self, keyed: Sequence[KeyedRequest], purpose: str) -> list[Outcome]:
        if len(keyed) < MIN_TASK_REQUESTS:
            return await self._generator.outcomes(keyed, purpose)
        batch = Batch(self._title(purpose), keyed, self._generator)
        try:
            await self._task(batch)
        except UnansweredError:
            if batch.outcomes is None:
                raise
        # A skipped task has its answers in the store; what is damaged there is noticed, as always.
        return batch.outcomes or await self._generator.outcomes(keyed, purpose)
