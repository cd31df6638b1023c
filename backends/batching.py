"""Sorts requests into lists that fit one HTTP request each, and hands on their answers as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from backends.base import Arrival
from backends.messages import Request
from backends.wire import shares_body

Indexed = tuple[int, Request]


def into_lists(requests: Sequence[Request], *, max_prompts: int) -> list[list[Indexed]]:
    """Cut requests into lists that share one body, in the order given.

    The order is kept because neighbours usually share a prefix, which a server with a prefix cache then
    computes once.
    """
    lists: list[list[Indexed]] = []
    for index, request in enumerate(requests):
        if lists and len(lists[-1]) < max_prompts and shares_body(lists[-1][0][1], request):
            lists[-1].append((index, request))
        else:
            lists.append([(index, request)])
    return lists


async def as_they_arrive(
    lists: Sequence[Sequence[Indexed]], answer: Callable[[Sequence[Indexed]], Awaitable[Arrival]]
) -> AsyncGenerator[Arrival, None]:
    """Answer all lists at once and yield what comes, first come first; stopping early cancels the rest."""
    running = {asyncio.ensure_future(answer(indexed)) for indexed in lists}
    try:
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
