"""Breaks off what a server will never answer: one that is frozen closes no connection."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from backends.errors import BackendConnectionError, BackendError, BackendTimeoutError, ServerSilentError

SILENT_SECONDS = 15.0
"""A server that answers nothing for so long is asked for its health; twice, since a busy one may be late."""


class Listener:
    """Listens for one server while something is under way, and hangs up when it says nothing any more.

    Args:
        server: For messages.
        is_healthy: Asks the server once; never raises a BackendError.
        on_silence: Called before what is under way fails, with the error that it fails with.
        sleep: Waits; given, so that tests need no time.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        server: str,
        is_healthy: Callable[[], Awaitable[bool]],
        on_silence: Callable[[ServerSilentError], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._is_healthy = is_healthy
        self._on_silence = on_silence
        self._sleep = sleep
        self._clock = clock
        self._heard_at = 0.0
        self._under_way: set[asyncio.Timeout] = set()
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def until_silent(self) -> AsyncGenerator[None]:
        """Wait for an answer inside.

        Raises:
            ServerSilentError: The server answered nothing for SILENT_SECONDS, nor whether it is healthy.
        """
        if not self._under_way:
            self._heard_at = self._clock()
        try:
            async with asyncio.timeout(None) as patience:
                self._under_way.add(patience)
                if self._watch is None or self._watch.done():
                    self._watch = asyncio.create_task(self._keep_watch())
                try:
                    yield
                    self._heard_at = self._clock()
                except BackendError as error:
                    if not isinstance(error, (BackendConnectionError, BackendTimeoutError)):
                        self._heard_at = self._clock()
                    raise
                finally:
                    self._under_way.discard(patience)
        except TimeoutError as error:
            raise self._silence() from error

    async def close(self) -> None:
        """Stop listening."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _keep_watch(self) -> None:
        while self._under_way:
            seconds = self._heard_at + SILENT_SECONDS - self._clock()
            if seconds > 0:
                await self._sleep(seconds)
            elif await self._is_healthy() or await self._is_healthy():
                self._heard_at = self._clock()
            else:
                self._hang_up()

    def _hang_up(self) -> None:
        self._on_silence(self._silence())
        for patience in self._under_way:
            patience.reschedule(asyncio.get_running_loop().time())
        self._under_way.clear()

    def _silence(self) -> ServerSilentError:
        return ServerSilentError(f"{self._server} has gone silent")
