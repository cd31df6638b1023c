"""Who says whether an answer is right while a playbook is learnt: labels, an environment, or the model.

Only `LabelJudge` holds labels. Learning without labels is given another judge and the questions alone, so no
bit of a label can reach a prompt, a branch or a stop. (The reference's mode without labels hides the text of
the target, and still uses the label to decide whether to reflect again.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio.to_thread

from tasks.ace.answers import Fields
from tasks.ace.own_code import of_row
from tasks.ace.prompts import check_messages
from tasks.ace.roles import Asked, Role
from tasks.ace.schemas import check_schema
from tasks.ace.values import AceTask, Checker, Environment, Feedback, Question

UNREADABLE = Feedback(is_ok=False, text="There is no final answer in what was written.")

Judged = tuple[Question, str | None]
"""A question and its answer; None: none that can be read."""


class Judge(Protocol):
    """Says of answers whether they are right, and what is wrong with them."""

    async def __call__(self, answers: Sequence[Judged], *, purpose: str) -> list[Feedback]:
        """Judge answers, all at once, in their order."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelJudge:
    """Compares with the target, and tells it to the Reflector."""

    checker: Checker
    targets: Mapping[str, str | None]
    """{id of a question: its target}; each question that is judged has one."""

    async def __call__(self, answers: Sequence[Judged], *, purpose: str) -> list[Feedback]:
        """Compare answers with their targets."""
        del purpose
        return await anyio.to_thread.run_sync(lambda: [self._judged(*one) for one in answers])

    def _judged(self, question: Question, answer: str | None) -> Feedback:
        target = self.targets[question.id]
        if target is None:
            raise ValueError(f"row {question.id} has no label, and is judged by it; judge it without")
        with of_row(question.id):
            is_right = answer is not None and self.checker.check(answer, target).is_correct
        if is_right:
            return Feedback(is_ok=True, text=f"The answer is right: {target}")
        wrong = "The answer is wrong." if answer is not None else UNREADABLE.text
        return Feedback(is_ok=False, text=f"{wrong} The right answer is: {target}")


@dataclass(frozen=True, kw_only=True)
class EnvironmentJudge:
    """Asks the task's environment, which does not know the target."""

    environment: Environment

    async def __call__(self, answers: Sequence[Judged], *, purpose: str) -> list[Feedback]:
        """Have the environment look at answers, one after the other, beside the event loop."""
        del purpose
        return await anyio.to_thread.run_sync(
            lambda: [
                UNREADABLE if text is None else self.environment(question, text) for question, text in answers
            ]
        )


@dataclass(frozen=True, kw_only=True)
class SelfJudge:
    """Asks a model.

    Args:
        task: What was asked.
        checker: Whom to ask.
        structured: Have the server follow a schema.
        unchecked: Whether an answer of which it says nothing counts as right. In learning it does, so that
            nothing is learnt from noise; in validation it does not, so that no playbook is chosen for it.
    """

    task: AceTask
    checker: Role
    structured: bool = True
    unchecked: bool = True

    async def __call__(self, answers: Sequence[Judged], *, purpose: str) -> list[Feedback]:
        """Ask about all answers in one list."""
        readable = [(question, text) for question, text in answers if text is not None]
        asked = [
            Asked(
                messages=check_messages(self.task, question, text),
                schema=check_schema if self.structured else None,
            )
            for question, text in readable
        ]
        found = await self.checker.ask(asked, read_check, purpose=purpose) if asked else []
        unchecked = Feedback(is_ok=self.unchecked, text="It could not be checked.")
        checks = iter([one.value or unchecked for one in found])
        return [UNREADABLE if text is None else next(checks) for _, text in answers]


def read_check(_: int, text: str) -> Feedback | None:
    """Read a model's check; None where it says neither."""
    fields = Fields(text)
    said = str(fields.get("is_right")).strip().casefold()
    if said not in {"true", "false", "yes", "no"}:
        return None
    return Feedback(is_ok=said in {"true", "yes"}, text=fields.line("reasoning"))
