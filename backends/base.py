"""What every backend does: answer lists of requests, each on its own terms."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from backends.errors import BackendError
from backends.messages import Label, Request, Response, Usage

Indexed = tuple[int, Request]
"""A request and its position in the list that was asked."""

Outcome = Response | BackendError
"""An answer, or the reason why there is none."""


CANCELLED = "Cancelled"
"""The outcome of an HTTP request that nobody waited for any more: the run was cancelled, or stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What came back together: the outcomes of some requests, by their position in the list asked."""

    outcomes: tuple[tuple[int, Outcome], ...]
    usage: Usage = field(default_factory=Usage)
    """Tokens of all of these answers; servers tell only the sum for a list."""
    requests_sent: int = 1
    """HTTP requests that this took, retries included."""
    halves: tuple[Sequence[Indexed], ...] = ()
    """Of a list that failed as a whole: smaller lists to send in its place. Never leaves a backend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One HTTP request for answers, as it went; for a journal."""

    server: str
    path: str
    prompts: int
    seconds: float
    outcome: str
    """"ok", the name of the error, or CANCELLED."""
    status_code: int | None = None
    usage: Usage = field(default_factory=Usage)
    attempt: int = 1
    """Which try of the same list this was; from 2 on they are retries."""
    waited_seconds: float = 0.0
    """Before it was sent: for room, for the pause after a failure, for a server that was away."""


def _watch_nothing(exchange: Exchange) -> None:
    del exchange


def _tell_nobody(sentence: str) -> None:
    del sentence


async def _accept_anything() -> None:
    pass


@dataclass(kw_only=True)
class Hooks:
    """What somebody who owns a backend wants to hear of; plain calls, set before the first question."""

    on_exchange: Callable[[Exchange], None] = _watch_nothing
    """After each HTTP request for answers."""
    tell: Callable[[str], None] = _tell_nobody
    """A sentence for the user: a server is away, or back."""
    on_contact: Callable[[], Awaitable[None]] = _accept_anything
    """Before the first question to a server, and the first after it was away or a connection to it broke:
    it may be another one. Raises a BackendError to have nothing sent."""


class Backend(Protocol):
    """Whoever answers. An async context manager: whoever opens it closes it."""

    async def __aenter__(self) -> Self:
        """Open connections; sends nothing."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close connections."""
        ...

    def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive.

        A failure of one request is an outcome and not an exception, so that the others keep their answers.
        Closing the generator early cancels what is under way.
        """
        ...

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Say how this backend can score each label with this model: by exact token ids, or by text.

        Raises:
            BackendError: The server cannot be asked.
        """
        ...


class HookedBackend(Backend, Protocol):
    """A backend that tells its owner what it does."""

    @property
    def hooks(self) -> Hooks:
        """Whom it tells; set before the first question."""
        ...
