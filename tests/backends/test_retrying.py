"""Retries wait with full jitter, stop when they cannot help, and find the prompt that spoils a list."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from backends.base import Arrival, Indexed
from backends.errors import (
    AbortedError,
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    RateLimitError,
    ResponseFormatError,
    ServerError,
    ServerUnavailableError,
    UnknownModelError,
)
from backends.messages import Request, Response, Usage
from backends.retrying import Retrier, RetryPolicy, Send
from tests.helpers import Dice, Naps, completions

POLICY = RetryPolicy(max_attempts=8, initial_seconds=1.0, max_seconds=30.0, max_retry_after_seconds=600.0)
CEILINGS = [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]  # before retry 1, 2, ...


def failing(*errors: BackendError) -> Callable[[], Awaitable[str]]:
    """Fail with each error in turn, and then answer."""
    left = list(errors)

    async def send() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return send


def test_full_jitter_reaches_from_zero_to_a_doubling_ceiling_with_a_cap() -> None:
    error = ServerUnavailableError("busy")
    lowest, highest = Dice(highest=False), Dice(highest=True)
    attempts = range(1, 8)
    assert [POLICY.wait_seconds(attempt, error, highest) for attempt in attempts] == CEILINGS
    assert [POLICY.wait_seconds(attempt, error, lowest) for attempt in attempts] == [0.0] * 7


def test_jitter_is_drawn_anew_each_time() -> None:
    rng = random.Random(0)
    waits = [POLICY.wait_seconds(3, None, rng) for _ in range(200)]
    assert all(0 <= wait <= 4 for wait in waits)
    assert min(waits) < 1
    assert max(waits) > 3


def test_a_pause_that_the_server_asks_for_is_kept_with_jitter_on_top() -> None:
    asked = RateLimitError("slow down", retry_after_seconds=42.0)
    assert POLICY.wait_seconds(1, asked, Dice(highest=False)) == 42.0
    assert POLICY.wait_seconds(2, asked, Dice(highest=True)) == 44.0


def test_a_pause_of_hours_is_cut_to_the_policy_s_limit() -> None:
    asked = RateLimitError("slow down", retry_after_seconds=86_400.0)
    assert POLICY.wait_seconds(1, asked, Dice(highest=False)) == 600.0


async def test_a_retryable_error_is_retried_until_it_succeeds() -> None:
    naps = Naps()
    errors = [BackendConnectionError("refused"), ServerUnavailableError("busy"), BackendTimeoutError("slow")]
    assert await naps.retrier(highest=True).call(failing(*errors)) == "answer"
    assert naps.seconds == CEILINGS[:3]


async def test_the_last_error_comes_out_when_all_attempts_have_failed() -> None:
    naps = Naps()
    errors = [AbortedError(f"abort {number}") for number in range(1, 20)]
    with pytest.raises(AbortedError, match=r"abort 8$"):
        await naps.retrier(POLICY, highest=True).call(failing(*errors))
    assert naps.seconds == CEILINGS


PATIENT = [RateLimitError, ServerUnavailableError]


@pytest.mark.parametrize("kind", PATIENT)
async def test_a_server_that_asks_for_time_is_given_it_however_many_tries_that_takes(
    kind: type[BackendError],
) -> None:
    """A quota of a minute outlasts eight tries with full jitter in 85 % of cases."""
    for seed in range(50):
        naps = Naps()
        retrier = replace(naps.retrier(POLICY), rng=random.Random(seed), clock=lambda: 0.0)

        async def send(naps: Naps = naps) -> str:
            if sum(naps.seconds) < 60:
                raise kind("used up")
            return "answer"

        assert await retrier.call(send) == "answer"


@pytest.mark.parametrize("kind", PATIENT)
async def test_a_server_that_asks_for_time_for_ever_is_given_up_when_the_time_is_up(
    kind: type[BackendError],
) -> None:
    naps = Naps()
    policy = replace(POLICY, max_away_seconds=300.0)
    with pytest.raises(kind, match="no"):
        await naps.retrier(policy, highest=True).call(failing(*[kind("no")] * 1000))
    assert 300 <= sum(naps.seconds) < 330


@pytest.mark.parametrize("kind", PATIENT)
async def test_a_first_contact_does_not_wait_for_a_server_that_asks_for_time(
    kind: type[BackendError],
) -> None:
    naps = Naps()
    with pytest.raises(kind):
        await naps.retrier(POLICY).limited(4, 2.0).call(failing(*[kind("no")] * 100))
    assert len(naps.seconds) == 3


async def test_tries_for_a_server_that_asks_for_time_leave_those_for_other_errors_as_they_were() -> None:
    busy = [RateLimitError("slow down")] * 20
    with pytest.raises(BackendConnectionError, match="refused 8"):
        await (
            Naps()
            .retrier(POLICY, highest=True)
            .call(failing(*busy, *[BackendConnectionError(f"refused {number}") for number in range(1, 20)]))
        )


def test_the_pause_after_thousands_of_tries_is_as_long_as_any() -> None:
    assert POLICY.wait_seconds(5000, None, Dice(highest=True)) == POLICY.max_seconds


@pytest.mark.parametrize("kind", [BackendError, BadRequestError, UnknownModelError, AuthenticationError])
async def test_what_cannot_help_is_not_tried_again(kind: type[BackendError]) -> None:
    naps = Naps()
    with pytest.raises(kind, match="first"):
        await naps.retrier().call(failing(kind("first")))
    assert naps.seconds == []


@pytest.mark.parametrize("kind", [ServerError, ResponseFormatError])
async def test_a_failure_of_the_server_s_own_is_tried_again_once(kind: type[BackendError]) -> None:
    naps = Naps()
    assert await naps.retrier().call(failing(kind("first"))) == "answer"
    with pytest.raises(kind, match="second"):
        await naps.retrier().call(failing(kind("first"), kind("second")))
    assert len(naps.seconds) == 2


async def test_the_one_retry_of_a_500_is_not_renewed_by_other_errors_between() -> None:
    errors = [ServerError("first"), ServerUnavailableError("busy"), ServerError("second")]
    with pytest.raises(ServerError, match="second"):
        await Naps().retrier().call(failing(*errors))


async def test_an_aborted_request_is_tried_as_often_as_the_policy_allows() -> None:
    errors = [AbortedError("abort") for _ in range(POLICY.max_attempts - 1)]
    assert await Naps().retrier(POLICY).call(failing(*errors)) == "answer"


async def test_an_error_that_is_not_the_server_s_comes_out_at_once() -> None:
    naps = Naps()

    async def send() -> str:
        raise KeyError("a bug of ours")

    with pytest.raises(KeyError):
        await naps.retrier().call(send)
    assert naps.seconds == []


class Server:
    """Answers lists of prompts, but fails every list that holds a bad one; remembers the lists."""

    def __init__(self, bad: dict[str, BackendError]) -> None:
        self.bad = bad
        self.lists: list[list[str]] = []

    async def __call__(self, requests: Sequence[Request]) -> tuple[list[Response], Usage]:
        prompts = [str(request.prompt) for request in requests]
        self.lists.append(prompts)
        for prompt in prompts:
            if prompt in self.bad:
                raise self.bad[prompt]
        responses = [Response(text=f"to {prompt}", finish_reason="stop") for prompt in prompts]
        return responses, Usage(input_tokens=len(prompts), output_tokens=1)


async def answered(server: Server, count: int, retrier: Retrier | None = None) -> Arrival:
    indexed = [(100 + place, request) for place, request in enumerate(completions(count))]
    arrivals = [arrival async for arrival in arrivals_of(indexed, server, retrier)]
    return Arrival(
        outcomes=tuple(outcome for arrival in arrivals for outcome in arrival.outcomes),
        usage=sum((arrival.usage for arrival in arrivals), Usage()),
        requests_sent=sum(arrival.requests_sent for arrival in arrivals),
    )


async def arrivals_of(
    indexed: Sequence[Indexed], send: Send, retrier: Retrier | None = None
) -> AsyncGenerator[Arrival, None]:
    """Answer a list, its halves side by side."""
    retrier = retrier or Naps().retrier()
    running = {asyncio.ensure_future(retrier.answer(indexed, send))}
    try:
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for arrival in [task.result() for task in done]:
                running |= {asyncio.ensure_future(retrier.answer(half, send)) for half in arrival.halves}
                yield replace(arrival, halves=())
    finally:
        for task in running:
            task.cancel()


async def test_the_answered_half_of_a_list_is_handed_on_while_the_other_is_still_tried() -> None:
    indexed = list(enumerate(completions(4)))
    never = asyncio.Event()

    async def send(requests: Sequence[Request]) -> tuple[list[Response], Usage]:
        prompts = [str(request.prompt) for request in requests]
        if prompts == ["question 2", "question 3"]:
            await never.wait()
        if len(prompts) == 4:
            raise BadRequestError("one of them is too long")
        return [Response(text=prompt, finish_reason="stop") for prompt in prompts], Usage()

    async with aclosing(arrivals_of(indexed, send)) as arrivals:
        async for arrival in arrivals:
            if arrival.outcomes:
                assert [index for index, _ in arrival.outcomes] == [0, 1]
                break


async def test_a_list_is_answered_in_one_request() -> None:
    server = Server({})
    arrival = await answered(server, 5)
    assert [index for index, _ in arrival.outcomes] == [100, 101, 102, 103, 104]
    assert [outcome.text for _, outcome in arrival.outcomes if isinstance(outcome, Response)] == [
        f"to question {number}" for number in range(5)
    ]
    assert arrival.usage == Usage(input_tokens=5, output_tokens=1)
    assert arrival.requests_sent == len(server.lists) == 1


@pytest.mark.parametrize("count", [2, 3, 7, 8])
@pytest.mark.parametrize("kind", [BadRequestError, ServerError, ResponseFormatError])
async def test_halving_finds_the_bad_prompt_and_answers_the_others(
    kind: type[BackendError], count: int
) -> None:
    for place in range(count):
        bad = kind("too long")
        server = Server({f"question {place}": bad})
        arrival = await answered(server, count)
        outcomes = dict(arrival.outcomes)
        assert len(arrival.outcomes) == count
        assert outcomes.pop(100 + place) is bad
        assert {
            index: outcome.text for index, outcome in outcomes.items() if isinstance(outcome, Response)
        } == {100 + other: f"to question {other}" for other in range(count) if other != place}
        assert arrival.requests_sent == len(server.lists)
        assert arrival.usage.input_tokens == count - 1


async def test_several_bad_prompts_keep_their_own_reasons() -> None:
    first, last = BadRequestError("too long"), BadRequestError("empty")
    outcomes = dict((await answered(Server({"question 0": first, "question 7": last}), 8)).outcomes)
    assert outcomes[100] is first
    assert outcomes[107] is last
    assert sum(isinstance(outcome, Response) for outcome in outcomes.values()) == 6


@pytest.mark.parametrize("kind", [AuthenticationError, UnknownModelError])
async def test_a_refusal_that_no_prompt_is_to_blame_for_costs_one_request(kind: type[BackendError]) -> None:
    error = kind("no")
    server = Server({"question 2": error})
    arrival = await answered(server, 8)
    assert len(server.lists) == arrival.requests_sent == 1
    assert [outcome for _, outcome in arrival.outcomes] == [error] * 8


async def test_a_server_that_is_not_there_is_not_asked_half_by_half() -> None:
    server = Server({"question 2": BackendConnectionError("refused")})
    arrival = await answered(server, 8, Naps().retrier(RetryPolicy(max_attempts=3)))
    assert len(server.lists) == arrival.requests_sent == 3
    assert {len(prompts) for prompts in server.lists} == {8}


async def test_an_error_that_is_left_to_others_comes_out_at_once() -> None:
    naps = Naps()
    retrier = replace(naps.retrier(), leaves=(BackendConnectionError,))
    with pytest.raises(BackendConnectionError):
        await retrier.limited(3, 1.0).call(failing(BackendConnectionError("reset")))
    assert naps.seconds == []
    assert await retrier.call(failing(ServerUnavailableError("busy")))
