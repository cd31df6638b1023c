"""The ways of labelling and prompting that a report compares: how right each is, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flows.ledger import BOOTSTRAPPING, SEARCH, Cost, costs_by_part
from flows.results import ICMResult, SearchedBatch
from tasks.icm.evaluation import TestScore, accuracy, accuracy_interval

PART_OF = {"found labels": SEARCH, "bootstrapped labels": BOOTSTRAPPING}
"""{method: the part of a run that made its labels}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One row."""

    method: str
    label_accuracy: float | None = None
    """Of the labels that the way made, over all batches."""
    label_interval: tuple[float, float] | None = None
    test: TestScore | None = None
    """With these labels as demonstrations."""
    cost: Cost = field(default_factory=Cost)
    """Over all runs, the labels' and the test's."""


def ways(result: ICMResult) -> list[Way]:
    """Return a row for each way of prompting, and for the ways of labelling where nothing was tested."""
    costs = costs_by_part(result.ledger)
    labelled = _labelled(result)
    tested = {score.method: score for score in result.test_scores}
    return [
        Way(
            method=method,
            label_accuracy=labelled[method][0] if method in labelled else None,
            label_interval=labelled[method][1] if method in labelled else None,
            test=tested.get(method),
            cost=_cost_of(result, costs, method),
        )
        for method in tested or labelled
    ]


def _labelled(result: ICMResult) -> dict[str, tuple[float | None, tuple[float, float] | None]]:
    """Return {method: (accuracy, interval) of its labels}, of the ways that make labels."""
    made = {"found labels": result.labels_of(lambda batch: batch.final.assigned)}
    if any(batch.bootstrapped for batch in result.batches):
        made["bootstrapped labels"] = result.labels_of(_bootstrapped)
    return {
        method: (accuracy(result.claims, labels), accuracy_interval(result.claims, labels))
        for method, labels in sorted(made.items())
    }


def _bootstrapped(batch: SearchedBatch) -> Mapping[int, int]:
    return batch.bootstrapped.labels if batch.bootstrapped else {}


def _cost_of(result: ICMResult, costs: Mapping[str, Cost], method: str) -> Cost:
    parts = [f"test {method}", *([PART_OF[method]] if method in PART_OF else [])]
    paid = sum((costs.get(part, Cost()) for part in parts), Cost())
    # What was put is the same for every run; the ledger knows only of what had to be sent.
    return replace(paid, prompts=sum(result.put.get(part, 0) for part in parts))
