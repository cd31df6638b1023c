"""Keeps two kinds of requests from being with a server at the same time.

vLLM's V1 model runner (0.32, all CPU builds) loses the log-probabilities of `logprobs=k` requests that share
a step with `logprob_token_ids` requests (PR 51789; 15 of 32 answers on the CPU server). No server says
whether it has the fault, and runs rarely mix the two, so all servers are treated as if they had it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class OneStyle:
    """Lets in any number of one style; when the last has left, all who wait with the longest waiting style.

    Nobody overtakes another style, or it might wait for ever. But those of one style go in together: were
    all served strictly in turn, two styles that come by turns would be asked one request at a time.
    A request without a style (None) passes at any time.
    """

    def __init__(self) -> None:
        self._style: str | None = None
        self._inside = 0
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def only(self, style: str | None) -> AsyncGenerator[None]:
        """Be inside with others of this style only."""
        if style is None:
            yield
            return
        await self._enter(style)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, style: str) -> None:
        if self._inside == 0 or (self._style == style and not self._waiting):
            self._style = style
            self._inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((style, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and cancelled at once
                self._leave()
            else:  # its place may be gone already: a cancelled turn is passed over
                self._waiting = deque(place for place in self._waiting if place[1] is not turn)
                self._let_in()
            raise

    def _leave(self) -> None:
        self._inside -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and (self._inside == 0 or self._waiting[0][0] == self._style):
            self._style = self._waiting[0][0]
            together = [turn for style, turn in self._waiting if style == self._style and not turn.done()]
            self._waiting = deque(place for place in self._waiting if place[0] != self._style)
            self._inside += len(together)
            for turn in together:
                turn.set_result(None)
