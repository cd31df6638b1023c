"""What the flows `ace` and `ace-online` do around their loops: open a run, then publish what came of it."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from flows.ace_page import ace_page
from flows.ace_parameters import AceBase
from flows.ace_progress import show_growth
from flows.ace_results import AceResult, Method, ace_directory, overlaps, percent, write_files
from flows.ace_session import Session, open_session
from flows.ace_source import Source
from flows.estimates import show_estimate
from flows.json_lines import read_rows
from flows.ledger import LEDGER
from flows.reports.ace import write as write_report
from flows.results import record_cost
from flows.run import open_run
from flows.settings import load_settings
from tasks.ace.playbook import Playbook

Summary = dict[str, Any]

Loop = Callable[[Session], Awaitable[Sequence[Method]]]
"""Learns and tests within an open session; returns what was tested."""


async def run_loop(flow: str, parameters: AceBase, source: Source, loop: Loop, *, total: int) -> Summary:
    """Run the loop of a flow, and publish what came of it; for an estimate, show that alone.

    Args:
        flow: Its name: names the artifacts and the folder of the run.
        parameters: Of the run.
        source: The task and its rows.
        loop: Learns and tests.
        total: Rows that are learnt from, over all epochs.

    Returns:
        The summary that is also in `summary.json`: headline, accuracies, edits, cost, where the files are.
    """
    settings = load_settings()
    async with open_run(parameters, settings) as run:
        directory = ace_directory(
            settings.runs, parameters, flow=flow, task=source.task.name, model=run.model, data=source.digest
        )
        started = time.monotonic()
        session = await open_session(parameters, run, source, directory, total=total)
        try:
            if run.estimator:
                await loop(session)
                return await show_estimate(run)
            async with session.progress.shown():
                methods = await loop(session)
        except BaseException:
            session.costs.interrupted()
            raise
        result = _result_of(session, flow, methods, started)
    return await _publish(result, directory)


def best_of(session: Session) -> tuple[Playbook, int]:
    """Return the playbook that did best on the validation rows, and after which step; else the last one."""
    best = [one for one in session.validations if one.is_best]
    if best:
        return best[-1].playbook, best[-1].step
    if not session.steps:
        return session.source.start, 0
    return session.steps[-1].learned.playbook, session.steps[-1].number


def _result_of(session: Session, flow: str, methods: Sequence[Method], started: float) -> AceResult:
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


async def _publish(result: AceResult, directory: Path) -> Summary:
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
