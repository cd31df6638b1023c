"""What the model reads: demonstrations with their labels, then the claim in question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.messages import Label, Request, SamplingParams
from tasks.icm.claims import LABEL_TEXTS, Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompter:
    """Makes the requests of one search.

    The layout is the reference's, byte for byte: no header, no instruction. With `trailing_space` the target
    ends in the lone space that the reference leaves; without it in "is", so that the label is the single
    token " True" that the demonstrations show, which small models need.
    """

    claims: Sequence[Claim]
    model: str
    labels: tuple[Label, ...]
    revision: str | None = None
    trailing_space: bool = True

    def demonstrations(self, assigned: Mapping[int, int]) -> list[tuple[int, str]]:
        """Write each labelled claim with its label, in the order of the uids: [(uid, text)]."""
        return [
            (uid, f"{claim_prompt(self.claims[uid])}{LABEL_TEXTS[assigned[uid]]}\n\n")
            for uid in sorted(assigned)
        ]

    def ask_about(self, claim: Claim, context: str) -> Request:
        """Ask for the probabilities of True and False for one claim, after a context of demonstrations."""
        prompt = claim_prompt(claim)
        return Request(
            model=self.model,
            revision=self.revision,
            prompt=context + (prompt if self.trailing_space else prompt.rstrip(" ")),
            sampling=SamplingParams(max_tokens=1),
            labels=self.labels,
        )

    def leave_one_out(self, assigned: Mapping[int, int]) -> list[Request]:
        """Ask about every labelled claim, each with all the others as context; in the order of the uids."""
        shown = self.demonstrations(assigned)
        texts = [text for _, text in shown]
        return [
            self.ask_about(self.claims[uid], "".join(texts[:place] + texts[place + 1 :]))
            for place, (uid, _) in enumerate(shown)
        ]

    def proposal(self, uid: int, assigned: Mapping[int, int]) -> Request:
        """Ask about one claim, labelled or not, with all other labelled claims as context."""
        shown = self.demonstrations({other: label for other, label in assigned.items() if other != uid})
        return self.ask_about(self.claims[uid], "".join(text for _, text in shown))


def claim_prompt(claim: Claim) -> str:
    """Write one claim up to the place where its label follows, trailing space included."""
    return f"Question: {claim.question}\nClaim: {claim.choice}\nI think this claim is "
