"""Many merges of one playbook: each as `Playbook.merge` makes it, all in one pass over the bullets."""

from collections import defaultdict
from dataclasses import replace

from tasks.ace.bullets import Bullet, Counts, likeness_key
from tasks.ace.deltas import Change
from tasks.ace.duplicates import Group
from tasks.ace.playbook import EditError, Playbook, Section


class Merges:
    """Merges of disjoint groups, each within a section; a playbook of thousands is not made anew for each."""

    def __init__(self, playbook: Playbook) -> None:
        self.before = playbook
        self._counts: dict[str, Counts] = dict(playbook.counts)
        self._merged: dict[str, Bullet | None] = {}
        self._section_of = {
            bullet.id: place for place, section in enumerate(playbook.sections) for bullet in section.bullets
        }
        self._ids: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
        for bullet in playbook.bullets.values():
            self._ids[self._key(bullet)].add(bullet.id)

    def merge(self, group: Group, text: str, *, by: str) -> Change:
        """Make one bullet of a group: the oldest gets the text and the sum of the counts.

        Raises:
            EditError: The text cannot be taken; nothing is merged.
        """
        members = tuple(self.before.bullets[one] for one in group)
        counts = {one: self._counts[one] for one in group}
        alone = Playbook(sections=(Section(heading=None, lines=members),), counts=counts)
        alone = alone.merge(group, text)
        [merged] = alone.bullets.values()
        if twins := self._ids[self._key(merged)] - set(group):
            raise EditError(f"the same as [{min(twins)}]")
        for one in members:
            self._ids[self._key(one)].discard(one.id)
            self._merged[one.id] = None
            del self._counts[one.id]
        self._ids[self._key(merged)].add(merged.id)
        self._merged[merged.id] = merged
        self._counts[merged.id] = alone.counts[merged.id]
        return Change(
            type="MERGE",
            bullet_id=merged.id,
            text=merged.text,
            section=self.before.section_names[merged.id],
            replaced=tuple((one.id, one.text) for one in members),
            by=by,
        )

    def playbook(self) -> Playbook:
        """Return the playbook after the merges."""
        if not self._merged:
            return self.before
        sections: list[Section] = []
        for section in self.before.sections:
            lines = [
                self._merged.get(line.id, line) if isinstance(line, Bullet) else line
                for line in section.lines
            ]
            sections.append(replace(section, lines=tuple(line for line in lines if line is not None)))
        return replace(self.before, sections=tuple(sections), counts=self._counts)

    def _key(self, bullet: Bullet) -> tuple[int, str]:
        return self._section_of[bullet.id], likeness_key(bullet.text)
