"""One step of learning: a mini-batch of questions on one snapshot of the playbook, from answers to edits.

All answers are asked for in one list, all reviews of a round in one, all second attempts in one, and all
Curators in one. With a batch of one question this is the published loop, call by call: Generator; where the
answer is wrong up to three times Reflector and Generator; where it is right one Reflector; Curator (Zhang et
al., "Agentic Context Engineering", arXiv 2510.04618, section 3). What votes and edits come to does not depend
on the order in which answers arrive: votes are added up, edits are applied in the order of the questions.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tasks.ace.answers import Reflected, read_reflected
from tasks.ace.attempts import EARLY, Attempt, QuestionRun, Stop, is_put_right, votes_of
from tasks.ace.curating import Curation
from tasks.ace.deltas import Change
from tasks.ace.generating import Asking
from tasks.ace.judging import Judge
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import reflector_messages
from tasks.ace.rendering import excerpt
from tasks.ace.roles import Asked, Role
from tasks.ace.schemas import MAX_CITED, reflector_schema
from tasks.ace.values import AceTask, Question

Lessons = Literal["all", "wrong", "corrected"]
"""Which rows teach the Curator: all, as published; those answered wrong at first; or those put right.

A lesson from a right answer was never tried, and one that did not put its row right was tried in vain. A bad
one among them harms rows that were right before, and is found out only if such a row comes again.
"""

Tidy = Callable[[Playbook, int], Awaitable[tuple[Playbook, list[Change]]]]
"""(playbook, step) -> what is left after de-duplication and pruning, and what was done."""


async def leave_alone(playbook: Playbook, step: int) -> tuple[Playbook, list[Change]]:
    """Change nothing."""
    del step
    return playbook, []


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """A playbook after a step, and how it came to be."""

    playbook: Playbook
    questions: tuple[QuestionRun, ...]
    changes: tuple[Change, ...]
    """Applied and refused, in their order."""
    votes: tuple[tuple[str, str, str], ...]
    """(id of a bullet, tag, id of a question)"""
    right_after: int | None = None
    """Questions answered right with the new playbook, where that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Learns from mini-batches; keeps nothing between them.

    Args:
        task: What is asked.
        generator: Answers.
        reflector: Reviews answers.
        curation: Edits the playbook.
        judge: Says whether answers are right; it may know labels, and nothing else here does.
        rounds: Reviews of a wrong answer at most, each followed by another attempt.
        stops: Which of EARLY end a question's rounds.
        lessons: Which rows have a lesson for the Curator; all of them vote.
        put_right: Which rows count as corrected; an estimate takes the worst case.
        post_generation: Ask each question again with the new playbook: a metric of the reference, no more.
        tidy: De-duplicates and prunes.
    """

    task: AceTask
    generator: Role
    reflector: Role
    curation: Curation
    judge: Judge
    rounds: int = 3
    stops: frozenset[str] = frozenset(EARLY)
    lessons: Lessons = "all"
    put_right: Callable[[QuestionRun], bool] = is_put_right
    post_generation: bool = False
    tidy: Tidy = leave_alone

    async def learn(
        self, playbook: Playbook, questions: Sequence[Question], *, step: int, name: str, room: str = ""
    ) -> Learned:
        """Learn from a mini-batch.

        Args:
            playbook: The snapshot that all its questions are asked with.
            questions: The mini-batch.
            step: Its number, from 1.
            name: What people who watch see of it: `batch 3 of 12`.
            room: What to tell the Curator of how full the playbook is, if anything.

        Raises:
            BackendError: Nobody answers any more; what was answered is stored.
        """
        runs = [QuestionRun(question=one) for one in questions]
        await self._answer(runs, playbook, name)
        for number in range(1, self.rounds + 1):
            reviewed = [run for run in runs if run.stop is None]
            await self._review(reviewed, playbook, f"{name}, round {number}", number)
            again = [run for run in reviewed if run.stop is None]
            await self._answer(again, playbook, f"{name}, round {number}")
            self._close(again, is_last=number == self.rounds)
        votes = votes_of(runs)
        voted = playbook.tagged([(bullet, tag) for bullet, tag, _ in votes], step=step)
        # Of each question the last review counts, as published.
        reviews = [(run.question, run.reviews[-1]) for run in runs if run.reviews and self._teaches(run)]
        edited, changes = await self.curation.edit(voted, reviews, step=step, name=name, room=room)
        tidied, tidying = await self.tidy(edited, step)
        return Learned(
            playbook=tidied,
            questions=tuple(runs),
            changes=(*changes, *tidying),
            votes=tuple(votes),
            right_after=await self._right_after(tidied, runs, name),
        )

    async def _answer(self, runs: Sequence[QuestionRun], playbook: Playbook, purpose: str) -> None:
        """Ask questions, with the latest review where there is one, and have the answers judged."""
        asking = Asking(self.task, playbook, self.curation.rendering, structured=self.curation.structured)
        found = await self.generator.ask(
            [asking.asked(run.question, run.reviews[-1] if run.reviews else None) for run in runs],
            asking.read,
            purpose=purpose,
            usable=lambda one: one.final_answer is not None,
        )
        answered = [(run, one.value, one.tier) for run, one in zip(runs, found, strict=True) if one.value]
        judged = [(run.question, generated.final_answer) for run, generated, _ in answered]
        feedback = await self.judge(judged, purpose=purpose)
        for (run, generated, tier), said in zip(answered, feedback, strict=True):
            run.attempts.append(Attempt(generated=generated, feedback=said, tier=tier))
        for run, one in zip(runs, found, strict=True):
            run.stop = None if one.value else "no answer"

    async def _review(
        self, runs: Sequence[QuestionRun], playbook: Playbook, purpose: str, number: int
    ) -> None:
        """Have the latest answers reviewed; what was right is done with then."""
        shown = [_judged_bullets(run, playbook) for run in runs]
        # One schema for all, so that they travel in one list; votes on what was not shown are not read.
        any_shown = list(dict.fromkeys(one for ids in shown for one in ids))
        schema = partial(reflector_schema, any_shown) if self.curation.structured else None
        found = await self.reflector.ask(
            [self._to_review(run, playbook, ids, schema) for run, ids in zip(runs, shown, strict=True)],
            lambda place, text: read_reflected(
                text, shown[place], needs_lesson=not runs[place].last.feedback.is_ok
            ),
            purpose=purpose,
            start=[number - 1] * len(runs),  # a review that did not help calls for a better reviewer
        )
        for run, one in zip(runs, found, strict=True):
            run.stop = self._stop_after(run, one.value)
            if one.value is not None:
                run.reviews.append(one.value)
                run.reviewer = one.tier

    def _stop_after(self, run: QuestionRun, review: Reflected | None) -> Stop | None:
        """Say whether a review, which is not among those of the question yet, ends its rounds, and why."""
        if run.last.feedback.is_ok:
            return "right at first"
        found: Stop | None = None
        if review is None:
            found = "unreadable review"
        elif not review.lesson or run.has_said(review.lesson):
            found = "no new lesson"
        return found if found in self.stops else None

    def _to_review(
        self, run: QuestionRun, playbook: Playbook, shown: Sequence[str], schema: Callable[[int], str] | None
    ) -> Asked:
        return Asked(
            messages=reflector_messages(
                self.task, excerpt(playbook, shown), run.question, run.last.generated, run.last.feedback
            ),
            schema=schema,
        )

    def _close(self, runs: Sequence[QuestionRun], *, is_last: bool) -> None:
        """Decide which questions are done with after another attempt."""
        for run in runs:
            answers = [self._normal(one.generated.final_answer) for one in run.attempts]
            if run.stop is not None:
                continue
            if run.last.feedback.is_ok:
                run.stop = "corrected"
                self.reflector.counts[run.reviewer].gained += run.reviewer > 0
            elif answers[-1] in answers[:-1] and "repeated answer" in self.stops:
                run.stop = "repeated answer"
            elif is_last:
                run.stop = "rounds used up"

    def _teaches(self, run: QuestionRun) -> bool:
        """Say whether a question that was reviewed has something for the Curator."""
        if self.lessons == "all":  # as published: also where a review has no lesson
            return True
        if not run.reviews[-1].lesson:
            return False
        return self.put_right(run) if self.lessons == "corrected" else not run.is_right_at_first

    def _normal(self, answer: str | None) -> str | None:
        return None if answer is None else self.task.checker.normal(answer)

    async def _right_after(self, playbook: Playbook, runs: Sequence[QuestionRun], name: str) -> int | None:
        if not self.post_generation:
            return None
        again = [QuestionRun(question=run.question) for run in runs]
        await self._answer(again, playbook, f"{name}, afterwards")
        return sum(run.is_right_at_first for run in again)


def _judged_bullets(run: QuestionRun, playbook: Playbook) -> list[str]:
    """Return the bullets that the latest answer cites, of those that there are."""
    return [one for one in run.last.generated.bullet_ids if one in playbook.bullets][:MAX_CITED]
