"""The search: propose a label, repair what contradicts it, keep the change if the temperature allows.

A coroutine over `ask`. It reads no clock, no environment and no global random numbers: a search is a function
of its draw, its settings and the answers. Source: Wen et al., arXiv 2506.10139, in the form of its reference
implementation; `docs/decisions/0003-icm-as-published.md` lists what is not copied.
"""

import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.ask import Ask
from tasks.icm import scoring
from tasks.icm.claims import Claim, Draw
from tasks.icm.consistency import Pair, inconsistent_pairs
from tasks.icm.prompts import Prompter

UNLABELLED_MATE_WEIGHT = 100
"""How much likelier than others an unlabelled claim is drawn whose group has a label already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """The numbers of a search, with those of the reference for TruthfulQA as defaults."""

    alpha: float = 50.0
    iterations: int = 1500
    initial_temperature: float = 10.0
    final_temperature: float = 0.01
    schedule: scoring.Schedule = "log"
    decay: float = 0.99
    consistency_fix_passes: int = 10
    min_label_mass: float = 0.01
    seed: int = 27565976


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """An assignment of labels, evaluated."""

    assigned: Mapping[int, int]
    """{uid: label}"""
    scores: Mapping[int, float]
    """{uid: log-odds of True given all other labels, in nats}"""
    pairs: tuple[Pair, ...]
    energy: float
    label_mass: float
    """Median probability of all labels together over the evaluation's prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one iteration did; the first step, number 0, is the evaluation of the seeds."""

    iteration: int
    outcome: Literal["start", "unchanged", "accepted", "rejected"]
    state: State
    """After the iteration."""
    flips: int
    """Accepted changes so far; they drive the temperature."""
    temperature: float
    uid: int | None = None
    """The claim whose label was proposed."""
    label: int | None = None
    proposed_energy: float | None = None


class Search:
    """One search over the claims of a draw.

    Args:
        draw: Claims and seed labels.
        keys: Each claim's consistency key, or None for no consistency.
        prompter: Makes the requests.
        settings: The numbers.
        ask: Answers requests.
    """

    def __init__(
        self, draw: Draw, keys: Sequence[str] | None, prompter: Prompter, settings: SearchSettings, ask: Ask
    ) -> None:
        self._draw = draw
        self._keys = keys
        self._prompter = prompter
        self._settings = settings
        self._ask = ask

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Run the search, yielding every iteration.

        Raises:
            LabelMassError: The model hardly considers the labels.
            ExceptionGroup: Of the BackendErrors of requests without an answer. Run again to go on.
        """
        state = await self._evaluate(self._draw.seed_labels, "seeds")
        state = await self._repaired(state.assigned, iteration=0, baseline=state)
        flips = 0
        yield Step(iteration=0, outcome="start", state=state, flips=0, temperature=self._temperature(0))
        for iteration in range(1, self._settings.iterations + 1):
            step = await self._iterate(iteration, state, flips)
            state, flips = step.state, step.flips
            yield step

    async def _iterate(self, iteration: int, state: State, flips: int) -> Step:
        uid = self._pick(iteration, state.assigned)
        label = await self._propose(iteration, uid, state.assigned)
        temperature = self._temperature(flips)
        if state.assigned.get(uid) == label:
            return Step(
                iteration=iteration, outcome="unchanged", state=state, flips=flips, temperature=temperature,
                uid=uid, label=label,
            )  # fmt: skip
        changed = await self._repaired({**state.assigned, uid: label}, iteration=iteration, baseline=None)
        ratio = scoring.acceptance(changed.energy, state.energy, temperature)
        accepted = self._random("accept", iteration).random() < ratio
        return Step(
            iteration=iteration,
            outcome="accepted" if accepted else "rejected",
            state=changed if accepted else state,
            flips=flips + accepted,
            temperature=temperature,
            uid=uid,
            label=label,
            proposed_energy=changed.energy,
        )

    def _pick(self, iteration: int, assigned: Mapping[int, int]) -> int:
        weights = pick_weights(self._draw.claims, assigned)
        return self._random("pick", iteration).choices(range(len(weights)), weights)[0]

    async def _propose(self, iteration: int, uid: int, assigned: Mapping[int, int]) -> int:
        request = self._prompter.proposal(uid, assigned)
        [response] = await self._ask([request], purpose=f"propose for claim {uid}, iteration {iteration}")
        return scoring.proposed_label(scoring.score(response.label_logprobs))

    async def _evaluate(self, assigned: Mapping[int, int], what: str) -> State:
        requests = self._prompter.leave_one_out(assigned)
        responses = await self._ask(requests, purpose=f"evaluate {what}")
        mass = scoring.require_label_mass(responses, at_least=self._settings.min_label_mass)
        scores = {
            uid: scoring.score(response.label_logprobs)
            for uid, response in zip(sorted(assigned), responses, strict=True)
        }
        pairs = inconsistent_pairs(self._draw.claims, self._keys, assigned)
        predictability = scoring.mutual_predictability(assigned, scores)
        energy = scoring.energy(predictability, len(pairs), alpha=self._settings.alpha)
        return State(assigned=assigned, scores=scores, pairs=tuple(pairs), energy=energy, label_mass=mass)

    async def _repaired(
        self, assigned: Mapping[int, int], *, iteration: int, baseline: State | None
    ) -> State:
        """Repair inconsistent pairs and evaluate what comes out.

        Up to `consistency_fix_passes` passes; each takes the first pair, in random order, one of whose two
        repairs is at least as good as the best so far. Without a baseline (a proposal) the first repair is
        taken whatever its energy.
        """
        best = baseline
        for number in range(self._settings.consistency_fix_passes):
            labels = best.assigned if best else assigned
            pairs = inconsistent_pairs(self._draw.claims, self._keys, labels)
            self._random("fix", iteration, number).shuffle(pairs)
            better = await self._first_repair(labels, pairs, best, iteration)
            if better is None:
                break
            best = better
        return best or await self._evaluate(assigned, f"pool, iteration {iteration}")

    async def _first_repair(
        self, labels: Mapping[int, int], pairs: Sequence[Pair], best: State | None, iteration: int
    ) -> State | None:
        for pair in pairs:
            repairs = [
                await self._evaluate(
                    {**labels, pair.first: option[0], pair.second: option[1]},
                    f"repair, iteration {iteration}",
                )
                for option in pair.options()
            ]
            repaired = max(repairs, key=lambda state: state.energy)  # the first on ties
            if best is None or repaired.energy >= best.energy:
                return repaired
        return None

    def _temperature(self, flips: int) -> float:
        settings = self._settings
        return scoring.temperature(
            flips,
            schedule=settings.schedule,
            initial=settings.initial_temperature,
            final=settings.final_temperature,
            decay=settings.decay,
        )

    def _random(self, purpose: str, *step: int) -> random.Random:
        """Make a generator for one purpose and step, so that no draw depends on how often others drew."""
        return random.Random(f"{self._settings.seed}/{purpose}/{'/'.join(map(str, step))}")


def pick_weights(claims: Sequence[Claim], assigned: Mapping[int, int]) -> list[int]:
    """Return the weight with which each claim is drawn: 100 if it has no label but its group does, else 1."""
    labelled_groups = {claims[uid].group for uid in assigned}
    return [
        UNLABELLED_MATE_WEIGHT if uid not in assigned and claim.group in labelled_groups else 1
        for uid, claim in enumerate(claims)
    ]
