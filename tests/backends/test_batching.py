"""Lists keep the order of the requests, and their answers come as soon as they are there."""

import asyncio
from collections.abc import Sequence

import pytest

from backends.base import Arrival
from backends.batching import Indexed, as_they_arrive, into_lists
from backends.messages import Response
from tests.helpers import completion, completions


def positions(lists: Sequence[Sequence[Indexed]]) -> list[list[int]]:
    return [[index for index, _ in indexed] for indexed in lists]


def test_a_list_holds_at_most_so_many_prompts() -> None:
    assert positions(into_lists(completions(7), max_prompts=3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_no_requests_make_no_lists() -> None:
    assert into_lists([], max_prompts=3) == []


def test_a_list_ends_where_the_model_changes_and_the_order_is_kept() -> None:
    requests = [completion("a"), completion("b"), completion("c", model="other"), completion("d")]
    lists = into_lists(requests, max_prompts=10)
    assert positions(lists) == [[0, 1], [2], [3]]
    assert [request for indexed in lists for _, request in indexed] == requests


def test_draws_of_one_request_are_sent_apart_because_their_seeds_differ() -> None:
    requests = [completion("a", sample_index=number) for number in range(3)]
    assert positions(into_lists(requests, max_prompts=10)) == [[0], [1], [2]]


class Doors:
    """Answers the list of one request when its door is opened; remembers who was sent away."""

    def __init__(self, count: int) -> None:
        self.doors = [asyncio.Event() for _ in range(count)]
        self.waiting: set[int] = set()
        self.all_waiting = asyncio.Event()
        self.cancelled: list[int] = []

    async def __call__(self, indexed: Sequence[Indexed]) -> Arrival:
        index = indexed[0][0]
        self.waiting.add(index)
        if len(self.waiting) == len(self.doors):
            self.all_waiting.set()
        try:
            await self.doors[index].wait()
        except asyncio.CancelledError:
            self.cancelled.append(index)
            raise
        return Arrival(outcomes=((index, Response(text=str(index), finish_reason="stop")),))


async def test_answers_come_in_the_order_of_their_arrival() -> None:
    doors = Doors(3)
    arrivals = as_they_arrive(into_lists(completions(3), max_prompts=1), doors)
    seen: list[int] = []
    for opened in (2, 0, 1):
        doors.doors[opened].set()
        seen += [index for index, _ in (await anext(arrivals)).outcomes]
    assert seen == [2, 0, 1]
    with pytest.raises(StopAsyncIteration):
        await anext(arrivals)


async def test_all_lists_are_under_way_at_once() -> None:
    doors = Doors(20)
    doors.doors[7].set()
    arrivals = as_they_arrive(into_lists(completions(20), max_prompts=1), doors)
    await anext(arrivals)
    assert doors.waiting == set(range(20))
    await arrivals.aclose()


async def test_stopping_early_cancels_what_is_under_way() -> None:
    doors = Doors(4)
    doors.doors[1].set()
    arrivals = as_they_arrive(into_lists(completions(4), max_prompts=1), doors)
    await anext(arrivals)
    await arrivals.aclose()
    assert sorted(doors.cancelled) == [0, 2, 3]


async def test_cancelling_the_reader_cancels_what_is_under_way() -> None:
    doors = Doors(3)
    arrivals = as_they_arrive(into_lists(completions(3), max_prompts=1), doors)
    reader = asyncio.ensure_future(anext(arrivals))
    await doors.all_waiting.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert sorted(doors.cancelled) == [0, 1, 2]
