"""An external API that speaks the OpenAI wire format: the fallback that a user keeps."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self

from aiolimiter import AsyncLimiter
from pydantic import SecretStr

from backends import wire
from backends.base import Arrival, Hooks
from backends.batching import as_they_arrive, into_lists
from backends.messages import Label, Request, Response, Usage
from backends.openai_client import OpenAIClient
from backends.retrying import Retrier


class OpenAICompatible:
    """Asks one prompt at a time, within the limits of an account.

    Labels are scored from the 20 most likely tokens, since such APIs give no others.

    Args:
        base_url: The API's address, with or without the closing `/v1`.
        api_key: Read from the environment by whoever makes this; never shown.
        requests_per_minute: HTTP requests that may start in any minute, retries included.
        max_in_flight: HTTP requests that may be open at once.
        timeout_seconds: For one HTTP request.
        retrier: How failures are tried again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: SecretStr | None,
        requests_per_minute: int = 100,
        max_in_flight: int = 2,
        timeout_seconds: float = 120.0,
        retrier: Retrier | None = None,
    ) -> None:
        self.hooks = Hooks()
        self._client = OpenAIClient(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        # One every 60/n seconds: a bucket of n would let two minutes' worth start within one minute.
        self._pace = AsyncLimiter(1, 60.0 / requests_per_minute)
        self._open = asyncio.Semaphore(max_in_flight)
        self._retrier = retrier or Retrier()

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close connections."""
        await self._client.__aexit__(kind, error, traceback)

    def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive."""
        return as_they_arrive(
            into_lists(requests, max_prompts=1), lambda indexed: self._retrier.answer(indexed, self._send)
        )

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:  # noqa: ARG002
        """Return the labels by their text: there are no token ids to be had."""
        return tuple(Label(text=text) for text in texts)

    async def _send(self, requests: Sequence[Request]) -> tuple[list[Response], Usage]:
        async with self._open, self._pace:
            if requests[0].prompt is None:
                reply = await self._client.post("/v1/chat/completions", wire.chat_body(requests[0]))
                return wire.parse_chat(requests, reply)
            reply = await self._client.post("/v1/completions", wire.completion_body(requests))
            return wire.parse_completion(requests, reply)
