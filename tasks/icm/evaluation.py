"""What found labels are worth: many-shot accuracy on a test split, beside the baselines."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from tasks.ask import Ask
from tasks.icm.claims import Claim
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import label_mass, proposed_label, score
from tasks.intervals import bootstrap_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class TestScore:
    """How one way of prompting does on the test claims."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    method: str
    demonstrations: int
    correct: int
    total: int
    low: float
    """Where the 95 % interval of the accuracy begins; see `intervals.py`."""
    high: float
    """Where it ends."""
    label_mass: float | None
    """Median probability of the labels; a low one means that the model hardly answered. None of a chat."""
    groups: int
    """Of the test claims; the intervals of few are too narrow."""
    unreadable: int = 0
    """Answers of a chat that name neither True nor False, or both; they count as wrong."""

    @property
    def accuracy(self) -> float:
        """Share of test claims whose label was predicted."""
        return self.correct / self.total

    def __str__(self) -> str:
        """Say the accuracy, and how many answers could not be read, if any."""
        unreadable = f" ({self.unreadable} unreadable)" if self.unreadable else ""
        return f"{self.accuracy:.1%}{unreadable}"

    @classmethod
    def of(
        cls,
        method: str,
        predicted: Sequence[int | None],
        test: Sequence[Claim],
        *,
        demonstrations: int,
        label_mass: float | None,
    ) -> Self:
        """Compare predictions with gold labels; None, where an answer was no label, is wrong."""
        right = [
            label is not None and label == claim.gold for label, claim in zip(predicted, test, strict=True)
        ]
        groups = [claim.group for claim in test]
        low, high = bootstrap_interval(right, groups)
        return cls(
            method=method,
            demonstrations=demonstrations,
            correct=sum(right),
            total=len(test),
            low=low,
            high=high,
            label_mass=label_mass,
            groups=len(set(groups)),
            unreadable=sum(label is None for label in predicted),
        )


def accuracy(claims: Sequence[Claim], assigned: Mapping[int, int]) -> float | None:
    """Share of assigned labels that equal the gold ones; None where there is nothing to compare."""
    right = _right(claims, assigned)
    return sum(right.values()) / len(right) if right else None


def accuracy_interval(claims: Sequence[Claim], assigned: Mapping[int, int]) -> tuple[float, float] | None:
    """Return (low, high) of the accuracy's 95 % interval; None where there is nothing to compare."""
    right = _right(claims, assigned)
    return bootstrap_interval(list(right.values()), [claims[uid].group for uid in right]) if right else None


def _right(claims: Sequence[Claim], assigned: Mapping[int, int]) -> dict[int, bool]:
    return {uid: claims[uid].gold == label for uid, label in assigned.items() if claims[uid].gold is not None}


def contexts(
    claims: Sequence[Claim],
    found: Mapping[int, int],
    seed: int,
    *,
    bootstrapped: Mapping[int, int] | None = None,
) -> dict[str, dict[int, int]]:
    """Return {method: {uid: label}}, the demonstrations of each way of prompting.

    Args:
        claims: Of the search.
        found: Its labels; random and golden ones are of the same claims.
        seed: Of the random labels.
        bootstrapped: The labels of bootstrapping, if it was run; of all claims.
    """
    rng = random.Random(f"{seed}/random labels")
    ways = {
        "zero-shot": {},
        "random labels": {uid: rng.randrange(2) for uid in sorted(found)},
        **({} if bootstrapped is None else {"bootstrapped labels": dict(bootstrapped)}),
        "found labels": dict(found),
    }
    golden = {uid: gold for uid in found if (gold := claims[uid].gold) is not None}
    return {**ways, "golden labels": golden} if len(golden) == len(found) else ways


async def score_on_test(
    prompter: Prompter, assigned: Mapping[int, int], test: Sequence[Claim], ask: Ask, *, method: str
) -> TestScore:
    """Ask about every test claim with the given labels as demonstrations.

    Raises:
        ExceptionGroup: Of the BackendErrors of requests without an answer.
    """
    context = "".join(text for _, text in prompter.demonstrations(assigned))
    requests = [prompter.ask_about(claim, context) for claim in test]
    responses = await ask(requests, purpose=f"test {method}")
    predicted = [proposed_label(score(response.label_logprobs)) for response in responses]
    return TestScore.of(
        method,
        predicted,
        test,
        demonstrations=len(assigned),
        label_mass=median(label_mass(response) for response in responses),
    )
