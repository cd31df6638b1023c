"""Keeps to what an external API allows an account: requests and tokens in a minute, and its pauses."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
from aiolimiter import AsyncLimiter

from backends.errors import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    RateLimitError,
    ServerUnavailableError,
)
from backends.messages import Request, Response, Usage

T = TypeVar("T")

MINUTE_SECONDS = 60.0
LONGEST_NAP_SECONDS = 1.0
"""Tokens come back when an answer was shorter than allowed, so a wait looks again at least this often."""
LONGEST_PAUSE_SECONDS = 600.0
"""As `RetryPolicy.max_retry_after_seconds`."""

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
"""OpenAI's rule of thumb for English, and about what a chat template adds; the usage corrects both."""

REFUSALS = (BadRequestError, AuthenticationError, RateLimitError)
"""After these nothing was computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an account may do."""

    requests_per_minute: int = 100
    """HTTP requests that may start, retries included."""
    tokens_per_minute: int | None = None
    """Of prompts and answers together; None: not limited."""
    max_in_flight: int = 2
    """HTTP requests open at once."""


def estimated_tokens(request: Request) -> int:
    """Say how many tokens a request may cost: about those of the prompt, and all that the answer may have."""
    texts = [request.prompt] if request.prompt is not None else [turn.content for turn in request.messages]
    prompt = sum(math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN) for text in texts)
    return prompt + TOKENS_PER_MESSAGE * len(request.messages) + request.sampling.max_tokens


class Limiter:
    """Holds requests back until the account may send them. One per account and process.

    Args:
        limits: What is allowed.
        clock: Seconds, for the tokens and the pauses; the requests' pace follows the event loop's time.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        # One every 60/n seconds: a bucket of n would let two minutes' worth start within one minute.
        self._pace = AsyncLimiter(1, MINUTE_SECONDS / limits.requests_per_minute)
        self._open = asyncio.Semaphore(limits.max_in_flight)
        self.tokens = TokenBudget(limits.tokens_per_minute, clock=clock, sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self._paused_until = -math.inf

    async def send(
        self, requests: Sequence[Request], send: Callable[[], Awaitable[tuple[list[Response], Usage]]]
    ) -> tuple[list[Response], Usage]:
        """Send when it is allowed.

        Raises:
            BackendError: What `send` raises; or a BadRequestError for more tokens than a minute has.
        """
        async with self._open:
            charge = await self.tokens.take(sum(map(estimated_tokens, requests)))
            try:
                async with self._pace:
                    await self._pause()
            except BaseException:  # cancelled before anything was sent
                charge.tokens = 0
                raise
            try:
                responses, usage = await send()
            except BackendError as error:
                self._heed(error, charge)
                raise
            if usage.input_tokens:  # else the API does not say, and the estimate stands
                charge.tokens = usage.input_tokens + usage.output_tokens
            return responses, usage

    async def _pause(self) -> None:
        while (seconds := self._paused_until - self._clock()) > 0:
            await self._sleep(seconds)

    def _heed(self, error: BackendError, charge: "Charge") -> None:
        if isinstance(error, REFUSALS):
            charge.tokens = 0
        if isinstance(error, RateLimitError | ServerUnavailableError) and error.retry_after_seconds:
            # It is the account that has to wait, not this request alone.
            seconds = min(error.retry_after_seconds, LONGEST_PAUSE_SECONDS)
            self._paused_until = max(self._paused_until, self._clock() + seconds)


@dataclass(slots=True)
class Charge:
    """Tokens that a request took from the budget: first as estimated, then as told."""

    at: float
    tokens: int


@dataclass(kw_only=True)
class TokenBudget:
    """Tokens that may be spent in any 60 seconds, first come first served.

    aiolimiter's bucket is not used for them: it takes no tokens back, lets small requests overtake a large
    one for ever, and would let two minutes' worth go within one.
    """

    per_minute: int | None = field(kw_only=False)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _charges: deque[Charge] = field(default_factory=deque[Charge], init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def take(self, tokens: int) -> Charge:
        """Wait until so many tokens may be spent, and spend them; write the real number into the charge.

        Raises:
            BadRequestError: They are more than a minute has, so no waiting would help.
        """
        if self.per_minute is None:
            return Charge(0.0, tokens)
        if tokens > self.per_minute:
            raise BadRequestError(
                f"a request of about {tokens} tokens (prompt and max_tokens) is more than the "
                f"{self.per_minute} that are allowed in a minute; lower max_tokens, or raise the provider's "
                "TOKENS_PER_MINUTE"
            )
        async with self._turn:
            while self._spent() + tokens > self.per_minute:
                oldest = self._charges[0].at + MINUTE_SECONDS - self.clock()
                await self.sleep(min(max(oldest, 0.0), LONGEST_NAP_SECONDS))
            charge = Charge(self.clock(), tokens)
            self._charges.append(charge)
            return charge

    def _spent(self) -> int:
        start = self.clock() - MINUTE_SECONDS
        while self._charges and self._charges[0].at <= start:
            self._charges.popleft()
        return sum(charge.tokens for charge in self._charges)
