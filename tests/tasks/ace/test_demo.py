import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.ace_demo import FOLDER, made
from tasks.ace.demo import DEMO, answer, ask, draw, office
from tasks.ace.demo_rules import RULES
from tasks.ace.rows import RowError
from tasks.ace.values import Question, Row

PROJECT = Path(__file__).parents[3]
SPLITS = {"train": 120, "val": 40, "test": 60}

WORKED = {
    "kilometres": ({"kilometres": "3.7"}, "3700"),
    "hours": ({"hours": "5", "minutes": "20"}, "320"),
    "kilograms": ({"kilograms": "2.05"}, "2050"),
    "millilitres": ({"millilitres": "1250"}, "1.25"),
    "fahrenheit": ({"celsius": "37"}, "98.6"),
    "feet": ({"feet": "6", "inches": "2"}, "74"),
    "weekday": ({"date": "2001-09-11"}, "Tuesday"),
    "days-between": ({"first": "2023-12-31", "second": "2024-03-01"}, "61"),
    "leap-year": ({"year": "1900"}, "59"),
    "days-later": ({"days": "30", "date": "2024-02-15"}, "2024-03-16"),
    "month-end": ({"month": "2024-02"}, "2024-02-29"),
    "day-of-year": ({"date": "2024-03-01"}, "61"),
    "pennals": ({"brasks": "10"}, "140"),
    "quorls": ({"quorls": "9"}, "31.5"),
    "verns": ({"celsius": "-10"}, "-19"),
    "dribs": ({"tarns": "2", "hests": "3"}, "336"),
    "fenns": ({"metres": "10"}, "75"),
    "skells": ({"skells": "10", "knots": "4"}, "52"),
    "orsand-month": ({"months": "3", "days": "4"}, "103"),
    "orsand-week": ({"weeks": "4", "days": "5"}, "41"),
    "orsand-year": ({"year": "2016"}, "1200"),
    "market-day": ({"day": "12"}, "18"),
    "lantern-feast": ({"date": "2024-01-25"}, "2024-03-05"),
    "rest-day": ({"date": "2024-01-01"}, "Thursday"),
    "mooring": ({"metres": "20", "days": "3"}, "720"),
    "crane": ({"lifts": "5"}, "105"),
    "pilot": ({"tons": "1199"}, "146"),
    "night": ({"dues": "101", "hour": "00"}, "151.5"),
    "cargo": ({"tons": "10", "cargo": "salt"}, "70"),
    "storage": ({"sacks": "11", "days": "8"}, "8.25"),
}
"""{rule: operands, and the answer as worked out by hand from the lesson}."""


def rows(split: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text("utf-8").splitlines()]


def read(split: str) -> list[Row]:
    return [DEMO.read(row, str(number)) for number, row in enumerate(rows(split), start=1)]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_gives_the_answer_that_its_lesson_gives(name: str) -> None:
    operands, wanted = WORKED[name]
    assert answer(RULES[name], operands) == wanted


@given(st.sampled_from(sorted(RULES)), st.integers())
def test_any_question_can_be_judged_by_its_fields_alone(name: str, seed: int) -> None:
    rule = RULES[name]
    operands = draw(rule, random.Random(seed))
    assert operands == draw(rule, random.Random(seed))
    right = answer(rule, operands)
    assert re.fullmatch(r"-?\d+(\.\d{1,3})?|\d{4}-\d\d-\d\d|[A-Z][a-z]+day", right)
    question = Question(id="1", text=ask(rule, operands), fields={"rule": name, **operands})
    assert office(question, right).is_ok
    rejected = office(question, "no idea")
    assert not rejected.is_ok
    assert rule.topic in rejected.text
    assert right not in re.findall(r"[\w.:-]*\w", rejected.text)


@given(st.text(max_size=40))
def test_a_rejection_says_the_same_whatever_the_answer_and_the_operands(given_answer: str) -> None:
    [first, *others] = [row.question for row in read("train") if row.question.fields["rule"] == "crane"]
    assert {office(one, f"x{given_answer}").text for one in others} == {office(first, "nothing").text}


def test_the_files_are_what_the_rules_make() -> None:
    assert {name: (FOLDER / name).read_bytes().decode() for name in made()} == made()
    subprocess.run([sys.executable, PROJECT / "scripts" / "ace_demo.py", "--check"], check=True, cwd="/")


@pytest.mark.parametrize("split", SPLITS)
def test_two_fifths_of_the_questions_are_about_known_rules(split: str) -> None:
    counted = Counter(RULES[str(row["rule"])].known for row in rows(split))
    assert counted.total() == SPLITS[split]
    assert counted[True] == SPLITS[split] * 2 // 5


def test_every_rule_is_asked_about_in_every_file() -> None:
    counted = {split: Counter(row["rule"] for row in rows(split)) for split in SPLITS}
    assert all(set(one) == set(RULES) for one in counted.values())
    assert set(counted["train"].values()) == {4}
    assert set(counted["val"].values()) == {1, 2}
    assert set(counted["test"].values()) == {2}


def test_no_question_is_there_twice() -> None:
    questions = [row["question"] for split in SPLITS for row in rows(split)]
    assert len(set(questions)) == len(questions) == 220
    ids = [row["id"] for split in SPLITS for row in rows(split)]
    assert len(set(ids)) == 220


@pytest.mark.parametrize("split", SPLITS)
def test_rules_are_mixed(split: str) -> None:
    names = [row["rule"] for row in rows(split)]
    assert sum(one == other for one, other in pairwise(names)) < len(names) / 10
    assert len(set(names[:20])) > 10


@pytest.mark.parametrize("split", SPLITS)
def test_every_answer_satisfies_its_checker_and_the_environment(split: str) -> None:
    assert DEMO.environment is not None
    for row, raw in zip(read(split), rows(split), strict=True):
        assert row.target is not None
        assert DEMO.checker.check(row.target, row.target).is_correct
        assert DEMO.environment(row.question, row.target).is_ok
        assert row.question.text == raw["question"]
        assert not {"answer", "question", "id"} & set(row.question.fields)
        assert row.question.id == raw["id"]


@pytest.mark.parametrize("split", SPLITS)
def test_an_answer_to_another_question_is_wrong(split: str) -> None:
    targets = {row.target or "" for row in read(split)}
    for target in targets:
        assert not any(DEMO.checker.check(other, target).is_correct for other in targets - {target})


ROW = {"question": "q", "answer": "140", "rule": "pennals", "brasks": "10"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": "magic"}, "row 9 has no rule of the demo but 'magic'"),
        ({"rule": None}, "row 9 has no rule of the demo but ''"),
        ({"brasks": "1e999999"}, "row 9 has '1e999999' as its 'brasks'"),
        ({"brasks": None}, "row 9 has '' as its 'brasks'"),
        ({"question": ""}, "row 9 has nothing in its field 'question'"),
        ({"id": ""}, "row 9 has nothing in its field 'id'"),
    ],
)
def test_a_row_that_is_none_of_the_demo_is_named(change: Mapping[str, object], said: str) -> None:
    assert DEMO.read(ROW, "9").question.id == "9"
    with pytest.raises(RowError, match=re.escape(said)):
        DEMO.read({**ROW, **change}, "9")


def test_a_row_of_the_demo_may_have_no_label() -> None:
    assert DEMO.read({**ROW, "answer": None}, "9").target is None


def test_the_environment_judges_questions_of_the_demo_only() -> None:
    with pytest.raises(RowError, match="row 3 has no rule"):
        office(Question(id="3", text="q"), "1")
