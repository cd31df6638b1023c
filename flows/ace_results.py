"""What an ACE run found, and the files that it leaves: playbooks, steps, answers, summary."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from cache.keys import make_key
from flows.ace_costs import RoleCost
from flows.ace_models import CHECK, CURATOR, REFLECTOR, SHEET_WRITER
from flows.ace_parameters import AceBase
from flows.gpu_samples import Samples
from flows.run_parameters import STEERING
from tasks.ace.adapting import Step, Validated
from tasks.ace.deltas import Change
from tasks.ace.evaluation import Evaluation
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import to_json
from tasks.ace.playbook_text import to_text
from tasks.ace.values import Row
from tasks.intervals import bootstrap_interval
from tasks.tally import Tally
from tasks.whole_files import write_whole

PATHS = ("train_path", "validation_path", "test_path", "playbook")
"""Parameters that say where files are: what is in them is in the name of the run."""

FEW_READABLE = 0.9
"""Under this share of answers that can be read the report warns: accuracy is one of form, then."""

UNUSABLE: Mapping[str, str] = {
    REFLECTOR: "their rows taught nothing",
    CURATOR: "what they were told was not learnt",
    CHECK: "such answers count as right in learning, and as wrong in validation",
    SHEET_WRITER: "the cheat-sheet stayed as it was then",
}
"""{role: what it means that an answer of its last tier cannot be used}"""

TAIL = 0.025
"""Of an interval of 95 %, on either side."""

BEST = "ACE"
BEFORE = "the playbook it began with"


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A way of answering the test rows."""

    name: str
    note: str
    evaluation: Evaluation
    parts: tuple[str, ...]
    """Of the ledger: what it cost."""


@dataclass(frozen=True, kw_only=True)
class AceResult:
    """Everything that the report and the files are made from."""

    parameters: AceBase
    flow: str
    """ace, or ace-online."""
    task: str
    model: str
    start: Playbook
    steps: tuple[Step, ...]
    tokens: tuple[int, ...]
    """Of the playbook after each step."""
    validations: tuple[Validated, ...]
    best: Playbook
    best_step: int
    methods: tuple[Method, ...]
    stops: Mapping[str, int]
    """{why a row, or the run, was done with: how often}"""
    tally: Tally
    seconds: float
    cost_usd: float | None
    costs: Sequence[RoleCost] = ()
    max_tokens: int = 0
    """Of the playbook."""
    notes: tuple[str, ...] = ()
    questions: Mapping[str, str] = field(default_factory=dict[str, str])
    """{id of a row: its text}"""
    samples: Samples = field(default_factory=Samples)
    flow_run_id: str | None = None
    deployment: str | None = None

    @property
    def last(self) -> Playbook:
        """The playbook after the last step."""
        return self.steps[-1].learned.playbook if self.steps else self.start

    @property
    def changes(self) -> list[Change]:
        """All changes, applied and refused."""
        return [change for step in self.steps for change in step.learned.changes]

    def proposed(self) -> tuple[int, int]:
        """Return (applied, proposed) of the Curator's edits."""
        edits = [change for change in self.changes if change.by == "curator"]
        return sum(change.refused is None for change in edits), len(edits)

    def method(self, name: str) -> Method | None:
        """Return a method by its name."""
        return next((one for one in self.methods if one.name == name), None)

    def warnings(self) -> list[str]:
        """Say what a reader must know before quoting a number."""
        found = list(self.notes)
        if self.parameters.feedback != "labels":
            judge = (
                "the task's environment" if self.parameters.feedback == "environment" else "the model itself"
            )
            found.append(
                "No label was used to learn: of train and validation rows, and in the steps, right means "
                f"accepted by {judge}. Only the test, and windows, are compared with labels."
            )
        found += [
            f"{number} answers came from the fallback {name}, since the server stayed away."
            for name, number in self.tally.stand_ins.items()
        ]
        if self.flow == "ace" and not any(one.split == "validation" for one in self.validations):
            found.append("There were no validation rows: the test is with the last playbook, good or bad.")
        elif self.flow == "ace" and self.steps and not self.best_step:
            found.append(
                "No playbook did better on the validation rows than the one that learning began with; it is "
                "the one that is tested."
            )
        found += self._of_answers() + self._of_roles()
        applied, proposed = self.proposed()
        if self.steps and not applied:
            found.append(
                f"Nothing was learnt: of {proposed} edits that Curators wanted none could be applied."
            )
        return found

    def _of_answers(self) -> list[str]:
        evaluated = [(one.name, one.evaluation) for one in self.methods]
        found = [
            f"{name}: {len(one.rows) - one.readable} of {len(one.rows)} answers could not be read and count "
            "as wrong."
            for name, one in evaluated
            if one.readable < FEW_READABLE * len(one.rows)
        ]
        found += [
            f"{name}: {one.failed - one.overflowed} of {len(one.rows)} rows have no answer at all and count "
            "as wrong; running this again asks for what a server failed to answer."
            for name, one in evaluated
            if one.failed > one.overflowed
        ]
        found += [
            f"{name}: the prompts of {one.overflowed} of {len(one.rows)} rows are longer than the context of "
            "the model and count as wrong; serve it with a longer one, or leave out what is long."
            for name, one in evaluated
            if one.overflowed
        ]
        return found

    def _of_roles(self) -> list[str]:
        last_tiers = {one.role: one for one in self.costs if one.role in UNUSABLE}
        found = [
            f"{role}: {one.asked - one.usable} of {one.asked} answers could not be used; {UNUSABLE[role]}."
            for role, one in last_tiers.items()
            if one.usable < FEW_READABLE * one.asked
        ]
        if found and self.tally.failed:
            found.append(
                f"{self.tally.failed} prompts have no answer at all; running this again asks for those that "
                "a server failed to answer."
            )
        return found

    def headline(self) -> str:
        """Say the result in one line."""
        shown = [f"{one.name} {percent(one.evaluation)}" for one in self.methods]
        applied, proposed = self.proposed()
        return (
            f"{self.task}: {', '.join(shown) or 'nothing was tested'}; {len(self.best)} bullets after "
            f"{self.best_step} of {len(self.steps)} steps; {applied} of {proposed} edits applied; "
            f"{self.tally.sent} prompts sent, {self.tally.from_the_store} answered from the store, "
            f"{self.seconds:.0f} s"
        )

    def summary(self, directory: Path) -> dict[str, object]:
        """Return the result as plain JSON."""
        applied, proposed = self.proposed()
        return {
            "headline": self.headline(),
            "report": str(directory / "report.html"),
            "playbook": str(directory / "playbook.txt"),
            "flow_run_id": self.flow_run_id,
            "deployment": self.deployment,
            "model": self.model,
            "feedback": self.parameters.feedback,
            "bullets": len(self.best),
            "best_step": self.best_step,
            "steps": len(self.steps),
            "edits": {"applied": applied, "proposed": proposed},
            "stops": dict(self.stops),
            "methods": [
                {"name": one.name, "note": one.note, **scored(one.evaluation)} for one in self.methods
            ],
            "validation": [
                {"step": one.step, "is_best": one.is_best, **scored(one.evaluation)}
                for one in self.validations
            ],
            "warnings": self.warnings(),
            "roles": [asdict(one) for one in self.costs],
            "cost": {**asdict(self.tally), "seconds": self.seconds, "cost_usd": self.cost_usd},
            "parameters": self.parameters.model_dump(mode="json"),
        }


def scored(evaluation: Evaluation) -> dict[str, object]:
    """Return an evaluation in numbers."""
    low, high = interval(evaluation)
    return {
        "accuracy": evaluation.accuracy,
        "low": low,
        "high": high,
        "right": evaluation.right,
        "total": evaluation.total,
        "readable": evaluation.readable,
        "failed": evaluation.failed,
    }


def percent(evaluation: Evaluation) -> str:
    """Write an accuracy."""
    return f"{evaluation.accuracy:.1%} ({evaluation.right} of {evaluation.total})"


@lru_cache(maxsize=512)  # the figure shows all validations anew after each
def interval(evaluation: Evaluation) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy, drawing whole rows; (0, 1) of nothing.

    Where all rows came out alike, a bootstrap has no width: then it is the exact interval of the rows
    (Clopper and Pearson, 1934).
    """
    parts = [
        (place < row.score.right, row.row_id) for row in evaluation.rows for place in range(row.score.total)
    ]
    if not parts:
        return 0.0, 1.0
    least = TAIL ** (1 / len(evaluation.rows))
    if evaluation.right == 0:
        return 0.0, 1.0 - least
    if evaluation.right == evaluation.total:
        return least, 1.0
    return bootstrap_interval([right for right, _ in parts], [row for _, row in parts])


def ace_directory(runs: Path, parameters: AceBase, *, flow: str, task: str, model: str, data: str) -> Path:
    """Return the folder of a run: the same for the same parameters, model, rows and playbook."""
    plain = parameters.model_dump(mode="json", exclude={*STEERING, *PATHS})
    return runs / f"{flow}-{task}-{make_key('ace-run', 1, [flow, plain, model, data])[:10]}"


def write_playbooks(result: AceResult, directory: Path) -> None:
    """Write the best playbook as text and as JSON, and the last one where it is another."""
    write_whole(directory / "playbook.txt", to_text(result.best))
    write_whole(directory / "playbook.json", to_json(result.best) + "\n")
    write_whole(directory / "playbook-last.json", to_json(result.last) + "\n")


def step_rows(result: AceResult) -> list[dict[str, object]]:
    """Return one row for each step; equal for equal runs: no times and no counts of what was sent."""
    return [
        {
            "step": step.number,
            "epoch": step.epoch,
            "rows": [run.question.id for run in step.learned.questions],
            "stops": [run.stop for run in step.learned.questions],
            "attempts": [
                [one.generated.final_answer for one in run.attempts] for run in step.learned.questions
            ],
            "right_first": sum(run.is_right_at_first for run in step.learned.questions),
            "right_last": sum(run.is_right_at_last for run in step.learned.questions),
            "right_after": step.learned.right_after,
            "bullets": len(step.learned.playbook),
            "tokens": tokens,
            "playbook": make_key("playbook", 1, [to_json(step.learned.playbook)]),
            "changes": [asdict(change) for change in step.learned.changes],
            "votes": [list(vote) for vote in step.learned.votes],
        }
        for step, tokens in zip(result.steps, result.tokens, strict=True)
    ]


def answer_rows(result: AceResult) -> list[dict[str, object]]:
    """Return one row for each test row and method."""
    return [
        {
            "method": one.name,
            "id": row.row_id,
            "answer": row.answer,
            "right": row.score.right,
            "total": row.score.total,
            "bullets": list(row.bullet_ids),
            "tier": row.tier,
        }
        for one in result.methods
        for row in one.evaluation.rows
    ]


def write_files(result: AceResult, directory: Path) -> dict[str, object]:
    """Write steps.jsonl, answers.jsonl, the playbooks and, last, summary.json; return the summary."""
    directory.mkdir(parents=True, exist_ok=True)
    summary = result.summary(directory)
    write_playbooks(result, directory)
    write_whole(directory / "steps.jsonl", _lines(step_rows(result)))
    write_whole(directory / "answers.jsonl", _lines(answer_rows(result)))
    write_whole(directory / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def overlaps(train: Sequence[Row], validation: Sequence[Row], test: Sequence[Row]) -> list[str]:
    """Warn of rows that are asked in two splits."""
    learnt = {(row.question.context, row.question.text) for row in train}
    found: list[str] = []
    for name, rows in (("validation", validation), ("test", test)):
        if both := sum((row.question.context, row.question.text) in learnt for row in rows):
            found.append(
                f"{both} of {len(rows)} {name} rows are train rows, too: their answers may be learnt."
            )
    chosen = {(row.question.context, row.question.text) for row in validation}
    if both := sum((row.question.context, row.question.text) in chosen for row in test):
        found.append(f"{both} of {len(test)} test rows are validation rows, too, which chose the playbook.")
    return found


def stops_of(steps: Iterable[Step]) -> Counter[str]:
    """Count why rows were done with."""
    return Counter(run.stop or "" for step in steps for run in step.learned.questions)


def _lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
