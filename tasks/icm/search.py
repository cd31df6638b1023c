"""The search: propose a label, repair what contradicts it, keep the change if the temperature allows.

A coroutine over `ask`. It reads no clock, no environment and no global random numbers: a search is a function
of its draw, its settings and the answers. Source: Wen et al., arXiv 2506.10139, in the form of its reference
implementation; `docs/decisions/0003-icm-as-published.md` lists what is not copied.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from tasks.ask import Ask
from tasks.icm.claims import Draw
from tasks.icm.consistency import Pair
from tasks.icm.deciding import Audit, Decision, InFull, Sequential
from tasks.icm.prompts import Prompter
from tasks.icm.search_settings import SearchSettings
from tasks.icm.standing import Standing
from tasks.icm.state import Evaluated, Evaluator, Labels, State


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
    evaluated: float | None = None
    """Share of the pool that was asked before the change was accepted or rejected; below 1 the proposed
    energy is an estimate."""
    audit: Audit | None = None
    """Of a sequential search; see `Verdict`."""


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
        self._settings = settings
        self._evaluator = Evaluator(draw, keys, prompter, settings, ask)

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Run the search, yielding every iteration.

        Raises:
            LabelMassError: The model hardly considers the labels.
            ExceptionGroup: Of the BackendErrors of requests without an answer. Run again to go on.
        """
        seeds = await self._evaluator.evaluate(self._draw.seed_labels, "seeds")
        standing = Standing(seeds, self._evaluator)
        decision = InFull(standing, iteration=0)
        try:
            repaired = await self._repaired(decision, seeds.state.assigned, 0, must_rise=True)
            standing = standing.follow(await standing.changed(repaired, "pool, iteration 0"))
            step = Step(
                iteration=0,
                outcome="start",
                state=standing.state,
                flips=0,
                temperature=self._settings.temperature(0),
            )
            yield step
            while step.iteration < self._settings.iterations:
                async with aclosing(self._stretch(standing, step.iteration + 1, step.flips)) as stretch:
                    async for following in stretch:
                        step = following
                        yield step
                if step.outcome == "accepted":
                    standing = standing.follow(step.state)
        finally:
            await standing.leave()

    async def decide(self, state: State, iteration: int, flips: int) -> Step:
        """Run one iteration from a state, by itself."""
        standing = Standing(Evaluated(state, {}), self._evaluator)
        return await self._iterate(standing, iteration, flips)

    async def _stretch(self, standing: Standing, first: int, flips: int) -> AsyncGenerator[Step, None]:
        """Run iterations up to the next accepted change, or up to the last that is evaluated at once.

        All of them start from the same state, since most changes are rejected; what comes after an accepted
        one is dropped, and has warmed the store and the server's cache.
        """
        iterations = await self._ahead(standing, first)
        running = [asyncio.ensure_future(self._iterate(standing, one, flips)) for one in iterations]
        try:
            await asyncio.wait(running)
            for task in running:
                step = task.result()
                yield step
                if step.outcome == "accepted":
                    return
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _ahead(self, standing: Standing, first: int) -> range:
        """Say what to run at once: iterations that ask nothing new, else a change and `lookahead` more.

        A change that was rejected before asks nothing new, but for other repairs, and may yet be accepted.
        """
        changes = set[int]()
        for iteration in range(first, self._settings.iterations + 1):
            uid = self._pick(iteration, standing)
            is_new = await self._changes(standing, uid, iteration) and uid not in standing.tried
            if is_new and uid not in changes:
                if (iteration > first and not changes) or len(changes) > self._settings.lookahead:
                    return range(first, iteration)
                changes.add(uid)
                standing.tried.add(uid)
        return range(first, self._settings.iterations + 1)

    async def _changes(self, standing: Standing, uid: int, iteration: int) -> bool:
        return await standing.proposal(uid, iteration) != standing.state.assigned.get(uid)

    async def _iterate(self, standing: Standing, iteration: int, flips: int) -> Step:
        state = standing.state
        uid = self._pick(iteration, standing)
        label = await standing.proposal(uid, iteration)
        temperature = self._settings.temperature(flips)
        if state.assigned.get(uid) == label:
            return Step(
                iteration=iteration, outcome="unchanged", state=state, flips=flips, temperature=temperature,
                uid=uid, label=label,
            )  # fmt: skip
        decision = self._decision(standing, iteration, flips)
        labels = await self._repaired(decision, {**state.assigned, uid: label}, iteration, must_rise=False)
        luck = self._settings.random("accept", iteration).random()
        verdict = await decision.judge(labels, temperature=temperature, luck=luck)
        return Step(
            iteration=iteration,
            outcome="accepted" if verdict.accepted else "rejected",
            state=verdict.accepted or state,
            flips=flips + (verdict.accepted is not None),
            temperature=temperature,
            uid=uid,
            label=label,
            proposed_energy=verdict.energy,
            evaluated=verdict.evaluated,
            audit=verdict.audit,
        )

    def _decision(self, standing: Standing, iteration: int, flips: int) -> Decision:
        if self._settings.evaluation == "sequential":
            return Sequential(standing, iteration, self._evaluator, flips)
        return InFull(standing, iteration)

    def _pick(self, iteration: int, standing: Standing) -> int:
        rng = self._settings.random("pick", iteration)
        return rng.choices(range(len(self._draw.claims)), cum_weights=standing.cumulated_weights)[0]

    async def _repaired(
        self, decision: Decision, labels: Labels, iteration: int, *, must_rise: bool
    ) -> Labels:
        """Repair inconsistent pairs.

        Up to `consistency_fix_passes` passes; each takes the first pair, in random order, one of whose two
        repairs is at least as good as the best so far. Without `must_rise` (a proposal) the first repair is
        taken whatever its energy.
        """
        best = labels if must_rise else None
        for number in range(self._settings.consistency_fix_passes):
            pairs = self._evaluator.pairs(labels)
            self._settings.random("fix", iteration, number).shuffle(pairs)
            better = await self._first_repair(decision, labels, pairs, best)
            if better is None:
                break
            labels = best = better
        return labels

    async def _first_repair(
        self, decision: Decision, labels: Labels, pairs: Sequence[Pair], best: Labels | None
    ) -> Labels | None:
        options = [
            [{**labels, pair.first: first, pair.second: second} for first, second in pair.options()]
            for pair in pairs
        ]
        if self._settings.lookahead:
            await decision.prepare([one for both in options for one in both])
        for one, other in options:
            repaired = one if await decision.prefers(one, other) else other  # the first on ties
            if best is None or await decision.prefers(repaired, best):
                return repaired
        return None
