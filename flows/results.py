"""What an ICM run found, and the files that it leaves: labels, history, summary, report."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cache.keys import make_key
from flows.parameters import ICMParameters
from flows.run_parameters import STEERING
from tasks.icm.claims import LABEL_TEXTS, Claim
from tasks.icm.evaluation import TestScore, accuracy
from tasks.icm.scoring import margin
from tasks.icm.search import Step
from tasks.icm.state import State
from tasks.tally import Tally

LOW_LABEL_MASS = 0.2
"""Under this the report warns: scores then rest on a small part of what the model wanted to say."""


@dataclass(frozen=True, kw_only=True)
class ICMResult:
    """Everything that the report and the files are made from."""

    parameters: ICMParameters
    model: str
    revision: str | None = None
    """What pins the weights in the keys."""
    exact_scores: bool
    """False: labels were scored among the 20 most likely tokens only."""
    claims: tuple[Claim, ...]
    steps: tuple[Step, ...]
    test_scores: tuple[TestScore, ...]
    tally: Tally
    seconds: float
    data: str = ""
    """Names the content of the data set, both splits."""
    flow_run_id: str | None = None
    deployment: str | None = None
    cost_usd: float | None = 0.0
    """None where a price is not known."""

    @property
    def final(self) -> State:
        """The state after the last iteration."""
        return self.steps[-1].state

    @property
    def accuracy(self) -> float | None:
        """Share of found labels that equal the gold ones."""
        return accuracy(self.claims, self.final.assigned)

    @property
    def accepted(self) -> list[Step]:
        """The iterations that changed the labels."""
        return [step for step in self.steps if step.outcome == "accepted"]

    def warnings(self) -> list[str]:
        """Say what a reader must know before quoting a number."""
        found = [
            f"{number} answers came from the fallback {model}, since the server stayed away: scores of two "
            "models are mixed in these numbers."
            for model, number in self.tally.stand_ins.items()
        ]
        if self.parameters.consistency == "reference":
            found.append(
                "Consistency is the published rule, which on TruthfulQA is made from the gold labels: "
                "these numbers are partly supervised."
            )
        if not self.exact_scores:
            found.append("Labels were scored among the 20 most likely tokens only (top-20), not exactly.")
        masses = [step.state.label_mass for step in self.steps]
        if min(masses) < LOW_LABEL_MASS:
            found.append(
                f"The model gave True and False together as little as {min(masses):.2g} of its probability "
                f"(median over an evaluation); under {LOW_LABEL_MASS:g} scores are shaky."
            )
        found += [
            f"Test, {score.method}: the labels had a median probability of {score.label_mass:.2g}."
            for score in self.test_scores
            if score.label_mass is not None and score.label_mass < LOW_LABEL_MASS
        ]
        if len(set(self.final.assigned.values())) == 1:
            only = LABEL_TEXTS[next(iter(self.final.assigned.values()))]
            found.append(
                f"Every claim got the label {only}: such labels predict each other well and say nothing. "
                "A larger model, another alpha or a consistency rule may help."
            )
        by_method = {score.method: score.accuracy for score in self.test_scores}
        baseline = max((by_method.get(name, 0.0) for name in ("zero-shot", "random labels")), default=0.0)
        if by_method and by_method["found labels"] <= baseline:
            found.append("On the test split the found labels are no better than random labels or none.")
        if unlabelled := len(self.claims) - len(self.final.assigned):
            found.append(f"{unlabelled} of {len(self.claims)} claims were never given a label.")
        return found

    def headline(self) -> str:
        """Say the result in one line."""
        right = "no gold labels" if self.accuracy is None else f"{self.accuracy:.1%} equal the gold ones"
        tests = ", ".join(f"{score.method} {score.accuracy:.1%}" for score in self.test_scores)
        return (
            f"{len(self.final.assigned)} of {len(self.claims)} claims labelled ({right}); "
            f"test accuracy: {tests or 'not evaluated'}; "
            f"{self.tally.sent} prompts sent, {self.tally.from_the_store} answered from the store, "
            f"{self.seconds:.0f} s"
        )


def history(result: ICMResult) -> list[dict[str, object]]:
    """Return one row for each iteration; equal for equal runs, so it holds no times and no counts."""
    return [
        {
            "iteration": step.iteration,
            "outcome": step.outcome,
            "claim": None if step.uid is None else result.claims[step.uid].id,
            "label": step.label,
            "proposed_energy": step.proposed_energy,
            "energy": step.state.energy,
            "temperature": step.temperature,
            "flips": step.flips,
            "pool_size": len(step.state.assigned),
            "accuracy": accuracy(result.claims, step.state.assigned),
            "inconsistent_pairs": len(step.state.pairs),
            "label_mass": step.state.label_mass,
        }
        for step in result.steps
    ]


def label_rows(result: ICMResult) -> list[dict[str, object]]:
    """Return one row for each claim: id, label, score, margin; null where it got no label."""
    final = result.final
    return [
        {
            "id": claim.id,
            "label": final.assigned.get(uid),
            "score": final.scores.get(uid),
            "margin": margin(final.assigned[uid], final.scores[uid]) if uid in final.assigned else None,
        }
        for uid, claim in enumerate(result.claims)
    ]


def run_directory(runs: Path, result: ICMResult) -> Path:
    """Return the folder of a run: the same for the same parameters, model and data, as in a resumed run."""
    plain = result.parameters.model_dump(mode="json", exclude={*STEERING, "lookahead"})
    key = make_key("icm-run", 1, [plain, result.model, result.data])
    return runs / f"icm-{result.parameters.dataset}-{key[:10]}"


def data_digest(*splits: Sequence[Claim]) -> str:
    """Name the content of the claims that a run had before it."""
    return make_key("claims", 1, [[list(asdict(claim).items()) for claim in split] for split in splits])


class Costed(Protocol):
    """The result of any run, as far as its costs go."""

    @property
    def tally(self) -> Tally:
        """What was asked."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...

    @property
    def cost_usd(self) -> float | None:
        """US dollars; None where a price is not known."""
        ...

    @property
    def flow_run_id(self) -> str | None:
        """Which run it was."""
        ...


def record_cost(result: Costed, directory: Path, now: datetime) -> list[dict[str, object]]:
    """Add what this run cost to costs.jsonl and return all its lines, one for each run that came to its end.

    A second run answers from the store; what the first one cost must not be lost with it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    row: dict[str, object] = {
        "time": now.isoformat(timespec="seconds"),
        "flow_run_id": result.flow_run_id,
        "prompts_sent": result.tally.sent,
        "from_the_store": result.tally.from_the_store,
        "requests": result.tally.requests,
        "input_tokens": result.tally.usage.input_tokens,
        "output_tokens": result.tally.usage.output_tokens,
        "cost_usd": result.cost_usd,
        "seconds": round(result.seconds, 1),
    }
    return append_line(directory / "costs.jsonl", row)


def append_line(path: Path, row: Mapping[str, object]) -> list[dict[str, object]]:
    """Append a line of JSON and return all lines; one that a crash has cut off is left out, not an error."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    separator = "" if not before or before.endswith("\n") else "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{separator}{json.dumps(row)}\n")
    return [*_readable(before), dict(row)]


def write_files(result: ICMResult, directory: Path, html: str) -> dict[str, object]:
    """Write labels.jsonl, history.jsonl, report.html and, last, summary.json; return the summary."""
    directory.mkdir(parents=True, exist_ok=True)
    report = directory / "report.html"
    summary: dict[str, object] = {
        "headline": result.headline(),
        "report": str(report),
        "flow_run_id": result.flow_run_id,
        "deployment": result.deployment,
        "model": result.model,
        "weights": result.revision,
        "accuracy": result.accuracy,
        "energy": result.final.energy,
        "labelled": len(result.final.assigned),
        "accepted": len(result.accepted),
        "rejected": sum(step.outcome == "rejected" for step in result.steps),
        "warnings": result.warnings(),
        "test": [{**asdict(score), "accuracy": score.accuracy} for score in result.test_scores],
        "cost": {**asdict(result.tally), "seconds": result.seconds, "cost_usd": result.cost_usd},
        "parameters": result.parameters.model_dump(mode="json"),
    }
    write_whole(directory / "labels.jsonl", _lines(label_rows(result)))
    write_whole(directory / "history.jsonl", _lines(history(result)))
    write_whole(report, html)
    write_whole(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _readable(text: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
