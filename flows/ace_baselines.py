"""What a learnt playbook is compared with on test rows: nothing, examples, a cheat-sheet, other prompts."""

from collections.abc import Sequence

from flows.ace_models import SHEET_CHECK, SHEET_WRITER
from flows.ace_parameters import AceParameters
from flows.ace_results import Method
from flows.ace_session import Session
from tasks.ace.baselines import CheatSheet, with_examples, with_sheet
from tasks.ace.generating import Asking
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import examples_text
from tasks.ace.roles import Role
from tasks.ace.values import AceTask, Row

NO_PLAYBOOK, EXAMPLES, SHEET = "no playbook", "in-context examples", "cheat-sheet"


class Baselines:
    """Evaluates the baselines that a run wants.

    Args:
        parameters: Of the run.
        session: Answers, and keeps the accounts.
    """

    def __init__(self, parameters: AceParameters, session: Session) -> None:
        self._parameters = parameters
        self._session = session
        self._source = session.source

    async def run(self) -> list[Method]:
        """Evaluate them, one after the other."""
        wanted, methods = self._parameters.baselines, list[Method]()
        if NO_PLAYBOOK in wanted:
            alone = self._session.asking(Playbook())
            methods.append(await self._method(NO_PLAYBOOK, "the question alone", alone))
        if EXAMPLES in wanted and any(row.target is not None for row in self._source.train):
            methods.append(await self._with_examples())
        if SHEET in wanted:
            methods.append(await self._with_sheet())
        if self._source.compared:
            methods.append(await self._without_playbook(*self._source.compared))
        return methods

    async def _method(self, name: str, note: str, asking: Asking) -> Method:
        evaluation = await self._session.evaluate(asking, self._source.test, name=name, purpose="test")
        return Method(name=name, note=note, evaluation=evaluation, parts=(name,))

    async def _with_examples(self) -> Method:
        """Show as many train rows with labels as are wanted, or as the context holds."""
        labelled = [row for row in self._source.train if row.target is not None]
        wanted = labelled[: self._parameters.examples]
        examples = wanted[: await self._that_fit(wanted)]
        asking = with_examples(self._source.task, examples, structured=self._parameters.structured_output)
        note = f"{len(examples)} train rows with their labels"
        if len(examples) < len(wanted):
            note += f", of {len(wanted)} that were wanted: the context holds no more"
        return await self._method(EXAMPLES, note, asking)

    async def _that_fit(self, examples: Sequence[Row]) -> int:
        """Return how many of the first examples the context holds, by halving."""
        fit, most = 0, len(examples)
        while fit < most:
            middle = (fit + most + 1) // 2
            some = [(row.question, row.target) for row in examples[:middle] if row.target is not None]
            shown = examples_text(some)
            if await self._session.tidying.fits_instead(shown):
                fit = middle
            else:
                most = middle - 1
        return fit

    async def _with_sheet(self) -> Method:
        """Go through the train rows once, writing the sheet anew after each batch, and test with the last."""
        parameters, session, source = self._parameters, self._session, self._source
        structured, size = parameters.structured_output, parameters.batch_size
        role = session.costs.add(Role(name=SHEET, tiers=session.roles.generator.tiers))
        learner = CheatSheet(
            task=source.task,
            generator=role,
            curator=session.costs.add(Role(name=SHEET_WRITER, tiers=session.roles.curator.tiers)),
            judge=session.judge(source.train, name=SHEET_CHECK),
            structured=structured,
        )
        sheet, rewritten = "", 0
        batches = [source.train[start : start + size] for start in range(0, len(source.train), size)]
        for number, batch in enumerate(batches, start=1):
            before = sheet
            sheet = await learner.learn(before, batch, name=f"batch {number} of {len(batches)}")
            rewritten += sheet != before
            await session.costs.ended()
        asking = with_sheet(source.task, sheet, structured=structured)
        evaluation = await session.evaluate(asking, source.test, name=SHEET, purpose="test")
        note = f"rewritten after {rewritten} of {len(batches)} batches, {len(sheet):,} characters at the end"
        return Method(name=SHEET, note=note, evaluation=evaluation, parts=(SHEET, SHEET_WRITER, SHEET_CHECK))

    async def _without_playbook(self, task: AceTask, rows: Sequence[Row]) -> Method:
        asking = self._session.asking(Playbook(), task)
        name = f"{NO_PLAYBOOK}, {task.name}"
        evaluation = await self._session.evaluate(
            asking, rows, name=name, purpose="test", checker=task.checker
        )
        return Method(name=name, note="the same rows", evaluation=evaluation, parts=(name,))
