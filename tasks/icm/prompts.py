"""What the model reads: demonstrations with their labels, then the claim in question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from backends.messages import Label, Request, SamplingParams
from tasks.icm.claims import LABEL_TEXTS, Claim
from tasks.icm.orders import ContextOrder, ReferenceOrder
from tasks.icm.testbeds import TRUTHFULQA

SUBTREE_DEPTH = 4
"""Sixteen subtrees to divide among replicas; one computes what is above its subtrees, and no other's."""


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
    order: ContextOrder = field(default_factory=ReferenceOrder)

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

    def about(
        self, targets: Sequence[int], assigned: Mapping[int, int], recent: Sequence[int] = ()
    ) -> dict[int, Request]:
        """Ask about claims, labelled or not, each with all other labelled claims as context.

        Args:
            targets: Whom to ask about; each once.
            assigned: {uid: label}.
            recent: Whose labels changed lately, the latest last; see "tree-tail".

        Returns:
            {uid: request}; neighbours share the longest beginnings.
        """
        shown = dict(self.demonstrations(assigned))
        return {
            one.uid: replace(
                self.ask_about(self.claims[one.uid], one.text),
                group=f"icm {one.branch[:SUBTREE_DEPTH]}" if one.branch else None,
            )
            for one in self.order.contexts(shown, targets, recent)
        }

    def leave_one_out(self, assigned: Mapping[int, int], recent: Sequence[int] = ()) -> dict[int, Request]:
        """Ask about every labelled claim, each with all the others as context: {uid: request}."""
        return self.about(sorted(assigned), assigned, recent)


def claim_prompt(claim: Claim) -> str:
    """Write one claim up to the place where its label follows, trailing space included."""
    if claim.text is not None:
        return claim.text
    return TRUTHFULQA.text({"question": claim.question, "choice": claim.choice})
