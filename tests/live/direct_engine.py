"""Run by test_live_engine.py in the Python of a vLLM environment: one engine, and what is asked of it.

    direct_engine.py all|wait MODEL FOUND CLIENT

`all` asks everything and writes FOUND (JSON); `wait` asks once, writes FOUND, then waits to be killed. CLIENT
holds the packages that the vLLM environment lacks (tenacity); its own come first.
"""

import asyncio
import json
import multiprocessing
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[4])

from backends.base import Outcome
from backends.direct.watchdog import engines_below
from backends.messages import Request, Response, SamplingParams
from backends.vllm_engine import EngineModel, VLLMEngine
from tests.live.engine_requests import CALLERS, ENGINE_ARGS, claims, structured, texts, written

THREADS = 4
FEW_TOKENS = 4
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 30.0
RUNNING = re.compile(r"^vllm:num_requests_running\{.*\} (\S+)$", re.MULTILINE)
STEPS = re.compile(r"^vllm:iteration_tokens_total_count\{.*\} (\S+)$", re.MULTILINE)
GENERATED = re.compile(r"^vllm:generation_tokens_total\{.*\} (\S+)$", re.MULTILINE)


async def outcome_of(backend: VLLMEngine, request: Request) -> Outcome:
    async for arrival in backend.answer([request]):
        return arrival.outcomes[0][1]
    raise AssertionError("no outcome")


async def response_of(backend: VLLMEngine, request: Request) -> Response:
    outcome = await outcome_of(backend, request)
    assert isinstance(outcome, Response), outcome
    return outcome


def number(pattern: re.Pattern[str], backend: VLLMEngine) -> float:
    return sum(float(value) for value in pattern.findall(backend.engine.library.metrics()))


def ask_from_many_threads(backend: VLLMEngine, requests: list[Request]) -> dict[str, Any]:
    """Ask each request as a caller of its own, on several loops, and look how many run at the same time."""
    running: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            running.append(number(RUNNING, backend))

    async def ask(part: list[Request]) -> list[Response]:
        return await asyncio.gather(*(response_of(backend, request) for request in part))

    def ask_here(part: list[Request]) -> list[Response]:
        return asyncio.run(ask(part))

    looker = threading.Thread(target=look)
    looker.start()
    started, steps, tokens = time.monotonic(), number(STEPS, backend), number(GENERATED, backend)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [requests[place::THREADS] for place in range(THREADS)]
        answered = [one for part in pool.map(ask_here, parts) for one in part]
    seconds = time.monotonic() - started
    done.set()
    looker.join()
    return {
        "most_running": max(running),
        "answered": len(answered),
        "seconds": seconds,
        "steps": number(STEPS, backend) - steps,
        "tokens": number(GENERATED, backend) - tokens,
    }


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(LOOK_SECONDS)


async def leave_early(backend: VLLMEngine) -> dict[str, Any]:
    """Stop waiting for a long answer, and look whether the engine still works on it."""
    sampling = SamplingParams(max_tokens=4000, extra_body={"ignore_eos": True})
    long = Request(model=backend.model.name, prompt="Once upon a time", sampling=sampling)
    waiting = asyncio.create_task(outcome_of(backend, long))
    await until(lambda: number(RUNNING, backend) > 0)
    ran = number(RUNNING, backend)
    waiting.cancel()
    await asyncio.wait([waiting])
    await until(lambda: number(RUNNING, backend) == 0)
    return {"ran": ran, "still_runs": number(RUNNING, backend)}


async def ask_all(backend: VLLMEngine) -> dict[str, Any]:
    model = backend.model.name
    labels = await backend.find_labels(model, ["True", "False"])
    compared = [*texts(model), *claims(model, labels, 8), structured(model)]
    responses = [written(await response_of(backend, request)) for request in compared]
    found: dict[str, Any] = {
        "labels": [[label.text, list(label.token_ids)] for label in labels],
        "responses": responses,
        "token_ids": [await backend.engine.token_ids(request) for request in compared],
        "weights": await backend.weights(model),
        "canary": [dict(one) for one in await backend.canary(model) or ()],
        "refused": str(
            await outcome_of(
                backend,
                Request(
                    model=model, prompt="x", sampling=SamplingParams(max_tokens=1, extra_body={"best_of": 2})
                ),
            )
        ),
        "too_long": type(
            await outcome_of(
                backend, Request(model=model, prompt="x " * 9000, sampling=SamplingParams(max_tokens=1))
            )
        ).__name__,
    }
    mixed = [
        one
        for pair in zip(claims(model, labels, CALLERS // 2), likely(model, CALLERS // 2), strict=True)
        for one in pair
    ]
    found["batch"] = await asyncio.to_thread(ask_from_many_threads, backend, mixed)
    found["left"] = await leave_early(backend)
    return found


def likely(model: str, count: int) -> list[Request]:
    few = SamplingParams(max_tokens=FEW_TOKENS)
    return [
        Request(model=model, prompt=f"In room {i} of the house, the sky is", sampling=few, logprobs=5)
        for i in range(count)
    ]


async def main(work: str, model: str, found: Path) -> None:
    backend = VLLMEngine(EngineModel(path=model, args=ENGINE_ARGS))
    said = await ask_all(backend) if work == "all" else {}
    await response_of(backend, texts(backend.model.name)[1])
    below = engines_below(multiprocessing.current_process().pid or 0)
    written_first = found.with_suffix(".part")
    written_first.write_text(json.dumps({**said, "processes": below}))
    written_first.rename(found)
    if work == "wait":
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
