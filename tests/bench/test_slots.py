"""Facts about the arithmetic of slots, on a clock that the test turns."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count

import pytest

from bench.slots import Slots
from bench.slots_server import Faults


class Clock:
    """A loop without waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), call))

    def run(self) -> None:
        while self._due:
            self.now, _, call = heapq.heappop(self._due)
            call()


def ends(lists: Sequence[int], *, slots: int) -> list[float]:
    """Say when each of these lists is answered, if all are sent at once."""
    clock, ended = Clock(), dict[int, float]()
    server = Slots(slots, 0.02, clock.call_later)
    for number, prompts in enumerate(lists):
        server.submit(prompts, lambda number=number: ended.__setitem__(number, clock.now))
    clock.run()
    assert server.free == slots
    return [ended[number] for number in range(len(lists))]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([64], [0.02]),
        ([128], [0.04]),
        ([65], [0.04]),
        ([32] * 4, [0.02, 0.02, 0.04, 0.04]),
        ([1] * 128, [0.02] * 64 + [0.04] * 64),
        ([96, 32], [0.04, 0.04]),
    ],
)
def test_a_prompt_takes_a_slot_and_the_rest_wait(lists: list[int], expected: list[float]) -> None:
    assert ends(lists, slots=64) == pytest.approx(expected)


def test_a_free_slot_is_taken_at_once_and_not_at_the_next_wave() -> None:
    clock = Clock()
    server = Slots(2, 1.0, clock.call_later)
    ended: list[float] = []
    server.submit(1, lambda: ended.append(clock.now))
    clock.call_later(0.5, lambda: server.submit(2, lambda: ended.append(clock.now)) and None)
    clock.run()
    assert ended == [1.0, 2.0]


def test_what_is_abandoned_is_not_answered_and_frees_its_place() -> None:
    clock = Clock()
    server = Slots(1, 1.0, clock.call_later)
    ended: list[str] = []
    first = server.submit(3, lambda: ended.append("first"))
    server.submit(1, lambda: ended.append("second"))
    server.abandon(first)
    clock.run()
    assert (ended, clock.now) == (["second"], 2.0)


def test_one_request_in_ten_fails_whatever_the_seed_and_half_of_them_say_when_to_return() -> None:
    for seed in range(3):
        faults = Faults(0.1, seed)
        statuses = [status for _ in range(200) if (status := faults.next_status())]
        assert sorted(statuses) == [429] * 10 + [500] * 10
    assert [Faults(0.0, 0).next_status() for _ in range(100)] == [None] * 100
