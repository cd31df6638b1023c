"""What the tests of the flows `ace` and `ace-online` have in common: who answers, and small runs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.ace_demo_model import demo_learner
from bench.ace_model import MadeUpLearner
from flows.json_lines import read_rows
from tasks.ace.prompts import CHECKER, CURATOR, GENERATOR, REFLECTOR, SHEET
from tests.fake_vllm import Writer, synthetic_writer
from tests.flows.running import JsonObject, Outcome

ROLES = {
    "generator": GENERATOR,
    "reflector": REFLECTOR,
    "curator": CURATOR,
    "self-check": CHECKER,
    "cheat-sheet": SHEET,
}

SMALL: JsonObject = {
    "task": "demo",
    "train_rows": 20,
    "validation_rows": 10,
    "test_rows": 12,
    "batch_size": 5,
    "eval_rows": 10,
    "max_wait_seconds": 20,
}
"""Parameters of a run that takes a second or two, and learns."""

ALONE: JsonObject = {**SMALL, "eval_rows": 100, "baselines": []}

FILES = ("steps.jsonl", "answers.jsonl", "playbook.txt", "playbook.json")
"""What equal runs write alike."""

Spoil = Callable[[str, str, str], str]
"""(role, prompt, answer) -> what is answered in its place."""


def role_of(prompt: str) -> str | None:
    """Say which role a prompt is for; None for one that is not of ACE."""
    return next((name for name, instructions in ROLES.items() if instructions in prompt), None)


def writer(
    learner: MadeUpLearner | None = None,
    *,
    by_model: Mapping[str, MadeUpLearner] | None = None,
    spoil: Spoil = lambda _role, _prompt, answer: answer,
    seen: list[tuple[str, str, Mapping[str, Any]]] | None = None,
) -> Writer:
    """Return what a fake server answers with: a made-up learner, and its own words to all other prompts.

    Args:
        learner: Answers; that of the demo by default.
        by_model: {served name: who answers in its place}
        spoil: What becomes of an answer.
        seen: Gets (role, prompt, body) of each question.
    """
    usual = learner or demo_learner()

    def write(prompt: str, body: Mapping[str, Any], draw: int) -> str:
        role = role_of(prompt)
        if role is None:
            return synthetic_writer(prompt, body, draw)
        if seen is not None:
            seen.append((role, prompt, body))
        answers = (by_model or {}).get(str(body.get("model")), usual)
        return spoil(role, prompt, answers.write(prompt))

    return write


def steps_of(outcome: Outcome) -> Sequence[JsonObject]:
    """Read the steps of a run."""
    return read_rows(outcome.directory / "steps.jsonl")


def methods_of(outcome: Outcome) -> Mapping[str, JsonObject]:
    """Return {name: numbers} of what was tested."""
    return {one["name"]: one for one in outcome.summary["methods"]}


def refusals_of(outcome: Outcome) -> list[JsonObject]:
    """Return the changes that were refused."""
    return [change for step in steps_of(outcome) for change in step["changes"] if change["refused"]]


def put_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows to a file and return its name."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
