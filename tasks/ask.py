"""The seam: what a workflow calls to have its questions answered."""

from collections.abc import Sequence
from typing import Protocol

from backends.base import Outcome
from backends.errors import AuthenticationError, BackendConnectionError, UnknownModelError
from backends.messages import Request, Response
from tasks.budget import BudgetSpentError

NOBODY_ANSWERS = (BackendConnectionError, AuthenticationError, UnknownModelError, BudgetSpentError)
"""Not the fault of a prompt: a run that hears it stops, and no question counts as failed."""


class Ask(Protocol):
    """Whatever answers: a scripted fake, a store in replay, or a server behind a store."""

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        """Answer requests, in their order.

        Args:
            requests: As many as can be asked at once.
            purpose: For people who watch; never part of a key.

        Raises:
            UnansweredError: A group of the errors of requests without an answer; the others are stored.
        """
        ...


class AskEach(Protocol):
    """Answers where a question may stay without an answer, and the others are of use nevertheless."""

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        """Return an answer, or the reason why there is none, for each request, in their order."""
        ...
