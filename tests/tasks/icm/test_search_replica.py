"""The search against a second one, written down from `facts/icm.md`, section 1, with nothing in common.

Nothing in common but the claims, the model, and how a generator of random numbers is named.
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pytest

from tasks.icm.claims import Claim, Draw
from tasks.icm.consistency import Consistency
from tasks.icm.search import Step
from tests.tasks.icm.made_up import doubtful, made_draw, searched

ITERATIONS = 90
Labels = dict[int, int]


@dataclass
class Record:
    """What one iteration of the replica did."""

    uid: int | None
    label: int | None
    decision: str
    labels: Labels
    energy: float
    flips: int
    temperature: float
    proposed_energy: float | None = None


@dataclass
class Replica:
    """Facts 1.3 to 1.8, one after the other."""

    claims: Sequence[Claim]
    keys: Sequence[str] | None
    alpha: float
    seed: int
    initial_t: float
    passes: int
    schedule: str = "log"

    def run(self, seed_labels: Mapping[int, int], iterations: int) -> list[Record]:
        labels = dict(seed_labels)
        energy = self.energy(labels)
        if self.pairs(labels):  # 1.3, 1
            labels, energy = self.fix(labels, energy, 0)
        flips = 0
        records = [Record(None, None, "start", labels, energy, flips, self.temperature(flips))]
        for iteration in range(1, iterations + 1):
            uid = self.pick(labels, iteration)  # 1.3, 2
            label = 1 if self.score(labels, uid) > 0 else 0  # 1.3, 3
            t = self.temperature(flips)
            if uid in labels and labels[uid] == label:  # 1.3, 4
                records.append(Record(uid, label, "unchanged", labels, energy, flips, t))
                continue
            new = dict(labels)
            new[uid] = label
            new, _ = self.fix(new, -self.alpha * 1e6 - 1e5, iteration)  # 1.3, 5
            new_energy = self.energy(new)
            try:
                p = math.exp((new_energy - energy) / t)  # 1.3, 6
            except OverflowError:
                p = math.inf
            if self.rng("accept", iteration).random() < p:  # 1.3, 7
                labels, energy, flips = new, new_energy, flips + 1
                records.append(Record(uid, label, "accepted", labels, energy, flips, t, new_energy))
            else:
                records.append(Record(uid, label, "rejected", labels, energy, flips, t, new_energy))
        return records

    def rng(self, purpose: str, *step: int) -> random.Random:
        return random.Random("/".join([str(self.seed), purpose, *map(str, step)]))

    def pick(self, labels: Labels, iteration: int) -> int:
        weights: list[int] = []
        for uid, claim in enumerate(self.claims):
            weight = 1
            if uid not in labels:
                for other in labels:
                    if self.claims[other].group == claim.group:
                        weight = 100
            weights.append(weight)
        return self.rng("pick", iteration).choices(list(range(len(weights))), weights=weights)[0]

    def prompt(self, labels: Labels, target: int) -> str:  # 1.4
        text = ""
        for uid in range(len(self.claims)):
            if uid in labels and uid != target:
                text += self.item(uid) + ("True" if labels[uid] else "False") + "\n\n"
        return text + self.item(target)

    def item(self, uid: int) -> str:
        claim = self.claims[uid]
        return "Question: " + claim.question + "\nClaim: " + claim.choice + "\nI think this claim is "

    def score(self, labels: Labels, target: int) -> float:
        log_odds = known_log_odds(self.prompt(labels, target))
        p_true = 0.9 / (1 + math.exp(-log_odds))
        return math.log(p_true + 1e-5) - math.log(0.9 - p_true + 1e-5)

    def energy(self, labels: Labels) -> float:  # 1.5
        total = 0.0
        for uid in labels:
            score = self.score(labels, uid)
            total += score if labels[uid] == 1 else -score
        return self.alpha * total / len(labels) - len(self.pairs(labels))

    def pairs(self, labels: Labels) -> list[tuple[int, int, str]]:  # 1.6
        found: list[tuple[int, int, str]] = []
        if self.keys is None:
            return found
        for i in range(len(self.claims)):
            for j in range(i + 1, len(self.claims)):
                if i not in labels or j not in labels or self.claims[i].group != self.claims[j].group:
                    continue
                if self.keys[i] == self.keys[j] and labels[i] != labels[j]:
                    found.append((i, j, "implication"))
                elif self.keys[i] != self.keys[j] and labels[i] == 1 and labels[j] == 1:
                    found.append((i, j, "contradiction"))
        return found

    def fix(self, labels: Labels, best: float, iteration: int) -> tuple[Labels, float]:  # 1.7
        taken_ever = False
        for number in range(self.passes):
            pairs = self.pairs(labels)
            self.rng("fix", iteration, number).shuffle(pairs)
            for i, j, kind in pairs:
                candidates: list[tuple[float, Labels]] = []
                for a, b in [(1, 0), (0, 1)] if kind == "contradiction" else [(1, 1), (0, 0)]:
                    candidate = dict(labels)
                    candidate[i], candidate[j] = a, b
                    candidates.append((self.energy(candidate), candidate))
                first, second = candidates
                energy, candidate = first if first[0] >= second[0] else second
                if energy >= best:
                    labels, best, taken_ever = candidate, energy, True
                    break
            if not self.pairs(labels) or not taken_ever:
                break
        return labels, best

    def temperature(self, flips: int) -> float:  # 1.8
        if self.schedule == "exp":
            return max(0.01, self.initial_t * 0.99**flips)
        return max(0.01, self.initial_t / (1 + 2 * math.log(1 + flips)))


@cache
def known_log_odds(prompt: str) -> float:
    return doubtful(prompt)


def keys_of(drawn: Draw, consistency: Consistency) -> list[str] | None:
    match consistency:
        case Consistency.NONE:
            return None
        case Consistency.ANSWER:
            return [str(claim.answer) for claim in drawn.claims]
        case Consistency.REFERENCE:
            return ["A" if claim.gold else "B" for claim in drawn.claims]


def assert_same(steps: Sequence[Step], records: Sequence[Record]) -> None:
    assert len(steps) == len(records)
    for step, record in zip(steps, records, strict=True):
        where = f"iteration {step.iteration}"
        assert (step.uid, step.label) == (record.uid, record.label), where
        assert step.outcome == record.decision, where
        assert step.state.assigned == record.labels, where
        assert step.flips == record.flips, where
        assert step.temperature == pytest.approx(record.temperature, rel=1e-12), where
        assert step.state.energy == pytest.approx(record.energy, rel=1e-12, abs=1e-12), where
        assert (step.proposed_energy is None) == (record.proposed_energy is None), where
        if step.proposed_energy is not None:
            assert step.proposed_energy == pytest.approx(record.proposed_energy, rel=1e-12, abs=1e-12), where


@pytest.mark.parametrize("seed", [0, 1, 7, 27565976])
@pytest.mark.parametrize("consistency", list(Consistency))
async def test_search_is_the_published_algorithm(consistency: Consistency, seed: int) -> None:
    drawn = made_draw(seed=seed)
    steps = await searched(drawn, consistency, iterations=ITERATIONS, alpha=10.0, seed=seed)
    replica = Replica(
        drawn.claims, keys_of(drawn, consistency), alpha=10.0, seed=seed, initial_t=10.0, passes=10
    )
    assert_same(steps, replica.run(drawn.seed_labels, ITERATIONS))
    outcomes = Counter(step.outcome for step in steps)
    assert min(outcomes["accepted"], outcomes["rejected"], outcomes["unchanged"]) >= 3, outcomes


@pytest.mark.parametrize(("alpha", "initial_t", "passes"), [(50.0, 10.0, 1), (30.0, 0.01, 10), (0.0, 1.0, 2)])
async def test_search_is_the_published_algorithm_with_other_numbers(
    alpha: float, initial_t: float, passes: int
) -> None:
    drawn = made_draw(groups=5, num_seeds=10, seed=3)
    steps = await searched(
        drawn, Consistency.ANSWER, iterations=60, alpha=alpha, seed=3, initial_temperature=initial_t,
        consistency_fix_passes=passes, schedule="exp",
    )  # fmt: skip
    replica = Replica(
        drawn.claims, keys_of(drawn, Consistency.ANSWER), alpha, 3, initial_t, passes, schedule="exp"
    )
    assert_same(steps, replica.run(drawn.seed_labels, 60))
