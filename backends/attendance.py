"""Which of several servers are there: those that are away are looked for, and all must serve the same."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from backends.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from backends.capabilities import Capabilities
from backends.errors import BackendConnectionError, BackendError, ReplicasDifferError, ServerGoneError
from backends.shared_call import SharedCall
from backends.vllm_server import VLLMServer

MEETING_SECONDS = 1.0
"""At the beginning, how long those that are there wait for the others."""

REFUSED_PAUSE_SECONDS = 60.0
"""Before a server is checked again that is there and not to be asked: the check may cost it some prompts."""

SICK_PAUSE_SECONDS = 5.0
"""Before a server is tried again that says it is healthy and fails what others answer; doubled each time,
up to REFUSED_PAUSE_SECONDS."""


@dataclass(eq=False, slots=True)
class Member:
    """One server, and whether it is there."""

    server: VLLMServer
    is_open: bool = False
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is known whether the server is there."""
    search: asyncio.Task[None] | None = None
    reason: Exception | None = None
    """Why it is not open."""
    away_since: float | None = None
    told: bool = False
    """Whether the user has heard that it is away."""
    relapses: int = 0
    """How often it was ejected since it last passed a trial."""
    on_trial: bool = False
    """Asked one prompt at a time, until it has answered one."""


class Attendance:
    """Knows which servers may be asked.

    Args:
        servers: They are made members: each passes its broken connections on instead of waiting.
        tell: Gets a sentence for the user when one goes or comes back.
        on_open: Called when one may be asked, again or for the first time.
        on_gone: Called when all have stayed away for as long as the most patient of the servers would have
            been waited for; `gone` then says why, until one is back.
        sleep: Waits; given, so that tests need no time.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        servers: Sequence[VLLMServer],
        *,
        tell: Callable[[str], None],
        on_open: Callable[[], None],
        on_gone: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self.members = [Member(server) for server in servers]
        self.gone: BackendError | None = None
        self.meet = SharedCall(self._meet)
        self._tell = tell
        self._on_open = on_open
        self._on_gone = on_gone
        self._sleep = sleep
        self._clock = clock
        self._agreement = Agreement()
        self._patience: asyncio.Task[None] | None = None
        self._are_expected = any(server.waits_for_first_contact for server in servers)
        self._one_came = asyncio.Event()
        policies = [server.join(partial(self._agreement.check, server.root)) for server in servers]
        self.policy = max(policies, key=lambda policy: policy.max_away_seconds)
        self._max_away_seconds = self.policy.max_away_seconds

    async def close(self) -> None:
        """Stop looking, and let nobody be asked."""
        for member in self.members:
            member.is_open = False
        tasks = [*(member.search for member in self.members), self._patience]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def lose(self, member: Member, reason: Exception | None) -> None:
        """Take a server for away, and look for it."""
        member.is_open, member.reason, member.away_since = False, reason, self._clock()
        self._search(member)
        if not self._is_any_open():
            self._patience = asyncio.ensure_future(self._wait_for_any())

    def eject(self, member: Member, reason: BackendError) -> None:
        """Ask a server nothing that is there and keeps failing, until after a pause it is healthy again."""
        member.is_open, member.reason, member.on_trial = False, reason, False
        if not member.told:
            member.away_since, member.told = self._clock(), True
            self._tell(f"{member.server.root} keeps failing{because(reason)}; the others answer in its place")
        member.server.suspend(reason)
        if member.search is not None:  # it may be looked for after a timeout, and would be found healthy
            member.search.cancel()
        pause = min(SICK_PAUSE_SECONDS * 2**member.relapses, REFUSED_PAUSE_SECONDS)
        member.relapses += 1
        self._search(member, after_seconds=pause)

    def acquit(self, member: Member) -> None:
        """Ask a server that was ejected as others are: it passed its trial, or is the only one left."""
        member.on_trial, member.relapses = False, 0
        self._tell_back(member)

    # --- the first meeting ------------------------------------------------------------------------------

    async def _meet(self) -> None:
        """Look for all servers; go on with those that are there, if they agree."""
        for member in self.members:
            if not member.is_open:
                member.reason = None
                self._search(member)
        try:
            await self._look_around()
            if not self._is_any_open() and self._are_expected:
                await self._wait_for_the_first()
            self._agree()
        except BaseException:
            for member in self.members:
                member.is_open = False
                if member.search is not None:
                    member.search.cancel()
            raise
        for member in self.members:
            if not member.is_open:
                member.away_since, member.told = self._clock(), True
                self._tell(f"{member.server.root} is not there{because(member.reason)}; the others answer")

    async def _look_around(self) -> None:
        """Wait a moment until all have been looked at, and longer while none is there."""
        looks = [asyncio.ensure_future(member.looked.wait()) for member in self.members]
        try:
            _, pending = await asyncio.wait(looks, timeout=MEETING_SECONDS)
            while pending and not self._is_any_open():
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for look in looks:
                look.cancel()

    async def _wait_for_the_first(self) -> None:
        """Wait until one is there or refused, where they are expected and none is there yet.

        Raises:
            ServerGoneError: None came in the time that one which went away would have been waited for.
        """
        reason = next((member.reason for member in self.members if member.reason is not None), None)
        if is_refusal(reason):
            return
        seconds = self._max_away_seconds
        self._tell(f"no server is there yet{because(reason)}; waiting up to {seconds:.0f} s for one")
        came = asyncio.ensure_future(self._one_came.wait())
        over = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait([came, over], return_when=asyncio.FIRST_COMPLETED)
            if not came.done():
                raise ServerGoneError(f"no server was there for {seconds:.0f} s{because(reason)}")
        finally:
            came.cancel()
            over.cancel()

    def _agree(self) -> None:
        """Settle what all serve.

        Raises:
            BackendError: One is refused, one differs, or none is there.
        """
        reasons = [member.reason for member in self.members if member.reason is not None]
        for reason in reasons:
            if is_refusal(reason):
                raise reason
        there = [member.server.root for member in self.members if member.is_open]
        if not there:
            first = reasons[0]
            raise first if len(self.members) == 1 else BackendConnectionError(f"no server is there: {first}")
        self._agreement.settle(there)

    # --- those that are away ----------------------------------------------------------------------------

    def _is_any_open(self) -> bool:
        return any(member.is_open for member in self.members)

    def _search(self, member: Member, *, after_seconds: float = 0.0) -> None:
        member.looked.clear()
        member.search = asyncio.ensure_future(self._look_for(member, after_seconds))

    async def _look_for(self, member: Member, after_seconds: float) -> None:
        if after_seconds:
            await self._sleep(after_seconds)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._look_at(member)
            except Exception as error:  # noqa: BLE001 - whatever keeps it from being asked, others may answer
                member.reason = error
                if is_refusal(error):
                    self._one_came.set()
                self._tell_away(member)
            else:
                self._open(member)
                return
            finally:
                member.looked.set()
            self._give_up_if_all_are_refused()
            await self._sleep(REFUSED_PAUSE_SECONDS if is_refusal(member.reason) else pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _look_at(self, member: Member) -> None:
        server = member.server
        if isinstance(member.reason, BackendError) and not server.is_away and not await server.is_healthy():
            server.take_for_away(member.reason)  # else one broken connection, as when it was idle
        await server.ready()

    def _tell_away(self, member: Member) -> None:
        if member.told or member.away_since is None:
            return
        member.told = True
        if self._is_any_open():
            what = "the others answer in its place"
        else:
            what = f"no server is left, waiting up to {self._max_away_seconds:.0f} s for one"
        self._tell(f"{member.server.root} is away{because(member.reason)}; {what}")

    def _open(self, member: Member) -> None:
        member.is_open, member.reason, self.gone = True, None, None
        self._one_came.set()
        self._wait_no_more()
        member.on_trial = member.relapses > 0
        if not member.on_trial:
            self._tell_back(member)
        self._on_open()

    def _tell_back(self, member: Member) -> None:
        if member.told and member.away_since is not None:
            self._tell(f"{member.server.root} is back after {self._clock() - member.away_since:.0f} s")
        member.away_since, member.told = None, False

    # --- all away ---------------------------------------------------------------------------------------

    async def _wait_for_any(self) -> None:
        await self._sleep(self._max_away_seconds)
        self._patience = None
        reason = next((member.reason for member in self.members if member.reason is not None), None)
        many = "the server" if len(self.members) == 1 else f"all {len(self.members)} servers"
        self._give_up(
            ServerGoneError(f"{many} stayed away for {self._max_away_seconds:.0f} s{because(reason)}")
        )

    def _give_up_if_all_are_refused(self) -> None:
        reasons = [member.reason for member in self.members if not member.is_open]
        refused = [reason for reason in reasons if isinstance(reason, BackendError) and is_refusal(reason)]
        if self._patience is not None and len(refused) == len(self.members):
            self._wait_no_more()
            self._give_up(refused[0])

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self, error: BackendError) -> None:
        self.gone = error
        self._on_gone()


class Agreement:
    """What all servers serve; settled by those that are there first."""

    def __init__(self) -> None:
        self._cards: dict[str, str] = {}  # {address: what it serves, in words}
        self._settled: tuple[str, str] | None = None

    def settle(self, roots: Sequence[str]) -> None:
        """Take what most of these servers serve for what all should.

        Raises:
            ReplicasDifferError: One of them serves something else.
        """
        every = [self._cards[root] for root in roots]
        self._settled = max(zip(roots, every, strict=True), key=lambda one: every.count(one[1]))
        for root in roots:
            self._compare(root)

    def check(self, root: str, card: Capabilities) -> None:
        """Compare what a server says of itself with what was settled; before anything is sent to it.

        Raises:
            ReplicasDifferError: It serves something else.
        """
        self._cards[root] = _in_words(card)
        self._compare(root)

    def _compare(self, root: str) -> None:
        if self._settled is not None and self._cards[root] != self._settled[1]:
            other, what = self._settled
            raise ReplicasDifferError(
                f"{root} serves {self._cards[root]}, but {other} serves {what}; "
                "replicas serve the same: restart the odd one, or take it off the list"
            )


def is_refusal(reason: Exception | None) -> bool:
    """Whether a server is there and is not to be asked, which waiting does not change."""
    away = isinstance(reason, BackendError) and (reason.retryable or isinstance(reason, ServerGoneError))
    return not away


def because(reason: Exception | None) -> str:
    """Put a reason in brackets, if there is one."""
    return f" ({reason})" if reason is not None else ""


def _in_words(card: Capabilities) -> str:
    models = [
        f"{model} from {root} with {card.max_model_lens.get(model, 'unknown')} tokens"
        for model, root in sorted(card.roots.items())
    ]
    return f"{', '.join(models) or 'nothing'} by vLLM {card.version}"
