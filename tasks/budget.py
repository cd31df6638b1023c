"""What a run may spend: when it is spent nothing more is sent, and the run can go on another day."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backends.errors import BackendError
from backends.messages import Request, Usage, prompt_text

FIRST_GUESS = 1 / 3
"""Tokens a character, until answers tell; rather too many than too few."""


class BudgetSpentError(BackendError):
    """Not sent, because the run's budget does not cover it."""


@dataclass(kw_only=True)
class Budget:
    """Limits on what is sent, and what has been spent of them.

    What is on its way counts with an estimate: its characters times the tokens that characters have cost so
    far in this run, and all the output that it may have. So a limit is rather missed by a little than passed.
    """

    max_requests: int | None = None
    """Questions sent to a model; answers from the store are free, and so are retries."""
    max_tokens: int | None = None
    """Tokens in and out."""
    max_cost_usd: float | None = None
    cost_of: Callable[[Usage], float] = lambda usage: 0.0  # noqa: ARG005
    """US dollars; nothing for a server of one's own."""
    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    _characters: int = 0
    _reserved: dict[int, Usage] = field(default_factory=dict[int, Usage])
    _planned: Usage = field(default_factory=Usage)
    """The sum of what is reserved."""

    @property
    def cost_usd(self) -> float:
        """What has been spent."""
        return self.cost_of(self.usage)

    def admit(self, requests: Sequence[Request]) -> int:
        """Reserve for as many of these requests as the budget covers, in their order; say how many."""
        for place, request in enumerate(requests):
            expected = self._expected(request)
            if self._first_limit_passed(expected):
                return place
            self.requests += 1
            self._reserved[id(request)] = expected
            self._planned += expected
        return len(requests)

    def refusal(self) -> BudgetSpentError:
        """Say which limit stands in the way, and what to do."""
        limits = {
            f"max_requests ({self.max_requests})": self.max_requests is not None,
            f"max_tokens ({self.max_tokens})": self.max_tokens is not None,
            f"max_cost_usd ({self.max_cost_usd})": self.max_cost_usd is not None,
        }
        named = ", ".join(name for name, is_set in limits.items() if is_set)
        return BudgetSpentError(
            f"the run's budget is spent ({named}): {self.requests} questions and "
            f"{self.usage.input_tokens + self.usage.output_tokens} tokens, {self.cost_usd:.4f} USD; "
            "everything answered is stored, raise the limit and run it again to go on"
        )

    def settle(self, requests: Sequence[Request], usage: Usage) -> None:
        """Put what answers have cost in place of what was reserved for them."""
        self.usage += usage
        for request in requests:
            if reserved := self._reserved.pop(id(request), None):
                self._planned = self._planned.without(reserved)
            self._characters += len(prompt_text(request))

    def _expected(self, request: Request) -> Usage:
        rate = self.usage.input_tokens / self._characters if self._characters else FIRST_GUESS
        return Usage(
            input_tokens=int(len(prompt_text(request)) * rate) + 1, output_tokens=request.sampling.max_tokens
        )

    def _first_limit_passed(self, expected: Usage) -> bool:
        if self.max_requests is not None and self.requests >= self.max_requests:
            return True
        if self.max_tokens is None and self.max_cost_usd is None:
            return False
        then = self.usage + self._planned + expected
        if self.max_tokens is not None and then.input_tokens + then.output_tokens > self.max_tokens:
            return True
        return self.max_cost_usd is not None and self.cost_of(then) > self.max_cost_usd
