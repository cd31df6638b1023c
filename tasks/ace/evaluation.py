"""How many questions a Generator answers right with a playbook that does not change meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.ace.generating import Asking
from tasks.ace.roles import Role
from tasks.ace.values import Checker, Row, Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What came of one row."""

    row_id: str
    answer: str | None
    """None: none that can be read, or none at all."""
    score: Score
    bullet_ids: tuple[str, ...] = ()
    tier: int = 0
    failed: bool = False
    """There was no answer at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What came of all rows; every one of them counts, those without an answer as wrong."""

    rows: tuple[Evaluated, ...]

    @property
    def right(self) -> int:
        """Parts of answers that equal the target's."""
        return sum(one.score.right for one in self.rows)

    @property
    def total(self) -> int:
        """Parts of all targets: FiNER's rows have four each, others one."""
        return sum(one.score.total for one in self.rows)

    @property
    def accuracy(self) -> float:
        """Share of parts that are right; 0 of nothing."""
        return self.right / self.total if self.total else 0.0

    @property
    def readable(self) -> int:
        """Rows with an answer that can be read."""
        return sum(one.answer is not None for one in self.rows)

    @property
    def failed(self) -> int:
        """Rows without any answer."""
        return sum(one.failed for one in self.rows)


async def evaluate(
    rows: Sequence[Row], asking: Asking, generator: Role, checker: Checker, *, purpose: str
) -> Evaluation:
    """Ask all questions in one list and compare the answers with their targets.

    Args:
        rows: Questions with targets.
        asking: Puts them, with a playbook or something in its place.
        generator: Answers.
        checker: Compares.
        purpose: For people who watch.

    Raises:
        BackendError: Nobody answers any more.
    """
    found = await generator.ask(
        [asking.asked(row.question) for row in rows],
        asking.read,
        purpose=purpose,
        usable=lambda one: one.final_answer is not None,
    )
    evaluated: list[Evaluated] = []
    for row, one in zip(rows, found, strict=True):
        answer = one.value.final_answer if one.value else None
        nothing = checker.check("", row.target)  # says how many parts the target has
        evaluated.append(
            Evaluated(
                row_id=row.question.id,
                answer=answer,
                score=Score(right=0, total=nothing.total)
                if answer is None
                else checker.check(answer, row.target),
                bullet_ids=one.value.bullet_ids if one.value else (),
                tier=one.tier,
                failed=one.value is None,
            )
        )
    return Evaluation(rows=tuple(evaluated))
