"""The limit grows while a server keeps up, and falls when it says, or shows, that it does not."""

import asyncio

import pytest

from backends.concurrency import AdaptiveLimit
from backends.errors import (
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    RateLimitError,
    ServerError,
    ServerUnavailableError,
)
from backends.load import Load

IDLE = Load(waiting=0, kv_use=0.2)


def full(limit: AdaptiveLimit, prompts: int = 32) -> None:
    """Send lists until there is no room."""
    while limit.has_room:
        limit.take(prompts)


def test_a_list_is_admitted_while_fewer_prompts_than_the_limit_are_there() -> None:
    limit = AdaptiveLimit(initial=64)
    limit.take(32)
    assert limit.has_room
    permit = limit.take(32)
    assert not limit.has_room
    limit.give_back(permit)
    assert limit.has_room
    assert limit.in_flight == 32


def test_a_permit_is_given_back_once() -> None:
    limit = AdaptiveLimit()
    permit = limit.take(10)
    limit.give_back(permit)
    limit.give_back(permit)
    assert limit.in_flight == 0


def test_the_limit_doubles_in_a_round_trip_until_the_first_congestion() -> None:
    limit = AdaptiveLimit(initial=64)
    permits = [limit.take(32), limit.take(32)]
    for permit in permits:
        limit.answered(permit, IDLE)
        full(limit)
    assert limit.limit == 128


def test_after_congestion_a_round_trip_adds_one_list() -> None:
    limit = AdaptiveLimit(initial=256)
    full(limit)
    limit.failed(limit.take(32), RateLimitError("busy"))
    assert limit.limit == 128
    full(limit)
    for _ in range(4):  # four lists of 32 are a round trip of 128
        limit.answered(limit.take(32), IDLE)
    assert limit.limit == pytest.approx(128 + 32, rel=0.1)


def test_a_limit_that_holds_nobody_back_does_not_grow() -> None:
    limit = AdaptiveLimit(initial=128)
    limit.answered(limit.take(32), IDLE)
    assert limit.limit == 128


def test_the_limit_stays_between_its_bounds() -> None:
    limit = AdaptiveLimit(initial=16, smallest=8, largest=100)
    for _ in range(20):
        limit.failed(limit.take(1), BackendTimeoutError("slow"))
    assert limit.limit == 8
    for _ in range(500):
        full(limit)
        limit.answered(limit.take(32), None)
    assert limit.limit == 100


@pytest.mark.parametrize("kind", [RateLimitError, ServerUnavailableError, BackendTimeoutError])
def test_a_server_that_is_too_busy_gets_half(kind: type[BackendError]) -> None:
    limit = AdaptiveLimit(initial=128)
    limit.failed(limit.take(32), kind("no"))
    assert limit.limit == 64


@pytest.mark.parametrize("kind", [BadRequestError, ServerError])
def test_other_failures_say_nothing_of_the_load(kind: type[BackendError]) -> None:
    limit = AdaptiveLimit(initial=128)
    limit.failed(limit.take(32), kind("no"))
    assert limit.limit == 128


def test_one_congestion_is_counted_once_however_many_lists_met_it() -> None:
    limit = AdaptiveLimit(initial=128)
    permits = [limit.take(32) for _ in range(4)]
    for permit in permits:
        limit.failed(permit, RateLimitError("busy"))
    assert limit.limit == 64


@pytest.mark.parametrize(
    "load",
    [
        Load(waiting=65, kv_use=0.1),  # more than half of the 128 that are there
        Load(waiting=1, kv_use=0.99),
    ],
)
def test_a_server_whose_queue_grows_gets_less_though_it_refuses_nothing(load: Load) -> None:
    limit = AdaptiveLimit(initial=128)
    permits = [limit.take(32) for _ in range(4)]
    limit.answered(permits[0], load)
    assert limit.limit == pytest.approx(0.8 * 128)


def test_a_server_with_a_short_queue_is_fed_enough() -> None:
    limit = AdaptiveLimit(initial=128)
    permits = [limit.take(32) for _ in range(4)]
    limit.answered(permits[0], Load(waiting=20, kv_use=0.5))
    assert limit.limit == 128


def test_preempted_requests_count_when_their_number_rises() -> None:
    limit = AdaptiveLimit(initial=128)
    first = limit.take(32)
    limit.answered(first, Load(waiting=0, kv_use=0.5, preemptions=7))  # of before our time
    assert limit.limit == 128
    limit.answered(limit.take(32), Load(waiting=0, kv_use=0.5))  # a header, which does not tell
    assert limit.limit == 128
    limit.answered(limit.take(32), Load(waiting=0, kv_use=0.5, preemptions=8))
    assert limit.limit == pytest.approx(0.8 * 128)


async def test_those_who_wait_are_let_in_one_by_one_as_room_comes() -> None:
    limit = AdaptiveLimit(initial=2)
    taken = [limit.take(1), limit.take(1)]
    admitted: list[int] = []

    async def enter(number: int) -> None:
        await limit.room()
        taken.append(limit.take(1))
        admitted.append(number)

    waiting = [asyncio.create_task(enter(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert admitted == []
    limit.give_back(taken[0])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert admitted == [0]
    assert limit.in_flight == 2
    limit.give_back(taken[1])
    limit.give_back(taken[2])
    await asyncio.gather(*waiting[1:2])
    for permit in taken:
        limit.give_back(permit)
    await asyncio.gather(*waiting)
    assert admitted == [0, 1, 2]


async def test_a_turn_given_to_somebody_who_left_goes_to_the_next() -> None:
    limit = AdaptiveLimit(initial=1)
    permit = limit.take(1)
    first, second = asyncio.create_task(limit.room()), asyncio.create_task(limit.room())
    await asyncio.sleep(0)
    limit.give_back(permit)
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert first.cancelled() or first.done()


async def test_room_that_one_does_not_take_is_another_s() -> None:
    """As of a list whose askers have all left while it waited."""
    limit = AdaptiveLimit(initial=8)
    permit = limit.take(8)
    one, other = (asyncio.create_task(limit.room()) for _ in range(2))
    await asyncio.sleep(0)
    limit.give_back(permit)
    async with asyncio.timeout(1):
        await asyncio.gather(one, other)
