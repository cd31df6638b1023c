"""Groups of bullets that say the same: disjoint, within a section, the oldest first.

A bullet joins the oldest leader that it is like; one that is like none leads a group of its own. (The
reference groups across sections, and lets a bullet into two groups, so that its counts are used twice.)
"""

from collections import defaultdict
from collections.abc import Sequence

from tasks.ace.bullets import MAX_TEXT_CHARACTERS, Bullet, likeness_key
from tasks.ace.playbook import Playbook
from tasks.ace.similarity import Pairs, Similarity

Group = tuple[str, ...]
"""Ids of two bullets or more, by age: the first one leads."""


def groups(playbook: Playbook, similarity: Similarity, *, threshold: float | None = None) -> list[Group]:
    """Find the bullets that say the same.

    Exact duplicates (`likeness_key`) are always in one group. Bullets without a text are in none, and those
    that are longer than a bullet may be only with their exact duplicates.

    Args:
        playbook: Any.
        similarity: Tells which texts are alike.
        threshold: None for that of the similarity.

    Returns:
        The groups, by section and then by the age of their leaders.
    """
    threshold = similarity.default_threshold if threshold is None else threshold
    ages = {bullet.id: age for age, bullet in enumerate(playbook.by_age)}
    found: list[Group] = []
    for section in playbook.sections:
        by_age = sorted(section.bullets, key=lambda bullet: ages[bullet.id])
        found += _groups_of(by_age, similarity, threshold)
    return found


def greedy(size: int, pairs: Pairs) -> list[list[int]]:
    """Return groups of places, from 0 to size - 1 by age; each place is in exactly one.

    >>> greedy(3, [(0, 2), (1, 2)])
    [[0, 2], [1]]
    """
    older: defaultdict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        older[other].append(one)
    led: dict[int, list[int]] = {}
    for place in range(size):
        leader = min((one for one in older[place] if one in led), default=place)
        led.setdefault(leader, []).append(place)
    return list(led.values())


def _groups_of(by_age: Sequence[Bullet], similarity: Similarity, threshold: float) -> list[Group]:
    twins: defaultdict[str, list[Bullet]] = defaultdict(list)
    for bullet in by_age:
        if key := likeness_key(bullet.text):
            twins[key].append(bullet)
    kinds = list(twins.values())
    short = [at for at, kind in enumerate(kinds) if len(kind[0].text) <= MAX_TEXT_CHARACTERS]
    pairs = similarity.pairs([kinds[at][0].text for at in short], threshold) if len(short) > 1 else []
    merged = greedy(len(kinds), [(short[one], short[other]) for one, other in pairs])
    ages = {bullet.id: age for age, bullet in enumerate(by_age)}
    joined = [sorted((one.id for at in group for one in kinds[at]), key=ages.__getitem__) for group in merged]
    return [tuple(ids) for ids in joined if len(ids) > 1]
