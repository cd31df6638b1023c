"""The Curator's part of a step: reviews in, edits of the playbook out, each applied or refused by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from tasks.ace.answers import MAX_OPERATIONS, Reflected, read_operations
from tasks.ace.deltas import Change, apply
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import curator_messages
from tasks.ace.rendering import RENDERINGS, Rendering, in_tags
from tasks.ace.roles import Answered, Asked, Role
from tasks.ace.schemas import curator_schema
from tasks.ace.values import AceTask, Question

Review = tuple[Question, Reflected]


@dataclass(frozen=True, kw_only=True)
class Curation:
    """Has a playbook edited.

    Args:
        task: What is asked.
        curator: Whom to ask.
        chunk: Reviews that one Curator is shown; several are asked at once, about the same playbook.
        max_operations: Edits that one may make.
        rendering: How the playbook is shown.
        structured: Have the server follow a schema.
    """

    task: AceTask
    curator: Role
    chunk: int = 20
    max_operations: int = 16
    rendering: Rendering = "append-only"
    structured: bool = True

    async def edit(
        self, playbook: Playbook, reviews: Sequence[Review], *, step: int, name: str, room: str = ""
    ) -> tuple[Playbook, list[Change]]:
        """Ask for edits, and apply them in the order of the reviews.

        Args:
            playbook: With the votes of this step.
            reviews: Of this step.
            step: For the age of bullets.
            name: For people who watch.
            room: What to say of how full the playbook is, if anything.
        """
        changes: list[Change] = []
        edited = playbook
        answers = await self._answers(playbook, in_chunks(reviews, self.chunk), name, room)
        for one in chain.from_iterable(answers):
            edited, made = applied(edited, one, step, most=min(self.max_operations, MAX_OPERATIONS))
            changes += made
        return edited, changes

    async def _answers(
        self, playbook: Playbook, chunks: Sequence[Sequence[Review]], name: str, room: str
    ) -> list[list[Answered[list[object]]]]:
        """Ask about all chunks at once, and about the halves of those that no context holds.

        Returns:
            For each chunk its answers: one, or those of its halves.
        """
        found = await self.curator.ask(
            [self._asked(playbook, chunk, room) for chunk in chunks],
            lambda _, text: read_operations(text),
            purpose=name,
            usable=lambda operations: is_of_use(playbook, operations),
        )
        too_long = {
            place
            for place, one in enumerate(found)
            if one.error is not None and one.error.overflows and len(chunks[place]) > 1
        }
        if not too_long:
            return [[one] for one in found]
        halves = [
            half
            for place in sorted(too_long)
            for half in in_chunks(chunks[place], -(-len(chunks[place]) // 2))
        ]
        answers = iter(await self._answers(playbook, halves, name, room))
        return [
            [*next(answers), *next(answers)] if place in too_long else [one]
            for place, one in enumerate(found)
        ]

    def _asked(self, playbook: Playbook, reviews: Sequence[Review], room: str) -> Asked:
        shown = in_tags(RENDERINGS[self.rendering](playbook))
        live = [bullet.id for bullet in playbook.by_age]
        schema = partial(curator_schema, live, playbook.section_choices, max_operations=self.max_operations)
        return Asked(
            messages=curator_messages(self.task, shown, playbook, reviews, room=room),
            schema=schema if self.structured else None,
        )


def applied(
    playbook: Playbook, answer: Answered[list[object]], step: int, *, most: int = MAX_OPERATIONS
) -> tuple[Playbook, list[Change]]:
    """Apply what one Curator answered; no answer, and more than it may want, are refused changes."""
    if answer.value is None:
        why = answer.error or "there is no list of operations in what was written"
        return playbook, [Change(type="?", refused=f"the Curator gave no answer that can be used: {why}")]
    playbook, changes = apply(playbook, answer.value[:most], step=step)
    if (left := len(answer.value) - most) > 0:
        changes.append(Change(type="?", refused=f"{left} operations more than {most} were left out"))
    return playbook, changes


def is_of_use(playbook: Playbook, operations: Sequence[object]) -> bool:
    """Whether one of the operations could be applied; wanting none is of use, too."""
    _, changes = apply(playbook, operations[:MAX_OPERATIONS])
    return not changes or any(change.refused is None for change in changes)


def in_chunks(reviews: Sequence[Review], size: int) -> list[Sequence[Review]]:
    """Divide reviews, in their order."""
    return [reviews[start : start + size] for start in range(0, len(reviews), size)]
