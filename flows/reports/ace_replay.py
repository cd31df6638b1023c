"""The playbook after each step of a run, made from the one it began with by votes and changes alone.

The page's script does the same in the browser, so that a report of 500 steps holds no 500 playbooks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flows.reports.ace_views import StepView
from tasks.ace.bullets import Bullet, Counts, number_of
from tasks.ace.deltas import Change
from tasks.ace.playbook import Playbook, Section

Line = Bullet | str


class Replay:
    """A playbook that is brought from step to step in place: edits of `Playbook` copy all of it each time."""

    def __init__(self, start: Playbook) -> None:
        self._sections = list(start.sections)
        self._lines: list[list[Line]] = [list(section.lines) for section in start.sections]
        self._place_of = {
            bullet.id: place
            for place, section in enumerate(start.sections)
            for bullet in section.bullets
        }  # fmt: skip
        self._texts = {bullet.id: bullet.text for bullet in start.bullets.values()}
        self._counts = dict(start.counts)
        self._next_number = start.next_number

    def __len__(self) -> int:
        """Return how many bullets there are."""
        return len(self._texts)

    def take(self, step: StepView) -> None:
        """Count the votes of a step, then make its changes.

        Raises:
            ValueError: A change does not fit the playbook as it is then.
        """
        for bullet_id, tag, _ in step.votes:
            if bullet_id in self._counts:
                self._counts[bullet_id] = self._counts[bullet_id].tagged(tag, step.number)
        for change in step.changes:
            if change.refused is None:
                try:
                    self._apply(change, step.number)
                except ValueError as error:
                    raise ValueError(
                        f"step {step.number}: {change.type} {change.bullet_id!r} does not fit the playbook:"
                        f" {error}; give all changes, in the order in which they were applied"
                    ) from error

    def playbook(self) -> Playbook:
        """Return the playbook as it is now."""
        sections = tuple(
            replace(section, lines=tuple(lines))
            for section, lines in zip(self._sections, self._lines, strict=True)
        )
        return Playbook(sections=sections, counts=dict(self._counts), next_number=self._next_number)

    def _apply(self, change: Change, step: int) -> None:
        bullet_id = change.bullet_id or ""
        for name, text in change.replaced:
            if self._texts.get(name) != text:
                raise ValueError(f"[{name}] is not there, or has another text")
        match change.type:
            case "ADD":
                self._add(Bullet(id=bullet_id, text=change.text), change.section, step)
            case "UPDATE" | "MERGE":
                gone = [name for name, _ in change.replaced if name != bullet_id]
                self._require(bullet_id)
                total = sum((self._counts[name] for name in gone), self._counts[bullet_id])
                self._remove(gone)
                self._counts[bullet_id] = replace(total, used=max(total.used, step))
                self._put(Bullet(id=bullet_id, text=change.text))
            case "REMOVE":
                self._remove([name for name, _ in change.replaced] or [bullet_id])
            case _:
                raise ValueError("there is no such operation")

    def _require(self, bullet_id: str) -> None:
        if bullet_id not in self._texts:
            raise ValueError(f"[{bullet_id}] is not there")

    def _add(self, bullet: Bullet, section: str, step: int) -> None:
        if bullet.id in self._texts:
            raise ValueError("it is there already")
        place = self._place_of_section(section)
        lines = self._lines[place]
        after_last = next((n for n in range(len(lines), 0, -1) if isinstance(lines[n - 1], Bullet)), 0)
        lines.insert(after_last, bullet)
        self._place_of[bullet.id], self._texts[bullet.id] = place, bullet.text
        self._counts[bullet.id] = Counts(born=step, used=step)
        self._next_number = max(self._next_number, (number_of(bullet.id) or 0) + 1)

    def _place_of_section(self, name: str) -> int:
        """Return where a section is; OTHERS is made where a playbook has none, as adding to it does."""
        place = next((place for place, one in enumerate(self._sections) if one.name == name), None)
        if place is not None:
            return place
        if name != (others := Section.others()).name:
            raise ValueError(f"there is no section {name!r}")
        self._sections.append(others)
        self._lines.append(list(others.lines))
        return len(self._sections) - 1

    def _put(self, bullet: Bullet) -> None:
        lines, at = self._line_of(bullet.id)
        lines[at] = bullet
        self._texts[bullet.id] = bullet.text

    def _remove(self, bullet_ids: Iterable[str]) -> None:
        for bullet_id in bullet_ids:
            self._require(bullet_id)
            lines, at = self._line_of(bullet_id)
            del lines[at], self._texts[bullet_id], self._counts[bullet_id], self._place_of[bullet_id]

    def _line_of(self, bullet_id: str) -> tuple[list[Line], int]:
        lines = self._lines[self._place_of[bullet_id]]
        at = next(n for n, line in enumerate(lines) if isinstance(line, Bullet) and line.id == bullet_id)
        return lines, at


def playbook_after(start: Playbook, steps: Sequence[StepView], number: int) -> Playbook:
    """Return the playbook after the first `number` steps.

    Raises:
        ValueError: A change does not fit.
    """
    replay = Replay(start)
    for step in steps[:number]:
        replay.take(step)
    return replay.playbook()


def bullet_counts(start: Playbook, steps: Sequence[StepView]) -> list[int]:
    """Return how many bullets there were before the first step and after each.

    Raises:
        ValueError: A change does not fit.
    """
    replay = Replay(start)
    counts = [len(replay)]
    for step in steps:
        replay.take(step)
        counts.append(len(replay))
    return counts
