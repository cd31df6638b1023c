"""The made-up learner over the demo task: it knows what everybody knows, and learns the rest from lessons."""

from collections.abc import Mapping, Sequence

from bench.ace_model import MadeUpLearner, Rule
from flows.json_lines import read_rows
from flows.settings import PROJECT
from tasks.ace.demo import DEMO
from tasks.ace.demo_rules import RULES
from tasks.ace.values import Row

FOLDER = PROJECT / "data" / "ace_demo"
SPLITS = ("train", "val", "test")


def demo_rows(split: str) -> list[Row]:
    """Return the rows of one file of the demo: train, val or test."""
    lines = read_rows(FOLDER / f"{split}.jsonl")
    return [DEMO.read(fields, f"{split}-{number}") for number, fields in enumerate(lines, start=1)]


def demo_learner(poison: int = 0, *, seed: int = 0, knows: Sequence[str] | None = None) -> MadeUpLearner:
    """Return a learner that has the answers to all questions of the demo, and applies the rules it knows.

    Args:
        poison: Every so many reviews, on average, one is harmful; 0: none.
        seed: Of which ones.
        knows: Ids of the rules that it has from elsewhere; None: those of common knowledge.
    """
    known = [name for name, rule in RULES.items() if rule.known] if knows is None else knows
    rules: Mapping[str, Rule] = {
        name: Rule(lesson=rule.lesson, known=name in known, section=rule.section)
        for name, rule in RULES.items()
    }
    questions = {
        row.question.text: (row.question.fields["rule"], row.target or "")
        for split in SPLITS
        for row in demo_rows(split)
    }
    return MadeUpLearner(rules=rules, questions=questions, poison=poison, seed=seed)
