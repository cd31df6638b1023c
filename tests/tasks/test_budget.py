"""A run stops before it passes a limit, and what was answered by then is kept."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Arrival, Exchange
from backends.messages import Request, Response, Usage
from backends.scripted import Scripted, echo
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from tasks.budget import Budget, BudgetSpentError
from tasks.generate import Generator
from tasks.keys import key_requests
from tests.helpers import completion, completions, sampling
from tests.tasks.icm.made_up import MemoryStore


def dollars(usage: Usage) -> float:
    return (usage.input_tokens + 10 * usage.output_tokens) / 1e6


def test_without_limits_everything_is_admitted() -> None:
    assert Budget().admit(completions(1000)) == 1000


def test_requests_are_admitted_up_to_their_number() -> None:
    budget = Budget(max_requests=5)
    assert budget.admit(completions(3)) == 3
    assert budget.admit(completions(3)) == 2
    assert budget.admit(completions(3)) == 0


def test_what_is_on_its_way_counts_with_all_it_may_cost() -> None:
    budget = Budget(max_tokens=100)
    requests = [completion("x" * 30, sampling=sampling(9)) for _ in range(10)]  # 10 + 1 and 9 tokens each
    assert budget.admit(requests) == 5
    budget.settle(requests[:5], Usage(input_tokens=25, output_tokens=5))
    assert budget.tokens == 30
    assert budget.admit(requests[5:]) == 3


def test_what_characters_cost_is_learnt_when_there_are_enough_of_them() -> None:
    budget = Budget(max_tokens=6000)
    requests = [completion("x" * 3000, sampling=sampling(9)) for _ in range(10)]  # 1001 and 9 tokens
    assert budget.admit(requests) == 5
    budget.settle(requests[:5], Usage(input_tokens=2500, output_tokens=5))
    assert budget.admit(requests[5:]) == 5  # at 1 token for 6 characters, as these had


def test_money_is_counted_by_the_price() -> None:
    budget = Budget(max_cost_usd=0.001)
    requests = [completion("x" * 297, sampling=sampling(10)) for _ in range(20)]  # 100 and 10: 0.0002 USD
    assert budget.admit(requests, dollars) == 5
    budget.settle(requests[:5], Usage(input_tokens=500, output_tokens=50), dollars)
    assert budget.cost_usd == pytest.approx(0.001)
    assert budget.admit(requests[5:], dollars) == 0
    assert budget.admit(requests[5:]) == 15  # a server of one's own goes on
    assert "0.0010 USD" in str(budget.refusal())
    assert "max_cost_usd (0.001)" in str(budget.refusal())


@given(
    limit=st.integers(0, 500),
    sizes=st.lists(st.integers(0, 200), max_size=30),
    outputs=st.lists(st.integers(1, 20), min_size=30, max_size=30),
)
def test_a_limit_is_never_passed_where_prompts_have_no_more_tokens_than_guessed(
    limit: int, sizes: list[int], outputs: list[int]
) -> None:
    budget = Budget(max_tokens=limit)
    for size, output in zip(sizes, outputs, strict=False):
        request = completion("x" * size, sampling=sampling(output))
        if budget.admit([request]):
            budget.settle([request], Usage(input_tokens=size // 4, output_tokens=output))
    assert budget.tokens <= limit


async def test_a_run_that_stops_can_go_on_where_it_was(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    backend = Scripted(lambda one: Response(text=str(one.prompt), finish_reason="stop"))
    generator = Generator(backend=backend, lookup=Lookup(store), budget=Budget(max_requests=4))
    with pytest.raises(ExceptionGroup, match=r"6 of 10 prompts.*max_requests \(4\)") as caught:
        await generator(completions(10))
    assert {type(error) for error in caught.value.exceptions} == {BudgetSpentError}
    again = Generator(backend=backend, lookup=Lookup(store), budget=Budget(max_requests=6))
    assert len(await again(completions(10))) == 10
    assert again.tally.hits == 4
    assert len(backend.asked) == 10
    store.close()


async def test_what_a_server_does_not_tell_is_counted_as_expected(tmp_path: Path) -> None:
    budget = Budget(max_tokens=100, max_cost_usd=1.0)
    backend = Scripted(lambda _: Response(text="no usage", finish_reason="stop"))
    store = DiskStore(tmp_path)
    generator = Generator(backend=backend, lookup=Lookup(store), budget=budget, cost_of=dollars)
    requests = [completion(f"{number:030}", sampling=sampling(9)) for number in range(10)]  # 11 and 9 tokens
    outcomes = [await generator.outcomes(key_requests([request])) for request in requests]
    assert [isinstance(one, Response) for [one] in outcomes] == [True] * 5 + [False] * 5
    assert (budget.tokens, budget.cost_usd) == (100, pytest.approx(5 * (11 + 90) / 1e6))
    store.close()


async def test_what_a_cancelled_call_had_reserved_is_free_again(tmp_path: Path) -> None:
    started = asyncio.Event()

    class Silent(Scripted):
        async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
            del requests
            started.set()
            await asyncio.Event().wait()
            yield Arrival(outcomes=())

    budget = Budget(max_tokens=100)
    store = DiskStore(tmp_path)
    silent = Silent(lambda _: Response(text="", finish_reason="stop"))
    generator = Generator(backend=silent, lookup=Lookup(store), budget=budget)
    requests = [completion(f"{number:030}", sampling=sampling(9)) for number in range(5)]
    call = asyncio.ensure_future(generator(requests))
    await started.wait()
    assert budget.admit(requests[:1]) == 0
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert budget.admit(requests) == 5
    store.close()


@pytest.mark.parametrize(
    ("outcome", "counts"), [("ResponseFormatError", True), ("RateLimitError", False), ("ok", False)]
)
def test_answers_of_no_use_count_as_often_as_they_were_sent(outcome: str, counts: bool) -> None:  # noqa: FBT001
    budget = Budget(max_requests=4)
    generator = Generator(
        backend=Scripted(echo), lookup=Lookup(MemoryStore()), budget=budget, cost_of=dollars
    )
    usage = Usage(input_tokens=500, output_tokens=50)
    generator.record(
        Exchange(
            server="s", path="/v1", prompts=4, seconds=1.0, outcome=outcome, status_code=200, usage=usage
        )
    )
    assert budget.admit(completions(1)) == (0 if counts else 1)
    assert (budget.tokens, budget.cost_usd) == ((550, pytest.approx(0.001)) if counts else (0, 0.0))


async def test_a_limit_is_used_up_although_answers_might_have_been_longer(tmp_path: Path) -> None:
    """Reserved are 111 tokens for each, and it takes 12: a run must not stop at a tenth of its limit."""

    class Short(Scripted):
        async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
            for place, request in enumerate(requests):
                self.asked.append(request)
                yield Arrival(
                    outcomes=((place, Response(text="yes", finish_reason="stop")),),
                    usage=Usage(input_tokens=10, output_tokens=2),
                )

    budget = Budget(max_tokens=1200)
    store = DiskStore(tmp_path)
    generator = Generator(backend=Short(echo), lookup=Lookup(store), budget=budget)
    requests = [completion(f"{number:030}", sampling=sampling(100)) for number in range(200)]
    both = await asyncio.gather(
        generator.outcomes(key_requests(requests[:100])), generator.outcomes(key_requests(requests[100:]))
    )
    answered = sum(isinstance(one, Response) for part in both for one in part)
    assert answered == (1200 - 111) // 12 + 1
    [refusal] = {str(one) for part in both for one in part if isinstance(one, BudgetSpentError)}
    assert f"{answered} questions, {12 * answered} tokens" in refusal
    store.close()
