"""What several tests need: requests, retriers that do not sleep, and the outcomes of a backend."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from backends.base import Arrival, Backend, Outcome
from backends.errors import BackendError
from backends.messages import Label, Message, Request, Response, SamplingParams
from backends.retrying import Retrier, RetryPolicy
from cache.keys import Key, make_key

MODEL = "fake-model"


def sampling(max_tokens: int = 8, **changes: Any) -> SamplingParams:  # noqa: ANN401 - any field
    return SamplingParams(max_tokens=max_tokens, **changes)


def completion(prompt: str, **changes: Any) -> Request:  # noqa: ANN401 - any field
    return replace(Request(model=MODEL, sampling=sampling(), prompt=prompt), **changes)


def completions(count: int) -> list[Request]:
    return [completion(f"question {number}") for number in range(count)]


def chat(text: str, **changes: Any) -> Request:  # noqa: ANN401 - any field
    messages = (Message(role="user", content=text),)
    return replace(Request(model=MODEL, sampling=sampling(), messages=messages), **changes)


def scoring(prompt: str, labels: Sequence[Label], **changes: Any) -> Request:  # noqa: ANN401 - any field
    return completion(prompt, **{"labels": tuple(labels), "sampling": sampling(1), **changes})


class Dice(random.Random):
    """Dice that always fall on the lowest, or on the highest, number asked for."""

    def __init__(self, *, highest: bool) -> None:
        super().__init__(0)
        self.highest = highest

    def uniform(self, a: float, b: float) -> float:
        return b if self.highest else a


class Naps:
    """A sleep that takes no time and remembers how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def retrier(self, policy: RetryPolicy | None = None, *, highest: bool = False) -> Retrier:
        return Retrier(policy=policy or RetryPolicy(), sleep=self, rng=Dice(highest=highest))


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what another thread or task does; half a minute is never."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for in another thread
            await asyncio.sleep(0.01)


async def arrivals_of(backend: Backend, requests: Sequence[Request]) -> list[Arrival]:
    async with aclosing(backend.answer(requests)) as arrivals:
        return [arrival async for arrival in arrivals]


async def outcomes_of(backend: Backend, requests: Sequence[Request]) -> list[Outcome]:
    """Ask, check that every request has exactly one outcome, and return them in the requests' order."""
    pairs = [pair for arrival in await arrivals_of(backend, requests) for pair in arrival.outcomes]
    assert sorted(index for index, _ in pairs) == list(range(len(requests)))
    return [outcome for _, outcome in sorted(pairs, key=lambda pair: pair[0])]


async def responses_of(backend: Backend, requests: Sequence[Request]) -> list[Response]:
    """Ask, and insist on an answer to everything."""
    outcomes = await outcomes_of(backend, requests)
    assert [outcome for outcome in outcomes if isinstance(outcome, BackendError)] == []
    return cast("list[Response]", outcomes)


async def error_of(backend: Backend, request: Request) -> BackendError:
    """Ask, and insist on a failure."""
    (outcome,) = await outcomes_of(backend, [request])
    assert isinstance(outcome, BackendError)
    return outcome


def some_key(name: object) -> Key:
    return make_key("test", 1, name)
