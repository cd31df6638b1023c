"""The demo task: questions about the rules of `demo_rules.py`, and an office that judges answers by them."""

import random
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from tasks.ace.checkers import Auto
from tasks.ace.demo_rules import RULES, Operands, Rule
from tasks.ace.numbers import plain_decimal
from tasks.ace.rows import RowError, field_text, filled_text, other_fields
from tasks.ace.values import AceTask, Feedback, Question, Row

INSTRUCTIONS = "Answer with the result alone: a number, a weekday, or a date as YYYY-MM-DD."


def draw(rule: Rule, chance: random.Random) -> dict[str, str]:
    """Draw operands for a question; such that the answer does not stand in the rule's own lesson.

    Returns:
        {name: value}, in the order of the rule.
    """
    while True:
        operands = {name: chance.choice(values) for name, values in rule.operands.items()}
        if answer(rule, operands) not in re.findall(r"[\w.:-]*\w", rule.lesson):
            return operands


def ask(rule: Rule, operands: Operands) -> str:
    """Return the question; it names the rule's topic, and says nothing of the rule."""
    return rule.question.format_map(operands)


def answer(rule: Rule, operands: Operands) -> str:
    """Return the exact answer: a number without an exponent, a date as YYYY-MM-DD, or a weekday."""
    solved = rule.solve(operands)
    if isinstance(solved, date):
        return solved.isoformat()
    return solved if isinstance(solved, str) else plain_decimal(Decimal(solved))


def office(question: Question, given: str) -> Feedback:
    """Judge an answer by the question's rule and operands alone; a rejection states the rule, not the answer.

    It works the answer out, and so says what a label would say; real environments know less.

    Raises:
        RowError: The question is none of the demo's.
    """
    rule = _rule(question.fields, question.id)
    if Auto().check(given, _solved(rule, question.fields, question.id)).is_correct:
        return Feedback(is_ok=True, text="Accepted.")
    return Feedback(is_ok=False, text=f"Rejected by the rule on {rule.topic}: {rule.lesson}")


def _read(row: Mapping[str, object], row_id: str) -> Row:
    name = field_text(row, "id", row_id) if "id" in row else row_id
    fields = other_fields(row, {"id", "question", "answer"})
    _solved(_rule(fields, name), fields, name)
    question = Question(id=name, text=field_text(row, "question", name), fields=fields)
    return Row(question=question, target=filled_text(row, "answer"))


def _rule(fields: Mapping[str, str], row_id: str) -> Rule:
    if (name := fields.get("rule", "")) not in RULES:
        raise RowError(f"row {row_id} has no rule of the demo but {name[:80]!r}; give a row of data/ace_demo")
    return RULES[name]


def _solved(rule: Rule, fields: Mapping[str, str], row_id: str) -> str:
    for name, values in rule.operands.items():
        if fields.get(name) not in values:
            raise RowError(
                f"row {row_id} has {fields.get(name, '')[:80]!r} as its {name!r}, which the rule {rule.id!r}"
                " is never asked with; give a row of data/ace_demo"
            )
    return answer(rule, fields)


DEMO = AceTask(
    name="demo",
    read=_read,
    checker=Auto(),
    instructions=INSTRUCTIONS,
    environment=office,
    label_field="answer",
)
