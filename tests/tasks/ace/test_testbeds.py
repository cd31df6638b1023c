import json
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.ace.checkers import Finer
from tasks.ace.rows import RowError
from tasks.ace.testbeds import TESTBEDS, inner_question

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "ace"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here")


def rows(name: str) -> list[dict[str, Any]]:
    lines = [
        line
        for path in sorted((DATA / name).glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    return [json.loads(line) for line in lines]


@needs_data
def test_formula_keeps_or_drops_the_formula_in_all_rows() -> None:
    raw = rows("formula")
    assert len(raw) == 1_000
    for number, row in enumerate(raw):
        kept, dropped = (TESTBEDS[name].read(row, str(number)) for name in ("formula", "formula-dropped"))
        assert kept.question.text == row["context"]
        assert "Formula:" in kept.question.text
        text = dropped.question.text
        assert text in kept.question.text
        assert not re.search(r"Formula:|Explanation:|Question:|Answer:", text)
        assert re.fullmatch(r"[\w*].*[\w.?!)%\"*]", text, re.DOTALL), text
        assert text.count('"') % 2 == 0, text
        assert kept.target == dropped.target == row["target"]
        assert (kept.question.context, dict(kept.question.fields)) == ("", {})


@needs_data
def test_finer_keeps_its_tags_apart_in_all_rows() -> None:
    raw = rows("finer")
    assert len(raw) == 941
    contexts: set[str] = set()
    for number, row in enumerate(raw):
        read = TESTBEDS["finer"].read(row, str(number)).question
        assert f"{read.context} {read.text}" == row["context"]
        assert len(re.findall(r"^[1-4]\. What is best tag", read.text, re.MULTILINE)) == 4
        assert all(tag in read.context for tag in row["target"].split(","))
        assert "What is best tag" not in read.context
        contexts.add(read.context)
    assert len(contexts) == 2  # one of each file, so that a server has seen most of a prompt before


@needs_data
@pytest.mark.parametrize("name", ["formula", "finer"])
def test_every_target_satisfies_its_checker(name: str) -> None:
    checker = TESTBEDS[name].checker
    for row in rows(name):
        score = checker.check(row["target"], row["target"])
        assert score.is_correct
        assert score.total == (4 if isinstance(checker, Finer) else 1)


@pytest.mark.parametrize(
    ("behind", "asked"),
    [
        ('"What is it?". Answer:', "What is it?"),
        (' "Find it.". Answer:', "Find it."),
        ("\u201cFind it.\u201d. Answer:", "Find it."),
        (' "Find it.\u201d. Answer:', "Find it."),
        ('"Find it."\n. Answer:', "Find it."),
        ('"Find it." . Answer: ', "Find it."),
        ('"Find it.. Answer:', "Find it."),
        ("**Bank**: Find it.. Answer:", "**Bank**: Find it."),
        ('Find "it". Answer:', 'Find "it"'),
        ("What is it?", "What is it?"),
    ],
)
def test_the_inner_question_is_found_with_any_quotes(behind: str, asked: str) -> None:
    assert inner_question(f"Use it. Formula: a = b / c, Explanation: a: b. Question: {behind}") == asked


@pytest.mark.parametrize(
    "context", ["", "no question", "Question:", 'Question: "". Answer:', "Question: . Answer:"]
)
def test_where_nothing_is_asked_the_row_is_named(context: str) -> None:
    with pytest.raises(RowError, match="row 5"):
        TESTBEDS["formula-dropped"].read({"context": context, "target": "1"}, "5")


@pytest.mark.parametrize("context", ["tags, but nothing else", "Answer the following 4 questions"])
def test_a_row_of_finer_has_tags_and_questions(context: str) -> None:
    with pytest.raises(RowError, match="row 5 has no list of tags"):
        TESTBEDS["finer"].read({"context": context, "target": "A"}, "5")


@pytest.mark.parametrize("name", ["formula", "formula-dropped", "finer"])
def test_a_row_may_have_no_label(name: str) -> None:
    context = 'tags Answer the following Question: "x". Answer:'
    assert TESTBEDS[name].read({"context": context}, "5").target is None
    assert TESTBEDS[name].read({"context": context, "target": "A"}, "5").target == "A"
    assert TESTBEDS[name].label_field == "target"
