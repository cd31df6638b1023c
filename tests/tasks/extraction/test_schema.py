"""The schema of answers: every answer as it is meant to be passes, and others do not."""

from typing import Any

import jsonschema
import pytest

from tasks.extraction.schema import MAX_CHARACTERS, answer_schema
from tasks.extraction.spec import read_spec

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
    schema = answer_schema(spec, max_items=2)
    jsonschema.Draft202012Validator.check_schema(schema)
    try:
        jsonschema.validate({"entities": list(items)}, schema)
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
        {"label": "person"},
        {**ADA, "other": 1},
        JUDGE,
    ],
)
def test_what_is_not_does_not(item: dict[str, Any]) -> None:
    assert not passes(PLAIN, item)


def test_lists_are_bounded() -> None:
    assert not passes(PLAIN, ADA, ADA, ADA)


def test_an_attribute_has_one_of_its_values_and_belongs_to_its_label() -> None:
    assert not passes(WITH_ATTRIBUTES, {**ADA, "attributes": {"role": "king", "note": ""}})
    assert not passes(WITH_ATTRIBUTES, {"label": "place", "text": "Rome", "attributes": {"role": "judge"}})
