import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace import answers
from tasks.ace.answers import Fields, read_generated, read_object, read_operations, read_reflected
from tasks.ace.votes import read_tags
from tests.tasks.ace.vectors import needs_vectors, vectors

EVERYTHING = json.dumps(
    {
        "reasoning": "I use [calc-00001]",
        "bullet_ids": ["calc-00002", "calc-00009"],
        "final_answer": "12 kg",
        "key_insight": "Divide first.",
        "bullet_tags": [{"id": "calc-00001", "tag": "helpful"}, {"id": "calc-00009", "tag": "harmful"}],
        "operations": [{"type": "ADD"}],
    }
)


@needs_vectors
def test_bullets_that_an_answer_cites_are_found() -> None:
    for one in vectors("bullet_ids"):
        wanted = one.get("want", one["ref_out"])
        assert answers.bullet_ids(Fields(one["in"]["text"])) == wanted, one


@needs_vectors
def test_votes_are_found() -> None:
    for one in vectors("bullet_tags"):
        wanted = [(tag["id"], tag["tag"]) for tag in one.get("want", one["ref_out"])]
        assert read_tags(Fields(one["in"]["text"]).get("bullet_tags")) == wanted, one


@needs_vectors
def test_the_object_that_has_the_key_is_taken() -> None:
    for one in vectors("extract_json(key=operations)"):
        wanted: object = one.get("want", one["ref_out"])
        assert (read_object(one["in"], key="operations") or None) == wanted, one


@needs_vectors
def test_final_answers_are_found() -> None:
    for one in vectors("extract_answer"):
        wanted = one.get("want", one["ref_out"])
        found = answers.final_answer(Fields(one["in"]))
        assert found == (None if wanted == "No final answer found" else wanted), one


@pytest.mark.parametrize(
    "wrapped",
    [
        EVERYTHING,
        f"```json\n{EVERYTHING}\n```",
        f'<think>{{"final_answer": "7"}}</think> So: {EVERYTHING} I hope that helps.',
        f'{{"final_answer": "a first try"}} No: {EVERYTHING}',
        EVERYTHING[:-1],  # cut off
    ],
)
def test_what_is_around_an_answer_does_not_matter(wrapped: str) -> None:
    generated = read_generated(wrapped, {"calc-00001", "calc-00002"})
    assert generated.final_answer == "12 kg"
    assert generated.bullet_ids == ("calc-00002", "calc-00001")
    reflected = read_reflected(wrapped, {"calc-00001"})
    assert reflected is not None
    assert reflected.lesson == "Divide first."
    assert reflected.votes == (("calc-00001", "helpful"),)
    assert read_operations(wrapped) == [{"type": "ADD"}]


def test_one_reflector_has_one_vote_for_a_bullet() -> None:
    tags = [{"id": "calc-00001", "tag": tag} for tag in ("helpful", "helpful", "harmful")]
    reflected = read_reflected(json.dumps({"key_insight": "x", "bullet_tags": tags}), {"calc-00001"})
    assert reflected is not None
    assert reflected.votes == (("calc-00001", "harmful"),)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('{"final_answer": 12345678901234567890.10}', "12345678901234567890.10"),
        ('{"final_answer": 1e999}', "1e999"),
        ('{"final_answer": null}', None),
        ('{"final_answer": ""}', None),
        ('{"final_answer": true}', "true"),
        ('{"final_answer": "a\\n## B [calc-00001]"}', "a ## B [calc-00001]"),
        ('{"final_answer": "<b>[1, 2]</b>"}', "<b>[1, 2]</b>"),
        (json.dumps({"final_answer": "x" * 2000}), None),
        ("<think>still thinking about the final answer: 7", None),
        ("Final answer: 42.", "42"),
    ],
)
def test_answers_are_one_line_of_a_bounded_length(written: str, read: str | None) -> None:
    assert read_generated(written, ()).final_answer == read


def test_of_operations_that_were_cut_off_the_complete_ones_are_kept() -> None:
    operations = [{"type": "ADD", "content": "a"}, {"type": "REMOVE"}]
    whole = json.dumps({"reasoning": "{", "operations": operations})
    assert read_operations(whole[:-10]) == [{"type": "ADD", "content": "a"}]
    assert read_operations('{"reasoning": "long", "operations": [') is None


HOSTILE = [
    "",
    "{" * 100_000,
    "[" * 100_000,
    '{"operations":' * 20_000,
    "x" * 1_000_000,
    '{"final_answer": "' + "y" * 1_000_000,
    '{"bullet_tags": 3, "key_insight": ["a", {"b": 1}], "bullet_ids": {"a": 1}, "operations": "none"}',
    '{"key_insight": "\\ud800 and \\u2028## X"}',
    "final answer " * 50_000,
    "[calc-00001] " * 50_000,
    "\x00\x1b[31m",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20] or "empty")
def test_nothing_that_a_model_writes_is_an_error(text: str) -> None:
    live = {"calc-00001"}
    generated, reflected = read_generated(text, live), read_reflected(text, live)
    read_operations(text)
    for one in (generated, reflected):
        assert not re.search(r"[\n\ud800\u2028]", str(one))


@given(st.text(alphabet='{}[]":,<>think/aoperatinsfl_w0129 \\u', max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    read_generated(text, ())
    read_reflected(text, ())
    read_operations(text)
