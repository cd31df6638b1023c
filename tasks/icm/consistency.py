"""Which claims cannot have the labels that they have."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import combinations
from typing import Literal, NamedTuple

from tasks.icm.claims import Claim, DataError
from tasks.icm.testbeds import Rule


class Consistency(StrEnum):
    """What makes two claims of one group speak about each other."""

    NONE = "none"
    """Nothing: no pair is ever inconsistent."""
    ANSWER = "answer"
    """The `answer` that a claim asserts: different answers cannot both be true, equal ones are equally true;
    of two responses one is preferred. Needs no labels."""
    REFERENCE = "reference"
    """The published code's key. For TruthfulQA it is "A" if the claim's GOLD label is true, else "B": a
    result with it is partly supervised. For preferences it is made from gold labels, too, but says no more
    than which claim is which; for GSM8K it is the answer."""


Kind = Literal["contradiction", "implication"]


class Pair(NamedTuple):
    """Two claims, by uid, whose labels do not go together."""

    first: int
    second: int
    kind: Kind

    def options(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the two labelings (first, second) that a fix tries: for contradictions not (0, 0)."""
        return ((1, 0), (0, 1)) if self.kind == "contradiction" else ((1, 1), (0, 0))


def consistency_keys(
    claims: Sequence[Claim], consistency: Consistency, rule: Rule = "gold"
) -> list[str] | None:
    """Return each claim's key, or None where claims say nothing about each other.

    Args:
        claims: Of one run.
        consistency: What the user chose.
        rule: The testbed's, for "reference".

    Raises:
        DataError: A claim lacks the field that the keys come from.
    """
    match consistency:
        case Consistency.NONE:
            return None
        case Consistency.ANSWER:
            return [_answer(claim) for claim in claims]
        case Consistency.REFERENCE:
            return [_reference_key(claim, rule) for claim in claims]


def inconsistent_pairs(
    claims: Sequence[Claim], keys: Sequence[str] | None, assigned: Mapping[int, int]
) -> list[Pair]:
    """List the inconsistent pairs among labelled claims, in the order of the uids.

    Within one group: claims with different keys contradict each other when both are labelled true (for the
    keys of preferences, "A>B" and "B>A", also when both are labelled false); claims with the same key must
    have the same label.
    """
    if keys is None:
        return []
    groups: dict[int | str, list[int]] = {}
    for uid in sorted(assigned):
        groups.setdefault(claims[uid].group, []).append(uid)
    pairs = (pair for members in groups.values() for pair in combinations(members, 2))
    found: list[Pair] = []
    for i, j in pairs:
        if kind := _conflict((keys[i], keys[j]), (assigned[i], assigned[j])):
            found.append(Pair(i, j, kind))
    return sorted(found)


def _conflict(keys: tuple[str, str], labels: tuple[int, int]) -> Kind | None:
    if keys[0] == keys[1]:
        return "implication" if labels[0] != labels[1] else None
    both_true_or_one_must_be = labels == (1, 1) or (labels == (0, 0) and keys[0] in {"A>B", "B>A"})
    return "contradiction" if both_true_or_one_must_be else None


def _reference_key(claim: Claim, rule: Rule) -> str:
    match rule:
        case "answer":
            return _answer(claim)
        case "preference":
            return "A>B" if _gold(claim) else "B>A"
        case "gold":
            return "A" if _gold(claim) else "B"


def _answer(claim: Claim) -> str:
    if claim.answer is None:
        raise DataError(
            f"record {claim.id + 1} of the file has no field 'answer', which "
            "consistency='answer' compares; use 'none'"
        )
    return claim.answer


def _gold(claim: Claim) -> int:
    if claim.gold is None:
        raise DataError(
            f"record {claim.id + 1} of the file has no field 'label', which "
            "consistency='reference' looks at; use 'none'"
        )
    return claim.gold
