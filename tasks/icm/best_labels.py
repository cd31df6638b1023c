"""The labels that scores speak for most, among those that contradict nothing."""

import math
from collections.abc import Mapping, Sequence

from tasks.icm.claims import Claim
from tasks.icm.consistency import inconsistent_pairs
from tasks.icm.scoring import proposed_label


def best_labels(
    claims: Sequence[Claim], keys: Sequence[str] | None, scores: Mapping[int, float]
) -> dict[int, int]:
    """Label each claim with a score so that the margins have the highest sum without an inconsistent pair.

    Claims of one group with one key have one label, and only one key of a group can be true; so there are
    few labelings to compare, one for each key and the one without a true claim, and they are all.

    Args:
        claims: Of one run.
        keys: Each claim's consistency key; None: each claim gets the label that its score speaks for.
        scores: {uid: log-odds of True, in nats}.

    Returns:
        {uid: label}, in the order of the uids. On ties no claim of a group is true, or else those whose key
        comes first. Where no labeling of a group is consistent (keys of preferences beside others), it is one
        of those with the fewest inconsistent pairs.
    """
    if keys is None:
        return {uid: proposed_label(scores[uid]) for uid in sorted(scores)}
    groups: dict[int | str, list[int]] = {}
    for uid in sorted(scores):
        groups.setdefault(claims[uid].group, []).append(uid)
    found: dict[int, int] = {}
    for members in groups.values():
        found |= _best_of_group(claims, keys, {uid: scores[uid] for uid in members})
    return dict(sorted(found.items()))


def _best_of_group(
    claims: Sequence[Claim], keys: Sequence[str], scores: Mapping[int, float]
) -> dict[int, int]:
    def rank(labels: Mapping[int, int]) -> tuple[int, float]:
        # The sum of the margins, but for a half and for what all labelings have in common.
        gain = math.fsum(scores[uid] for uid, label in labels.items() if label)
        return -len(inconsistent_pairs(claims, keys, labels)), gain

    true_keys = [None, *dict.fromkeys(keys[uid] for uid in scores)]
    return max(({uid: int(keys[uid] == true) for uid in scores} for true in true_keys), key=rank)
