import string

import pytest

from tasks.ace.bullets import MAX_TEXT_CHARACTERS
from tasks.ace.demo_rules import RULES, Rule
from tasks.ace.markup import one_line
from tasks.ace.playbook import DEFAULT_SECTIONS, Playbook


def test_twelve_of_thirty_rules_are_known() -> None:
    assert len(RULES) == 30
    assert sum(rule.known for rule in RULES.values()) == 12
    assert all(name == rule.id for name, rule in RULES.items())


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_lesson_is_a_sentence_that_can_be_a_bullet(rule: Rule) -> None:
    assert one_line(rule.lesson) == rule.lesson
    assert len(rule.lesson) < MAX_TEXT_CHARACTERS
    assert rule.lesson.endswith(".")
    assert ". " not in rule.lesson
    assert rule.section in DEFAULT_SECTIONS


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_question_shows_all_operands_and_not_the_lesson(rule: Rule) -> None:
    shown = {name for _, name, _, _ in string.Formatter().parse(rule.question) if name}
    assert shown == set(rule.operands)
    assert not shown & {"id", "question", "answer", "rule"}
    assert rule.lesson not in rule.question
    assert all(len(set(values)) == len(values) for values in rule.operands.values())


def test_a_playbook_can_hold_all_lessons() -> None:
    playbook = Playbook()
    for rule in RULES.values():
        playbook, _ = playbook.add(rule.section, rule.lesson)
    assert len(playbook) == 30
