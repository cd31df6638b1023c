"""What a batch of prompts came to, counted row by row, and the files beside its answers."""

import json
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cache.keys import make_key
from flows.batch_parameters import LEFT_ALONE, BatchParameters
from flows.gpu_samples import Samples
from flows.run_parameters import STEERING
from tasks.batch.questions import BAD_ROW, Answer, Questions
from tasks.tally import Tally
from tasks.whole_files import write_whole

SHOWN_ROWS = 20
CUT_OFF_SHARE = 0.05
"""Above this share of answers that ran into max_output_tokens the report warns."""


class TooManyFailedError(RuntimeError):
    """More rows failed than the run was told to bear; everything is written and stored nevertheless."""


@dataclass(kw_only=True)
class Totals:
    """Sums over the answers, and the first of them; small however many there are."""

    rows: int = 0
    answers: int = 0
    """Good ones and failures: rows times samples."""
    failures: Counter[str] = field(default_factory=Counter[str])
    finish_reasons: Counter[str] = field(default_factory=Counter[str])
    lengths: "array[int]" = field(default_factory=lambda: array("L"))
    """Characters of each good answer."""
    empty: int = 0
    first: list[Answer] = field(default_factory=list[Answer])
    first_failed: list[Answer] = field(default_factory=list[Answer])

    @property
    def failed(self) -> int:
        """Answers that are failures."""
        return self.failures.total()

    @property
    def failed_fraction(self) -> float:
        """Share of failures."""
        return self.failed / self.answers if self.answers else 0.0

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.rows += answer.sample == 0
        self.answers += 1
        if answer.response is not None:
            self.finish_reasons[answer.response.finish_reason] += 1
        if answer.failure is not None:
            self.failures[answer.failure] += 1
            if len(self.first_failed) < SHOWN_ROWS:
                self.first_failed.append(answer)
        elif answer.response is not None:
            self.lengths.append(len(answer.response.text))
            self.empty += not answer.response.text.strip()
        if len(self.first) < SHOWN_ROWS:
            self.first.append(answer)


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Everything that the report and the summary are made from."""

    parameters: BatchParameters
    model: str
    output: Path
    totals: Totals
    tally: Tally
    seconds: float
    cost_usd: float | None = 0.0
    """None where a price is not known."""
    samples: Samples = field(default_factory=Samples)
    """What was read of the servers and the GPUs meanwhile."""
    flow_run_id: str | None = None
    deployment: str | None = None

    def warnings(self) -> list[str]:
        """Say what a reader must know before using the answers."""
        totals, parameters = self.totals, self.parameters
        found: list[str] = []
        if parameters.n > 1 and parameters.temperature == 0:
            found.append(
                f"n is {parameters.n} and temperature 0: the {parameters.n} answers of a row are drawn "
                "without chance and will hardly differ."
            )
        cut = totals.finish_reasons["length"]
        if cut > CUT_OFF_SHARE * totals.answers:
            found.append(
                f"{cut} of {totals.answers} answers were cut off at {parameters.max_output_tokens} tokens; "
                "a larger max_output_tokens asks them anew."
            )
        if totals.empty:
            found.append(f"{totals.empty} of {totals.answers} answers are empty.")
        if bad := totals.failures[BAD_ROW] // parameters.n:
            found.append(f"{bad} rows could not be asked and were skipped; their errors say why.")
        found += [
            f"{number} prompts were answered by the fallback {name}, since the server stayed away; the "
            "column `model` says which."
            for name, number in self.tally.stand_ins.items()
        ]
        return found

    def headline(self) -> str:
        """Say the result in one line."""
        totals = self.totals
        kinds = ", ".join(f"{count} {kind}" for kind, count in totals.failures.most_common())
        return (
            f"{totals.answers - totals.failed} of {totals.answers} answers to {totals.rows} rows"
            f"{f' ({totals.failed} failed: {kinds})' if kinds else ''}; "
            f"{self.tally.sent} prompts sent, {self.tally.from_the_store} answered from the store, "
            f"{self.seconds:.0f} s"
        )

    def require_few_failures(self) -> None:
        """Insist on no more failures than the user bears.

        Raises:
            TooManyFailedError: There are more.
        """
        allowed = self.parameters.max_failed_fraction
        if self.totals.failed_fraction > allowed:
            kind, count = self.totals.failures.most_common(1)[0]
            raise TooManyFailedError(
                f"{self.totals.failed} of {self.totals.answers} answers failed, most often {kind} ({count}), "
                f"which is more than max_failed_fraction ({allowed:g}) allows; {self.output} holds all "
                "answers and errors, and running this again asks only for what a server failed to answer"
            )

    def summary(self, report: Path) -> dict[str, object]:
        """Return the result as plain JSON."""
        totals = self.totals
        return {
            "headline": self.headline(),
            "report": str(report),
            "output": str(self.output),
            "flow_run_id": self.flow_run_id,
            "deployment": self.deployment,
            "model": self.model,
            "rows": totals.rows,
            "answers": totals.answers,
            "failed": totals.failed,
            "failures": dict(totals.failures),
            "finish_reasons": dict(totals.finish_reasons),
            "warnings": self.warnings(),
            "cost": {**asdict(self.tally), "seconds": self.seconds, "cost_usd": self.cost_usd},
            "parameters": self.parameters.model_dump(mode="json"),
        }


def batch_directory(runs: Path, questions: Questions, parameters: BatchParameters, data: str) -> Path:
    """Return the folder of a run: the same for the same questions, as in a resumed run.

    Args:
        runs: Where all runs are.
        questions: What all rows have in common.
        parameters: Of the run.
        data: Digest of the input.
    """
    plain = parameters.model_dump(mode="json", exclude={*STEERING, *LEFT_ALONE})
    schema = questions.schema.text if questions.schema else None
    key = make_key("batch-run", 1, [plain, questions.model, data, schema])
    return runs / f"batch-{Path(parameters.input_path).stem}-{key[:10]}"


def write_batch_files(result: BatchResult, directory: Path, html: str) -> dict[str, object]:
    """Write report.html and, last, summary.json; return the summary."""
    directory.mkdir(parents=True, exist_ok=True)
    report = directory / "report.html"
    summary = result.summary(report)
    write_whole(report, html)
    write_whole(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary
