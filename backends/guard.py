"""A circuit breaker for external APIs, which have no health check: any answer of theirs is a sign of life."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from backends.base import Hooks
from backends.breaker import Breaker
from backends.errors import BackendError
from backends.retrying import Retrier

T = TypeVar("T")

GLANCE_SECONDS = 10.0
"""How long a look may take."""

FIRST_CONTACT_SECONDS = 10.0
"""An API that was never there is most likely a wrong address: it is not waited for as one that was."""


class Guard:
    """Stands before one API: while it is away nothing is sent but a look now and then.

    Args:
        api: Its address, for messages.
        is_there: Asks something that costs nothing; False if no answer came, or the API's own failure did.
        retrier: Its policy says how long an API that was there may be away.
        hooks: Hears of an API that is away, or back.
    """

    def __init__(
        self, api: str, is_there: Callable[[], Awaitable[bool]], *, retrier: Retrier, hooks: Hooks
    ) -> None:

        def tell(sentence: str) -> None:  # the hooks may still be changed
            hooks.tell(sentence)

        self._max_away_seconds = retrier.policy.max_away_seconds
        self._has_answered = False
        self._breaker = Breaker(
            api,
            is_there,
            wait_seconds=min(FIRST_CONTACT_SECONDS, self._max_away_seconds),
            on_return=_nothing,
            tell=tell,
            sleep=retrier.sleep,
            clock=retrier.clock,
        )

    async def send(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call once the API is believed to be there, and learn from what comes of it.

        Raises:
            ServerGoneError: It stayed away for longer than allowed.
            BackendError: What the call raised.
        """
        await self._breaker.ready()
        try:
            result = await call()
        except BackendError as error:
            self._breaker.failed(error)
            raise
        self._breaker.succeeded()
        if not self._has_answered:
            self._has_answered = True
            self._breaker.wait_up_to(self._max_away_seconds)
        return result

    async def close(self) -> None:
        """Stop looking."""
        await self._breaker.close()


async def _nothing() -> None:
    pass
