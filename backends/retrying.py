"""Sends a list of requests until each has an answer or a reason why not: backoff, then halving."""

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from backends.base import Arrival, Indexed, Outcome
from backends.errors import BackendError
from backends.messages import Request, Response, Usage

T = TypeVar("T")

Send = Callable[[Sequence[Request]], Awaitable[tuple[list[Response], Usage]]]
"""One HTTP request for a list; raises a BackendError for the whole list."""

MAX_DOUBLINGS = 30
"""More make no pause longer, and after a thousand of them the number would be none that a float can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: before retry i, uniform(0, min(cap, initial * 2**(i-1))).

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """

    max_attempts: int = 8
    """A server that asks for time (429, 503) is asked more often, see max_away_seconds."""
    initial_seconds: float = 1.0
    max_seconds: float = 30.0
    max_retry_after_seconds: float = 600.0
    """A server that asks for a longer pause than this is waited for this long."""

    max_away_seconds: float = 600.0
    """A server that was there and went away is waited for this long; nothing is sent meanwhile. One that is
    there and asks for time is asked again for so long."""

    def wait_seconds(self, attempt: int, error: BackendError | None, rng: random.Random) -> float:
        """Say how long to wait after attempt number `attempt` (from 1) has failed with `error`."""
        doublings = min(attempt - 1, MAX_DOUBLINGS)
        jitter = rng.uniform(0, min(self.max_seconds, self.initial_seconds * 2**doublings))
        asked = error.retry_after_seconds if error else None
        return jitter if asked is None else min(asked, self.max_retry_after_seconds) + jitter


@dataclass(kw_only=True)
class Retrier:
    """Applies a policy; the pause, the dice and the clock are given, so that tests need none of them."""

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    rng: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    """Seconds that only go up, as `sleep` lets them pass."""
    leaves: tuple[type[BackendError], ...] = ()
    """Errors that are not tried again here, since somebody else does it better."""

    def limited(self, max_attempts: int, max_seconds: float) -> "Retrier":
        """Return a retrier that gives up sooner, also on a server that asks for time."""
        policy = replace(
            self.policy,
            max_attempts=min(max_attempts, self.policy.max_attempts),
            max_seconds=min(max_seconds, self.policy.max_seconds),
            max_away_seconds=0.0,
        )
        return replace(self, policy=policy)

    async def call(self, send: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds, or raise the last error.

        Raises:
            BackendError: It is not retryable, or was retried as often, or for as long, as the policy and its
                class allow.
        """
        seen: Counter[type[BackendError]] = Counter()
        started = self.clock()

        def is_worth_another(error: BaseException) -> bool:
            if not isinstance(error, BackendError) or not error.retryable or isinstance(error, self.leaves):
                return False
            seen[type(error)] += 1
            return error.max_retries is None or seen[type(error)] <= error.max_retries

        def is_enough(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, BackendError) and error.patient:
                waited = max(state.idle_for, self.clock() - started)
                return (
                    state.attempt_number >= self.policy.max_attempts
                    and waited >= self.policy.max_away_seconds
                )
            others = sum(count for kind, count in seen.items() if not kind.patient)
            return others >= self.policy.max_attempts

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            known = error if isinstance(error, BackendError) else None
            return self.policy.wait_seconds(state.attempt_number, known, self.rng)

        async def attempt() -> T:  # tenacity does not await what a plain lambda returns
            return await send()

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_worth_another),
            stop=is_enough,
            wait=wait,
            sleep=self.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    async def answer(self, indexed: Sequence[Indexed], send: Send) -> Arrival:
        """Answer a list, or cut it into halves where one prompt may spoil it, until that one stands alone."""
        sent = 0

        async def send_once() -> tuple[list[Response], Usage]:
            nonlocal sent
            sent += 1
            return await send([request for _, request in indexed])

        try:
            responses, usage = await self.call(send_once)
        except BackendError as error:
            if error.blames_prompt and len(indexed) > 1:
                middle = len(indexed) // 2
                return Arrival(outcomes=(), requests_sent=sent, halves=(indexed[:middle], indexed[middle:]))
            return Arrival(outcomes=tuple((index, error) for index, _ in indexed), requests_sent=sent)
        outcomes: list[tuple[int, Outcome]] = [
            (index, response) for (index, _), response in zip(indexed, responses, strict=True)
        ]
        return Arrival(outcomes=tuple(outcomes), usage=usage, requests_sent=sent)
