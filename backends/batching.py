"""Sorts requests into lists that fit one HTTP request each, and hands on their answers as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace

from backends.base import Arrival, Indexed
from backends.messages import Request
from backends.wire import shares_body


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
    """Answer all lists at once and yield what comes, first come first; stopping early cancels the rest.

    A list that comes back as halves is answered as these, side by side, so that what has an answer is
    handed on while the rest is still tried.
    """
    running = {asyncio.ensure_future(answer(indexed)) for indexed in lists}
    try:
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for arrival in [task.result() for task in done]:
                running |= {asyncio.ensure_future(answer(half)) for half in arrival.halves}
                yield replace(arrival, halves=())
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
