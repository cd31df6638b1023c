"""The flow `icm`: draw claims, search their labels, evaluate them, leave a report."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.errors import BackendError
from backends.messages import Request, Response
from backends.registry import OWN
from backends.shared_call import SharedCall
from flows.claim_files import load_splits
from flows.estimates import show_estimate
from flows.icm_progress import Progress
from flows.json_lines import read_rows
from flows.ledger import LEDGER, Ledger
from flows.parameters import ICMParameters
from flows.reports.icm import render
from flows.results import (
    ICMResult,
    SearchedBatch,
    data_digest,
    record_cost,
    run_directory,
    write_files,
)
from flows.run import Run, open_run, with_deployment_defaults
from flows.settings import Settings, load_settings
from flows.workflow import workflow
from tasks.ask import Ask
from tasks.icm.claims import LABEL_TEXTS, Claim, Draw, batch_seed, draw_batches
from tasks.icm.consistency import consistency_keys
from tasks.icm.evaluation import TestScore, contexts, score_on_test
from tasks.icm.orders import make_order
from tasks.icm.prompts import Prompter
from tasks.icm.room import require_room
from tasks.icm.search import Search, SearchSettings, Step

Summary = dict[str, Any]
T = TypeVar("T")


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
    """Search all batches at the same time and evaluate; the part of the flow that asks the model."""
    started = time.monotonic()
    drawn = draw_batches(
        train,
        size=parameters.num_claims,
        batches=parameters.batches,
        num_seeds=parameters.num_seeds,
        group_size=parameters.claims_per_group,
        seed=parameters.seed,
    )
    keys = [consistency_keys(one.claims, parameters.consistency, parameters.kind.rule) for one in drawn]
    data = data_digest(train, test)
    path = run_directory(run.settings.runs, parameters, run.model, data) / LEDGER
    ledger = Ledger(None if run.estimator else path, run.answerer.computed_since_last)
    run.on_spent(ledger.note)
    prompters = await _prompters(parameters, run, drawn)
    run.generator.prepare = SharedCall(partial(_require_room, parameters, run, prompters))
    progress = Progress(batches=[one.claims for one in drawn], iterations=parameters.iterations)
    run.generator.watch = progress.watch
    await progress.start()
    searches = [
        Search(one, key, prompter, _settings(parameters, batch), _ask(run, progress, batch))
        for batch, (one, key, prompter) in enumerate(zip(drawn, keys, prompters, strict=True))
    ]
    searched = await at_once(
        [_searched(search, batch, progress, ledger) for batch, search in enumerate(searches)]
    )
    batches = [
        SearchedBatch(claims=one.claims, steps=tuple(steps))
        for one, steps in zip(drawn, searched, strict=True)
    ]
    scores = (
        await _tested(run, progress, ledger, prompters[0], batches[0], test, parameters.seed) if test else []
    )
    await progress.finish()
    return ICMResult(
        parameters=parameters,
        model=run.model,
        revision=run.revision,
        exact_scores=all(label.token_ids for label in prompters[0].labels),
        batches=tuple(batches),
        test_scores=tuple(scores),
        tally=run.tally,
        seconds=time.monotonic() - started,
        data=data,
        flow_run_id=running_flow_run.id,
        deployment=running_deployment.name,
        cost_usd=run.cost_usd(),
        put=ledger.put,
        ledger=read_rows(path),
    )


async def _prompters(parameters: ICMParameters, run: Run, drawn: Sequence[Draw]) -> list[Prompter]:
    exact = parameters.provider == OWN and parameters.scoring == "auto"
    labels = await run.generator.find_labels(run.model, LABEL_TEXTS, revision=run.revision, exact=exact)
    return [
        Prompter(
            claims=one.claims,
            model=run.model,
            revision=run.revision,
            labels=labels,
            trailing_space=parameters.trailing_space,
            order=make_order(parameters.context_order, len(one.claims), batch_seed(parameters.seed, batch)),
        )
        for batch, one in enumerate(drawn)
    ]


async def _require_room(parameters: ICMParameters, run: Run, prompters: Sequence[Prompter]) -> None:
    """Refuse a pool that the server's context cannot hold; one that does not say is believed to hold it."""
    server = run.server
    if server is None:
        return
    with contextlib.suppress(BackendError):
        limit = (await server.capabilities()).max_model_lens.get(run.model)
        if limit is None:
            return
        for prompter in prompters:
            await require_room(
                prompter, server.count_tokens, max_tokens=limit, group_size=parameters.claims_per_group
            )


def _settings(parameters: ICMParameters, batch: int) -> SearchSettings:
    return replace(parameters.search_settings(), seed=batch_seed(parameters.seed, batch))


def _ask(run: Run, progress: Progress, batch: int) -> Ask:
    """Return what answers one batch's search, every purpose with the batch's name."""
    ask = run.ask(partial(progress.title, batch=batch))

    async def named(requests: Sequence[Request], *, purpose: str) -> list[Response]:
        return await ask(requests, purpose=f"{progress.name(batch)}{purpose}")

    return named


async def _searched(search: Search, batch: int, progress: Progress, ledger: Ledger) -> list[Step]:
    steps: list[Step] = []
    name = progress.name(batch)
    try:
        async with aclosing(search.steps()) as running:
            async for step in running:
                steps.append(step)
                await ledger.ended("search", batch=batch + 1, iteration=step.iteration, of=name)
                await progress.show(step, batch)
    except BaseException:
        ledger.interrupted("search", batch=batch + 1, iteration=len(steps), of=name)
        raise
    return steps


async def at_once(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at the same time; the first error ends the others and is raised as it is."""
    running = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return await asyncio.gather(*running)
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _tested(
    run: Run,
    progress: Progress,
    ledger: Ledger,
    prompter: Prompter,
    batch: SearchedBatch,
    test: Sequence[Claim],
    seed: int,
) -> list[TestScore]:
    """Evaluate the labels of one batch, which is what a context holds."""
    ask = run.ask()
    ways = contexts(batch.claims, batch.final.assigned, seed)
    scores: list[TestScore] = []
    for number, (method, shown) in enumerate(ways.items()):
        await progress.show_test(method, number, of=len(ways))
        async with ledger.part(f"test {method}"):
            scores.append(await score_on_test(prompter, shown, test, ask, method=method))
    return scores


async def publish(result: ICMResult, settings: Settings) -> Summary:
    """Write the files, and show the result in the Prefect UI."""
    directory = run_directory(settings.runs, result.parameters, result.model, result.data)
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
            "batch": number,
            "iteration": step.iteration,
            "claim": batch.claims[step.uid].choice,
            "label": LABEL_TEXTS[step.label],
            "energy": round(step.state.energy, 3),
            "temperature": round(step.temperature, 3),
            "labelled": len(step.state.assigned),
        }
        for number, batch in enumerate(result.batches, start=1)
        for step in batch.accepted
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
