"""What Reflectors say of bullets, counted: every vote, whatever the batch, and in any order."""

from collections import defaultdict
from dataclasses import dataclass
from typing import cast

from tasks.ace.deltas import plain_id
from tasks.ace.playbook import Playbook

HELPFUL, HARMFUL, NEUTRAL = "helpful", "harmful", "neutral"
TAGS = (HELPFUL, HARMFUL, NEUTRAL)

HIGH_HELPFUL, HIGH_HARMFUL = 5, 2
"""A bullet performs well with more help than the first and less harm than the second, as in the reference."""


def read_tags(value: object) -> list[tuple[str, str]]:
    """Read (id, tag) of what a Reflector wrote: a list of objects, or one object from ids to tags.

    One vote may be without its list. Brackets and case do not matter; what is no vote is left out.
    """
    if isinstance(value, dict) and "tag" in value:
        listed: list[object] = [cast("object", value)]
    elif isinstance(value, dict):
        listed = [{"id": name, "tag": tag} for name, tag in cast("dict[str, object]", value).items()]
    else:
        listed = cast("list[object]", value) if isinstance(value, list) else []
    votes: list[tuple[str, str]] = []
    for one in listed:
        if not isinstance(one, dict):
            continue
        fields = cast("dict[str, object]", one)
        names = [fields.get(name) for name in ("id", "bullet_id", "bullet")]
        name = next((name for name in names if isinstance(name, str)), None)
        tag = fields.get("tag")
        if name and isinstance(tag, str) and (folded := tag.strip().casefold()) in TAGS:
            votes.append((plain_id(name), folded))
    return votes


@dataclass(frozen=True, kw_only=True, slots=True)
class SectionStatistics:
    """Sums over the bullets of a section."""

    count: int = 0
    helpful: int = 0
    harmful: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What the Curator is told of a playbook; the terms are the reference's."""

    total_bullets: int
    high_performing: int
    """More than 5 times helpful and less than twice harmful."""
    problematic: int
    """Harmful, and not less often than helpful."""
    unused: int
    """No vote of either kind."""
    by_section: dict[str, SectionStatistics]


def statistics(playbook: Playbook) -> Statistics:
    """Sum up the counts."""
    by_section: defaultdict[str, SectionStatistics] = defaultdict(SectionStatistics)
    for bullet_id, section in playbook.section_names.items():
        counts, so_far = playbook.counts[bullet_id], by_section[section]
        by_section[section] = SectionStatistics(
            count=so_far.count + 1,
            helpful=so_far.helpful + counts.helpful,
            harmful=so_far.harmful + counts.harmful,
        )
    every = list(playbook.counts.values())
    return Statistics(
        total_bullets=len(playbook),
        high_performing=sum(one.helpful > HIGH_HELPFUL and one.harmful < HIGH_HARMFUL for one in every),
        problematic=sum(one.harmful >= one.helpful and one.harmful > 0 for one in every),
        unused=sum(not one.helpful and not one.harmful for one in every),
        by_section=dict(by_section),
    )
