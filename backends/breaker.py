"""A circuit breaker: while a server is away nobody sends, one looks whether it is back, all others wait.

The pattern is Nygard's ("Release It!", 2nd edition, 2018, chapter 5), with the server's own health check in
place of a trial request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import anyio

from backends.errors import AWAY, BROKEN, BackendError, ServerGoneError, is_absence

TRIP_AFTER = 3
"""Failures in a row. One alone is a connection that the server closed while it was idle."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0


class Breaker:
    """Stands before one server.

    Args:
        server: For messages.
        is_healthy: Asks the server once; never raises a BackendError.
        wait_seconds: How long a server may be away; then everything that waits for it fails, at once.
        on_return: Called when the server was away or a connection to it broke, before anything more is sent:
            it may not be the same. Not called for one that refused work and was healthy all the time.
        tell: Gets a sentence for the user when the waiting starts, goes on, and ends.
        sleep: Waits; given, so that tests need no time.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        server: str,
        is_healthy: Callable[[], Awaitable[bool]],
        *,
        wait_seconds: float,
        on_return: Callable[[], Awaitable[None]],
        tell: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._is_healthy = is_healthy
        self._wait_seconds = wait_seconds
        self._on_return = on_return
        self._tell = tell
        self._sleep = sleep
        self._clock = clock
        self._failures = 0
        self._recovery: asyncio.Task[None] | None = None
        self._gone: BaseException | None = None
        self._may_be_another = False

    @property
    def is_away(self) -> bool:
        """Whether the server is believed to be away, or is being looked for."""
        return self._recovery is not None or self._gone is not None

    def wait_up_to(self, seconds: float) -> None:
        """Wait this long from the next absence on."""
        self._wait_seconds = seconds

    def wait_no_more(self) -> None:
        """From now on look once instead of waiting, and say nothing: somebody else does both."""
        self._wait_seconds = 0.0

    async def ready(self) -> None:
        """Wait until the server is believed to be there.

        Raises:
            ServerGoneError: It stayed away for longer than allowed. Whoever comes later looks once more.
            BackendError: What `on_return` found wrong with it.
        """
        if self._gone is not None and self._recovery is None:
            self._open(self._gone, wait_seconds=0.0)
        if self._recovery is not None:
            await asyncio.shield(self._recovery)

    def succeeded(self) -> None:
        """Note that the server answered."""
        self._failures = 0

    def failed(self, error: BackendError) -> None:
        """Note a failure; opens the circuit when there were several in a row."""
        self._failures = self._failures + 1 if isinstance(error, AWAY) else 0
        if self._failures >= TRIP_AFTER:
            self.trip(error)

    def trip(self, error: BackendError) -> None:
        """Take the server for away until it was looked at, whatever was noted before."""
        if isinstance(error, BROKEN):
            self._may_be_another = True
        if not self.is_away:
            self._open(error, wait_seconds=self._wait_seconds)

    async def close(self) -> None:
        """Stop looking."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)

    def _open(self, error: BaseException, *, wait_seconds: float) -> None:
        self._recovery = asyncio.ensure_future(self._look_for(error, wait_seconds))
        self._recovery.add_done_callback(_retrieve)

    async def _look_for(self, error: BaseException, wait_seconds: float) -> None:
        # Noted here and not in a callback, which would run a moment after those who wait could ask again.
        try:
            await self._recover(error, wait_seconds)
            self._gone = None
        except BaseException as failure:
            self._gone = failure
            raise
        finally:
            self._recovery = None
            self._failures = 0

    async def _recover(self, error: BaseException, wait_seconds: float) -> None:
        started = self._clock()
        pause = FIRST_PAUSE_SECONDS
        is_known = not wait_seconds  # it was given up, and the user heard of it
        while not await self._is_back():
            if not is_known:
                self._tell(f"{self._server} is away ({error}); waiting up to {wait_seconds:.0f} s for it")
                is_known = True
            away = self._clock() - started
            if away >= wait_seconds:
                waited = f"stayed away for {self._wait_seconds:.0f} s" if self._wait_seconds else "is away"
                raise ServerGoneError(f"{self._server} {waited}: {error}")
            await self._sleep(min(pause, wait_seconds - away))
            if pause >= LONGEST_PAUSE_SECONDS:
                self._tell(f"{self._server} is still away, {away:.0f} of {wait_seconds:.0f} s")
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        if is_known and self._wait_seconds:
            self._tell(f"{self._server} is back after {self._clock() - started:.0f} s")

    async def _is_back(self) -> bool:
        """Look once, and have a server introduced that may be another one now."""
        if not await self._is_healthy():
            self._may_be_another = True
            return False
        while self._may_be_another:  # again, if one more connection broke meanwhile
            self._may_be_another = False
            try:
                await self._on_return()
            except BaseException as error:
                self._may_be_another = True
                if isinstance(error, BackendError) and is_absence(error):
                    return False  # it went away once more
                raise
        return True


def _retrieve(recovery: asyncio.Task[None]) -> None:
    # A failure that nobody waits for any more is no unretrieved error.
    if not recovery.cancelled():
        recovery.exception()
