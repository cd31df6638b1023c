"""The flow `ace`: learn a playbook from train rows, choose the best on validation rows, test it."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from flows.ace_baselines import Baselines
from flows.ace_page import ace_page
from flows.ace_parameters import AceParameters
from flows.ace_progress import show_growth
from flows.ace_results import (
    BEST,
    AceResult,
    Method,
    ace_directory,
    overlaps,
    percent,
    write_files,
)
from flows.ace_session import LEARNING, VALIDATION, Session, open_session
from flows.ace_source import open_offline
from flows.estimates import show_estimate
from flows.json_lines import read_rows
from flows.ledger import LEDGER
from flows.reports.ace import write as write_report
from flows.results import record_cost
from flows.run import open_run
from flows.settings import load_settings
from flows.workflow import workflow
from tasks.ace.adapting import Offline
from tasks.ace.evaluation import Evaluation
from tasks.ace.playbook import Playbook
from tasks.ace.values import Row

Summary = dict[str, Any]


@workflow("ace")
async def ace(parameters: AceParameters) -> Summary:
    """Learn a playbook by Agentic Context Engineering, and test it beside baselines.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, accuracies, edits, cost, where the files are.
    """
    source = await anyio.to_thread.run_sync(open_offline, parameters)
    settings = load_settings()
    async with open_run(parameters, settings) as run:
        directory = ace_directory(
            settings.runs, parameters, flow="ace", task=source.task.name, model=run.model, data=source.digest
        )
        started = time.monotonic()
        total = parameters.epochs * len(source.train)
        session = await open_session(parameters, run, source, directory, total=total)
        try:
            if run.estimator:
                await learn_and_test(parameters, session)
                return await show_estimate(run)
            async with session.progress.shown():
                methods = await learn_and_test(parameters, session)
        except BaseException:
            session.costs.interrupted()
            raise
        result = result_of(session, "ace", methods, started)
    return await publish(result, directory)


async def learn_and_test(parameters: AceParameters, session: Session) -> list[Method]:
    """Go through the epochs, then test; return what was tested."""
    source = session.source

    async def validate(playbook: Playbook, rows: Sequence[Row], purpose: str) -> Evaluation:
        return await session.validate(session.asking(playbook), rows, purpose=purpose)

    loop = Offline(
        learner=session.learner(source.train),
        evaluate=validate,
        batch_size=parameters.batch_size,
        epochs=parameters.epochs,
        eval_rows=parameters.eval_rows,
        patience=None if session.run.estimator else parameters.patience,  # an estimate is of the most
        room=session.tidying.room,
    )
    await session.follow(loop.events(source.start, source.train, source.validation))
    best, step = best_of(session)
    evaluation = await session.evaluate(
        session.asking(best), source.test, name="test", purpose="the best playbook"
    )
    note = f"{len(best)} bullets, after step {step}; its costs are those of learning and validating, too"
    methods = [Method(name=BEST, note=note, evaluation=evaluation, parts=(*LEARNING, VALIDATION, "test"))]
    return [*methods, *await Baselines(parameters, session).run()]


def best_of(session: Session) -> tuple[Playbook, int]:
    """Return the playbook that did best on the validation rows, and after which step; else the last one."""
    best = [one for one in session.validations if one.is_best]
    if best:
        return best[-1].playbook, best[-1].step
    if not session.steps:
        return session.source.start, 0
    return session.steps[-1].learned.playbook, session.steps[-1].number


def result_of(session: Session, flow: str, methods: Sequence[Method], started: float) -> AceResult:
    """Collect what came of a run."""
    run, source = session.run, session.source
    best, step = best_of(session)
    rows = source.train or source.test  # those of the steps; ids are unique within a file
    return AceResult(
        parameters=session.parameters,
        flow=flow,
        task=source.task.name,
        model=run.model,
        start=source.start,
        steps=tuple(session.steps),
        tokens=tuple(session.tokens),
        validations=tuple(session.validations),
        best=best,
        best_step=step,
        methods=tuple(methods),
        stops=session.stops,
        tally=run.tally,
        seconds=time.monotonic() - started,
        cost_usd=run.cost_usd(),
        costs=session.costs.rows(read_rows(session.directory / LEDGER)),
        max_tokens=session.tidying.max_tokens,
        notes=(*source.notes, *overlaps(source.train, source.validation, source.test)),
        questions={row.question.id: row.question.text for row in rows},
        samples=run.samples,
        flow_run_id=running_flow_run.id,
        deployment=running_deployment.name,
    )


async def publish(result: AceResult, directory: Path) -> Summary:
    """Write the files, and show the result in the Prefect UI."""
    record_cost(result, directory, datetime.now(UTC))
    await anyio.to_thread.run_sync(write_report, ace_page(result), directory / "report.html")
    summary = await anyio.to_thread.run_sync(partial(write_files, result, directory))
    await show_growth(result.start, result.steps, result.tokens, result.validations)
    await acreate_markdown_artifact(key=f"{result.flow}-report", markdown=_markdown(result, directory))
    logger = get_run_logger()
    for warning in result.warnings():
        logger.warning(warning)
    logger.info("%s; report: %s", result.headline(), summary["report"])
    return summary


def _markdown(result: AceResult, directory: Path) -> str:
    warnings = "\n".join(f"> {warning}\n" for warning in result.warnings())
    methods = "\n".join(f"| {one.name} | {one.note} | {percent(one.evaluation)} |" for one in result.methods)
    stops = "\n".join(f"| {name} | {count} |" for name, count in result.stops.items())
    return (
        f"# ACE on {result.task}\n\n{result.headline()}\n\n{warnings}\n"
        f"| method | | accuracy |\n|---|---|---|\n{methods}\n\n"
        f"| rows were done with | |\n|---|---|\n{stops}\n\n"
        f"Files: `{directory}` (playbook.txt, playbook.json, steps.jsonl, answers.jsonl, report.html, "
        "summary.json)\n"
    )
