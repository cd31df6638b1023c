"""The flow `extraction`: documents in; entities with their places, a report, and what failed, out."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from flows.estimates import show_estimate
from flows.extraction_asking import citation_spec, extract_citations, extract_with
from flows.extraction_documents import Extract, go_through
from flows.extraction_exports import write_exports
from flows.extraction_files import Finished, open_files
from flows.extraction_gold import Gold, evaluate_files, load_gold
from flows.extraction_page import write_report
from flows.extraction_parameters import ExtractionParameters
from flows.extraction_progress import ExtractionProgress
from flows.extraction_results import ExtractionResult, Totals, extraction_directory, write_summary
from flows.extraction_source import Source, find_spec, open_source
from flows.gpu_samples import Samples
from flows.results import record_cost
from flows.run import Run, open_run
from flows.settings import Settings, load_settings
from flows.workflow import workflow
from tasks.ask import Stop
from tasks.extraction.spec import ExtractionSpec
from tasks.tally import Tally

Summary = dict[str, Any]

NO_MODEL = "eyecite"
"""What answers where no model is asked."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One extraction, checked; nothing was asked yet."""

    parameters: ExtractionParameters
    settings: Settings
    spec: ExtractionSpec
    source: Source
    gold: Gold | None


def prepare(parameters: ExtractionParameters) -> Job:
    """Check everything that can be checked before anything is asked.

    Raises:
        SpecError: The spec cannot be used.
        DocumentsError: There is nothing to read.
        GoldError: The gold spans are not of these documents and labels.
    """
    spec = citation_spec() if parameters.extractor == "citations" else find_spec(parameters.spec)
    source = open_source(parameters)
    gold = load_gold(Path(parameters.gold), source, spec) if parameters.gold else None
    return Job(parameters=parameters, settings=load_settings(), spec=spec, source=source, gold=gold)


@workflow("extraction")
async def extraction(parameters: ExtractionParameters) -> Summary:
    """Extract entities from documents, each with the place where it stands.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, counts, coverage, cost, where the files are.
    """
    job = await anyio.to_thread.run_sync(prepare, parameters)
    if parameters.extractor == "citations":
        return await _extract(job, extract_citations, Stop(), run=None)
    async with open_run(parameters, job.settings) as run:
        stop = Stop()
        extract = await extract_with(parameters, job.spec, run, stop.guard(run.ask_each()))
        return await _extract(job, extract, stop, run)


async def _extract(job: Job, extract: Extract, stop: Stop, run: Run | None) -> Summary:
    started = time.monotonic()
    totals, progress = Totals(), ExtractionProgress(total=job.source.count)
    going = partial(go_through, job.source.documents(), extract, progress=progress, stop=stop)
    if run:
        run.generator.watch = progress.watch
        if run.estimator:
            await going(lambda _: None)
            return await show_estimate(run)
    model = run.model if run else NO_MODEL
    directory = extraction_directory(
        job.settings.runs, job.parameters, job.spec, model=model, name=job.source.name, data=job.source.digest
    )
    with open_files(directory) as write:

        def take(finished: Finished) -> None:
            totals.add(finished)
            write(finished)

        await going(take)
    evaluation = None
    if job.gold is not None:
        evaluation = await anyio.to_thread.run_sync(evaluate_files, job.gold, directory, totals.coverage)
    result = ExtractionResult(
        parameters=job.parameters,
        spec=job.spec,
        name=job.source.name,
        model=model,
        totals=totals,
        tally=run.tally if run else Tally(),
        seconds=time.monotonic() - started,
        cost_usd=run.cost_usd() if run else 0.0,
        evaluation=evaluation,
        samples=run.samples if run else Samples(),
        flow_run_id=running_flow_run.id,
        deployment=running_deployment.name,
    )
    summary = await publish(result, directory)
    result.require_few_failures(directory)
    return summary


async def publish(result: ExtractionResult, directory: Path) -> Summary:
    """Write the report and the summary, and show the result in the Prefect UI."""
    costs = record_cost(result, directory, datetime.now(UTC))
    await anyio.to_thread.run_sync(write_report, result, directory, costs)
    await anyio.to_thread.run_sync(write_exports, result.parameters.exports, directory)
    summary = await anyio.to_thread.run_sync(write_summary, result, directory)
    await acreate_table_artifact(
        key="extraction-entities", table=_counts(result), description="Entities by label"
    )
    await acreate_markdown_artifact(key="extraction-report", markdown=_markdown(result, directory))
    logger = get_run_logger()
    for warning in result.warnings():
        logger.warning(warning)
    logger.info("%s; entities: %s; report: %s", result.headline(), directory, summary["report"])
    return summary


def _counts(result: ExtractionResult) -> list[dict[str, Any]]:
    return [
        {"label": label.name, "entities": result.totals.entities[label.name]} for label in result.spec.labels
    ]


def _markdown(result: ExtractionResult, directory: Path) -> str:
    warnings = "\n".join(f"> {warning}\n" for warning in result.warnings())
    documents = "\n".join(f"| {kind} | {count} |" for kind, count in result.totals.documents.items())
    return (
        f"# Entities of {result.name}\n\n{result.headline()}\n\n{warnings}\n"
        f"| documents | how many |\n|---|---|\n{documents}\n\n"
        f"Files: `{directory}` (entities.jsonl, documents.jsonl, report.html, summary.json)\n"
    )
