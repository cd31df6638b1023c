"""What a run may spend: when it is spent nothing more is sent, and the run can go on another day."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from backends.errors import BackendError
from backends.messages import Request, Usage, prompt_text

FIRST_GUESS = 1 / 3
"""Tokens a character, until answers tell; rather too many than too few."""

ENOUGH_CHARACTERS = 10_000
"""Prompts of which answers have told the tokens, before their rate is believed: short ones are all unlike."""

CostOf = Callable[[Usage], float]
"""From tokens to US dollars."""


def free(usage: Usage) -> float:
    """Cost nothing, as a server of one's own does."""
    del usage
    return 0.0


class BudgetSpentError(BackendError):
    """Not sent, because the run's budget does not cover it."""


@dataclass(frozen=True, slots=True)
class _Amount:
    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "_Amount") -> "_Amount":
        return _Amount(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: "_Amount") -> "_Amount":
        return _Amount(self.tokens - other.tokens, self.usd - other.usd)


@dataclass(kw_only=True)
class Budget:
    """Limits on what is sent, and what has been spent of them, by all models of a run together.

    What is on its way counts with an estimate: its characters times the tokens that characters have cost so
    far in this run, and all the output that it may have. So a limit is rather missed by a little than passed,
    and near it fewer are on their way at once.
    """

    max_requests: int | None = None
    """Questions sent to a model; answers from the store are free. One whose answer is of no use counts as
    often as it was sent; the retries of a list that is under way are not stopped."""
    max_tokens: int | None = None
    """Tokens in and out."""
    max_cost_usd: float | None = None
    requests: int = 0
    _spent: _Amount = field(default_factory=_Amount)
    _reserved: dict[int, _Amount] = field(default_factory=dict[int, _Amount])
    _on_its_way: _Amount = field(default_factory=_Amount)
    """The sum of what is reserved."""
    _characters: int = 0
    _input_tokens: int = 0
    _freed: anyio.Event = field(default_factory=anyio.Event)
    """Set, and replaced, when something is on its way no more."""

    @property
    def tokens(self) -> int:
        """Tokens in and out so far."""
        return self._spent.tokens

    @property
    def cost_usd(self) -> float:
        """US dollars so far."""
        return self._spent.usd

    def admit(self, requests: Sequence[Request], cost_of: CostOf = free) -> int:
        """Reserve for as many of these requests as the budget covers, in their order; say how many."""
        for place, request in enumerate(requests):
            expected = self._expected(request, cost_of)
            if self._is_over(self._spent + self._on_its_way + expected):
                return place
            self.requests += 1
            self._reserved[id(request)] = self._reserved.get(id(request), _Amount()) + expected
            self._on_its_way += expected
        return len(requests)

    async def admitted(self, requests: Sequence[Request], cost_of: CostOf = free) -> int:
        """Reserve as `admit` does, but wait rather than admit none while what is on its way may cost less."""
        while not (number := self.admit(requests, cost_of)):
            expected = self._expected(requests[0], cost_of)
            if not self._reserved or self._is_over(self._spent + expected):
                return 0
            await self._freed.wait()
        return number

    def settle(self, answered: Sequence[Request], usage: Usage, cost_of: CostOf = free) -> None:
        """Put what answers have cost in place of what was reserved for them.

        Where the server does not say it, what was reserved is taken for spent.
        """
        reserved = self.release(answered)
        if answered and not usage.input_tokens:
            self._spent += reserved
            return
        self._spent += _Amount(usage.input_tokens + usage.output_tokens, cost_of(usage))
        self._input_tokens += usage.input_tokens
        self._characters += sum(len(prompt_text(request)) for request in answered)

    def waste(self, prompts: int, usage: Usage, cost_of: CostOf = free) -> None:
        """Count an HTTP request that the server worked on, and whose answers are of no use."""
        self.requests += prompts
        self._spent += _Amount(usage.input_tokens + usage.output_tokens, cost_of(usage))

    def release(self, requests: Sequence[Request]) -> _Amount:
        """Drop what is reserved for requests that are on their way no more; say how much it was."""
        amount = _Amount()
        for request in requests:
            amount += self._reserved.pop(id(request), _Amount())
        self._on_its_way -= amount
        self._freed.set()
        self._freed = anyio.Event()
        return amount

    def refusal(self) -> BudgetSpentError:
        """Say which limits there are, what was spent of them, and what to do."""
        limits = {"max_requests": self.max_requests, "max_tokens": self.max_tokens}
        limits |= {"max_cost_usd": self.max_cost_usd}
        named = ", ".join(f"{name} ({limit:g})" for name, limit in limits.items() if limit is not None)
        return BudgetSpentError(
            f"the run's budget is spent, {named}: {self.requests} questions, {self.tokens} tokens and "
            f"{self.cost_usd:.4f} USD so far, and more was wanted; everything answered is stored, so raise "
            "the limit and run it again to go on"
        )

    def _expected(self, request: Request, cost_of: CostOf) -> _Amount:
        is_known = self._characters >= ENOUGH_CHARACTERS
        rate = self._input_tokens / self._characters if is_known else FIRST_GUESS
        usage = Usage(
            input_tokens=int(len(prompt_text(request)) * rate) + 1, output_tokens=request.sampling.max_tokens
        )
        return _Amount(usage.input_tokens + usage.output_tokens, cost_of(usage))

    def _is_over(self, amount: _Amount) -> bool:
        return (
            (self.max_requests is not None and self.requests >= self.max_requests)
            or (self.max_tokens is not None and amount.tokens > self.max_tokens)
            or (self.max_cost_usd is not None and amount.usd > self.max_cost_usd)
        )
