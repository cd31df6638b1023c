"""One run of ACE, offline or online: who answers, what is learnt with, and what was seen so far."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio.to_thread
from prefect.logging import get_run_logger

from flows.ace_costs import RoleCosts
from flows.ace_models import CHECK, CURATOR, GENERATOR, REFLECTOR, Roles, open_roles
from flows.ace_parameters import AceBase
from flows.ace_progress import AceProgress, show_delta, show_growth
from flows.ace_results import percent, stops_of
from flows.ace_source import Source
from flows.ace_tidying import Tidying, open_tidying
from flows.ledger import LEDGER, Ledger
from flows.run import Run
from tasks.ace.adapting import Event, Plateau, Step, Validated
from tasks.ace.attempts import is_put_right
from tasks.ace.curating import Curation
from tasks.ace.evaluation import Evaluation, evaluate, evaluate_by_judge
from tasks.ace.generating import Asking
from tasks.ace.judging import EnvironmentJudge, Judge, LabelJudge, SelfJudge
from tasks.ace.learning import Learner
from tasks.ace.made_up import make_up_answer, may_be_put_right
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import to_text
from tasks.ace.roles import Role
from tasks.ace.values import AceTask, Checker, Row
from tasks.ask import Stop
from tasks.whole_files import write_whole

VALIDATION = "validation"
LEARNING = (GENERATOR, REFLECTOR, CURATOR, CHECK)
"""The parts of a run's costs that a playbook is learnt with."""
PLATEAU = "validation plateau"


@dataclass(kw_only=True)
class Session:
    """What the steps of one run have in common, and what came of them."""

    parameters: AceBase
    run: Run
    source: Source
    roles: Roles
    costs: RoleCosts
    tidying: Tidying
    progress: AceProgress
    directory: Path
    steps: list[Step] = field(default_factory=list[Step])
    tokens: list[int] = field(default_factory=list[int])
    """Of the playbook after each step."""
    validations: list[Validated] = field(default_factory=list[Validated])
    plateaus: int = 0

    def learner(self, rows: Sequence[Row]) -> Learner:
        """Return what learns from rows, whose labels only a judge of labels gets."""
        parameters = self.parameters
        return Learner(
            task=self.source.task,
            generator=self.roles.generator,
            reflector=self.roles.reflector,
            curation=Curation(
                task=self.source.task,
                curator=self.roles.curator,
                chunk=parameters.curator_chunk,
                max_operations=parameters.max_operations,
                rendering=parameters.rendering,
                structured=parameters.structured_output,
            ),
            judge=self.judge(rows),
            rounds=parameters.rounds,
            stops=parameters.stops,
            lessons=parameters.lessons,
            put_right=may_be_put_right if self.run.estimator else is_put_right,
            post_generation=parameters.post_generation,
            tidy=self.tidying,
        )

    def judge(self, rows: Sequence[Row], *, name: str = CHECK, unchecked: bool = True) -> Judge:
        """Return who says whether answers are right.

        Args:
            rows: Whose answers are judged.
            name: By which the costs of a model's checks are told apart.
            unchecked: See `SelfJudge`.
        """
        task = self.source.task
        if self.parameters.feedback == "labels":
            targets = {row.question.id: row.target for row in rows}
            return LabelJudge(checker=task.checker, targets=targets)
        if self.parameters.feedback == "environment" and task.environment is not None:
            return EnvironmentJudge(environment=task.environment)
        checker = self.costs.add(Role(name=name, tiers=self.roles.reflector.tiers))
        return SelfJudge(
            task=task,
            checker=checker,
            structured=self.parameters.structured_output,
            unchecked=unchecked,
        )

    def asking(self, playbook: Playbook, task: AceTask | None = None) -> Asking:
        """Put questions with a playbook."""
        parameters = self.parameters
        return Asking(
            task or self.source.task,
            playbook,
            parameters.rendering,
            structured=parameters.structured_output,
        )

    async def evaluate(
        self,
        asking: Asking,
        rows: Sequence[Row],
        *,
        name: str,
        purpose: str,
        checker: Checker | None = None,
    ) -> Evaluation:
        """Evaluate on rows, as a part of the run with its own costs."""
        role = self.costs.add(self.roles.evaluating(name))
        checker = checker or self.source.task.checker
        evaluation = await evaluate(rows, asking, role, checker, purpose=purpose)
        await self.costs.ended()
        return evaluation

    async def validate(self, asking: Asking, rows: Sequence[Row], *, purpose: str) -> Evaluation:
        """Evaluate on validation rows; where no label may be used, by what their judge accepts."""
        if self.parameters.feedback == "labels":
            return await self.evaluate(asking, rows, name=VALIDATION, purpose=purpose)
        role = self.costs.add(self.roles.evaluating(VALIDATION))
        questions = [row.question for row in rows]
        judge = self.judge(rows, unchecked=False)
        evaluation = await evaluate_by_judge(questions, asking, role, judge, purpose=purpose)
        await self.costs.ended()
        return evaluation

    async def follow(self, events: AsyncGenerator[Event, None]) -> None:
        """Go through what happens, keep it, and show it."""
        async with aclosing(events) as happening:
            async for event in happening:
                await self._take(event)

    @property
    def stops(self) -> Counter[str]:
        """Why rows, and the run, were done with."""
        return stops_of(self.steps) + Counter({PLATEAU: self.plateaus})

    async def _take(self, event: Event) -> None:
        if isinstance(event, Step):
            await self._take_step(event)
        elif isinstance(event, Validated):
            self.validations.append(event)
            await self.costs.ended()
            get_run_logger().info(
                "step %d: %s accuracy %s", event.step, event.split, percent(event.evaluation)
            )
            if not self.run.estimator and self.steps:
                await show_growth(self.source.start, self.steps, self.tokens, self.validations)
        else:
            self._take_plateau(event)

    async def _take_step(self, step: Step) -> None:
        playbook = step.learned.playbook
        self.steps.append(step)
        self.tokens.append(await self.tidying.total(playbook))
        self.progress.finish("", len(step.learned.questions))
        await self.costs.ended()
        if self.run.estimator:
            return
        # For whoever looks while it runs, or after it was killed; a run that goes on does not read it.
        await anyio.to_thread.run_sync(write_whole, self.directory / "playbook-last.txt", to_text(playbook))
        await show_delta(step)

    def _take_plateau(self, event: Plateau) -> None:
        self.plateaus += 1
        get_run_logger().info(
            "step %d: %d validations without improvement, nothing more is learnt",
            event.step,
            event.evaluations,
        )


async def open_session(
    parameters: AceBase, run: Run, source: Source, directory: Path, *, total: int
) -> Session:
    """Find out who answers, and how much room there is.

    Args:
        parameters: Of the run.
        run: Answers.
        source: The task and its rows.
        directory: Of the run.
        total: Rows that are learnt from, over all epochs.

    Raises:
        SettingsError: The model's context is too short, or an API is not set up.
        BackendError: A server is not there to be asked about its model.
    """
    roles = await open_roles(parameters, run, Stop())
    rows = [row.question for row in (*source.train, *source.validation, *source.test)]
    tidying = await open_tidying(parameters, run, roles, source.task, rows, source.start)
    start, note = await tidying.fit(source.start)
    source = replace(source, start=start, notes=(*source.notes, *([note] if note else [])))
    path = None if run.estimator else directory / LEDGER
    costs = RoleCosts(Ledger(path, run.answerer.computed_since_last))
    for role in (roles.generator, roles.reflector, roles.curator):
        costs.add(role)
    run.on_spent(costs.ledger.note)
    for estimator, _ in run.estimators:
        estimator.make_up = make_up_answer
    progress = AceProgress(total=total)
    for generator in (run.generator, *run.others.values()):
        generator.watch = progress.watch
    if not run.estimator:
        await anyio.to_thread.run_sync(lambda: directory.mkdir(parents=True, exist_ok=True))
    return Session(
        parameters=parameters,
        run=run,
        source=source,
        roles=roles,
        costs=costs,
        tidying=tidying,
        progress=progress,
        directory=directory,
    )
