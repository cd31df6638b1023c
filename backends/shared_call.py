"""Does something once for all who need it, at the time when the first one does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

REMEMBER_FAILURE_SECONDS = 5.0
"""Lists that were asked together come one after the other: they need not all find out for themselves."""


class SharedCall(Generic[T]):
    """Calls `make` when first called and keeps what it returns; a failure is kept for seconds only.

    A caller that is cancelled leaves the call running for the others.
    """

    def __init__(
        self, make: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._call: asyncio.Task[T] | None = None
        self._failed_at = 0.0

    async def __call__(self) -> T:
        """Return what `make` returned.

        Raises:
            BackendError: What `make` raised.
        """
        if self._call is None or self._has_failed_long_ago(self._call):
            self._call = asyncio.ensure_future(self._timed())
            self._call.add_done_callback(_retrieve)
        return await asyncio.shield(self._call)

    def forget(self) -> None:
        """Call again next time."""
        self._call = None

    async def _timed(self) -> T:
        try:
            return await self._make()
        except Exception:
            self._failed_at = self._clock()
            raise

    def _has_failed_long_ago(self, call: "asyncio.Task[T]") -> bool:
        if not call.done():
            return False
        if call.cancelled():
            return True
        long_ago = self._clock() - self._failed_at > REMEMBER_FAILURE_SECONDS
        return call.exception() is not None and long_ago


def _retrieve(call: "asyncio.Task[T]") -> None:
    # A failure that nobody waits for any more is no unretrieved error.
    if not call.cancelled():
        call.exception()
