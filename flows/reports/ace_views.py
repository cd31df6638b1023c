"""What the report of an ACE run is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tasks.ace.deltas import Change
from tasks.ace.playbook import Playbook

Split = Literal["validation", "test", "window"]
"""window: rows of an online run that were answered just before it learnt from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepView:
    """One mini-batch of rows, and what it did to the playbook: first its votes are counted, then its changes.

    So a vote for a bullet that the same step removes still counts, as in the counts that a merge adds up.
    """

    number: int
    """From 1, the one after a step its own plus 1."""
    epoch: int
    rows: tuple[str, ...]
    """Their ids."""
    correct_first: int
    """Rows whose first answer was right."""
    correct_last: int
    """Rows whose last answer was, after reflection."""
    tokens: int
    """Of the playbook after it."""
    changes: tuple[Change, ...] = ()
    """Applied and refused, in the order in which they were applied."""
    votes: tuple[tuple[str, str, str], ...] = ()
    """(id of a bullet, "helpful" or "harmful" or "neutral", id of the row)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationView:
    """How a playbook did on rows that it had not learnt from."""

    step: int
    """After which; 0: the playbook it began with."""
    split: Split
    name: str
    right: int
    total: int
    low: float
    """The ends of the 95 % interval of right/total, from 0 to 1."""
    high: float
    parsed: int
    """How many answers could be read."""

    @property
    def share(self) -> float | None:
        """Right of all, from 0 to 1; None of none."""
        return self.right / self.total if self.total else None


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodView:
    """A way of answering the test rows, and what all of it cost."""

    name: str
    note: str
    right: int
    total: int
    low: float
    high: float
    calls: int
    input_tokens: int
    output_tokens: int

    @property
    def share(self) -> float | None:
        """Right of all, from 0 to 1; None of none."""
        return self.right / self.total if self.total else None


@dataclass(frozen=True, kw_only=True, slots=True)
class CostView:
    """What one tier of a role cost and gained."""

    role: str
    tier: int
    """From 0, the cheapest."""
    model: str
    calls: int
    sent: int
    """Calls that no store could answer."""
    input_tokens: int
    output_tokens: int
    took_over: int
    """Questions that it got from the tier below."""
    rescued: int
    """Of them, those that have a usable answer and had none."""
    gained: int
    """Of them, those that are right and were wrong; of evaluations, where targets may be looked at."""
    lost: int
    """The other way round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcePage:
    """All that the report says."""

    title: str
    headline: str
    warnings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    """(name, value) of what a reader wants to know of the run."""
    start: Playbook = field(default_factory=Playbook)
    """Before the first step."""
    steps: Sequence[StepView] = ()
    evaluations: Sequence[EvaluationView] = ()
    methods: Sequence[MethodView] = ()
    """In the order of the comparison."""
    costs: Sequence[CostView] = ()
    stops: Mapping[str, int] = field(default_factory=dict[str, int])
    """{why reflection on a row, or the run, ended: how often}."""
    best_step: int | None = 0
    """After which the playbook was the one to keep; 0: before the first. None: none was chosen."""
    questions: Mapping[str, str] = field(default_factory=dict[str, str])
    """{id of a row: its text}; a row without one is shown by its id."""
