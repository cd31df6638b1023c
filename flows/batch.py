"""The flow `batch`: a file of prompts in, a file of answers out, in the order of its rows."""

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.base import Outcome
from flows.answering import first_error
from flows.batch_parameters import BatchParameters
from flows.batch_progress import BatchProgress
from flows.batch_results import BatchResult, Totals, batch_directory, write_batch_files
from flows.estimates import show_estimate
from flows.reports.batch import render
from flows.results import record_cost
from flows.run import Run, open_run
from flows.settings import load_settings
from flows.workflow import workflow
from tasks.ask import Stop
from tasks.batch.files import MAX_PROBLEMS, Scan, read_batches, scan
from tasks.batch.in_order import work_in_order
from tasks.batch.outputs import Write, check_output, open_output, output_layout
from tasks.batch.questions import Answer, Questions, Schema, make_schema, read_answers
from tasks.batch.rows import InputError, Row

Summary = dict[str, Any]

ANSWERS = "answers.jsonl"
"""The file of answers in a run's folder, where no output_path is given."""

AT_ONCE = 4
"""Batches that are asked at a time, so that the server never waits for the slowest prompt of one."""

AHEAD = 8
"""Batches that are in memory: those asked, and those that wait for a slower one before them."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The input, checked from its first row to its last."""

    path: Path
    scan: Scan
    schema: Schema | None


@workflow("batch")
async def batch(parameters: BatchParameters) -> Summary:
    """Answer a file of prompts or conversations.

    Running it again with the same parameters answers from the store; that is also how a killed run goes on.

    Returns:
        The summary that is also in `summary.json`: headline, counts, cost, where answers and report are.
    """
    settings = load_settings()
    source = await anyio.to_thread.run_sync(open_source, parameters)
    _tell_bad_rows(source, parameters)
    wanted = Path(parameters.output_path) if parameters.output_path else None
    await anyio.to_thread.run_sync(check_output, wanted or settings.runs / ANSWERS)
    async with open_run(parameters, settings) as run:
        questions = _questions(parameters, run, source)
        directory = batch_directory(settings.runs, questions, parameters, source.scan.digest)
        output = wanted or directory / ANSWERS
        if run.estimator:
            await _answer_all(parameters, run, source, questions, write=lambda _: None)
            return await show_estimate(run)
        result = await answer_file(parameters, run, source, questions, output)
        summary = await publish(result, directory)
        result.require_few_failures()
    return summary


def _questions(parameters: BatchParameters, run: Run, source: Source) -> Questions:
    return Questions(
        model=run.model,
        revision=run.revision,
        sampling=parameters.sampling(),
        samples=parameters.n,
        logprobs=parameters.logprobs,
        schema=source.schema,
    )


def open_source(parameters: BatchParameters) -> Source:
    """Read the whole input once, to find everything that is wrong with it before anything is sent.

    Raises:
        InputError: Something is wrong with it, or with the schema.
    """
    if not parameters.input_path:
        raise InputError("no prompts are named; give input_path, the path of a JSONL, CSV or Parquet file")
    path = Path(parameters.input_path)
    if parameters.output_path and Path(parameters.output_path).resolve() == path.resolve():
        raise InputError(f"output_path is {path}, the input itself; give another")
    schema = _read_schema(parameters.json_schema)
    return Source(
        path=path,
        scan=scan(path, parameters.layout()),
        schema=None if schema is None else make_schema(schema),
    )


def _read_schema(given: Mapping[str, object] | str | None) -> Mapping[str, object] | None:
    if not isinstance(given, str):
        return given
    try:
        schema: object = json.loads(Path(given).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"json_schema {given} cannot be read: {error}; give a file of JSON") from error
    if not isinstance(schema, dict):
        raise InputError(f"json_schema {given} holds no JSON object")
    return cast("dict[str, object]", schema)


def _tell_bad_rows(source: Source, parameters: BatchParameters) -> None:
    """Tell of every bad row; it ends the run unless bad rows are to be skipped."""
    bad, logger = source.scan.bad, get_run_logger()
    for problem in source.scan.problems:
        logger.warning("%s, %s", source.path, problem)
    if bad > MAX_PROBLEMS:
        logger.warning("%s: %d more rows cannot be asked", source.path, bad - MAX_PROBLEMS)
    if bad and not parameters.skip_bad_rows:
        raise InputError(
            f"{source.path}: {bad} of {source.scan.rows} rows cannot be asked, the first is "
            f"{source.scan.problems[0]}; the log names them all: mend them or set skip_bad_rows"
        )


async def answer_file(
    parameters: BatchParameters, run: Run, source: Source, questions: Questions, output: Path
) -> BatchResult:
    """Ask everything and write the answers; the file appears when all of them are there."""
    started = time.monotonic()
    totals = Totals()
    layout = output_layout(source.scan.columns, parameters.keep_columns, questions.model)

    def write_into(write: Write, answers: Sequence[Answer]) -> None:
        for answer in answers:
            totals.add(answer)
        write([layout.record(answer) for answer in answers])

    with open_output(output, layout.kinds) as write:
        await _answer_all(parameters, run, source, questions, write=partial(write_into, write))
        if totals.rows != source.scan.rows:
            raise InputError(f"{source.path} changed while it was read; run this again")
    return BatchResult(
        parameters=parameters,
        model=questions.model,
        output=output,
        totals=totals,
        tally=run.tally,
        seconds=time.monotonic() - started,
        cost_usd=run.cost_usd(),
        samples=run.samples,
        flow_run_id=running_flow_run.id,
        deployment=running_deployment.name,
    )


async def _answer_all(
    parameters: BatchParameters,
    run: Run,
    source: Source,
    questions: Questions,
    *,
    write: Callable[[Sequence[Answer]], None],
) -> None:
    """Ask some batches at a time, and hand their answers over in the order of the rows."""
    asker = Asker(run=run, questions=questions, rows=source.scan.rows)
    size = max(1, parameters.batch_size // questions.samples)

    async def take(answers: list[Answer]) -> None:
        await anyio.to_thread.run_sync(write, answers)

    with closing(read_batches(source.path, parameters.layout(), size)) as batches:
        going = itertools.takewhile(lambda _: not asker.stop.errors, batches)
        async with asker.progress.shown():
            try:
                await work_in_order(going, asker.answer, take, at_once=AT_ONCE, ahead=AHEAD)
            except ExceptionGroup as group:
                raise first_error(group) from group
    asker.stop.require_an_answer()


class Asker:
    """Asks batches of rows; when nobody answers any more it lets those on their way end, and asks no other.

    What is on its way is stored when it comes, and was paid for.

    Args:
        run: Answers.
        questions: What all rows have in common.
        rows: How many there are in all.
    """

    def __init__(self, *, run: Run, questions: Questions, rows: int) -> None:
        self.stop = Stop()
        self.progress = BatchProgress(total=rows * questions.samples)
        self._ask = run.ask_each()
        self._questions = questions
        self._rows = rows
        run.generator.watch = self.progress.watch

    async def answer(self, rows: list[Row]) -> list[Answer]:
        """Return the answers to some rows; nothing once it has stopped."""
        if self.stop.errors:
            return []
        purpose = f"rows {rows[0].number} to {rows[-1].number} of {self._rows}"
        asked = [self._questions.of(row) for row in rows]
        requests = list(itertools.chain(*asked))
        outcomes = await self._ask(requests, purpose=purpose) if requests else []
        self.stop.hear(outcomes)
        if self.stop.errors:
            return []
        self.progress.finish(purpose, len(rows) * self._questions.samples)
        rest = iter(outcomes)
        per_row = [list(itertools.islice(rest, len(requests))) for requests in asked]
        return await anyio.to_thread.run_sync(self._read, rows, per_row)

    def _read(self, rows: Sequence[Row], outcomes: Sequence[Sequence[Outcome]]) -> list[Answer]:
        pairs = zip(rows, outcomes, strict=True)
        return [answer for row, some in pairs for answer in read_answers(self._questions, row, some)]


async def publish(result: BatchResult, directory: Path) -> Summary:
    """Write the report and the summary, and show the result in the Prefect UI."""
    costs = record_cost(result, directory, datetime.now(UTC))
    html = await anyio.to_thread.run_sync(render, result, costs)
    summary = await anyio.to_thread.run_sync(write_batch_files, result, directory, html)
    await acreate_table_artifact(
        key="batch-counts", table=_counts(result), description="What came of the rows, and what it took"
    )
    await acreate_markdown_artifact(key="batch-report", markdown=_markdown(result, directory))
    logger = get_run_logger()
    for warning in result.warnings():
        logger.warning(warning)
    logger.info("%s; answers: %s; report: %s", result.headline(), result.output, summary["report"])
    return summary


def _counts(result: BatchResult) -> list[dict[str, Any]]:
    totals, tally = result.totals, result.tally
    rows: dict[str, object] = {
        "rows": totals.rows,
        "answers": totals.answers - totals.failed,
        **{f"failed: {kind}": count for kind, count in totals.failures.most_common()},
        **({"did not fit the context": tally.overflows} if tally.overflows else {}),
        **({"alerts of servers and GPUs": tally.alerts} if tally.alerts else {}),
        "prompts sent": tally.sent,
        "prompts answered from the store": tally.from_the_store,
        "prompt tokens": tally.usage.input_tokens,
        "generated tokens": tally.usage.output_tokens,
        "US dollars": "not known" if result.cost_usd is None else round(result.cost_usd, 4),
        "seconds": round(result.seconds, 1),
    }
    return [{"what": name, "how much": value} for name, value in rows.items()]


def _markdown(result: BatchResult, directory: Path) -> str:
    warnings = "\n".join(f"> {warning}\n" for warning in result.warnings())
    rows = "\n".join(f"| {row['what']} | {row['how much']} |" for row in _counts(result))
    return (
        f"# {Path(result.parameters.input_path).name}\n\n{result.headline()}\n\n{warnings}\n"
        f"| what | how much |\n|---|---|\n{rows}\n\n"
        f"Answers: `{result.output}`\n\nReport: `{directory / 'report.html'}`\n"
    )
