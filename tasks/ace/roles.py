"""The Generator, the Reflector and the Curator, each with one model or with several, the cheapest first.

A tier takes over what the one below it could not answer: an answer that cannot be read, none at all, or one
that the model was not sure of. Confidence is the geometric mean of the probabilities of an answer's tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from backends.base import Outcome
from backends.errors import BackendError
from backends.messages import Message, Request, Response, SamplingParams
from tasks.ask import AskEach

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One model, as one role asks it."""

    ask: AskEach
    model: str
    """As it is served: a LoRA adapter is a model of its own."""
    revision: str | None = None
    sampling: SamplingParams
    min_confidence: float = 0.0
    """Answers below it go to the next tier, if there is one; from 0 to 1."""
    doubts: Callable[[str], bool] = lambda _: False
    """Whether an answer goes to the next tier however sure the model was: those that an estimate makes up."""


@dataclass(kw_only=True, slots=True)
class TierCounts:
    """What came of the questions of one tier."""

    asked: int = 0
    took_over: int = 0
    """Of those asked, how many the tiers below could not answer, or answered to no avail."""
    usable: int = 0
    rescued: int = 0
    """Of those taken over, how many have an answer that can be used, and had none from the tiers below."""
    gained: int = 0
    """Of those taken over, how many are right and were wrong; counted where targets may be looked at.

    Of reviews: of those taken over, after how many the next answer was accepted.
    """
    lost: int = 0
    """Of those taken over, how many are wrong and were right; likewise."""
    unsure: int = 0
    """Usable, and handed on nevertheless for want of confidence."""

    def note(self, *, taken_over: bool, usable: bool, rescued: bool, sure: bool) -> None:
        """Count one answer."""
        self.asked += 1
        self.took_over += taken_over
        self.usable += usable
        self.rescued += rescued
        self.unsure += usable and not sure


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One question to a role."""

    messages: tuple[Message, ...]
    schema: Callable[[int], str] | None = None
    """Makes a JSON Schema for answers of so many tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered(Generic[T]):
    """What came of one question."""

    value: T | None
    """None: no tier gave an answer that can be read."""
    tier: int = 0
    """Which one gave it."""
    error: BackendError | None = None
    """Why there is no answer at all."""
    below: T | None = None
    """The answer of the last tier below that had one, which this one replaces."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """Whoever answers the questions of one role."""

    name: str
    tiers: tuple[Tier, ...]
    counts: tuple[TierCounts, ...] = field(default_factory=tuple[TierCounts, ...])

    def __post_init__(self) -> None:
        """Begin to count."""
        if not self.counts:
            object.__setattr__(self, "counts", tuple(TierCounts() for _ in self.tiers))

    async def ask(
        self,
        questions: Sequence[Asked],
        read: Callable[[int, str], T | None],
        *,
        purpose: str,
        usable: Callable[[T], bool] = lambda _: True,
        start: Sequence[int] = (),
    ) -> list[Answered[T]]:
        """Ask all questions at once, and those again, of the next tier, that were not answered.

        Args:
            questions: What to ask.
            read: Makes a value of (place of the question, text of the answer); None: it cannot be read.
            purpose: For people who watch.
            usable: Whether a value is what was wanted; one that is not is kept if no tier has a better one.
            start: The first tier of each question; 0 by default.

        Raises:
            BackendError: Nobody answers any more.
        """
        found: list[Answered[T]] = [Answered(value=None) for _ in questions]
        is_usable = [False] * len(questions)
        last = len(self.tiers) - 1
        first = [min(start[place], last) if start else 0 for place in range(len(questions))]
        waiting = list(range(len(questions)))
        for number, tier in enumerate(self.tiers):
            now = [place for place in waiting if first[place] <= number]
            outcomes = await self._asked(number, tier, [questions[place] for place in now], purpose)
            for place, outcome in zip(now, outcomes, strict=True):
                one, before = _answered(outcome, number, place, read), found[place]
                good = one.value is not None and usable(one.value)
                sure = good and (number == last or _is_sure(tier, outcome))
                self.counts[number].note(
                    taken_over=number > 0,
                    usable=good,
                    rescued=number > first[place] and good and not is_usable[place],
                    sure=sure,
                )
                if good or (not is_usable[place] and (one.value is not None or before.value is None)):
                    found[place] = replace(one, below=before.value)
                    is_usable[place] = good
                if sure:
                    waiting.remove(place)
        return found

    async def _asked(
        self, number: int, tier: Tier, questions: Sequence[Asked], purpose: str
    ) -> Sequence[Outcome]:
        if not questions:
            return []
        wants_confidence = tier.min_confidence > 0 and number < len(self.tiers) - 1
        requests = [
            Request(
                model=tier.model,
                revision=tier.revision,
                messages=one.messages,
                sampling=tier.sampling,
                json_schema=one.schema(tier.sampling.max_tokens) if one.schema else None,
                logprobs=1 if wants_confidence else None,
            )
            for one in questions
        ]
        return await tier.ask(requests, purpose=purpose_of(self.name, number, purpose))


def purpose_of(role: str, tier: int, what: str) -> str:
    """Say for whom and what a question is put: `reflector: batch 3 of 12, round 1`."""
    return f"{role}{f' (tier {tier + 1})' if tier else ''}: {what}"


def _answered(outcome: Outcome, tier: int, place: int, read: Callable[[int, str], T | None]) -> Answered[T]:
    if isinstance(outcome, Response):
        return Answered(value=read(place, outcome.text), tier=tier)
    return Answered(value=None, tier=tier, error=outcome)


def _is_sure(tier: Tier, outcome: Outcome) -> bool:
    return (
        isinstance(outcome, Response)
        and _confidence(outcome) >= tier.min_confidence
        and not tier.doubts(outcome.text)
    )


def _confidence(outcome: Response) -> float:
    """Return how sure a model was of its answer, from 0 to 1; 1 where that is not known."""
    logprobs = [one.logprob for one in outcome.token_logprobs]
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 1.0
