"""Each kind of claims goes through the flow, in each order of contexts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fake_vllm import FakeVLLMProcess
from tests.flows.running import FOUND, ICMProcess, JsonObject, Place, asked_of
from tests.tasks.icm.made_up import PROJECT

DATA = PROJECT.parent / "shared" / "data"
QUICK: JsonObject = {
    "num_claims": 12,
    "num_seeds": 4,
    "iterations": 8,
    "consistency": "answer",
    "trailing_space": False,
    "revision": "as served",
}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLMProcess]:
    with FakeVLLMProcess() as server:
        yield server


def preferences(folder: Path) -> Path:
    """Write preferences in the format of Alpaca's: each pair in both orders."""
    path = folder / "preferences.jsonl"
    rows = [
        {"question": f"How do I do {n}?", "choice": a, "choice_2": b, "label": label, "consistency_id": n}
        for n in range(8)
        for a, b, label in ((f"Do\nthis {n}.", f"Or that {n}.", 1), (f"Or that {n}.", f"Do\nthis {n}.", 0))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reviews(folder: Path) -> Path:
    """Write claims of a kind of one's own, three in a group."""
    path = folder / "reviews.jsonl"
    rows = [
        {"review": f"Review {n}.", "topic": topic, "consistency_id": n, "answer": topic}
        for n in range(6)
        for topic in ("food", "service", "parking")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def given(dataset: str, folder: Path) -> JsonObject:
    if dataset == "file":
        template = "Review: {review}\nIt is about {topic}.\nI think this is "
        testbed = {"template": template, "group_size": 3}
        return {"dataset": "file", "testbed": testbed, "train_path": str(reviews(folder))}
    if dataset == "alpaca":
        return {"dataset": "alpaca", "train_path": str(preferences(folder))}
    real = {"gsm8k": "gsm8k/test.json", "truthfulqa-preference": "truthfulqa/train_preference.json"}
    path = DATA / real[dataset]
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the product")
    return {"dataset": dataset, "train_path": str(path)}


@pytest.mark.parametrize("dataset", ["alpaca", "file", "gsm8k", "truthfulqa-preference"])
@pytest.mark.timeout(200)
def test_each_kind_of_claims_is_labelled_consistently(
    dataset: str, fake: FakeVLLMProcess, process: ICMProcess, tmp_path: Path
) -> None:
    place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)
    outcome = process.run(place, {**QUICK, **given(dataset, tmp_path)}).require_completed()
    [labels, history] = [
        [json.loads(line) for line in content.decode().splitlines()] for content in outcome.bytes_of(*FOUND)
    ]
    labelled = [line for line in labels if line["label"] is not None]
    assert len(labels) == QUICK["num_claims"]
    assert QUICK["num_seeds"] <= len(labelled) == outcome.summary["labelled"]
    assert history[-1]["iteration"] == QUICK["iterations"]
    assert outcome.summary["accepted"] + outcome.summary["rejected"] > 0


@pytest.mark.timeout(200)
def test_orders_ask_different_prompts_and_look_ahead_finds_the_same(
    new_process: Callable[[], ICMProcess], tmp_path: Path
) -> None:
    parameters: JsonObject = {**QUICK, "dataset": "general_knowledge", "test_claims": 4, "iterations": 12}
    process = new_process()
    found: dict[str, list[bytes]] = {}
    prompts: dict[str, set[str]] = {}
    ways = [("reference", 0), ("tree", 0), ("tree", 3), ("tree-tail", 0)]
    for order, lookahead in ways:
        with FakeVLLMProcess() as fake:
            folder = tmp_path / f"{order}-{lookahead}"
            folder.mkdir()
            place = Place(base_url=fake.base_url, model="fake-model", folder=folder)
            way = {"context_order": order, "lookahead": lookahead}
            outcome = process.run(place, {**parameters, **way}).require_completed()
            found[folder.name] = outcome.bytes_of(*FOUND)
            prompts[folder.name] = set(asked_of(fake.stats()))
    assert found["tree-0"] == found["tree-3"]
    assert prompts["tree-0"] <= prompts["tree-3"]
    assert prompts["reference-0"] != prompts["tree-0"] != prompts["tree-tail-0"]


@pytest.mark.timeout(200)
def test_a_pool_that_is_longer_than_the_context_is_refused_before_anything_is_sent(
    process: ICMProcess, tmp_path: Path
) -> None:
    with FakeVLLMProcess(max_model_len=300) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)
        parameters = {**QUICK, "dataset": "general_knowledge", "test_claims": 4}
        outcome = process.run(place, parameters)
        assert outcome.state == "Failed"
        assert "the model takes 300; lower num_claims to 4" in outcome.message
        assert not asked_of(fake.stats())
