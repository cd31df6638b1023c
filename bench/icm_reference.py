"""What the reference implementation of ICM asks for, request by request, duplicates and all.

Written down from facts about it (`docs/decisions/0003-icm-as-published.md`): it evaluates a pool again that
its fix has just evaluated, evaluates both repairs of every pair in every pass, asks for a completion of
"dummy prompt" for every pair, and keeps no answer. Random numbers are named as in ours, so it takes the same
way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backends.messages import Request, Response
from tasks.icm import scoring
from tasks.icm.claims import Draw
from tasks.icm.consistency import Pair, inconsistent_pairs
from tasks.icm.prompts import Prompter
from tasks.icm.search_settings import SearchSettings
from tasks.icm.standing import pick_weights

Labels = Mapping[int, int]
NO_BASELINE = -1e9


@dataclass(kw_only=True)
class ReferenceSearch:
    """The reference's loop.

    Args:
        draw: Claims and seed labels.
        keys: Each claim's consistency key, or None for no consistency.
        prompter: Makes the requests.
        settings: The numbers.
        ask: Answers requests, each of them one HTTP request; those of one evaluation come together.
    """

    draw: Draw
    keys: Sequence[str] | None
    prompter: Prompter
    settings: SearchSettings
    ask: Callable[[Sequence[Request]], Sequence[Response]]
    dummies: int = 0
    """Requests for the completion of "dummy prompt"; counted and not asked."""
    evaluations: int = 0
    changes: int = 0
    """Proposals that were not the label that the claim had: each is evaluated."""
    accepted: int = 0

    def run(self) -> Labels:
        """Search, and return the labels."""
        labels: Labels = dict(self.draw.seed_labels)
        energy = self._energy(labels)
        if self._pairs(labels):
            labels, energy = self._fixed(labels, energy, 0)
        for iteration in range(1, self.settings.iterations + 1):
            uid = self._picked(labels, iteration)
            response = self.ask([self.prompter.about([uid], labels)[uid]])[0]
            label = scoring.proposed_label(scoring.score(response.label_logprobs))
            if labels.get(uid) == label:
                continue
            self.changes += 1
            changed, _ = self._fixed({**labels, uid: label}, NO_BASELINE, iteration)
            changed_energy = self._energy(changed)
            if self.settings.random("accept", iteration).random() < scoring.acceptance(
                changed_energy, energy, self.settings.temperature(self.accepted)
            ):
                labels, energy = changed, changed_energy
                self.accepted += 1
        return labels

    def _energy(self, labels: Labels) -> float:
        self.evaluations += 1
        asked = self.prompter.leave_one_out(labels)
        responses = self.ask(list(asked.values()))
        scores = {uid: scoring.score(one.label_logprobs) for uid, one in zip(asked, responses, strict=True)}
        predictability = scoring.mutual_predictability(labels, scores)
        return scoring.energy(predictability, len(self._pairs(labels)), alpha=self.settings.alpha)

    def _fixed(self, labels: Labels, best: float, iteration: int) -> tuple[Labels, float]:
        was_taken = False
        for number in range(self.settings.consistency_fix_passes):
            pairs = self._pairs(labels)
            self.settings.random("fix", iteration, number).shuffle(pairs)
            self.dummies += len(pairs)
            for pair in pairs:
                options = [{**labels, pair.first: a, pair.second: b} for a, b in pair.options()]
                energies = [self._energy(option) for option in options]
                place = 0 if energies[0] >= energies[1] else 1
                if energies[place] >= best:
                    labels, best, was_taken = options[place], energies[place], True
                    break
            if not was_taken or not self._pairs(labels):
                break
        return labels, best

    def _pairs(self, labels: Labels) -> list[Pair]:
        return inconsistent_pairs(self.draw.claims, self.keys, labels)

    def _picked(self, labels: Labels, iteration: int) -> int:
        weights = pick_weights(self.draw.claims, labels)
        return self.settings.random("pick", iteration).choices(range(len(weights)), weights)[0]
