"""Where a search stands, and what it has found out from there."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from backends.messages import Response
from tasks.icm import scoring
from tasks.icm.claims import Claim
from tasks.icm.state import Evaluated, Evaluator, Labels, State, settled

UNLABELLED_MATE_WEIGHT = 100
"""How much likelier than others an unlabelled claim is drawn whose group has a label already."""


class Standing:
    """A state, and what has been found out from it: nothing is asked twice while it lasts."""

    def __init__(self, found: Evaluated, evaluator: Evaluator, recent: Sequence[int] = ()) -> None:
        self.state = found.state
        self.tried: set[int] = set()
        """Whose change has been evaluated."""
        self.cumulated_weights = list(
            itertools.accumulate(pick_weights(evaluator.claims, found.state.assigned))
        )
        self._evaluator = evaluator
        self._recent = recent
        # For a labelled claim the proposal's prompt is that of its score.
        self._proposals = {
            **found.proposals,
            **{uid: scoring.proposed_label(one) for uid, one in found.state.scores.items()},
        }
        self._evaluated: dict[frozenset[tuple[int, int]], asyncio.Task[Evaluated]] = {}
        self._answers: dict[frozenset[tuple[int, int]], dict[int, Response]] = {}
        self._asking = defaultdict[frozenset[tuple[int, int]], asyncio.Lock](asyncio.Lock)

    async def proposal(self, uid: int, iteration: int) -> int:
        """Return the label that the state proposes for a claim."""
        if uid not in self._proposals:
            self._proposals |= await self._evaluator.propose(self.state.assigned, iteration, self._recent)
        return self._proposals[uid]

    async def changed(self, labels: Labels, what: str) -> State:
        """Evaluate labels that differ from the state's, once while the state lasts."""
        if labels == self.state.assigned:  # a repair has undone the proposal
            return self.state
        name = frozenset(labels.items())
        if name not in self._evaluated:
            self._evaluated[name] = asyncio.ensure_future(
                self._evaluator.evaluate(labels, what, self._after(labels), self._answers.get(name))
            )
        try:
            return (await asyncio.shield(self._evaluated[name])).state
        except asyncio.CancelledError:
            self._evaluated[name].cancel()  # the only one who waits, or one of those who all give up together
            raise

    async def margins(self, labels: Labels, uids: Sequence[int], what: str) -> Mapping[int, float]:
        """Return the margins of some labels, in nats: {uid: margin}; all of them where they are known.

        Asks for no more than these, which a full evaluation then does not ask again.
        """
        scores = self.state.scores
        if labels != self.state.assigned:
            name = frozenset(labels.items())
            answers = self._answers.setdefault(name, {})
            async with self._asking[name]:
                if missing := [uid for uid in uids if uid not in answers]:
                    purpose = f"evaluate {len(missing)} claims of {what}"
                    answers |= await self._evaluator.ask(labels, missing, purpose, self._after(labels))
            scores = {uid: scoring.score(answers[uid].label_logprobs) for uid in uids}
        return {uid: scoring.margin(labels[uid], score) for uid, score in scores.items()}

    async def leave(self) -> None:
        """Give up the evaluations that nobody waits for any more, as after an error beside them."""
        for task in self._evaluated.values():
            task.cancel()
        await asyncio.gather(*self._evaluated.values(), return_exceptions=True)

    def follow(self, state: State) -> "Standing":
        """Go to a state that was evaluated from here."""
        if state is self.state:
            found = Evaluated(state, self._proposals)
        else:
            found = self._evaluated[frozenset(state.assigned.items())].result()
        return Standing(found, self._evaluator, settled(self._after(state.assigned)))

    def _after(self, labels: Labels) -> list[int]:
        """Return whose labels changed lately, the latest last, once `labels` follows."""
        changed = [uid for uid in sorted(labels) if self.state.assigned.get(uid) != labels[uid]]
        return [uid for uid in self._recent if uid not in changed] + changed


def pick_weights(claims: Sequence[Claim], assigned: Labels) -> list[int]:
    """Return the weight with which each claim is drawn: 100 if it has no label but its group does, else 1."""
    labelled_groups = {claims[uid].group for uid in assigned}
    return [
        UNLABELLED_MATE_WEIGHT if uid not in assigned and claim.group in labelled_groups else 1
        for uid, claim in enumerate(claims)
    ]
