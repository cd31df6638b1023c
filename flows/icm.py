"""The flow `icm`: draw claims, search their labels, evaluate them, leave a report."""

import contextlib
import time
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.errors import BackendError
from backends.registry import OWN
from backends.shared_call import SharedCall
from flows.claim_files import load_splits
from flows.estimates import show_estimate
from flows.icm_progress import Progress
from flows.parameters import ICMParameters
from flows.reports.icm import render
from flows.results import ICMResult, data_digest, record_cost, run_directory, write_files
from flows.run import Run, open_run, with_deployment_defaults
from flows.settings import Settings, load_settings
from flows.workflow import workflow
from tasks.icm.claims import LABEL_TEXTS, Claim, Draw, draw
from tasks.icm.consistency import consistency_keys
from tasks.icm.evaluation import TestScore, contexts, score_on_test
from tasks.icm.orders import make_order
from tasks.icm.prompts import Prompter
from tasks.icm.room import require_room
from tasks.icm.search import Search, Step

Summary = dict[str, Any]


@workflow("icm")
async def icm(parameters: ICMParameters) -> Summary:
    """Label claims by Internal Coherence Maximization, and evaluate the labels on a test split.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, accuracies, cost, where the report is.
    """
    parameters = await with_deployment_defaults(parameters)
    settings = load_settings()
    train, test = await anyio.to_thread.run_sync(load_splits, parameters, settings)
    async with open_run(parameters, settings) as run:
        result = await label(parameters, run, train, test)
        if run.estimator:
            return await show_estimate(run)
    return await publish(result, settings)


async def label(
    parameters: ICMParameters, run: Run, train: Sequence[Claim], test: Sequence[Claim]
) -> ICMResult:
    """Search and evaluate; the part of the flow that asks the model."""
    started = time.monotonic()
    generator = run.generator
    drawn = draw(
        train,
        size=parameters.num_claims,
        num_seeds=parameters.num_seeds,
        group_size=parameters.claims_per_group,
        seed=parameters.seed,
    )
    keys = consistency_keys(drawn.claims, parameters.consistency, parameters.kind.rule)
    prompter = await _prompter(parameters, run, drawn)
    generator.prepare = SharedCall(partial(_require_room, parameters, run, prompter))
    progress = Progress(claims=drawn.claims, iterations=parameters.iterations)
    generator.watch = progress.watch
    ask = run.ask(progress.title)
    await progress.start()
    search = Search(drawn, keys, prompter, parameters.search_settings(), ask)
    steps = await _searched(search, progress)
    ways = contexts(drawn.claims, steps[-1].state.assigned, parameters.seed) if test else {}
    scores: list[TestScore] = []
    for number, (method, shown) in enumerate(ways.items()):
        await progress.show_test(method, number, of=len(ways))
        scores.append(await score_on_test(prompter, shown, test, ask, method=method))
    await progress.finish()
    return ICMResult(
        parameters=parameters,
        model=prompter.model,
        revision=prompter.revision,
        exact_scores=all(label.token_ids for label in prompter.labels),
        claims=drawn.claims,
        steps=tuple(steps),
        test_scores=tuple(scores),
        tally=run.tally,
        seconds=time.monotonic() - started,
        data=data_digest(train, test),
        flow_run_id=running_flow_run.id,
        deployment=running_deployment.name,
        cost_usd=run.cost_usd(),
    )


async def _prompter(parameters: ICMParameters, run: Run, drawn: Draw) -> Prompter:
    exact = parameters.provider == OWN and parameters.scoring == "auto"
    return Prompter(
        claims=drawn.claims,
        model=run.model,
        revision=run.revision,
        labels=await run.generator.find_labels(run.model, LABEL_TEXTS, revision=run.revision, exact=exact),
        trailing_space=parameters.trailing_space,
        order=make_order(parameters.context_order, len(drawn.claims), parameters.seed),
    )


async def _require_room(parameters: ICMParameters, run: Run, prompter: Prompter) -> None:
    """Refuse a pool that the server's context cannot hold; one that does not say is believed to hold it."""
    server = run.server
    if server is None:
        return
    with contextlib.suppress(BackendError):
        limit = (await server.capabilities()).max_model_lens.get(run.model)
        if limit is not None:
            await require_room(
                prompter, server.count_tokens, max_tokens=limit, group_size=parameters.claims_per_group
            )


async def _searched(search: Search, progress: Progress) -> list[Step]:
    steps: list[Step] = []
    async with aclosing(search.steps()) as running:
        async for step in running:
            steps.append(step)
            await progress.show(step)
    return steps


async def publish(result: ICMResult, settings: Settings) -> Summary:
    """Write the files, and show the result in the Prefect UI."""
    directory = run_directory(settings.runs, result)
    costs = record_cost(result, directory, datetime.now(UTC))
    html = await anyio.to_thread.run_sync(render, result, costs)
    summary = await anyio.to_thread.run_sync(partial(write_files, result, directory, html))
    await acreate_table_artifact(
        key="icm-accepted-changes", table=_accepted_table(result), description="Accepted changes"
    )
    await acreate_markdown_artifact(key="icm-report", markdown=_markdown(result, directory))
    logger = get_run_logger()
    for warning in result.warnings():
        logger.warning(warning)
    logger.info("%s; report: %s", result.headline(), summary["report"])
    return summary


def _accepted_table(result: ICMResult) -> list[dict[str, Any]]:
    return [
        {
            "iteration": step.iteration,
            "claim": result.claims[step.uid].choice,
            "label": LABEL_TEXTS[step.label],
            "energy": round(step.state.energy, 3),
            "temperature": round(step.temperature, 3),
            "labelled": len(step.state.assigned),
        }
        for step in result.accepted
        if step.uid is not None and step.label is not None
    ]


def _markdown(result: ICMResult, directory: Path) -> str:
    tests = "\n".join(
        f"| {one.method} | {one.demonstrations} | {one.accuracy:.1%} | {one.correct} of {one.total} |"
        for one in result.test_scores
    )
    warnings = "\n".join(f"> {warning}\n" for warning in result.warnings())
    return (
        f"# ICM on {result.parameters.dataset}\n\n{result.headline()}\n\n{warnings}\n"
        f"| demonstrations | how many | test accuracy | right |\n|---|---|---|---|\n{tests}\n\n"
        f"Files: `{directory}` (report.html, labels.jsonl, history.jsonl, summary.json)\n"
    )
