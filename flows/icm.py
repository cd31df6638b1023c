"""The flow `icm`: draw claims, search their labels, evaluate them, leave a report."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
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
from flows.icm_parts import Batch, Parts
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
from flows.run import Run, open_run
from flows.settings import Settings, load_settings
from flows.workflow import workflow
from tasks.icm.claims import LABEL_TEXTS, Claim, batch_seed, draw_batches
from tasks.icm.consistency import consistency_keys
from tasks.icm.evaluation import TestScore
from tasks.icm.orders import make_order
from tasks.icm.prompts import Prompter
from tasks.icm.room import require_room

Summary = dict[str, Any]


@workflow("icm")
async def icm(parameters: ICMParameters) -> Summary:
    """Label claims by Internal Coherence Maximization, and evaluate the labels on a test split.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, accuracies, cost, where the report is.
    """
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
    batches = await _batches(parameters, run, train)
    run.generator.prepare = SharedCall(partial(_require_room, parameters, run, batches, test))
    data = data_digest(train, test)
    path = run_directory(run.settings.runs, parameters, run.model, data) / LEDGER
    ledger = Ledger(None if run.estimator else path, run.answerer.computed_since_last)
    run.on_spent(ledger.note)
    progress = Progress(batches=[one.draw.claims for one in batches], iterations=parameters.iterations)
    run.generator.watch = progress.watch
    await progress.start()
    parts = Parts(run=run, progress=progress, ledger=ledger)
    searched = await parts.search_all(batches)
    bootstrapped = await parts.bootstrap(batches, parameters.bootstrap_rounds)
    scores: list[TestScore] = []
    if test:
        found = searched[0][-1].state.assigned
        scores = await parts.test(batches[0], found, bootstrapped[0], test)
        scores[1:1] = await parts.chat(test) if parameters.chat_baseline else []  # beside "zero-shot"
    await progress.finish()
    return ICMResult(
        parameters=parameters,
        model=run.model,
        revision=run.revision,
        exact_scores=all(label.token_ids for label in batches[0].prompter.labels),
        batches=tuple(
            SearchedBatch(claims=one.draw.claims, steps=tuple(steps), bootstrapped=other)
            for one, steps, other in zip(batches, searched, bootstrapped, strict=True)
        ),
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


async def _batches(parameters: ICMParameters, run: Run, train: Sequence[Claim]) -> list[Batch]:
    drawn = draw_batches(
        train,
        size=parameters.num_claims,
        batches=parameters.batches,
        num_seeds=parameters.num_seeds,
        group_size=parameters.claims_per_group,
        seed=parameters.seed,
    )
    exact = parameters.provider == OWN and parameters.scoring == "auto"
    keys = [consistency_keys(one.claims, parameters.consistency, parameters.kind.rule) for one in drawn]
    labels = await run.generator.find_labels(run.model, LABEL_TEXTS, revision=run.revision, exact=exact)
    seeds = [batch_seed(parameters.seed, number) for number in range(len(drawn))]
    return [
        Batch(
            number=number,
            draw=one,
            keys=keys[number],
            prompter=Prompter(
                claims=one.claims,
                model=run.model,
                revision=run.revision,
                labels=labels,
                trailing_space=parameters.trailing_space,
                order=make_order(parameters.context_order, len(one.claims), seeds[number]),
            ),
            settings=replace(parameters.search_settings(), seed=seeds[number]),
        )
        for number, one in enumerate(drawn)
    ]


async def _require_room(
    parameters: ICMParameters, run: Run, batches: Sequence[Batch], test: Sequence[Claim]
) -> None:
    """Refuse a pool that the server's context cannot hold; one that does not say is believed to hold it."""
    server = run.server
    if server is None:
        return
    with contextlib.suppress(BackendError):
        limit = (await server.capabilities()).max_model_lens.get(run.model)
        if limit is None:
            return
        for one in batches:
            await require_room(
                one.prompter,
                server.count_tokens,
                max_tokens=limit,
                group_size=parameters.claims_per_group,
                test=() if one.number else test,  # the tests show the first batch
            )


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
        f"| {one.method} | {one.demonstrations} | {one} | {one.correct} of {one.total} |"
        for one in result.test_scores
    )
    warnings = "\n".join(f"> {warning}\n" for warning in result.warnings())
    return (
        f"# ICM on {result.parameters.dataset}\n\n{result.headline()}\n\n{warnings}\n"
        f"| demonstrations | how many | test accuracy | right |\n|---|---|---|---|\n{tests}\n\n"
        f"Files: `{directory}` (report.html, labels.jsonl, history.jsonl, summary.json)\n"
    )
