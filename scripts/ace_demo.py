"""Make the questions of the demo task of ACE from its rules.

    python scripts/ace_demo.py [--check]

Writes train.jsonl, val.jsonl and test.jsonl to data/ace_demo: of every rule four questions to train on, one
or two to validate and two to test. With --check nothing is written, and what differs is named.
"""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # so that it runs from anywhere

from tasks.ace.demo import answer, ask, draw  # noqa: E402
from tasks.ace.demo_rules import RULES, Rule  # noqa: E402

FOLDER = PROJECT / "data" / "ace_demo"
SEED = 6
TRAIN, TEST = 4, 2
VALIDATED_TWICE = {True: 4, False: 6}
"""Of how many rules two questions validate, by whether they are known: 40 % of all questions are of those."""


def distinct(rule: Rule, count: int, chance: random.Random) -> list[dict[str, str]]:
    """Return the rows of some questions about a rule, no two of which are alike."""
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        operands = draw(rule, chance)
        question = ask(rule, operands)
        rows[question] = {
            "question": question,
            "answer": answer(rule, operands),
            "rule": rule.id,
            **operands,
        }
    return list(rows.values())


def made() -> dict[str, str]:
    """Return {name of a file: what it should hold}."""
    chance = random.Random(SEED)
    splits: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    twice_left = dict(VALIDATED_TWICE)
    for rule in RULES.values():
        validated = 2 if twice_left[rule.known] > 0 else 1
        twice_left[rule.known] -= 1
        rows = distinct(rule, TRAIN + validated + TEST, chance)
        splits["train"] += rows[:TRAIN]
        splits["val"] += rows[TRAIN : TRAIN + validated]
        splits["test"] += rows[TRAIN + validated :]
    for rows in splits.values():
        chance.shuffle(rows)
    return {f"{name}.jsonl": _lines(name, rows) for name, rows in splits.items()}


def _lines(split: str, rows: Sequence[dict[str, str]]) -> str:
    named = ({"id": f"{split}-{number:03d}", **row} for number, row in enumerate(rows, start=1))
    return "".join(f"{json.dumps(row)}\n" for row in named)


def main() -> int:
    """Write the files, or say which differ."""
    differing = 0
    FOLDER.mkdir(exist_ok=True)
    for name, content in made().items():
        path = FOLDER / name
        if "--check" not in sys.argv:
            path.write_bytes(content.encode())
        elif not path.exists() or path.read_bytes() != content.encode():
            print(f"{name} is not what the rules make; run scripts/ace_demo.py")
            differing = 1
    return differing


if __name__ == "__main__":
    sys.exit(main())
