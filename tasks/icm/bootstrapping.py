"""Bootstrapping: the labels that a model predicts in one round are the demonstrations of the next.

The baseline that comes near to the search and is much cheaper: Shrivastava, Qi, Canavan, Qiu, Michala and
Roger, "Eliciting base models with simple unsupervised techniques" (LessWrong, 2026). Their idea, not their
code: it starts from the random labels of a few seeds, and each round's labels are made consistent. Scores are
not calibrated, so that a model that leans to one label may end with that label everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.ask import Ask
from tasks.icm.best_labels import best_labels
from tasks.icm.claims import Draw
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import proposed_label, require_label_mass, score

ROUNDS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """All claims labelled once."""

    number: int
    """From 1."""
    labels: Mapping[int, int]
    """{uid: label} of every claim."""
    scores: Mapping[int, float]
    """{uid: log-odds of True given all other labels of the round before, in nats}"""
    changed: int
    """Claims that had another label before the round, or none."""
    label_mass: float
    """Median probability of all labels together over the round's prompts."""

    @property
    def overruled(self) -> int:
        """How many claims got another label than their score speaks for, so as to be consistent."""
        return sum(label != proposed_label(self.scores[uid]) for uid, label in self.labels.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrapped:
    """What the rounds came to."""

    rounds: tuple[Round, ...]

    @property
    def labels(self) -> Mapping[int, int]:
        """{uid: label} of every claim, after the last round."""
        return self.rounds[-1].labels


async def bootstrap(
    draw: Draw,
    keys: Sequence[str] | None,
    prompter: Prompter,
    ask: Ask,
    *,
    rounds: int = ROUNDS,
    min_label_mass: float = 0.01,
) -> Bootstrapped:
    """Label all claims of a draw, again and again, until nothing changes.

    Every round asks about every claim once: the first with the seeds' random labels as context, the others
    with the labels that all other claims got in the round before.

    Args:
        draw: Claims and seed labels.
        keys: Each claim's consistency key, or None for no consistency.
        prompter: Makes the requests.
        ask: Answers requests.
        rounds: At most.
        min_label_mass: What the labels' median probability has to be in each round.

    Raises:
        LabelMassError: The model hardly considers the labels.
        ExceptionGroup: Of the BackendErrors of requests without an answer. Run again to go on.
        ValueError: `rounds` is under 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; bootstrapping needs at least 1")
    labels = draw.seed_labels
    done: list[Round] = []
    for number in range(1, rounds + 1):
        asked = prompter.about(range(len(draw.claims)), labels)
        responses = await ask(list(asked.values()), purpose=f"bootstrap round {number} of {rounds}")
        mass = require_label_mass(responses, at_least=min_label_mass)
        found = {uid: score(one.label_logprobs) for uid, one in zip(asked, responses, strict=True)}
        scores = dict(sorted(found.items()))
        before, labels = labels, best_labels(draw.claims, keys, scores)
        changed = sum(before.get(uid) != label for uid, label in labels.items())
        done.append(Round(number=number, labels=labels, scores=scores, changed=changed, label_mass=mass))
        if not changed:
            break
    return Bootstrapped(rounds=tuple(done))
