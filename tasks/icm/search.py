"""The search: propose a label, repair what contradicts it, keep the change if the temperature allows.

A coroutine over `ask`. It reads no clock, no environment and no global random numbers: a search is a function
of its draw, its settings and the answers. Source: Wen et al., arXiv 2506.10139, in the form of its reference
implementation; `docs/decisions/0003-icm-as-published.md` lists what is not copied.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from backends.messages import Response
from tasks.ask import Ask
from tasks.icm import scoring
from tasks.icm.claims import Claim, Draw
from tasks.icm.consistency import Pair, inconsistent_pairs
from tasks.icm.prompts import Prompter

UNLABELLED_MATE_WEIGHT = 100
"""How much likelier than others an unlabelled claim is drawn whose group has a label already."""

LONGEST_TAIL = 4
"""After so many changed labels "tree-tail" builds its tree anew: a server keeps a path of its own for each
claim, and longer ones do not fit (bench/results/icm.json)."""


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
    lookahead: int = 0
    """How many of the changes that may come next are evaluated together with the one that is decided."""
    seed: int = 27565976

    def temperature(self, flips: int) -> float:
        """Return the temperature after so many accepted changes."""
        return scoring.temperature(
            flips,
            schedule=self.schedule,
            initial=self.initial_temperature,
            final=self.final_temperature,
            decay=self.decay,
        )

    def random(self, purpose: str, *step: int) -> random.Random:
        """Make a generator for one purpose and step, so that no draw depends on how often others drew."""
        return random.Random(f"{self.seed}/{purpose}/{'/'.join(map(str, step))}")


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


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """A state, and the labels that it proposes for claims without one, where they were asked for."""

    state: State
    proposals: Mapping[int, int]


class _Standing:
    """A state, and what has been found out from it: nothing is asked twice while it lasts."""

    def __init__(self, found: _Evaluated, claims: Sequence[Claim], recent: Sequence[int] = ()) -> None:
        self.state = state = found.state
        self.recent = recent
        """Whose labels changed lately, the latest last; only "tree-tail" looks at it."""
        self.cumulated_weights = list(itertools.accumulate(pick_weights(claims, state.assigned)))
        # For a labelled claim the proposal's prompt is that of its score.
        self.proposals = {
            **found.proposals,
            **{uid: scoring.proposed_label(one) for uid, one in state.scores.items()},
        }
        self.tried: set[int] = set()
        """Whose change has been evaluated."""
        self.evaluated: dict[frozenset[tuple[int, int]], asyncio.Task[_Evaluated]] = {}

    def found(self, state: State) -> _Evaluated:
        """Return a state that was evaluated from here, with its proposals."""
        if state is self.state:
            return _Evaluated(state, self.proposals)
        return self.evaluated[frozenset(state.assigned.items())].result()

    def recently_changed(self, assigned: Mapping[int, int]) -> list[int]:
        """Return whose labels changed lately, the latest last, once `assigned` follows."""
        changed = [uid for uid in sorted(assigned) if self.state.assigned.get(uid) != assigned[uid]]
        return [uid for uid in self.recent if uid not in changed] + changed


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
        seeds = await self._evaluate(self._draw.seed_labels, "seeds")
        standing = _Standing(seeds, self._draw.claims)
        repaired = await self._repaired(standing, seeds.state.assigned, iteration=0, baseline=seeds.state)
        standing = self._follow(standing, repaired)
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
                standing = self._follow(standing, step.state)

    def _follow(self, standing: _Standing, state: State) -> _Standing:
        recent = standing.recently_changed(state.assigned)
        found = standing.found(state)
        return _Standing(found, self._draw.claims, recent if len(recent) <= LONGEST_TAIL else ())

    async def _stretch(self, standing: _Standing, first: int, flips: int) -> AsyncGenerator[Step, None]:
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

    async def _ahead(self, standing: _Standing, first: int) -> range:
        """Say what to run at once: iterations that ask nothing new, else a change and `lookahead` more.

        A change that was rejected before asks nothing new, and may yet be accepted.
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

    async def _changes(self, standing: _Standing, uid: int, iteration: int) -> bool:
        if uid not in standing.proposals:
            await self._propose(standing, iteration)
        return standing.proposals[uid] != standing.state.assigned.get(uid)

    async def _propose(self, standing: _Standing, iteration: int) -> None:
        """Ask about the claims without a label, all at once: they share the whole pool."""
        assigned = standing.state.assigned
        asked = self._prompter.about(self._without_label(assigned), assigned, standing.recent)
        responses = await self._ask(
            list(asked.values()), purpose=f"propose for {len(asked)} claims, iteration {iteration}"
        )
        standing.proposals |= _proposed(dict(zip(asked, responses, strict=True)))

    def _without_label(self, assigned: Mapping[int, int]) -> list[int]:
        return [uid for uid in range(len(self._draw.claims)) if uid not in assigned]

    async def _iterate(self, standing: _Standing, iteration: int, flips: int) -> Step:
        state = standing.state
        uid = self._pick(iteration, standing)
        label = standing.proposals[uid]
        temperature = self._settings.temperature(flips)
        if state.assigned.get(uid) == label:
            return Step(
                iteration=iteration, outcome="unchanged", state=state, flips=flips, temperature=temperature,
                uid=uid, label=label,
            )  # fmt: skip
        labels = {**state.assigned, uid: label}
        changed = await self._repaired(standing, labels, iteration=iteration, baseline=None)
        ratio = scoring.acceptance(changed.energy, state.energy, temperature)
        accepted = self._settings.random("accept", iteration).random() < ratio
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

    def _pick(self, iteration: int, standing: _Standing) -> int:
        rng = self._settings.random("pick", iteration)
        return rng.choices(range(len(self._draw.claims)), cum_weights=standing.cumulated_weights)[0]

    async def _changed(self, standing: _Standing, assigned: Mapping[int, int], what: str) -> State:
        """Evaluate labels that differ from the state's, once while the state lasts."""
        if assigned == standing.state.assigned:  # a repair has undone the proposal
            return standing.state
        known = standing.evaluated
        labels = frozenset(assigned.items())
        if labels not in known:
            recent = standing.recently_changed(assigned)
            known[labels] = asyncio.ensure_future(self._evaluate(assigned, what, recent))
        try:
            return (await asyncio.shield(known[labels])).state
        except asyncio.CancelledError:
            known[labels].cancel()  # the only one who waits, or one of those who all give up together
            raise

    async def _evaluate(
        self, assigned: Mapping[int, int], what: str, recent: Sequence[int] = ()
    ) -> _Evaluated:
        """Ask about all labels; looking ahead also about the others, as the state would be asked next."""
        others = self._without_label(assigned) if self._settings.lookahead else []
        asked = self._prompter.about([*sorted(assigned), *others], assigned, recent)
        responses = await self._ask(list(asked.values()), purpose=f"evaluate {what}")
        found = dict(zip(asked, responses, strict=True))
        state = self._scored(assigned, {uid: found[uid] for uid in sorted(assigned)})
        return _Evaluated(state, _proposed({uid: found[uid] for uid in others}))

    def _scored(self, assigned: Mapping[int, int], found: Mapping[int, Response]) -> State:
        mass = scoring.require_label_mass(list(found.values()), at_least=self._settings.min_label_mass)
        scores = {uid: scoring.score(response.label_logprobs) for uid, response in found.items()}
        pairs = inconsistent_pairs(self._draw.claims, self._keys, assigned)
        predictability = scoring.mutual_predictability(assigned, scores)
        return State(
            assigned=assigned,
            scores=scores,
            pairs=tuple(pairs),
            energy=scoring.energy(predictability, len(pairs), alpha=self._settings.alpha),
            label_mass=mass,
        )

    async def _repaired(
        self, standing: _Standing, assigned: Mapping[int, int], *, iteration: int, baseline: State | None
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
            self._settings.random("fix", iteration, number).shuffle(pairs)
            better = await self._first_repair(standing, labels, pairs, best, iteration)
            if better is None:
                break
            best = better
        return best or await self._changed(standing, assigned, f"pool, iteration {iteration}")

    async def _first_repair(
        self,
        standing: _Standing,
        labels: Mapping[int, int],
        pairs: Sequence[Pair],
        best: State | None,
        iteration: int,
    ) -> State | None:
        what = f"repair, iteration {iteration}"
        options = [
            [{**labels, pair.first: first, pair.second: second} for first, second in pair.options()]
            for pair in pairs
        ]
        if self._settings.lookahead:
            await asyncio.gather(*(self._changed(standing, one, what) for both in options for one in both))
        for both in options:
            repairs = await asyncio.gather(*(self._changed(standing, one, what) for one in both))
            repaired = max(repairs, key=lambda state: state.energy)  # the first on ties
            if best is None or repaired.energy >= best.energy:
                return repaired
        return None


def _proposed(found: Mapping[int, Response]) -> dict[int, int]:
    return {uid: scoring.proposed_label(scoring.score(one.label_logprobs)) for uid, one in found.items()}


def pick_weights(claims: Sequence[Claim], assigned: Mapping[int, int]) -> list[int]:
    """Return the weight with which each claim is drawn: 100 if it has no label but its group does, else 1."""
    labelled_groups = {claims[uid].group for uid in assigned}
    return [
        UNLABELLED_MATE_WEIGHT if uid not in assigned and claim.group in labelled_groups else 1
        for uid, claim in enumerate(claims)
    ]
