"""How one iteration decides: which repair is better, and whether a change is accepted."""

import asyncio
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from tasks.icm import scoring
from tasks.icm.sequential import Evidence, difference, growing_parts, share_of_doubt
from tasks.icm.standing import Standing
from tasks.icm.state import Evaluator, Labels, State

T = TypeVar("T")

Audit = Literal["right", "wrong"]

AUDITED = 0.1
"""Share of the early rejections that are checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What becomes of a change."""

    accepted: State | None
    """The state that the change leads to; None: it is rejected."""
    energy: float
    """The change's; an estimate unless all of the pool was asked."""
    evaluated: float = 1.0
    """Share of the pool that was asked."""
    audit: Audit | None = None
    """Where a part of the pool said that it be rejected, and all of it was asked to check that."""


class Decision(ABC):
    """Compares labelings for one iteration.

    Args:
        standing: Where the search stands.
        iteration: For the names of evaluations.
    """

    def __init__(self, standing: Standing, iteration: int) -> None:
        self._standing = standing
        self._repair = f"repair, iteration {iteration}"
        self._pool = f"pool, iteration {iteration}"

    @abstractmethod
    async def prepare(self, labelings: Sequence[Labels]) -> None:
        """Be told what may be compared, which is worth asking about at once when looking ahead."""

    @abstractmethod
    async def prefers(self, one: Labels, other: Labels) -> bool:
        """Say whether one labeling has as much energy as another, or more."""

    @abstractmethod
    async def judge(self, labels: Labels, *, temperature: float, luck: float) -> Verdict:
        """Accept a change of the state or reject it.

        Args:
            labels: With the change.
            temperature: Of the search.
            luck: Uniform in [0, 1).
        """


class InFull(Decision):
    """Asks about all of the pool."""

    async def prepare(self, labelings: Sequence[Labels]) -> None:
        """Evaluate all of them at once; what fails is told where it is wanted."""
        evaluations = (self._standing.changed(labels, self._repair) for labels in labelings)
        await asyncio.gather(*evaluations, return_exceptions=True)

    async def prefers(self, one: Labels, other: Labels) -> bool:
        """Compare their energies."""
        first, second = await both(
            self._standing.changed(one, self._repair), self._standing.changed(other, self._repair)
        )
        return first.energy >= second.energy

    async def judge(self, labels: Labels, *, temperature: float, luck: float) -> Verdict:
        """Compare the Metropolis ratio with luck."""
        changed = await self._standing.changed(labels, self._pool)
        ratio = scoring.acceptance(changed.energy, self._standing.state.energy, temperature)
        return Verdict(accepted=changed if luck < ratio else None, energy=changed.energy)


class Sequential(InFull):
    """Asks about a growing part of the pool until the sign is clear; what is accepted is evaluated in full.

    So a change that a full evaluation would reject is not accepted, but where another repair was chosen; and
    one that it would accept is rejected with at most the settings' error probability, choices between repairs
    included, if differences between claims are about normal. A share of the rejections is evaluated in full
    after all, which decides them and says how often parts were wrong.

    Args:
        standing: Where the search stands.
        iteration: For the names of evaluations.
        evaluator: Of the search.
        flips: Accepted changes so far.
    """

    def __init__(self, standing: Standing, iteration: int, evaluator: Evaluator, flips: int) -> None:
        super().__init__(standing, iteration)
        self._evaluator = evaluator
        self._flips = flips
        self._comparisons = 0

    async def prepare(self, labelings: Sequence[Labels]) -> None:
        """Ask for nothing: a part of it may do."""

    async def prefers(self, one: Labels, other: Labels) -> bool:
        """Compare parts, and in full what stays unclear."""
        sign = await self._sign(one, other, self._repair, by=0.0)
        return sign.is_more if sign else await super().prefers(one, other)

    async def judge(self, labels: Labels, *, temperature: float, luck: float) -> Verdict:
        """Reject on a part of the pool, or compare in full."""
        state = self._standing.state
        # Any rise is enough for luck that is small enough; luck may be 0.
        by = temperature * math.log(luck) if luck else -math.inf
        sign = await self._sign(labels, state.assigned, self._pool, by=by)
        if sign and not sign.is_more and not self._is_audited(labels):
            return Verdict(accepted=None, energy=state.energy + sign.difference, evaluated=sign.evaluated)
        verdict = await super().judge(labels, temperature=temperature, luck=luck)
        if sign and not sign.is_more:
            return replace(verdict, audit="wrong" if verdict.accepted else "right")
        return verdict

    def _is_audited(self, labels: Labels) -> bool:
        return self._random("audit", labels).random() < AUDITED

    def _random(self, purpose: str, *labelings: Labels) -> random.Random:
        """Make a generator for some labelings, so that a repeated proposal is answered from what is known."""
        here = self._standing.state.assigned
        names = [
            number
            for labels in labelings
            for uid in changed_claims(labels, here)
            for number in (uid, labels[uid])
        ]
        return self._evaluator.settings.random(purpose, self._flips, *names)

    async def _sign(self, one: Labels, other: Labels, what: str, *, by: float) -> "_Sign | None":
        """Say whether `one` has more energy than `other`, by more than `by`; None where parts do not say."""
        settings = self._evaluator.settings
        changed = changed_claims(one, other)
        if not changed or not settings.alpha or math.isinf(by):
            return None
        self._comparisons += 1
        claims = self._evaluator.claims
        groups = {claims[uid].group for uid in (*changed, *changed_claims(other, one))}
        population = [uid for uid in sorted(one) if claims[uid].group not in groups]
        pairs = len(self._evaluator.pairs(one)) - len(self._evaluator.pairs(other))
        parts = growing_parts(population, self._random("part", one, other))
        for part in parts:
            evidence = await self._evidence(one, other, population, part, what)
            doubt = share_of_doubt(self._comparisons, len(parts), settings.error_probability)
            is_more = evidence.says_more_than((by + pairs) / settings.alpha, doubt)
            if is_more is not None:
                asked = len(one) - len(population) + len(part)
                return _Sign(is_more, settings.alpha * evidence.estimate - pairs, asked / len(one))
        return None

    async def _evidence(
        self, one: Labels, other: Labels, population: Sequence[int], part: Sequence[int], what: str
    ) -> Evidence:
        left_out = set(population) - set(part)
        margins = [
            self._standing.margins(labels, [uid for uid in sorted(labels) if uid not in left_out], what)
            for labels in (one, other)
        ]
        return difference(one, other, population, part, *await both(*margins))


async def both(one: Awaitable[T], other: Awaitable[T]) -> tuple[T, T]:
    """Wait for two at the same time, and for the second too where the first fails.

    What that one has on its way is paid for: cancelled, its answers would come and not be stored.
    """
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


def changed_claims(labels: Labels, than: Labels) -> list[int]:
    """List the claims whose label is another one, or new."""
    return [uid for uid in sorted(labels) if than.get(uid) != labels[uid]]


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a part of the pool says of two labelings."""

    is_more: bool
    difference: float
    """Of their energies, estimated."""
    evaluated: float
    """Share of the pool that was asked."""
