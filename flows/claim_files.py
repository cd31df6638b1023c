"""Which files of claims a run labels and is tested on."""

from pathlib import Path

from flows.hub import truthfulqa_files
from flows.parameters import ICMParameters
from flows.settings import PROJECT, Settings
from tasks.icm.claims import Claim, DataError, load_claims


def load_splits(parameters: ICMParameters, settings: Settings) -> tuple[list[Claim], list[Claim]]:
    """Read the claims to label, and the test claims that were asked for.

    Raises:
        DataError: A file is missing or malformed, or test claims have no labels.
    """
    train_path, test_path = _paths(parameters, settings)
    train = load_claims(train_path, parameters.kind)
    test = load_claims(test_path, parameters.kind)[: parameters.test_claims] if test_path else []
    for claim in test:
        if claim.gold is None:
            raise DataError(f"{test_path}: record {claim.id + 1} has no field 'label' to compare with")
    return train, test


def _paths(parameters: ICMParameters, settings: Settings) -> tuple[Path, Path | None]:
    if parameters.train_path:
        return Path(parameters.train_path), Path(parameters.test_path) if parameters.test_path else None
    if parameters.dataset == "general_knowledge":
        folder = PROJECT / "data" / "general_knowledge"
        paths = {split: folder / f"{split}.jsonl" for split in ("train", "test")}
    else:
        paths = truthfulqa_files(settings.store.parent / "datasets" / "truthfulqa")
    return paths["train"], Path(parameters.test_path) if parameters.test_path else paths["test"]
