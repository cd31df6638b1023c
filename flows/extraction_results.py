"""What an extraction came to, counted document by document, and what it says of itself."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cache.keys import make_key
from flows.extraction_files import Finished
from flows.extraction_gold import as_json
from flows.extraction_parameters import LEFT_ALONE, ExtractionParameters
from flows.gpu_samples import Samples
from flows.run_parameters import STEERING
from tasks.extraction.evaluation import Evaluation
from tasks.extraction.spec import ExtractionSpec
from tasks.extraction.values import GROUNDED
from tasks.tally import Tally
from tasks.whole_files import write_whole

MANY_UNGROUNDED = 0.2
"""Above this share of items that stand nowhere in their document the report warns."""


class TooManyFailedDocumentsError(RuntimeError):
    """More documents failed than the run was told to bear; everything is written and stored nevertheless."""


@dataclass(kw_only=True)
class Totals:
    """Sums over documents; small however many there are."""

    documents: Counter[str] = field(default_factory=Counter[str])
    """{status: documents}"""
    entities: Counter[str] = field(default_factory=Counter[str])
    """{label: entities with a span}"""
    findings: Counter[str] = field(default_factory=Counter[str])
    """{status: entities and findings}"""
    items: Counter[str] = field(default_factory=Counter[str])
    """{status: what answers said}, of which several may be one entity, from other chunks and passes"""
    reasons: Counter[str] = field(default_factory=Counter[str])
    """{why a window failed: windows}"""
    characters: int = 0
    answered_characters: float = 0.0
    chunks: int = 0
    asked: int = 0
    invalid_items: int = 0
    full_answers: int = 0

    def add(self, finished: Finished) -> None:
        """Count a document."""
        self.documents[finished.status] += 1
        self.entities.update(one.label for one in finished.entities if one.status in GROUNDED)
        self.findings.update(one.status for one in finished.entities)
        for one in finished.entities:
            self.items[one.status] += len(one.provenance)
        self.reasons.update(one.reason for one in finished.failed)
        self.characters += len(finished.text)
        self.answered_characters += len(finished.text) * finished.coverage
        self.chunks += finished.chunks
        self.asked += finished.asked
        self.invalid_items += finished.invalid_items
        self.full_answers += finished.full_answers

    @property
    def coverage(self) -> float | None:
        """Share of the characters of all documents that were answered for; None where there is none."""
        return self.answered_characters / self.characters if self.characters else None

    @property
    def failed(self) -> int:
        """Documents about which there is no answer at all."""
        return self.documents["failed"] + self.documents["unreadable"]

    @property
    def failed_fraction(self) -> float:
        """Share of these."""
        return self.failed / max(1, self.documents.total())


@dataclass(frozen=True, kw_only=True)
class ExtractionResult:
    """Everything that the report and the summary are made from, but for the documents."""

    parameters: ExtractionParameters
    spec: ExtractionSpec
    name: str
    """Of what was extracted from."""
    model: str
    totals: Totals
    tally: Tally
    seconds: float
    cost_usd: float | None = 0.0
    """None where a price is not known."""
    evaluation: Evaluation | None = None
    """Against gold spans, where there are some."""
    samples: Samples = field(default_factory=Samples)
    """What was read of servers and GPUs."""
    flow_run_id: str | None = None
    deployment: str | None = None

    def headline(self) -> str:
        """Say the result in one line."""
        totals = self.totals
        counted = totals.documents
        kinds = ", ".join(
            f"{counted[kind]} {kind}" for kind in ("partial", "failed", "unreadable") if counted[kind]
        )
        coverage = "no text" if totals.coverage is None else f"coverage {_percent(totals.coverage)}"
        return (
            f"{totals.entities.total()} entities in {counted.total()} documents"
            f"{f' ({kinds})' if kinds else ''}; {coverage}; {self.tally.sent} prompts sent, "
            f"{self.tally.from_the_store} answered from the store, {self.seconds:.0f} s"
        )

    def warnings(self) -> list[str]:
        """Say what a reader must know before using the entities."""
        totals = self.totals
        found: list[str] = []
        if kinds := totals.reasons.most_common(3):
            told = ", ".join(f"{reason} ({count})" for reason, count in kinds)
            found.append(
                f"{totals.reasons.total()} chunks have no whole answer: {told}; documents.jsonl names all."
            )
        if unreadable := totals.documents["unreadable"]:
            found.append(f"{unreadable} documents could not be read; documents.jsonl says why.")
        ungrounded, every = totals.items["ungrounded"], totals.items.total()
        if ungrounded > MANY_UNGROUNDED * every:
            found.append(
                f"{ungrounded} of {every} items of answers stand nowhere in their documents; they have no "
                "span and are not counted. A larger model makes up less."
            )
        if totals.invalid_items:
            found.append(
                f"{totals.invalid_items} items of answers had no text, too long a one or an unknown label."
            )
        if totals.full_answers:
            found.append(
                f"{totals.full_answers} answers have as many items as they may (max_items, "
                f"{self.parameters.max_items}) and were not asked for in halves: there may be more; make "
                "chunks smaller, or ask a larger model."
            )
        passes, temperature = self.parameters.passes, self.parameters.pass_temperature
        if passes > 1 and temperature == 0:
            found.append(f"{passes} passes without chance (pass_temperature 0) differ only in their chunks.")
        found += [
            f"{number} prompts were answered by the fallback {name}, since the server stayed away."
            for name, number in self.tally.stand_ins.items()
        ]
        return found

    def require_few_failures(self, directory: Path) -> None:
        """Insist on no more failures than the user bears.

        Raises:
            TooManyFailedDocumentsError: There are more.
        """
        allowed, totals = self.parameters.max_failed_fraction, self.totals
        if totals.failed_fraction > allowed:
            raise TooManyFailedDocumentsError(
                f"{totals.failed} of {totals.documents.total()} documents have no answer at all, which is "
                f"more than max_failed_fraction ({allowed:g}) allows; {directory / 'documents.jsonl'} says "
                "why, and running this again asks only for what a server failed to answer"
            )

    def summary(self, directory: Path) -> dict[str, object]:
        """Return the result as plain JSON."""
        totals = self.totals
        return {
            "headline": self.headline(),
            "report": str(directory / "report.html"),
            "entities_file": str(directory / "entities.jsonl"),
            "documents_file": str(directory / "documents.jsonl"),
            "flow_run_id": self.flow_run_id,
            "deployment": self.deployment,
            "model": self.model,
            "spec": self.spec.name,
            "coverage": totals.coverage,
            "documents": dict(totals.documents),
            "entities": dict(totals.entities),
            "findings": dict(totals.findings),
            "items": dict(totals.items),
            "failed_chunks": dict(totals.reasons),
            "chunks": totals.chunks,
            "asked": totals.asked,
            "invalid_items": totals.invalid_items,
            "full_answers": totals.full_answers,
            "evaluation": as_json(self.evaluation) if self.evaluation else None,
            "warnings": self.warnings(),
            "cost": {**asdict(self.tally), "seconds": self.seconds, "cost_usd": self.cost_usd},
            "parameters": self.parameters.model_dump(mode="json"),
        }


def _percent(share: float) -> str:
    """Write a share so that only all of it is 100 %."""
    return "100 %" if share >= 1 else f"{min(share, 0.9999):.2%}".replace("%", " %")


def extraction_directory(
    runs: Path, parameters: ExtractionParameters, spec: ExtractionSpec, *, model: str, name: str, data: str
) -> Path:
    """Return the folder of a run: the same for the same questions about the same documents.

    Args:
        runs: Where all runs are.
        parameters: Of the run.
        spec: What was looked for.
        model: Who was asked.
        name: Of what was extracted from.
        data: Digest of the documents.
    """
    plain = parameters.model_dump(mode="json", exclude={*STEERING, *LEFT_ALONE, "spec"})
    key = make_key("extraction-run", 1, [plain, spec.model_dump(mode="json"), model, data])
    return runs / f"extraction-{name}-{key[:10]}"


def write_summary(result: ExtractionResult, directory: Path) -> dict[str, object]:
    """Write summary.json and return it."""
    summary = result.summary(directory)
    write_whole(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary
