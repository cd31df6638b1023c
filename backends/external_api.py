"""What external APIs share: one prompt a request, within an account's limits, and none while one is away."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self

from backends.base import Arrival, Hooks
from backends.guard import Guard
from backends.limiting import Limiter, Limits
from backends.messages import Label, Request, Response, Usage
from backends.retrying import Retrier


class ExternalAPI(ABC):
    """Asks an API that takes one prompt at a time; what its wire looks like, a subclass knows.

    Args:
        root: Its address, for messages.
        limits: What the account may do.
        retrier: How failures are tried again.
        hooks: What the owner wants to hear of.
    """

    def __init__(
        self,
        root: str,
        *,
        limits: Limits | Limiter | None,
        retrier: Retrier | None,
        hooks: Hooks | None,
    ) -> None:
        self.root = root
        self.hooks = hooks or Hooks()
        self._limiter = limits if isinstance(limits, Limiter) else Limiter(limits or Limits())
        self._retrier = retrier or Retrier()
        self._guard = Guard(root, self._is_there, retrier=self._retrier, hooks=self.hooks)

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close connections."""
        await self._guard.close()
        await self._close()

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive; closed early, cancel the rest."""
        running = {
            asyncio.ensure_future(self._retrier.answer([(index, request)], self._send))
            for index, request in enumerate(requests)
        }
        try:
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @abstractmethod
    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Return what this API needs to score these labels.

        Raises:
            BackendError: It cannot score them.
        """

    @abstractmethod
    async def _post(self, request: Request) -> tuple[Response, Usage]:
        """Send one HTTP request and read its answer."""

    @abstractmethod
    async def _is_there(self) -> bool:
        """Ask for something that costs nothing; False if no answer came, or the API's own failure did."""

    @abstractmethod
    async def _close(self) -> None:
        """Close all connections."""

    def _check(self, request: Request) -> None:  # noqa: B027 - most APIs have nothing to refuse here
        """Refuse, before it costs anything, what the API would refuse.

        Raises:
            BackendError: It would.
        """

    async def _send(self, requests: Sequence[Request]) -> tuple[list[Response], Usage]:
        (request,) = requests
        self._check(request)

        async def post() -> tuple[list[Response], Usage]:
            response, usage = await self._post(request)
            return [response], usage

        return await self._guard.send(lambda: self._limiter.send(requests, post))
