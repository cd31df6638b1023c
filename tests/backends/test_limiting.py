"""An account sends no more than it may in a minute, and pauses as a whole when it is asked to."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import (
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    RateLimitError,
    ServerUnavailableError,
)
from backends.limiting import Limiter, Limits, TokenBudget, estimated_tokens
from backends.messages import Message, Request, Response, Usage
from tests.helpers import chat, completion, sampling

FAST = 60_000_000  # requests a minute: one a microsecond


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
        await asyncio.sleep(0)


class Account:
    """An API that remembers when it was asked."""

    def __init__(self, clock: Clock, *outcomes: BackendError | Usage) -> None:
        self.clock = clock
        self.outcomes = list(outcomes)
        self.asked_at: list[float] = []

    async def __call__(self) -> tuple[list[Response], Usage]:
        self.asked_at.append(self.clock())
        outcome = self.outcomes.pop(0) if self.outcomes else Usage(input_tokens=1)
        if isinstance(outcome, BackendError):
            raise outcome
        return [Response(text="yes", finish_reason="stop")], outcome


def limiter_of(clock: Clock, tokens_per_minute: int | None, max_in_flight: int = 1) -> Limiter:
    limits = Limits(
        requests_per_minute=FAST, tokens_per_minute=tokens_per_minute, max_in_flight=max_in_flight
    )
    return Limiter(limits, clock=clock, sleep=clock.sleep)


def of_tokens(count: int) -> Request:
    return completion("", sampling=sampling(count))


def test_an_estimate_counts_the_prompt_the_turns_and_the_whole_answer() -> None:
    assert estimated_tokens(completion("12345678", sampling=sampling(100))) == 2 + 100
    assert estimated_tokens(completion("\u20ac" * 4, sampling=sampling(1))) == 3 + 1
    turns = (Message(role="system", content="1234"), Message(role="user", content="1"))
    assert estimated_tokens(chat("", messages=turns, sampling=sampling(10))) == 1 + 1 + 8 + 10


async def test_what_would_go_beyond_the_minute_waits_until_the_minute_is_over() -> None:
    clock = Clock()
    account, limiter = Account(clock, *[Usage(input_tokens=400)] * 3), limiter_of(clock, 1000)
    for _ in range(3):
        await limiter.send([of_tokens(400)], account)
    assert account.asked_at == [1000.0, 1000.0, 1060.0]


async def test_an_answer_shorter_than_allowed_gives_its_tokens_back() -> None:
    clock = Clock()
    account, limiter = (
        Account(clock, *[Usage(input_tokens=10, output_tokens=10)] * 5),
        limiter_of(clock, 1000),
    )
    for _ in range(5):
        await limiter.send([of_tokens(900)], account)
    assert account.asked_at == [1000.0] * 5


async def test_tokens_given_back_are_noticed_while_others_wait() -> None:
    clock = Clock()
    budget = TokenBudget(1000, clock=clock, sleep=clock.sleep)
    first = await budget.take(900)
    waiting = asyncio.ensure_future(budget.take(900))
    await asyncio.sleep(0)
    first.tokens = 20
    await waiting
    assert clock.now <= 1002.0


async def test_an_answer_longer_than_estimated_counts_in_full() -> None:
    clock = Clock()
    account, limiter = Account(clock, Usage(input_tokens=900, output_tokens=90)), limiter_of(clock, 1000)
    await limiter.send([of_tokens(1)], account)
    await limiter.send([of_tokens(11)], account)
    assert account.asked_at == [1000.0, 1060.0]


async def test_an_api_that_tells_no_usage_is_charged_the_estimate() -> None:
    clock = Clock()
    account, limiter = Account(clock, Usage(), Usage()), limiter_of(clock, 1000)
    await limiter.send([of_tokens(900)], account)
    await limiter.send([of_tokens(900)], account)
    assert account.asked_at == [1000.0, 1060.0]


async def test_a_request_larger_than_a_minute_is_refused_and_not_waited_for() -> None:
    clock = Clock()
    account, limiter = Account(clock), limiter_of(clock, 1000)
    with pytest.raises(BadRequestError, match=r"about 1001 tokens .* more than the 1000 .*TOKENS_PER_MINUTE"):
        await limiter.send([of_tokens(1001)], account)
    assert account.asked_at == []
    await limiter.send([of_tokens(1000)], account)
    assert clock.now == 1000.0


@pytest.mark.parametrize(
    ("error", "waits"),
    [(RateLimitError("slow"), False), (BadRequestError("no"), False), (BackendTimeoutError("?"), True)],
    ids=["429", "400", "timeout"],
)
async def test_a_refusal_costs_no_tokens_and_an_answer_that_was_lost_does(
    error: BackendError, *, waits: bool
) -> None:
    clock = Clock()
    account, limiter = Account(clock, error), limiter_of(clock, 1000)
    with pytest.raises(type(error)):
        await limiter.send([of_tokens(900)], account)
    await limiter.send([of_tokens(900)], account)
    assert (account.asked_at[1] > 1000.0) == waits


@pytest.mark.parametrize("kind", [RateLimitError, ServerUnavailableError])
async def test_retry_after_pauses_every_request_of_the_account(kind: type[BackendError]) -> None:
    clock = Clock()
    account = Account(clock, kind("later", retry_after_seconds=7.5))
    limiter = limiter_of(clock, None, max_in_flight=4)
    with pytest.raises(kind):
        await limiter.send([of_tokens(1)], account)
    await asyncio.gather(*(limiter.send([of_tokens(1)], account) for _ in range(3)))
    assert account.asked_at[0] == 1000.0
    assert min(account.asked_at[1:]) >= 1007.5


async def test_a_pause_of_hours_is_cut_to_ten_minutes() -> None:
    clock = Clock()
    account, limiter = Account(clock, RateLimitError("x", retry_after_seconds=1e6)), limiter_of(clock, None)
    with pytest.raises(RateLimitError):
        await limiter.send([of_tokens(1)], account)
    await limiter.send([of_tokens(1)], account)
    assert account.asked_at[1] == 1600.0


async def test_a_request_that_is_cancelled_before_it_is_sent_costs_nothing() -> None:
    clock = Clock()
    limits = Limits(requests_per_minute=1, tokens_per_minute=1000, max_in_flight=3)
    account, limiter = Account(clock), Limiter(limits, clock=clock, sleep=clock.sleep)
    await limiter.send([of_tokens(1)], account)
    waiting = asyncio.ensure_future(limiter.send([of_tokens(900)], account))  # for its pace: a minute
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await limiter.tokens.take(990)
    assert clock.now == 1000.0


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(100, 300))
def test_no_minute_has_more_tokens_than_allowed(amounts: Sequence[int], per_minute: int) -> None:
    async def spend() -> list[tuple[float, int]]:
        clock = Clock()
        budget = TokenBudget(per_minute, clock=clock, sleep=clock.sleep)
        return [(charge.at, charge.tokens) for charge in [await budget.take(each) for each in amounts]]

    spent = asyncio.run(spend())
    assert [tokens for _, tokens in spent] == list(amounts)
    for start, _ in spent:
        assert sum(tokens for at, tokens in spent if start <= at < start + 60.0) <= per_minute
