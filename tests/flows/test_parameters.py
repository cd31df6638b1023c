"""Parameters of an ICM run: what is refused, and the form that the Prefect UI makes of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from flows.icm import icm
from flows.parameters import ICMParameters
from tasks.icm.consistency import Consistency
from tasks.icm.search_settings import SearchSettings

BAD: list[tuple[dict[str, Any], str]] = [
    ({"num_seeds": 7}, "num_seeds is 7; it must be even: half true, half false"),
    ({"num_seeds": 0}, "greater than or equal to 2"),
    ({"num_claims": 30}, "num_claims (30) must be a multiple of group_size (4): whole groups are drawn"),
    ({"num_claims": 0}, "greater than or equal to 1"),
    ({"num_claims": 4}, "num_seeds (8) is more than num_claims (4)"),
    ({"num_claims": 8.5}, "valid integer"),
    ({"num_claims": "many"}, "valid integer"),
    ({"batches": 0}, "greater than or equal to 1"),
    ({"group_size": 0}, "greater than or equal to 1"),
    ({"group_size": 5}, "num_claims (256) must be a multiple of group_size (5)"),
    ({"iterations": -1}, "greater than or equal to 0"),
    ({"alpha": -1}, "greater than or equal to 0"),
    ({"alpha": "nan"}, "finite number"),
    ({"initial_temperature": 0}, "greater than 0"),
    ({"final_temperature": 0}, "greater than 0"),
    ({"schedule": "linear"}, "'log' or 'exp'"),
    ({"decay": 0}, "greater than 0"),
    ({"decay": 1.1}, "less than or equal to 1"),
    ({"consistency": "gold"}, "'none', 'answer' or 'reference'"),
    ({"consistency_fix_passes": -1}, "greater than or equal to 0"),
    ({"trailing_space": "perhaps"}, "valid boolean"),
    ({"scoring": "exact"}, "'auto' or 'top-20'"),
    ({"min_label_mass": -0.1}, "greater than or equal to 0"),
    ({"min_label_mass": 1.1}, "less than or equal to 1"),
    ({"seed": -1}, "greater than or equal to 0"),
    ({"test_claims": -1}, "greater than or equal to 0"),
    ({"cache_mode": "sometimes"}, "'use', 'refresh', 'replay' or 'off'"),
    ({"dataset": "mnist"}, "'truthfulqa', 'truthfulqa-preference', 'gsm8k', 'alpaca'"),
    ({"dataset": "gsm8k"}, "dataset is 'gsm8k'; give train_path"),
    ({"dataset": "alpaca", "train_path": "x", "num_claims": 9}, "must be a multiple of group_size (2)"),
    ({"testbed": {"template": "{question}"}}, "testbed is for dataset 'file', and dataset is 'truthfulqa'"),
    ({"context_order": "random"}, "'reference', 'tree' or 'tree-tail'"),
    ({"lookahead": -1}, "greater than or equal to 0"),
    ({"dataset": "file"}, "dataset is 'file'; give train_path"),
    ({"dataset": "file", "train_path": ""}, "dataset is 'file'; give train_path"),
    ({"iteration": 5}, "the closest is 'iterations'"),
]


@pytest.mark.parametrize(("bad", "sentence"), BAD, ids=[json.dumps(bad) for bad, _ in BAD])
def test_fact_11_bad_parameter_gives_one_clear_sentence(bad: dict[str, Any], sentence: str) -> None:
    """Fact 11: an odd num_seeds is refused by a message."""
    with pytest.raises(ValidationError) as caught:
        ICMParameters.model_validate(bad)
    [error] = caught.value.errors()
    assert sentence in error["msg"]
    assert "\n" not in error["msg"]
    assert error["loc"] in {(name,) for name in bad} | {()}


def test_defaults_are_those_of_the_reference_but_for_consistency() -> None:
    defaults = ICMParameters()
    assert (defaults.num_claims, defaults.num_seeds, defaults.claims_per_group, defaults.seed) == (
        256,
        8,
        4,
        27565976,
    )
    assert (defaults.initial_temperature, defaults.final_temperature, defaults.decay) == (10.0, 0.01, 0.99)
    assert (defaults.schedule, defaults.alpha, defaults.consistency_fix_passes) == ("log", 50.0, 10)
    assert defaults.consistency is Consistency.NONE


def test_numbers_of_the_search_are_handed_on_one_by_one() -> None:
    assert ICMParameters().search_settings() == SearchSettings()
    numbers = SearchSettings(
        alpha=1.5, iterations=7, initial_temperature=3.0, final_temperature=0.2, schedule="exp", decay=0.5,
        consistency_fix_passes=2, min_label_mass=0.3, seed=11,
    )  # fmt: skip
    given = {name: getattr(numbers, name) for name in numbers.__slots__}
    assert ICMParameters.model_validate(given).search_settings() == numbers


def test_parameters_survive_json() -> None:
    parameters = ICMParameters(
        dataset="file", train_path="x.jsonl", consistency=Consistency.ANSWER, alpha=0.1
    )
    assert ICMParameters.model_validate(parameters.model_dump(mode="json")) == parameters
    assert ICMParameters.model_validate_json(parameters.model_dump_json()) == parameters


# --- the form -------------------------------------------------------------------------------------------


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():  # pyright: ignore[reportUnknownVariableType]
            if name == "$ref":
                yield str(value)  # pyright: ignore[reportUnknownArgumentType]
            else:
                yield from references(value)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(node, list):
        for value in node:  # pyright: ignore[reportUnknownVariableType]
            yield from references(value)  # pyright: ignore[reportUnknownArgumentType]


def resolved(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    found: Any = schema
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def schemas() -> list[dict[str, Any]]:
    """Return the schema that pydantic makes, and the one that Prefect stores with a deployment."""
    return [ICMParameters.model_json_schema(), parameter_schema(icm).model_dump(by_alias=True)]


def test_json_schema_renders_without_references_that_lead_nowhere() -> None:
    for schema in schemas():
        found = list(references(json.loads(json.dumps(schema))))
        assert found
        for reference in found:
            assert reference.startswith("#/")
            assert isinstance(resolved(schema, reference), dict)


def test_form_shows_every_parameter_with_its_default_and_choices() -> None:
    _, schema = schemas()
    [form] = [resolved(schema, reference) for reference in set(references(schema["properties"]))]
    assert set(form["properties"]) == set(ICMParameters.model_fields)
    assert form.get("required", []) == []
    defaults = ICMParameters().model_dump(mode="json")
    for name, shown in form["properties"].items():
        assert shown.get("default") == defaults[name]
    assert resolved(schema, form["properties"]["consistency"]["$ref"])["enum"] == [
        "none",
        "answer",
        "reference",
    ]
    assert resolved(schema, form["properties"]["cache_mode"]["$ref"])["enum"] == [
        "use",
        "refresh",
        "replay",
        "off",
    ]
