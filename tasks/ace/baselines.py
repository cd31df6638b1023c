"""What ACE is compared with: examples in the prompt, and a cheat-sheet that is written anew each time.

Examples are in-context learning. The cheat-sheet is Dynamic Cheatsheet (Suzgun et al., arXiv 2504.07952) in
its cumulative form: answer with the sheet, then write all of it anew. What ACE calls context collapse can be
seen in its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tasks.ace.answers import Fields, Generated
from tasks.ace.generating import Asking
from tasks.ace.judging import Judge
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import examples_text, sheet_messages, sheet_text
from tasks.ace.roles import Asked, Role
from tasks.ace.schemas import sheet_length, sheet_schema
from tasks.ace.values import AceTask, Feedback, Question, Row
from tasks.json_in_text import writable

Attempted = tuple[Question, Generated, Feedback]


def with_examples(task: AceTask, examples: Sequence[Row], *, structured: bool = True) -> Asking:
    """Show rows with their targets in place of a playbook; rows without one are not shown."""
    shown = examples_text([(row.question, row.target) for row in examples if row.target is not None])
    return Asking(task, Playbook(), structured=structured, instead=shown)


def with_sheet(task: AceTask, sheet: str, *, structured: bool = True) -> Asking:
    """Show a cheat-sheet in place of a playbook."""
    return Asking(task, Playbook(), structured=structured, instead=sheet_text(sheet))


@dataclass(frozen=True, kw_only=True)
class CheatSheet:
    """Learns a cheat-sheet from mini-batches; from halves of those that no context holds, one by one.

    Args:
        task: What is asked.
        generator: Answers.
        curator: Writes the sheet.
        judge: Says whether answers are right.
        max_characters: Of the sheet; fewer if the writer's answers are too short for so many.
        structured: Have the server follow schemas.
    """

    task: AceTask
    generator: Role
    curator: Role
    judge: Judge
    max_characters: int = 8_000
    structured: bool = True

    async def learn(self, sheet: str, rows: Sequence[Row], *, name: str) -> str:
        """Answer rows with the sheet and return the sheet that is written after it.

        Where none is written, the sheet stays as it was.
        """
        asking = with_sheet(self.task, sheet, structured=self.structured)
        found = await self.generator.ask(
            [asking.asked(row.question) for row in rows], asking.read, purpose=name
        )
        answered = [(row.question, one.value) for row, one in zip(rows, found, strict=True) if one.value]
        judged = await self.judge([(question, one.final_answer) for question, one in answered], purpose=name)
        attempts = [(question, one, said) for (question, one), said in zip(answered, judged, strict=True)]
        return await self._rewritten(sheet, attempts, name) if attempts else sheet

    async def _rewritten(self, sheet: str, attempts: Sequence[Attempted], name: str) -> str:
        asked = Asked(
            messages=sheet_messages(self.task, sheet, attempts, characters=self.characters),
            schema=partial(sheet_schema, self.max_characters) if self.structured else None,
        )
        [written] = await self.curator.ask([asked], self._read, purpose=name)
        if written.error is not None and written.error.overflows and len(attempts) > 1:
            half = -(-len(attempts) // 2)
            sheet = await self._rewritten(sheet, attempts[:half], name)
            return await self._rewritten(sheet, attempts[half:], name)
        return sheet if written.value is None else written.value

    @property
    def characters(self) -> int:
        """How long a sheet may be, which is what every tier of the writer can write."""
        return min(sheet_length(self.max_characters, one.sampling.max_tokens) for one in self.curator.tiers)

    def _read(self, _: int, text: str) -> str | None:
        """Read a sheet, cut to its length; None if there is none."""
        said = Fields(text).get("cheat_sheet")
        return writable(said)[: self.characters] if isinstance(said, str) and said.strip() else None
