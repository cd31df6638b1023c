"""How many questions a Generator answers right with a playbook that does not change meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.ace.answers import Generated
from tasks.ace.generating import Asking
from tasks.ace.judging import Judge
from tasks.ace.own_code import of_row
from tasks.ace.roles import Answered, Role, TierCounts
from tasks.ace.values import Checker, Question, Row, Score


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
    overflowed: bool = False
    """Because its prompt is longer than what the model's context holds."""


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

    @property
    def overflowed(self) -> int:
        """Of them, rows whose prompts no context holds."""
        return sum(one.overflowed for one in self.rows)


async def evaluate(
    rows: Sequence[Row], asking: Asking, generator: Role, checker: Checker, *, purpose: str
) -> Evaluation:
    """Ask all questions in one list and compare the answers with their targets.

    Args:
        rows: Questions with targets; those without are left out.
        asking: Puts them, with a playbook or something in its place.
        generator: Answers.
        checker: Compares.
        purpose: For people who watch.

    Raises:
        BackendError: Nobody answers any more.
    """
    labelled = [(row.question, row.target) for row in rows if row.target is not None]
    questions = [question for question, _ in labelled]
    answered = await _answers(questions, asking, generator, purpose)
    scores = list[Score]()
    for (question, target), one in zip(labelled, answered, strict=True):
        with of_row(question.id):
            scores.append(_score(checker, target, one.value))
            if one.below is not None:
                _count(generator.counts[one.tier], _score(checker, target, one.below), scores[-1])
    return _evaluation(questions, answered, scores)


async def evaluate_by_judge(
    questions: Sequence[Question], asking: Asking, generator: Role, judge: Judge, *, purpose: str
) -> Evaluation:
    """Ask all questions in one list and count the answers that a judge accepts: no target is looked at.

    Raises:
        BackendError: Nobody answers any more.
    """
    answered = await _answers(questions, asking, generator, purpose)
    given = [one.value.final_answer if one.value else None for one in answered]
    feedback = await judge(list(zip(questions, given, strict=True)), purpose=purpose)
    return _evaluation(questions, answered, [Score(right=int(one.is_ok)) for one in feedback])


async def _answers(
    questions: Sequence[Question], asking: Asking, generator: Role, purpose: str
) -> list[Answered[Generated]]:
    return await generator.ask(
        [asking.asked(question) for question in questions],
        asking.read,
        purpose=purpose,
        usable=lambda one: one.final_answer is not None,
    )


def _count(counts: TierCounts, before: Score, after: Score) -> None:
    """Count what came of an answer that took another one's place."""
    counts.gained += after.is_correct and not before.is_correct
    counts.lost += before.is_correct and not after.is_correct


def _score(checker: Checker, target: str, generated: Generated | None) -> Score:
    if generated is not None and generated.final_answer is not None:
        return checker.check(generated.final_answer, target)
    return replace(checker.check("", target), right=0)  # says how many parts the target has


def _evaluation(
    questions: Sequence[Question], answered: Sequence[Answered[Generated]], scores: Sequence[Score]
) -> Evaluation:
    return Evaluation(
        rows=tuple(
            Evaluated(
                row_id=question.id,
                answer=one.value.final_answer if one.value else None,
                score=score,
                bullet_ids=one.value.bullet_ids if one.value else (),
                tier=one.tier,
                failed=one.value is None,
                overflowed=one.value is None and one.error is not None and one.error.overflows,
            )
            for question, one, score in zip(questions, answered, scores, strict=True)
        )
    )
