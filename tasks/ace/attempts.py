"""What became of a question in one step: its answers, what was said of them, and why it was done with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.ace.answers import Generated, Reflected
from tasks.ace.bullets import likeness_key
from tasks.ace.values import Feedback, Question
from tasks.ace.votes import NEUTRAL

Stop = Literal[
    "right at first",
    "corrected",
    "repeated answer",
    "no new lesson",
    "unreadable review",
    "rounds used up",
    "no answer",
]
"""Why a question was done with."""

EARLY: tuple[Stop, ...] = ("repeated answer", "no new lesson", "unreadable review")
"""The stops that the reference does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """An answer and what was said of it."""

    generated: Generated
    feedback: Feedback
    tier: int = 0


@dataclass(kw_only=True, slots=True)
class QuestionRun:
    """What became of one question in one step."""

    question: Question
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    reviews: list[Reflected] = field(default_factory=list[Reflected])
    reviewer: int = 0
    """Which tier gave the latest review."""
    stop: Stop | None = None

    @property
    def last(self) -> Attempt:
        """The latest attempt."""
        return self.attempts[-1]

    @property
    def is_right_at_first(self) -> bool:
        """Whether the first answer was accepted."""
        return bool(self.attempts) and self.attempts[0].feedback.is_ok

    @property
    def is_right_at_last(self) -> bool:
        """Whether the last answer was accepted."""
        return bool(self.attempts) and self.last.feedback.is_ok

    def has_said(self, lesson: str) -> bool:
        """Whether an earlier review has said the same."""
        return any(likeness_key(one.lesson) == likeness_key(lesson) for one in self.reviews)


def is_put_right(run: QuestionRun) -> bool:
    """Say whether a review led to an answer that was accepted."""
    return run.stop == "corrected"


def votes_of(runs: Sequence[QuestionRun]) -> list[tuple[str, str, str]]:
    """Return (bullet, tag, question) of all votes, and a neutral one for each use without a vote.

    In the order of the questions, so that they do not depend on which answer came first.
    """
    votes: list[tuple[str, str, str]] = []
    for run in runs:
        voted = [(bullet, tag, run.question.id) for one in run.reviews for bullet, tag in one.votes]
        cited = dict.fromkeys(bullet for one in run.attempts for bullet in one.generated.bullet_ids)
        seen = {bullet for bullet, _, _ in voted}
        votes += [*voted, *((bullet, NEUTRAL, run.question.id) for bullet in cited if bullet not in seen)]
    return votes
