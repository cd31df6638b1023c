"""Several pieces of work at a time, and their results in the order of the work."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import anyio.to_thread

T = TypeVar("T")
R = TypeVar("R")


async def work_in_order(
    items: Iterator[T],
    work: Callable[[T], Awaitable[R]],
    take: Callable[[R], Awaitable[None]],
    *,
    at_once: int,
    ahead: int,
    weigh: Callable[[T], int] = lambda _: 0,
    heaviest: int = 0,
) -> None:
    """Work on items as they come, and hand the results over in the items' order.

    A slow piece does not stop those behind it until `ahead` of them are begun or wait for it, which is what
    bounds memory. An error of one piece cancels the others.

    Args:
        items: Read in a thread, one at a time, when there is room for it.
        work: Turns an item into its result.
        take: Called with one result at a time.
        at_once: Pieces that are worked on.
        ahead: Pieces that are begun and not yet handed over; at least `at_once`.
        weigh: What an item and its result take of `heaviest`.
        heaviest: What is begun and not yet handed over may weigh no more; an item that does is alone.

    Raises:
        ExceptionGroup: Of what a piece of work has raised.
    """
    room = asyncio.Semaphore(at_once)

    async def worked(item: T) -> R:
        async with room:
            return await work(item)

    begun: deque[tuple[asyncio.Task[R], int]] = deque()

    def is_full(weight: int) -> bool:
        return len(begun) >= ahead or weight + sum(other for _, other in begun) > heaviest

    async with asyncio.TaskGroup() as group:
        while (item := await anyio.to_thread.run_sync(next, items, None)) is not None:
            weight = weigh(item)
            while begun and (is_full(weight) or begun[0][0].done()):
                await take(await begun.popleft()[0])
            begun.append((group.create_task(worked(item)), weight))
        while begun:
            await take(await begun.popleft()[0])
