"""Says which weights answer under a name, so that no answer of others is ever served for theirs.

What the files pin (`dir:`, `hub:`, `lora:`) is the identity. Where only the name is known, a canary stands in
for the files: the likeliest next tokens of fixed prompts, stored at first contact and compared at each later
one. See docs/decisions/0005-identity-of-weights.md.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, cast

import anyio
import anyio.to_thread

from backends.canary import TOLERANCE, VERSION, Canary, distance
from backends.errors import BackendError, BackendTimeoutError
from cache.errors import CacheMissError, CorruptEntryError
from cache.keys import Key, digest, make_key
from cache.lookup import CacheMode
from cache.store import Store
from tasks.codec import decode_note, encode_note, of_its_kind

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_CONTACT_ATTEMPTS = 4
"""Where nothing is known of a name yet; a server whose identity is known is asked once."""

PATIENCE_SECONDS = 10.0
"""How long that one question may take; a run whose answers are all stored needs no server."""

CANARY_DOMAIN = "canary"
IDENTITY_DOMAIN = "identity"
IDENTITY_VERSION = 1


class WeightsChangedError(RuntimeError):
    """A server answers as other weights would than those whose answers are stored under its model's name."""


class Witness(Protocol):
    """What a backend must offer so that its weights can be told apart; `VLLMServer` does."""

    async def weights(self, model: str, *, max_attempts: int) -> str | None:
        """Say what pins the weights behind a served name; None where only the name is known."""
        ...

    async def canary(self, model: str) -> Canary | None:
        """Ask the canary's prompts; None where the server gives no log-probabilities."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Weights that have answered the canary."""

    revision: str
    """What their answers' keys hold."""
    canary: Canary


@dataclass(kw_only=True)
class Identity:
    """The weights that one run asks: found when the run starts, checked before it sends anything.

    Args:
        witness: Who can be asked.
        store: Where canaries and identities are kept, beside the answers.
        mode: REPLAY asks nobody and takes the identity last seen; REFRESH takes changed weights for new ones;
            OFF stores nothing, so nothing can be mixed up.
        model: The served name.
        user_revision: What the user says of the weights; part of the identity.
        say: Told what a user should know and need not act on.
        sends_prompts: False in an estimate: nobody sings, and what is known of the name is believed.
    """

    witness: Witness
    store: Store
    mode: CacheMode
    model: str
    user_revision: str | None = None
    say: Callable[[str], None] = logger.warning
    sends_prompts: bool = True
    _revision: str | None = None
    _is_verified: bool = False
    _turn: anyio.Lock = field(default_factory=anyio.Lock)

    async def revision(self) -> str:
        """Return what pins the weights, for the `revision` of requests; the same for the whole run.

        Raises:
            WeightsChangedError: Only the name is known, and other weights answer under it than before.
            BackendError: The server cannot be asked, and nothing is known of its model.
            CacheMissError: A replay, and nothing is known of the model.
        """
        async with self._turn:
            if self._revision is None:
                self._revision = await self._found()
            return self._revision

    async def found_at(self, witness: Witness) -> str:
        """Return the revision, found by asking this server if it was not found before."""
        self.witness = witness
        return await self.revision()

    def at(self, witness: Witness) -> "Identity":
        """Return the same identity as another server should have it, to be verified there."""
        verified = self._is_verified and witness is self.witness
        return replace(self, witness=witness, _is_verified=verified, _turn=anyio.Lock())

    async def verify(self) -> None:
        """Make sure, before anything is sent, that the weights are those of `revision`; asks once a run.

        Raises:
            WeightsChangedError: They are not.
            BackendError: The server cannot be asked.
        """
        revision = await self.revision()
        async with self._turn:
            never = not self.sends_prompts or self.mode in {CacheMode.OFF, CacheMode.REPLAY}
            if never or self._is_verified:
                return
            pinned = await self.witness.weights(self.model, max_attempts=FIRST_CONTACT_ATTEMPTS)
            if await self._witnessed(pinned) != revision:
                raise WeightsChangedError(
                    f"{self.model!r} has other weights now than when this run began; run it again, and it "
                    "asks the weights that are there"
                )
            self._is_verified = True

    def doubt(self) -> None:
        """Have `verify` ask again: the server was away, and may have come back with other weights."""
        self._is_verified = False

    async def _found(self) -> str:
        if self.mode is CacheMode.OFF:
            return _based(None, self.user_revision)
        remembered = await anyio.to_thread.run_sync(self._remembered)
        if self.mode is CacheMode.REPLAY:
            if remembered is None:
                raise CacheMissError(
                    f"answers of {self.model!r} (revision: {self.user_revision or 'none'}) are not stored; "
                    "a replay asks nobody, so run once with cache_mode='use'"
                )
            return remembered
        try:
            revision = await self._asked(known=remembered is not None)
        except BackendError as error:
            if remembered is None or self.mode is CacheMode.REFRESH:
                raise
            self.say(f"the weights of {self.model!r} are taken for those last seen: {error}")
            return remembered
        if revision != remembered:
            await anyio.to_thread.run_sync(self.store.put, {self._name(): encode_note("weights", revision)})
        return revision

    async def _asked(self, *, known: bool) -> str:
        if known:
            pinned = await self._soon()
        else:
            pinned = await self.witness.weights(self.model, max_attempts=FIRST_CONTACT_ATTEMPTS)
        if not self.sends_prompts or (pinned is not None and self.mode is not CacheMode.REFRESH):
            return await self._current(_based(pinned, self.user_revision))
        revision = await self._witnessed(pinned)
        self._is_verified = True
        return revision

    async def _soon(self) -> str | None:
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                return await self.witness.weights(self.model, max_attempts=1)
        except TimeoutError as error:
            raise BackendTimeoutError("the server did not answer in time") from error

    async def _witnessed(self, pinned: str | None) -> str:
        """Ask the canary, and return the revision of the weights that answered."""
        base = _based(pinned, self.user_revision)
        canary = await self.witness.canary(self.model)
        if canary is None:
            self.say(f"the server shows no log-probabilities: {self.model!r} is known by its name only")
            return await self._current(base)
        name = base if pinned else f"{base} {_named(canary)}"
        seen = await self._seen(base)
        if not seen:
            first = Seen(revision=name, canary=canary)
            seen = await anyio.to_thread.run_sync(self._met, base, first)
        closest = min(seen, key=lambda one: distance(one.canary, canary))
        far = distance(closest.canary, canary)
        if far > TOLERANCE and self.mode is CacheMode.REFRESH:
            closest = Seen(revision=f"{base} {_named(canary)}", canary=canary)
        elif far > TOLERANCE:
            raise WeightsChangedError(self._changed(far, pinned))
        if closest not in seen[-1:]:
            await anyio.to_thread.run_sync(self._keep, base, [one for one in seen if one != closest], closest)
        return closest.revision

    async def _current(self, base: str) -> str:
        seen = await self._seen(base)
        return seen[-1].revision if seen else base

    def _changed(self, far: float, pinned: str | None) -> str:
        why = "" if pinned is None else ", although the files of the model did not change"
        return (
            f"other weights than before answer under the name {self.model!r}{why} (short prompts are "
            f"{far:.2f} nat off, {TOLERANCE:.2f} is allowed): give the new weights a revision of their own, "
            "or serve the old ones again, or ask everything anew with cache_mode='refresh'"
        )

    # --- the store --------------------------------------------------------------------------------------

    def _name(self) -> Key:
        return make_key(IDENTITY_DOMAIN, IDENTITY_VERSION, [self.model, self.user_revision])

    def _place(self, base: str) -> Key:
        return make_key(CANARY_DOMAIN, VERSION, [self.model, base])

    def _remembered(self) -> str | None:
        return self._read(self._name(), _revision_in)

    async def _seen(self, base: str) -> list[Seen]:
        return await anyio.to_thread.run_sync(self._read, self._place(base), _seen_in) or []

    def _met(self, base: str, first: Seen) -> list[Seen]:
        """Remember the first weights of a name; of runs that meet them together, one names them for all."""
        entry = {self._place(base): _write([first])}
        there = self.store.add(entry)
        try:
            return _seen_in(there[self._place(base)]) if there else [first]
        except CorruptEntryError:
            self.store.put(entry)
            return [first]

    def _keep(self, base: str, others: list[Seen], latest: Seen) -> None:
        # Earlier weights stay known: serving them again is answered with their own answers.
        self.store.put({self._place(base): _write([*others, latest])})

    def _read(self, key: Key, read: Callable[[bytes], T]) -> T | None:
        found = self.store.get([key])
        if not found.entries and not found.damaged:
            return None
        try:
            if found.entries:
                return read(found.entries[key])
        except CorruptEntryError:
            pass  # intact, but of another kind: no better than damaged
        if self.mode is CacheMode.REPLAY:
            raise CorruptEntryError(f"the identity of {self.model!r} is damaged; run without replay")
        logger.warning("what is stored of the identity of %r is damaged; it is asked again", self.model)
        return None


def _based(pinned: str | None, user_revision: str | None) -> str:
    """Write what is known without a canary; the user's words are quoted, so nothing else can look so."""
    known = pinned or "name"
    return known if user_revision is None else f"{known} user:{json.dumps(user_revision)}"


def _named(canary: Canary) -> str:
    return f"canary:{digest(_plain(canary))[:8].hex()}"


def _plain(canary: Canary) -> list[list[list[float]]]:
    return [[[token, value] for token, value in logprobs.items()] for logprobs in canary]


def _write(seen: list[Seen]) -> bytes:
    return encode_note("canary", [[one.revision, _plain(one.canary)] for one in seen])


def _revision_in(entry: bytes) -> str:
    revision = decode_note(entry, "weights")
    if not isinstance(revision, str):
        raise CorruptEntryError("a stored entry is whole but no identity")
    return revision


def _seen_in(entry: bytes) -> list[Seen]:
    """Read the weights that were met under a name, at least one."""
    with of_its_kind("canary"):
        seen = [_one_seen(*one) for one in cast("list[tuple[str, object]]", decode_note(entry, "canary"))]
    if not seen:
        raise CorruptEntryError("a stored canary names no weights")
    return seen


def _one_seen(revision: str, answers: object) -> Seen:
    read = cast("list[list[tuple[int, float]]]", answers)
    return Seen(
        revision=str(revision),
        canary=tuple({int(token): float(value) for token, value in one} for one in read),
    )
