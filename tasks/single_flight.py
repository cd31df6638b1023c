"""Asks each question once, however many ask it at the same time, in this process and in others."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import anyio
import anyio.to_thread

from backends.base import Outcome
from backends.messages import Response
from cache.errors import CacheError, StoreUnavailableError
from cache.keys import Key
from cache.leases import BEAT_SECONDS, Leases
from cache.lookup import Lookup
from tasks.codec import decode_entry
from tasks.keys import KeyedRequest

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""How often an answer is looked for that another process is asking for."""

CLAIM_SECONDS = 1.0
"""How often its lease is tried; each try is a write."""

How = Literal["hit", "computed", "shared", "failed"]


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a question, and how."""

    outcome: Outcome
    how: How


Flight = asyncio.Future[Landed | CacheError | None]

AskAll = Callable[[Sequence[KeyedRequest]], AsyncGenerator[Mapping[Key, Outcome], None]]
"""Asks a backend, stores what is answered, and yields outcomes as they arrive."""


class SingleFlight:
    """Answers from the store, from whoever is asking the same already, or by asking.

    A question belongs to the first who puts it. In this process the others wait for that call, and one of
    them takes over if it is cancelled; where the store fails it, it fails them all. In other
    processes they wait for its lease: until the answer is stored, or the lease is free because the call
    failed or its process died.

    Args:
        lookup: The store, as this run sees it.
        leases: Shared by all processes that use the store.
        poll_seconds: How often to look for what another process is asking for.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        lookup: Lookup,
        leases: Leases,
        *,
        poll_seconds: float = POLL_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._lookup = lookup
        self._leases = leases
        self._poll_seconds = poll_seconds
        self._sleep = sleep
        self._open: dict[Key, Flight] = {}
        self._holding = 0
        self._beating: asyncio.Task[None] | None = None

    async def land(self, keyed: Sequence[KeyedRequest], ask: AskAll) -> dict[Key, Landed]:
        """Return what became of each question; failures are outcomes.

        Raises:
            CacheError: The store cannot be used, or a replay found nothing.
        """
        todo = {one.key: one for one in keyed}
        landed: dict[Key, Landed] = {}
        while todo:
            followed = {key: self._open[key] for key in todo if key in self._open}
            led = [one for key, one in todo.items() if key not in followed]
            if led:
                landed |= await self._lead(led, ask)
            for key, flight in followed.items():
                found = await asyncio.shield(flight)
                if isinstance(found, CacheError):  # asking once more would be paid, and not be stored either
                    raise found
                # None: whoever asked was cancelled; the question is put once more, and maybe by us.
                if found is not None:
                    failed = found.how == "failed"
                    landed[key] = Landed(found.outcome, "failed" if failed else "shared")
            todo = {key: one for key, one in todo.items() if key not in landed}
        return landed

    async def _lead(self, keyed: Sequence[KeyedRequest], ask: AskAll) -> dict[Key, Landed]:
        loop = asyncio.get_running_loop()
        # Those of this call: a question that has landed may be put again, by a call whose flight is another.
        flights: dict[Key, Flight] = {one.key: loop.create_future() for one in keyed}
        self._open |= flights
        landed: dict[Key, Landed] = {}
        end: CacheError | None = None
        try:
            async with aclosing(self._landings(keyed, ask)) as landings:
                async for some in landings:
                    landed |= some
                    for key, one in some.items():
                        del self._open[key]
                        flights.pop(key).set_result(one)
        except CacheError as error:
            end = error
            raise
        finally:
            for key, flight in flights.items():
                del self._open[key]
                flight.set_result(end)
        return landed

    async def _landings(
        self, keyed: Sequence[KeyedRequest], ask: AskAll
    ) -> AsyncGenerator[dict[Key, Landed], None]:
        how: How = "hit"
        missing = {one.key: one for one in keyed}
        waited = CLAIM_SECONDS
        while True:
            claims = waited >= CLAIM_SECONDS
            found, ours = await anyio.to_thread.run_sync(self._find_or_claim, list(missing), claims)
            waited = self._poll_seconds + (0.0 if claims else waited)
            asking: list[Key] = ours
            try:
                if found:
                    yield {key: Landed(response, how) for key, response in found.items()}
                if ours:
                    async with self._alive(), aclosing(ask([missing[key] for key in ours])) as outcomes:
                        async for some in outcomes:
                            await anyio.to_thread.run_sync(self._leases.release, list(some))
                            asking = [key for key in asking if key not in some]
                            yield {key: _landed(outcome) for key, outcome in some.items()}
                            missing = {key: one for key, one in missing.items() if key not in some}
            finally:
                if asking:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self._leases.release, asking)
            missing = {key: one for key, one in missing.items() if key not in found}
            if not missing:
                return
            how = "shared"  # what is found from now on was asked for by somebody else
            await self._sleep(self._poll_seconds)

    def _find_or_claim(self, keys: Sequence[Key], claims: bool) -> tuple[dict[Key, Response], list[Key]]:  # noqa: FBT001
        """Look, claim what is not there, and look again: it may have been stored in between."""
        entries = dict(self._lookup.find(keys, decode_entry))
        missing = [key for key in keys if key not in entries]
        if not missing or not claims:
            return entries, []
        claimed = self._leases.claim(missing)
        late = self._lookup.find((key for key in missing if key in claimed), decode_entry)
        if late:
            self._leases.release(late)
        ours = [key for key in missing if key in claimed and key not in late]
        return {**entries, **late}, ours

    @asynccontextmanager
    async def _alive(self) -> AsyncGenerator[None]:
        """Show that this process lives for as long as it holds leases."""
        self._holding += 1
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            self._holding -= 1
            if not self._holding and self._beating:
                self._beating.cancel()
                self._beating = None

    async def _beat(self) -> None:
        # The shared threads may all wait for a store that somebody else is writing to, for minutes.
        thread_of_its_own = anyio.CapacityLimiter(1)
        while True:
            await self._sleep(BEAT_SECONDS)
            try:
                await anyio.to_thread.run_sync(self._leases.beat, limiter=thread_of_its_own)
            except StoreUnavailableError as error:  # the next write will say it again, to more effect
                logger.warning("%s", error)


def _landed(outcome: Outcome) -> Landed:
    return Landed(outcome, "computed" if isinstance(outcome, Response) else "failed")
