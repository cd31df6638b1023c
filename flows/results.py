"""What an ICM run found, and the files that it leaves: labels, history, summary, report."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Protocol, cast

from cache.keys import make_key
from flows.json_lines import Row, append_row, read_rows
from flows.ledger import summed_up, tokens_by_step
from flows.parameters import ICMParameters
from flows.run_parameters import STEERING
from tasks.icm.bootstrapping import Bootstrapped
from tasks.icm.claims import LABEL_TEXTS, Claim
from tasks.icm.evaluation import TestScore, accuracy
from tasks.icm.scoring import margin
from tasks.icm.search import Step
from tasks.icm.state import State
from tasks.tally import Tally
from tasks.whole_files import write_whole

LOW_LABEL_MASS = 0.2
"""Under this the report warns: scores then rest on a small part of what the model wanted to say."""
MANY_UNREADABLE = 0.1
"""Over this share of a chat's answers the report warns: its accuracy is one of answering as asked, then."""
FEW_GROUPS = 20
"""Under this the report warns of intervals; `tasks/intervals.py` says how far they fall short."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedBatch:
    """The claims of one search, and what it did."""

    claims: tuple[Claim, ...]
    steps: tuple[Step, ...]
    bootstrapped: Bootstrapped | None = None
    """What the cheaper way came to, if it was asked for."""

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

    @property
    def rejected(self) -> int:
        """How many changes were not kept."""
        return sum(step.outcome == "rejected" for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class ICMResult:
    """Everything that the report and the files are made from."""

    parameters: ICMParameters
    model: str
    revision: str | None = None
    """What pins the weights in the keys."""
    exact_scores: bool
    """False: labels were scored among the 20 most likely tokens only."""
    batches: tuple[SearchedBatch, ...]
    test_scores: tuple[TestScore, ...]
    tally: Tally
    seconds: float
    data: str = ""
    """Names the content of the data set, both splits."""
    flow_run_id: str | None = None
    deployment: str | None = None
    cost_usd: float | None = 0.0
    """None where a price is not known."""
    put: Mapping[str, int] = field(default_factory=dict[str, int])
    """{part of the run: questions put}"""
    ledger: Sequence[Row] = ()
    """The lines of ledger.jsonl, of all runs so far."""

    @property
    def total(self) -> int:
        """Claims in all batches."""
        return sum(len(batch.claims) for batch in self.batches)

    @property
    def labelled(self) -> int:
        """Claims that got a label."""
        return sum(len(batch.final.assigned) for batch in self.batches)

    @property
    def accuracy(self) -> float | None:
        """Share of found labels that equal the gold ones, over all batches."""
        return accuracy(self.claims, self.labels_of(lambda batch: batch.final.assigned))

    @property
    def claims(self) -> list[Claim]:
        """The claims of all batches, one batch after the other."""
        return [claim for batch in self.batches for claim in batch.claims]

    def labels_of(self, labelled: Callable[[SearchedBatch], Mapping[int, int]]) -> dict[int, int]:
        """Return {place in `claims`: label} of labels that each batch has by its own uids."""
        ends = accumulate(len(batch.claims) for batch in self.batches)
        return {
            end - len(batch.claims) + uid: label
            for end, batch in zip(ends, self.batches, strict=True)
            for uid, label in labelled(batch).items()
        }

    @property
    def energy(self) -> float:
        """Mean of the batches' final energies."""
        return fmean(batch.final.energy for batch in self.batches)

    def outcomes(self) -> dict[str, int]:
        """Count what the iterations of all batches did: accepted, rejected, unchanged."""
        counted = Counter(step.outcome for batch in self.batches for step in batch.steps)
        return {name: counted[name] for name in ("accepted", "rejected", "unchanged")}

    def audits(self) -> dict[str, int]:
        """Count the early rejections that were checked on all of the pool: {right: …, wrong: …}."""
        counted = Counter(step.audit for batch in self.batches for step in batch.steps)
        return {"right": counted["right"], "wrong": counted["wrong"]}

    def decided_early(self) -> int:
        """Count the changes that were rejected on a part of the pool."""
        return sum((step.evaluated or 1) < 1 for batch in self.batches for step in batch.steps)

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
        mass = min(step.state.label_mass for batch in self.batches for step in batch.steps)
        if mass < LOW_LABEL_MASS:
            found.append(
                f"The model gave True and False together as little as {mass:.2g} of its probability "
                f"(median over an evaluation); under {LOW_LABEL_MASS:g} scores are shaky."
            )
        found += [
            f"Test, {score.method}: the labels had a median probability of {score.label_mass:.2g}."
            for score in self.test_scores
            if score.label_mass is not None and score.label_mass < LOW_LABEL_MASS
        ]
        found += self._shaky_tests()
        found += self._told_early()
        found += self._all_alike()
        by_method = {score.method: score.accuracy for score in self.test_scores}
        baseline = max(by_method.get(name, 0.0) for name in ("zero-shot", "random labels"))
        if by_method and by_method["found labels"] <= baseline:
            found.append("On the test split the found labels are no better than random labels or none.")
        if by_method and len(self.batches) > 1:
            found.append(
                f"The demonstrations of the test are those of batch 1 of {len(self.batches)}: "
                "a context holds one batch."
            )
        if unlabelled := self.total - self.labelled:
            found.append(f"{unlabelled} of {self.total} claims were never given a label.")
        return found

    def _shaky_tests(self) -> list[str]:
        """Warn of answers that could not be read, and of intervals that are too narrow."""
        found = [
            f"{score.unreadable} of {score.total} answers of {score.method} were neither True nor False and "
            "count as wrong."
            for score in self.test_scores
            if score.unreadable > MANY_UNREADABLE * score.total
        ]
        groups = min((score.groups for score in self.test_scores), default=FEW_GROUPS)
        if groups < FEW_GROUPS:
            questions = "1 question" if groups == 1 else f"{groups} questions"
            found.append(
                f"The test claims come from {questions} only: with fewer than {FEW_GROUPS} the intervals of "
                "test accuracies are too narrow."
            )
        return found

    def _told_early(self) -> list[str]:
        """Say what a sequential search decided on parts of the pool, and how far that can be believed."""
        if self.parameters.evaluation == "full":
            return []
        outcomes, audits = self.outcomes(), self.audits()
        told = (
            f"Evaluation was sequential: {self.decided_early()} of "
            f"{outcomes['accepted'] + outcomes['rejected']} changes were rejected on a part of the pool. One "
            "that a full evaluation would accept is rejected so with a probability of at most "
            f"{self.parameters.error_probability:g}, if differences between claims are about normal. As a "
            f"check {sum(audits.values())} others were evaluated in full: {audits['wrong']} of them would "
            "have been rejected wrongly. Energies of what was rejected on a part are estimates."
        )
        return [told]

    def _all_alike(self) -> list[str]:
        """Warn of batches in which every claim got the same label."""
        found: list[str] = []
        for label, text in enumerate(LABEL_TEXTS):
            alike = [
                str(number)
                for number, batch in enumerate(self.batches, start=1)
                if set(batch.final.assigned.values()) == {label}
            ]
            if alike:
                where = f" of batch {', '.join(alike)}" if len(self.batches) > 1 else ""
                found.append(
                    f"Every claim{where} got the label {text}: such labels predict each other well and say "
                    "nothing. A larger model, another alpha or a consistency rule may help."
                )
        return found

    def headline(self) -> str:
        """Say the result in one line."""
        right = "no gold labels" if self.accuracy is None else f"{self.accuracy:.1%} equal the gold ones"
        tests = ", ".join(f"{score.method} {score}" for score in self.test_scores)
        where = f" in {len(self.batches)} batches" if len(self.batches) > 1 else ""
        return (
            f"{self.labelled} of {self.total} claims labelled{where} ({right}); "
            f"test accuracy: {tests or 'not evaluated'}; "
            f"{self.tally.sent} prompts sent, {self.tally.from_the_store} answered from the store, "
            f"{self.seconds:.0f} s"
        )


def history(result: ICMResult) -> list[dict[str, object]]:
    """Return one row for each iteration of each batch; equal for equal runs: no times and no counts."""
    return [
        {
            "batch": number,
            "iteration": step.iteration,
            "outcome": step.outcome,
            "claim": None if step.uid is None else batch.claims[step.uid].id,
            "label": step.label,
            "proposed_energy": step.proposed_energy,
            "evaluated": step.evaluated,
            "energy": step.state.energy,
            "temperature": step.temperature,
            "flips": step.flips,
            "pool_size": len(step.state.assigned),
            "accuracy": accuracy(batch.claims, step.state.assigned),
            "inconsistent_pairs": len(step.state.pairs),
            "label_mass": step.state.label_mass,
        }
        for number, batch in enumerate(result.batches, start=1)
        for step in batch.steps
    ]


def costed_history(result: ICMResult, ledger: Sequence[Row]) -> list[dict[str, object]]:
    """Return the rows of `history` with what each batch has cost up to there, in prompt tokens computed.

    "tokens_computed" is over all runs whose lines are in the ledger. What another run has stored was free.
    """
    tokens = tokens_by_step(ledger)
    so_far: Counter[object] = Counter()
    rows = history(result)
    for row in rows:
        step = cast("tuple[int, int]", (row["batch"], row["iteration"]))
        so_far[row["batch"]] += tokens.get(step, 0)
        row["tokens_computed"] = so_far[row["batch"]]
    return rows


def label_rows(result: ICMResult) -> list[dict[str, object]]:
    """Return one row for each claim: batch, id, label, gold, score, margin; null where it got no label."""
    return [
        {
            "batch": number,
            "id": claim.id,
            "label": final.assigned.get(uid),
            "gold": claim.gold,
            "score": final.scores.get(uid),
            "margin": margin(final.assigned[uid], final.scores[uid]) if uid in final.assigned else None,
        }
        for number, (claims, final) in enumerate(
            ((batch.claims, batch.final) for batch in result.batches), start=1
        )
        for uid, claim in enumerate(claims)
    ]


def batch_rows(result: ICMResult) -> list[dict[str, object]]:
    """Return one row for each batch: how it ended."""
    return [
        {
            "batch": number,
            "claims": len(batch.claims),
            "labelled": len(batch.final.assigned),
            "accuracy": batch.accuracy,
            "energy": batch.final.energy,
            "accepted": len(batch.accepted),
            "rejected": batch.rejected,
        }
        for number, batch in enumerate(result.batches, start=1)
    ]


def bootstrap_rows(result: ICMResult) -> list[dict[str, object]]:
    """Return one row for each batch and round of bootstrapping."""
    return [
        {
            "batch": number,
            "round": one.number,
            "accuracy": accuracy(batch.claims, one.labels),
            "labelled_true": sum(one.labels.values()),
            "changed": one.changed,
            "overruled": one.overruled,
        }
        for number, batch in enumerate(result.batches, start=1)
        for one in (batch.bootstrapped.rounds if batch.bootstrapped else ())
    ]


def run_directory(runs: Path, parameters: ICMParameters, model: str, data: str) -> Path:
    """Return the folder of a run: the same for the same parameters, model and data, as in a resumed run."""
    plain = parameters.model_dump(mode="json", exclude={*STEERING, "lookahead"})
    return runs / f"icm-{parameters.dataset}-{make_key('icm-run', 1, [plain, model, data])[:10]}"


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
    before = read_rows(path)
    append_row(path, row)
    return [*before, dict(row)]


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
        "energy": result.energy,
        "labelled": result.labelled,
        "accepted": sum(len(batch.accepted) for batch in result.batches),
        "rejected": sum(batch.rejected for batch in result.batches),
        "batches": batch_rows(result),
        "warnings": result.warnings(),
        "decided_early": result.decided_early(),
        "audits": result.audits(),
        "test": [{**asdict(score), "accuracy": score.accuracy} for score in result.test_scores],
        "bootstrapping": bootstrap_rows(result),
        "cost": {**asdict(result.tally), "seconds": result.seconds, "cost_usd": result.cost_usd},
        "parts": summed_up(result.put, result.ledger),
        "parameters": result.parameters.model_dump(mode="json"),
    }
    write_whole(directory / "labels.jsonl", _lines(label_rows(result)))
    write_whole(directory / "history.jsonl", _lines(history(result)))
    write_whole(report, html)
    write_whole(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
