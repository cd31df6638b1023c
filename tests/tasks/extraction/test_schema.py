"""The schema of answers: every answer as it is meant to be passes, and others do not."""

from typing import Any

import jsonschema
import pytest

from tasks.extraction.schema import answer_schema
from tasks.extraction.spec import MAX_CHARACTERS, read_spec

PLAIN = read_spec({"name": "a", "description": "b", "labels": [{"name": "person"}, {"name": "place"}]})
WITH_ATTRIBUTES = read_spec(
    {
        "name": "a",
        "description": "b",
        "labels": [
            {"name": "person", "attributes": [{"name": "role", "values": ["judge"]}, {"name": "note"}]},
            {"name": "place"},
        ],
    }
)
ADA = {"label": "person", "text": "Ada"}
JUDGE = {**ADA, "attributes": {"role": "judge", "note": "of the court"}}


def passes(spec: Any, *items: object) -> bool:  # noqa: ANN401
    return is_answer(spec, {"entities": list(items)})


def is_answer(spec: Any, answer: object) -> bool:  # noqa: ANN401
    schema = answer_schema(spec, max_items=2)
    jsonschema.Draft202012Validator.check_schema(schema)
    try:
        jsonschema.validate(answer, schema)
    except jsonschema.ValidationError:
        return False
    return True


def test_what_is_meant_passes() -> None:
    assert passes(PLAIN)
    assert passes(PLAIN, ADA, {"label": "place", "text": "Rome"})
    assert passes(WITH_ATTRIBUTES, JUDGE, {"label": "place", "text": "Rome"})
    assert passes(WITH_ATTRIBUTES, {**ADA, "attributes": {"role": "", "note": ""}})


@pytest.mark.parametrize(
    "item",
    [
        {"label": "animal", "text": "Cat"},
        {"label": "person", "text": ""},
        {"label": "person", "text": "x" * (MAX_CHARACTERS + 1)},
        {"label": "person", "text": 1815},
        {"label": "person"},
        {"text": "Ada"},
        {**ADA, "other": 1},
        ["person", "Ada"],
        "Ada",
        None,
    ],
)
def test_what_is_not_does_not(item: object) -> None:
    assert not passes(PLAIN, item)
    assert not passes(WITH_ATTRIBUTES, item)


@pytest.mark.parametrize(
    "answer", [{}, [], [ADA], "none", None, {"entities": {}}, {"entities": None}, {"entities": [], "more": 1}]
)
def test_an_answer_is_an_object_with_one_list(answer: object) -> None:
    assert not is_answer(PLAIN, answer)
    assert is_answer(PLAIN, {"entities": []})


def test_a_long_name_has_room_and_a_sentence_without_end_has_not() -> None:
    assert passes(PLAIN, {"label": "person", "text": "x" * 400})
    assert passes(WITH_ATTRIBUTES, {**ADA, "attributes": {"role": "judge", "note": "x" * 400}})
    assert not passes(WITH_ATTRIBUTES, {**ADA, "attributes": {"role": "judge", "note": "x" * 401}})


def test_a_label_without_attributes_is_given_none() -> None:
    assert not passes(PLAIN, JUDGE)


def test_lists_are_bounded() -> None:
    assert not passes(PLAIN, ADA, ADA, ADA)


def test_an_attribute_has_one_of_its_values_and_belongs_to_its_label() -> None:
    assert not passes(WITH_ATTRIBUTES, {**ADA, "attributes": {"role": "king", "note": ""}})
    assert not passes(WITH_ATTRIBUTES, {"label": "place", "text": "Rome", "attributes": {"role": "judge"}})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"role": "judge"},
        {"note": ""},
        {"role": "judge", "note": 3},
        {"role": "judge", "note": "", "age": ""},
        [],
    ],
)
def test_attributes_are_all_there_as_texts_and_no_others(attributes: object) -> None:
    assert not passes(WITH_ATTRIBUTES, ADA)
    assert not passes(WITH_ATTRIBUTES, {**ADA, "attributes": attributes})
