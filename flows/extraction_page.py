"""The report of an extraction, made from its files one document at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flows.extraction_files import Finished, read_files
from flows.extraction_gold import in_a_sentence, rows
from flows.extraction_results import ExtractionResult
from flows.reports.extraction import DocumentView, ExtractionPage, FailedRange, write
from tasks.extraction.evaluation import confusion_table

SHOWN_CHARACTERS = 30_000_000
"""Of all documents together; a browser takes no page of any size. Those after it are listed without text."""


def write_report(result: ExtractionResult, directory: Path, costs: Sequence[Mapping[str, object]]) -> None:
    """Write report.html, whole or not at all."""
    evaluation = result.evaluation
    page = ExtractionPage(
        title=f"Entities of {result.name}",
        headline=result.headline(),
        warnings=result.warnings(),
        facts=_facts(result, costs),
        labels=[(label.name, label.description) for label in result.spec.labels],
        documents=_views(directory),
        load=[
            (row["where"], row["what"], row["least"], row["median"], row["most"])
            for row in result.samples.rows()
        ],
        evaluation=rows(evaluation) if evaluation else (),
        confusion=confusion_table(evaluation) if evaluation else (),
        evaluation_note=in_a_sentence(evaluation) if evaluation else "",
    )
    write(page, directory / "report.html")


def _views(directory: Path) -> Iterator[DocumentView]:
    shown = 0
    for one in read_files(directory):
        shown += len(one.text)
        yield _view(one) if shown <= SHOWN_CHARACTERS else _listed(one)


def _view(one: Finished) -> DocumentView:
    return DocumentView(
        id=one.id,
        text=one.text,
        status=one.status,
        reason=one.reason,
        coverage=one.coverage,
        entities=one.entities,
        failed=[
            FailedRange(start=part.start, end=part.end, reason=f"pass {part.pass_number + 1}: {part.reason}")
            for part in one.failed
        ],
    )


def _listed(one: Finished) -> DocumentView:
    left_out = "its text is left out, since the page would be too large; entities.jsonl has its entities"
    return DocumentView(
        id=one.id,
        text="",
        status=one.status,
        reason=f"{one.reason}; {left_out}" if one.reason else left_out,
        coverage=one.coverage,
    )


def _facts(result: ExtractionResult, costs: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    totals, parameters, tally = result.totals, result.parameters, result.tally
    size, overlap = parameters.chunk_size
    unit = "characters" if parameters.chunk_characters is not None else "tokens"
    usd = "not known" if result.cost_usd is None else f"{result.cost_usd:.4f}"
    facts = [
        ("model", result.model),
        ("spec", result.spec.name),
        ("documents", _counted(totals.documents)),
        ("characters", f"{totals.characters:,}"),
        ("findings", _counted(totals.findings)),
    ]
    if parameters.extractor == "model":
        facts += [
            ("chunks", f"{totals.chunks:,} of at most {size:,} {unit}, overlap {overlap:,}"),
            ("passes", f"{parameters.passes}, of which {parameters.min_votes} have to find an entity"),
            ("questions", f"{totals.asked:,}, those that were put again included"),
            ("prompts sent", f"{tally.sent:,}; from the store {tally.from_the_store:,}"),
            ("requests", f"{tally.requests:,}; prompts that failed {tally.failed:,}"),
            ("tokens", f"{tally.usage.input_tokens:,} in, {tally.usage.output_tokens:,} out"),
            ("cost in US dollars", usd),
        ]
        if tally.overflows:
            facts.append(("prompts that did not fit the context", f"{tally.overflows:,}"))
        if tally.alerts:
            facts.append(("alerts of servers and GPUs", f"{tally.alerts:,}"))
    facts.append(("seconds", f"{result.seconds:.0f}; runs so far {len(costs)}"))
    return facts


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items(), key=lambda one: -one[1]))
