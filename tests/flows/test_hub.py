"""TruthfulQA as the hub has it, turned into claims."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows.hub import HUB_NAME, convert, truthfulqa_files
from tasks.icm.claims import DataError, draw, load_claims

Row = dict[str, Any]


def row(number: int, true: int, false: int) -> Row:
    """Make a row in the shape of truthfulqa/truthful_qa, configuration multiple_choice."""
    choices = [f"{number}: true {n}" for n in range(true)] + [f"{number}: false {n}" for n in range(false)]
    labels = [1] * true + [0] * false
    return {
        "question": f"Question {number}?",
        "mc1_targets": {"choices": choices[:1] + choices[true:], "labels": [1] + [0] * false},
        "mc2_targets": {"choices": choices, "labels": labels},
    }


def rows(count: int = 60) -> list[Row]:
    return [row(number, 1 + number % 5, 1 + number % 4) for number in range(count)]


def groups_of(source: list[Row]) -> dict[int, list[tuple[str, int]]]:
    groups: dict[int, list[tuple[str, int]]] = {}
    for records in convert(source).values():
        for record in records:
            groups.setdefault(record["consistency_id"], []).append((record["choice"], record["label"]))
    return groups


def test_every_question_gives_four_of_its_own_choices_with_their_labels() -> None:
    source = rows()
    for number, found in groups_of(source).items():
        targets = source[number]["mc2_targets"]
        assert len(set(found)) == 4
        assert set(found) <= set(zip(targets["choices"], targets["labels"], strict=True))


@pytest.mark.parametrize(
    ("true", "false", "expected"),
    [(5, 5, 2), (2, 2, 2), (1, 6, 1), (6, 1, 3), (4, 0, 4), (0, 4, 0), (3, 1, 3)],
)
def test_at_most_half_has_one_label_if_there_are_enough_of_the_other(
    true: int, false: int, expected: int
) -> None:
    [found] = groups_of([row(0, true, false)]).values()
    assert sum(label for _, label in found) == expected


def test_questions_with_fewer_than_four_choices_are_left_out() -> None:
    assert set(groups_of([row(0, 1, 2), row(1, 2, 2), row(2, 0, 0)])) == {1}


def test_splits_share_no_question_and_test_is_about_a_fifth() -> None:
    splits = convert(rows(600))
    train, test = ({record["consistency_id"] for record in splits[split]} for split in ("train", "test"))
    assert not train & test
    assert 0.15 < len(test) / (len(train) + len(test)) < 0.25


def test_conversion_is_always_the_same_and_leaves_the_rows_alone() -> None:
    source = rows()
    before = json.dumps(source)
    assert convert(source) == convert(rows()) == convert(source)
    assert json.dumps(source) == before


def test_order_of_choices_tells_nothing_about_labels() -> None:
    groups = groups_of([row(number, 2, 2) for number in range(200)])
    places = [place for found in groups.values() for place, (_, label) in enumerate(found) if label]
    assert all(70 < places.count(place) < 130 for place in range(4))


# --- files ----------------------------------------------------------------------------------------------


def hub(monkeypatch: pytest.MonkeyPatch, found: list[Row] | Exception) -> list[tuple[Any, ...]]:
    """Put a package `datasets` into this process; return the list of what it will be asked for."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, configuration: str, *, split: str) -> list[Row]:
        asked.append((name, configuration, split))
        if isinstance(found, Exception):
            raise found
        return found

    package = ModuleType("datasets")
    package.__dict__["load_dataset"] = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", package)
    return asked


def test_files_are_fetched_once_and_are_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, rows())
    paths = truthfulqa_files(tmp_path / "truthfulqa")
    assert truthfulqa_files(tmp_path / "truthfulqa") == paths
    assert asked == [(HUB_NAME, "multiple_choice", "validation")]
    assert sorted(path.name for path in (tmp_path / "truthfulqa").iterdir()) == ["test.jsonl", "train.jsonl"]
    train = load_claims(paths["train"])
    assert len(draw(train, size=64, num_seeds=8, group_size=4, seed=0).claims) == 64
    assert all(claim.gold in {0, 1} for claim in [*train, *load_claims(paths["test"])])


def test_missing_package_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DataError, match=r"package datasets; give train_path and test_path, or run: .*pip install"
    ):
        truthfulqa_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_silent_hub_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, ConnectionError("no route"))
    with pytest.raises(
        DataError, match=r"does not give truthfulqa/truthful_qa \(no route\); give train_path"
    ):
        truthfulqa_files(tmp_path)
    assert list(tmp_path.iterdir()) == []
