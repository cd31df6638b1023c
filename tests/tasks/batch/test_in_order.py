"""Work in order: results as the items came, several at a time, and never too many in memory."""

import asyncio
import random

import pytest

from tasks.batch.in_order import work_in_order


class Watched:
    """Work whose pieces end when told to, and that knows how many are going on."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.begun, self.working, self.most_at_once, self.most_ahead = 0, 0, 0, 0
        self.taken: list[int] = []

    async def work(self, item: int) -> int:
        self.begun += 1
        self.working += 1
        self.most_at_once = max(self.most_at_once, self.working)
        self.most_ahead = max(self.most_ahead, item - len(self.taken))
        for _ in range(self.rng.randrange(20)):
            await asyncio.sleep(0)
        self.working -= 1
        return item

    async def take(self, result: int) -> None:
        self.taken.append(result)


@pytest.mark.parametrize("seed", range(5))
async def test_results_come_in_the_order_of_the_items_and_within_bounds(seed: int) -> None:
    watched = Watched(seed)
    await work_in_order(iter(range(60)), watched.work, watched.take, at_once=4, ahead=8)
    assert watched.taken == list(range(60))
    assert watched.most_at_once <= 4
    assert watched.most_ahead <= 8


async def test_a_slow_piece_does_not_stop_those_behind_it() -> None:
    watched, gate = Watched(), asyncio.Event()

    async def work(item: int) -> int:
        if item == 0:
            await gate.wait()
        elif item == 6:
            gate.set()
        return await watched.work(item)

    async with asyncio.timeout(20):
        await work_in_order(iter(range(10)), work, watched.take, at_once=2, ahead=8)
    assert watched.taken == list(range(10))


async def test_an_error_ends_it() -> None:
    watched = Watched()

    async def work(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError
        return await watched.work(item)

    with pytest.raises(ExceptionGroup) as caught:
        await work_in_order(iter(range(100)), work, watched.take, at_once=2, ahead=4)
    assert caught.group_contains(ZeroDivisionError)
    assert watched.begun < 12


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_begun_and_not_handed_over_weighs_no_more_than_it_may(seed: int) -> None:
    watched, rng = Watched(seed), random.Random(seed)
    weights = [rng.randrange(1, 60) for _ in range(60)] + [500, 40]
    heaviest = list[int]()

    async def work(item: int) -> int:
        heaviest.append(sum(weights[len(watched.taken) : item + 1]))
        return await watched.work(item)

    await work_in_order(
        iter(range(62)), work, watched.take, at_once=4, ahead=8, weigh=weights.__getitem__, heaviest=100
    )
    assert watched.taken == list(range(62))
    assert heaviest[60] == 500  # too heavy for company, and worked on nevertheless
    assert max(heaviest[:60] + heaviest[61:]) <= 100
    assert watched.most_at_once > 1
