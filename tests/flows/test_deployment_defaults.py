"""What a run leaves out is as its deployment has it, also where the rest alone would be no whole."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from flows import workflow as module
from flows.batch_parameters import BatchParameters
from flows.deployment_defaults import laid_over
from flows.extraction_parameters import ExtractionParameters
from flows.settings import PROJECT
from flows.workflow import workflow

DEMO: Mapping[str, Any] = next(
    one["parameters"]["parameters"]
    for one in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    if one["name"] == "demo" and one["entrypoint"].startswith("flows.extraction")
)


@pytest.mark.parametrize(
    ("given", "documents", "text", "gold"),
    [
        ({}, DEMO["documents"], None, DEMO["gold"]),
        ({"seed": 43}, DEMO["documents"], None, DEMO["gold"]),
        ({"text": "Ada spoke."}, "", "Ada spoke.", None),
        ({"documents": "mine"}, "mine", None, None),
        ({"documents": "mine", "gold": "gold.jsonl"}, "mine", None, "gold.jsonl"),
    ],
)
def test_an_extraction_of_other_documents_has_no_more_of_the_deployments(
    given: dict[str, Any], documents: str, text: str | None, gold: str | None
) -> None:
    found = ExtractionParameters.model_validate(laid_over(ExtractionParameters, DEMO, given))
    assert (found.documents, found.text, found.gold) == (documents, text, gold)
    assert (found.chunk_tokens, found.spec) == (DEMO["chunk_tokens"], "demo")
    as_model = laid_over(BatchParameters, {"n": 3}, BatchParameters(input_path="a.csv"))
    assert as_model == {"n": 3, "input_path": "a.csv"}


async def test_a_flow_is_checked_with_what_its_deployment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def demo() -> Mapping[str, Mapping[str, Any]]:
        return {"parameters": DEMO}

    @workflow("seen")
    async def seen(parameters: ExtractionParameters) -> dict[str, Any]:
        return parameters.model_dump(exclude_unset=True)

    monkeypatch.setattr(module, "deployment_defaults", demo)
    found = await seen.fn({"cache_mode": "refresh"})  # pyright: ignore[reportArgumentType]
    assert found == {**DEMO, "cache_mode": "refresh"}
