"""What found labels are worth: many-shot accuracy on a test split, beside three baselines."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tasks.ask import Ask
from tasks.icm.claims import Claim
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import label_mass, proposed_label, score


@dataclass(frozen=True, kw_only=True, slots=True)
class TestScore:
    """How one way of prompting does on the test claims."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    method: str
    demonstrations: int
    correct: int
    total: int
    label_mass: float
    """Median probability of the labels; a low one means that the model hardly answered."""

    @property
    def accuracy(self) -> float:
        """Share of test claims whose label was predicted."""
        return self.correct / self.total


def accuracy(claims: Sequence[Claim], assigned: Mapping[int, int]) -> float | None:
    """Share of assigned labels that equal the gold ones; None where there is nothing to compare."""
    pairs = [(claims[uid].gold, label) for uid, label in assigned.items() if claims[uid].gold is not None]
    return sum(gold == label for gold, label in pairs) / len(pairs) if pairs else None


def contexts(claims: Sequence[Claim], found: Mapping[int, int], seed: int) -> dict[str, dict[int, int]]:
    """Return {method: {uid: label}}, the demonstrations of each way of prompting, over the same claims."""
    rng = random.Random(f"{seed}/random labels")
    ways = {
        "zero-shot": {},
        "random labels": {uid: rng.randrange(2) for uid in sorted(found)},
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
    return TestScore(
        method=method,
        demonstrations=len(assigned),
        correct=sum(label == claim.gold for label, claim in zip(predicted, test, strict=True)),
        total=len(test),
        label_mass=median(label_mass(response) for response in responses),
    )
