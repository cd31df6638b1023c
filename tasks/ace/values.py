"""What an ACE task is made of: questions, their targets kept apart from them, and how answers are judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What may be shown to a model: there is no bit of a label in here."""

    id: str
    text: str
    context: str = ""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """The other fields of its row, for an environment; never shown to a model, never the target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A question and its label."""

    question: Question
    target: str | None
    """None: it has no label, and can be learnt from where none is used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How right an answer is: of `total` parts, `right` equal the target's."""

    right: int
    total: int = 1

    @property
    def is_correct(self) -> bool:
        """Whether all of it is right."""
        return self.right == self.total


class Checker(Protocol):
    """Compares answers with targets; pure, and never by running what a model wrote."""

    def check(self, answer: str, target: str) -> Score:
        """Compare an answer with a target; what cannot be read is wrong, never an error."""
        ...

    def normal(self, answer: str) -> str:
        """Return one text for all ways of writing the same answer; what cannot be read, folded."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """What an environment, or a model's own check, says of an answer."""

    is_ok: bool
    text: str = ""
    """For the Reflector, in words."""


Environment = Callable[[Question, str], Feedback]
"""Judges an answer without knowing its target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AceTask:
    """A task of the user's: how rows become questions, and how answers are judged.

    Args:
        name: In reports and in the names of runs.
        read: Makes a question and its target of a row of a JSONL file.
        checker: Compares answers with targets.
        instructions: What an answer looks like, for the Generator.
        environment: Judges answers where no label may be used; None: the model judges itself.
        label_field: Of a row; to name it where it is missing.
        made_of: What tells it from others of its name: a spec as JSON, or the name in the user's code.
    """

    name: str
    read: Callable[[Mapping[str, object], str], Row]
    """(row, id) -> Row; raises ValueError with a sentence for a row that cannot be used."""
    checker: Checker
    instructions: str = ""
    environment: Environment | None = None
    label_field: str = ""
    made_of: str = ""
