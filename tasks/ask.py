"""The seam: what a workflow calls to have its questions answered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard

from backends.base import Outcome
from backends.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    ConnectionLostError,
    UnknownModelError,
)
from backends.messages import Request, Response
from tasks.budget import BudgetSpentError

NOBODY_ANSWERS = (BackendConnectionError, AuthenticationError, UnknownModelError, BudgetSpentError)
"""Not the fault of a prompt: a run that hears it stops, and no question counts as failed."""

LOST_IN_A_ROW = 8
"""Questions over which the connection broke, with no answer to another between them, until it is no fault of
theirs: something between here and the server takes connections and lets none through."""


def nobody_answers(outcome: object) -> TypeGuard[BackendError]:
    """Say whether whoever is asked answers nobody; not where the connection broke over this one prompt."""
    return isinstance(outcome, NOBODY_ANSWERS) and not isinstance(outcome, ConnectionLostError)


@dataclass(kw_only=True, slots=True)
class Stop:
    """Tells a run that nobody answers any more: what is on its way arrives, and nothing more is asked."""

    errors: list[BackendError] = field(default_factory=list[BackendError])
    """Why, the first first."""
    _lost: int = 0

    def hear(self, outcomes: Sequence[Outcome]) -> None:
        """Take in what came of questions, in their order."""
        for one in outcomes:
            is_lost = isinstance(one, ConnectionLostError)
            self._lost = self._lost + 1 if is_lost else 0
            if nobody_answers(one) or (is_lost and self._lost >= LOST_IN_A_ROW):
                self.errors.append(one)

    def guard(self, ask: "AskEach") -> "AskEach":
        """Return what asks until nobody answers, and raises from then on."""

        async def guarded(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
            self.require_an_answer()
            outcomes = await ask(requests, purpose=purpose)
            self.hear(outcomes)
            self.require_an_answer()
            return outcomes

        return guarded

    def require_an_answer(self) -> None:
        """Raise why nobody answers, if that is so.

        Raises:
            BackendError: The first reason.
        """
        if self.errors:
            raise self.errors[0]


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
