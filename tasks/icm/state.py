"""Labels and what a model says of them, and whoever asks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.messages import Request, Response
from tasks.ask import Ask
from tasks.icm import scoring
from tasks.icm.claims import Claim, Draw
from tasks.icm.consistency import Pair, inconsistent_pairs
from tasks.icm.prompts import Prompter
from tasks.icm.search_settings import SearchSettings

LONGEST_TAIL = 4
"""After so many changed labels "tree-tail" builds its tree anew: a server keeps a path of its own for each
claim, and longer ones do not fit (bench/results/icm.json)."""

Labels = Mapping[int, int]
"""{uid: label}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """An assignment of labels, evaluated."""

    assigned: Labels
    scores: Mapping[int, float]
    """{uid: log-odds of True given all other labels, in nats}"""
    pairs: tuple[Pair, ...]
    energy: float
    label_mass: float
    """Median probability of all labels together over the evaluation's prompts."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A state, and the labels that it proposes for claims without one, where they were asked for."""

    state: State
    proposals: Labels


class Evaluator:
    """Asks about labels, and makes states of the answers; remembers nothing.

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
        self.draw = draw
        self.keys = keys
        self.prompter = prompter
        self.settings = settings
        self._ask = ask

    @property
    def claims(self) -> Sequence[Claim]:
        """The claims of the search; a uid is a position here."""
        return self.draw.claims

    def pairs(self, labels: Labels) -> list[Pair]:
        """List the pairs that do not go together."""
        return inconsistent_pairs(self.claims, self.keys, labels)

    async def ask(
        self, labels: Labels, uids: Sequence[int], purpose: str, recent: Sequence[int] = ()
    ) -> dict[int, Response]:
        """Ask about some claims with all other labels as context: {uid: response}.

        Raises:
            ExceptionGroup: Of the BackendErrors of requests without an answer.
        """
        return await self._answers(self.prompter.about(uids, labels, recent), purpose)

    async def _answers(self, asked: Mapping[int, Request], purpose: str) -> dict[int, Response]:
        responses = await self._ask(list(asked.values()), purpose=purpose)
        return dict(zip(asked, responses, strict=True))

    async def propose(self, labels: Labels, iteration: int, recent: Sequence[int]) -> dict[int, int]:
        """Ask about the claims without a label, all at once, since they share the whole pool."""
        others = self._without_label(labels)
        found = await self.ask(
            labels, others, f"propose for {len(others)} claims, iteration {iteration}", recent
        )
        return _proposed(found)

    async def evaluate(
        self,
        labels: Labels,
        what: str,
        recent: Sequence[int] = (),
        known: Mapping[int, Response] | None = None,
    ) -> Evaluated:
        """Ask about all labels; looking ahead also about the others, as the state would be asked next.

        Args:
            labels: To evaluate.
            what: Names the evaluation.
            recent: Whose labels changed lately, the latest last; see "tree-tail".
            known: Answers that are there already.

        Raises:
            LabelMassError: The model hardly considers the labels.
            ExceptionGroup: Of the BackendErrors of requests without an answer.
        """
        known = known or {}
        others = self._without_label(labels) if self.settings.lookahead else []
        missing = [uid for uid in sorted(labels) if uid not in known]
        asked = self.prompter.about([*missing, *others], labels, recent)
        if settled(recent) != recent:  # as they will be asked from there
            asked |= self.prompter.about(others, labels, settled(recent))
        found = {**known, **await self._answers(asked, f"evaluate {what}")}
        state = self._scored(labels, {uid: found[uid] for uid in sorted(labels)})
        return Evaluated(state, _proposed({uid: found[uid] for uid in others}))

    def _without_label(self, labels: Labels) -> list[int]:
        return [uid for uid in range(len(self.claims)) if uid not in labels]

    def _scored(self, labels: Labels, found: Mapping[int, Response]) -> State:
        mass = scoring.require_label_mass(list(found.values()), at_least=self.settings.min_label_mass)
        scores = {uid: scoring.score(response.label_logprobs) for uid, response in found.items()}
        pairs = self.pairs(labels)
        predictability = scoring.mutual_predictability(labels, scores)
        return State(
            assigned=labels,
            scores=scores,
            pairs=tuple(pairs),
            energy=scoring.energy(predictability, len(pairs), alpha=self.settings.alpha),
            label_mass=mass,
        )


def settled(recent: Sequence[int]) -> Sequence[int]:
    """Return whose labels changed lately once a change is accepted: none where there are too many to keep."""
    return recent if len(recent) <= LONGEST_TAIL else ()


def _proposed(found: Mapping[int, Response]) -> dict[int, int]:
    return {uid: scoring.proposed_label(scoring.score(one.label_logprobs)) for uid, one in found.items()}
