"""What people see while a playbook is learnt: a bar, each delta as a diff, its growth as table and figure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from flows.ace_page import evaluation_view, step_view
from flows.batch_progress import BatchProgress
from flows.reports.ace_figures import growth_figure
from flows.reports.ace_replay import bullet_counts
from tasks.ace.adapting import Step, Validated
from tasks.ace.deltas import Change
from tasks.ace.playbook import Playbook


@dataclass(kw_only=True)
class AceProgress(BatchProgress):
    """Counts rows that were learnt from, and says what goes on now."""

    key: str = "ace-progress"
    stage: str = "the beginning"

    def watch(self, purpose: str, done: int, total: int) -> None:
        """Say what is being asked."""
        self.stage = f"{purpose} ({done} of {total})" if total > 1 else purpose

    def counted(self, done: float) -> str:
        """Say how many rows were learnt from."""
        return f"{done:g} of {self.total} rows learnt from; {self.stage}"


async def show_delta(step: Step) -> None:
    """Show what a step did to the playbook."""
    await acreate_markdown_artifact(
        key="ace-delta", markdown=delta_markdown(step), description=f"Step {step.number}"
    )


async def show_growth(
    start: Playbook, steps: Sequence[Step], tokens: Sequence[int], validations: Sequence[Validated]
) -> None:
    """Show how playbook and accuracy have grown so far, as a table and as a figure."""
    await acreate_table_artifact(
        key="ace-growth", table=growth_table(steps, tokens, validations), description="Growth and accuracy"
    )
    svg = await anyio.to_thread.run_sync(_growth_figure, start, list(steps), list(tokens), list(validations))
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    # An image artifact would show the address, too, across half of the page.
    await acreate_markdown_artifact(
        key="ace-growth-figure",
        markdown=f"![Bullets, tokens and accuracy over the steps]({address})",
        description="Growth and accuracy",
    )


def _growth_figure(
    start: Playbook, steps: Sequence[Step], tokens: Sequence[int], validations: Sequence[Validated]
) -> str:
    views = [step_view(step, count) for step, count in zip(steps, tokens, strict=True)]
    return growth_figure(
        views, [evaluation_view(one) for one in validations], bullets=bullet_counts(start, views)
    )


def growth_table(
    steps: Sequence[Step], tokens: Sequence[int], validations: Sequence[Validated]
) -> list[dict[str, Any]]:
    """Return one row for each step."""
    evaluated = {one.step: one for one in validations}
    rows: list[dict[str, Any]] = []
    if start := evaluated.get(0):
        rows.append({"step": 0, **_evaluated(start)})
    for step, count in zip(steps, tokens, strict=True):
        runs, one = step.learned.questions, evaluated.get(step.number)
        rows.append(
            {
                "step": step.number,
                "epoch": step.epoch,
                "rows": len(runs),
                "right at first": sum(run.is_right_at_first for run in runs),
                "right at last": sum(run.is_right_at_last for run in runs),
                "bullets": len(step.learned.playbook),
                "tokens": count,
                **_evaluated(one),
            }
        )
    return rows


def _evaluated(one: Validated | None) -> dict[str, Any]:
    """Return what a row says of an evaluation after its step."""
    if one is None:
        return {"accuracy": "", "best": ""}
    return {"accuracy": f"{one.evaluation.accuracy:.1%}", "best": "yes" if one.is_best else ""}


def delta_markdown(step: Step) -> str:
    """Describe a step: its rows, a diff of the playbook, and what was refused."""
    runs, changes = step.learned.questions, step.learned.changes
    right = sum(run.is_right_at_first for run in runs)
    corrected = sum(run.is_right_at_last for run in runs) - right
    applied = [change for change in changes if change.refused is None]
    refused = [change for change in changes if change.refused is not None]
    diff = "\n".join(line for change in applied for line in _diff(change)) or "  (nothing)"
    fence = "`" * (_longest_run_of_ticks(diff) + 3)
    told = (
        f"{len(runs)} rows: {right} right at first, {corrected} corrected; "
        f"{len(step.learned.playbook)} bullets, {len(step.learned.votes)} votes"
    )
    lines = [
        f"# Step {step.number}, epoch {step.epoch}",
        told,
        f"{fence}diff\n{diff}\n{fence}",
    ]
    if refused:
        listed = [f"* {_code(f'{one.type}: {one.text}')}: {_code(one.refused or '')}" for one in refused]
        lines += ["Refused:", "\n".join(listed)]
    return "\n\n".join(lines)


def _diff(change: Change) -> list[str]:
    gone = [f"- [{name}] {text}" for name, text in change.replaced]
    new = [] if change.type == "REMOVE" else [f"+ [{change.bullet_id}] {change.text}"]
    why = [] if change.by == "curator" else [f"  (by rule: {change.by})"]
    return [*why, *gone, *new]


def _code(text: str) -> str:
    """Quote a text that may be anything as code."""
    ticks = "`" * (_longest_run_of_ticks(text) + 1)
    return f"{ticks} {text} {ticks}"


def _longest_run_of_ticks(text: str) -> int:
    longest = run = 0
    for letter in text:
        run = run + 1 if letter == "`" else 0
        longest = max(longest, run)
    return longest
