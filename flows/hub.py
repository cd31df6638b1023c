"""TruthfulQA from the Hugging Face hub, turned into the claim format and kept as files."""

import importlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from tasks.icm.claims import DataError

HUB_NAME = "truthfulqa/truthful_qa"
GROUP_SIZE = 4
TEST_SHARE = 0.2
SPLIT_SEED = 0


class Record(TypedDict):
    """One claim in the file format of `load_claims`."""

    question: str
    choice: str
    label: int
    consistency_id: int


def truthfulqa_files(folder: Path) -> dict[str, Path]:
    """Return {"train": path, "test": path}, fetched and converted on the first call.

    The hub has no such splits and other numbers of claims per question than the file of the ICM paper, so
    results are not comparable with that paper's claim by claim.

    Raises:
        DataError: The optional extra is not installed, or the hub does not answer.
    """
    paths = {split: folder / f"{split}.jsonl" for split in ("train", "test")}
    if not all(path.exists() for path in paths.values()):
        splits = convert(_fetch())
        folder.mkdir(parents=True, exist_ok=True)
        for split, path in paths.items():
            partial = path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(r) + "\n" for r in splits[split]), encoding="utf-8")
            partial.replace(path)
    return paths


def convert(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Record]]:
    """Turn rows of the configuration `multiple_choice` into claims: four per question, split by question.

    Takes the choices of `mc2_targets`, of each question at most half of one label if there are enough of the
    other; questions with fewer than four choices are left out. The draw is fixed by SPLIT_SEED.
    """
    rng = random.Random(SPLIT_SEED)
    splits: dict[str, list[Record]] = {"train": [], "test": []}
    for number, row in enumerate(rows):
        targets = cast("Mapping[str, Sequence[Any]]", row["mc2_targets"])
        chosen = _four(list(zip(targets["choices"], targets["labels"], strict=True)), rng)
        split = "test" if rng.random() < TEST_SHARE else "train"
        splits[split] += [
            Record(question=str(row["question"]), choice=str(text), label=int(label), consistency_id=number)
            for text, label in chosen
        ]
    return splits


def _four(choices: list[tuple[str, int]], rng: random.Random) -> list[tuple[str, int]]:
    if len(choices) < GROUP_SIZE:
        return []
    rng.shuffle(choices)
    half = GROUP_SIZE // 2
    true, false = ([c for c in choices if c[1] == label] for label in (1, 0))
    num_true = min(len(true), max(half, GROUP_SIZE - len(false)))
    return rng.sample([*true[:num_true], *false[: GROUP_SIZE - num_true]], GROUP_SIZE)


def _fetch() -> Iterable[Mapping[str, Any]]:
    what_to_do = "give train_path and test_path, or run: .venv/bin/pip install -r requirements/hub.txt"
    try:
        datasets = cast("Any", importlib.import_module("datasets"))  # an optional extra
    except ImportError as error:
        raise DataError(
            f"TruthfulQA comes from the hub, which needs the package datasets; {what_to_do}"
        ) from error
    try:
        loaded = datasets.load_dataset(HUB_NAME, "multiple_choice", split="validation")
    except Exception as error:  # whatever goes wrong in there, the user needs the other way
        raise DataError(f"the hub does not give {HUB_NAME} ({error}); {what_to_do}") from error
    return cast("Iterable[Mapping[str, Any]]", loaded)
