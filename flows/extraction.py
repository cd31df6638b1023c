"""The flow `extraction`: documents in; entities with their places, a report, and what failed, out."""

import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.base import Outcome
from backends.errors import BackendError
from backends.messages import Request
from flows.answering import first_error
from flows.estimates import show_estimate
from flows.extraction_files import Finished, open_files
from flows.extraction_parameters import ExtractionParameters
from flows.extraction_progress import ExtractionProgress
from flows.extraction_results import ExtractionResult, Totals, extraction_directory, write_summary
from flows.results import record_cost
from flows.run import Run, open_run, with_deployment_defaults
from flows.settings import load_settings
from flows.workflow import workflow
from tasks.ask import AskEach
from tasks.batch.in_order import work_in_order
from tasks.batches import TaskAsk
from tasks.extraction.asking import NOBODY_ANSWERS
from tasks.extraction.extracting import Extracted
from tasks.extraction.values import Document
from tasks.keys import key_requests

Summary = dict[str, Any]
Extract = Callable[[Document], Awaitable[Extracted]]

AT_ONCE = 8
"""Documents that are asked about at a time, so that the server never waits for the last chunk of one."""

AHEAD = 16
"""Documents in memory: those asked about, and those that wait for a slower one before them."""


@workflow("extraction")
async def extraction(parameters: ExtractionParameters) -> Summary:
    """Extract entities from documents, each with the place where it stands.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, counts, coverage, cost, where the files are.
    """
    parameters = await with_deployment_defaults(parameters)
    settings = load_settings()
    prepared = await anyio.to_thread.run_sync(prepare, parameters)
    if parameters.extractor == "citations":
        return await _without_model(parameters, settings, prepared)
    async with open_run(parameters, settings) as run:
        return await _with_model(parameters, settings, prepared, run)


async def _with_model(
    parameters: ExtractionParameters, settings: Settings, prepared: Prepared, run: Run
) -> Summary:
    stop = Stop()
    extract = await model_extract(parameters, prepared.spec, run, stop.guard(run.ask_each()))
    progress = ExtractionProgress(total=prepared.source.count)
    run.generator.watch = progress.watch
    going = Going(extract=extract, progress=progress, stop=stop)
    if run.estimator:
        await going.through(prepared.source, take=lambda _: None)
        return await show_estimate(run)
    place = Place(runs=settings.runs, model=run.model)
    return await publish(...)
