"""A playbook: sections of bullets, their counters beside them, and edits that return a new playbook.

Nothing in here believes a model: ids are given here, in one sequence that is never used twice; counts are
only ever added to; and a text becomes one line before it becomes a bullet.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tasks.ace.bullets import (
    MAX_NUMBER,
    MAX_TEXT_CHARACTERS,
    Bullet,
    Counts,
    likeness_key,
    number_of,
)
from tasks.ace.markup import one_line

DEFAULT_SECTIONS: Mapping[str, str] = {
    "STRATEGIES & INSIGHTS": "sai",
    "FORMULAS & CALCULATIONS": "calc",
    "CODE SNIPPETS & TEMPLATES": "code",
    "COMMON MISTAKES TO AVOID": "err",
    "PROBLEM-SOLVING HEURISTICS": "ph",
    "CONTEXT CLUES & INDICATORS": "ctx",
    "OTHERS": "misc",
}
"""{section: what ids of its bullets begin with}, as the reference has them."""

OTHERS = "OTHERS"
"""Takes what belongs to no section that there is."""

SLUG_LETTERS = 4

SHOWN_CHARACTERS = 40
"""Of a name or an id that is not there."""


class EditError(ValueError):
    """An edit that a playbook refuses; the sentence says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading and the lines under it, in the order of the file."""

    heading: str | None
    """As it stands in the file, as "## OTHERS"; None of the lines before the first heading."""
    lines: tuple[Bullet | str, ...] = ()
    """Bullets, and lines that are none (blank ones too), kept as they are."""

    @property
    def name(self) -> str:
        """The heading without its marks; empty before the first one."""
        return (self.heading or "").lstrip("#").strip()

    @property
    def bullets(self) -> list[Bullet]:
        """The bullets, in their order."""
        return [line for line in self.lines if isinstance(line, Bullet)]

    @classmethod
    def others(cls) -> "Section":
        """Make an empty one for what belongs to no other."""
        return cls(heading=f"## {OTHERS}")

    def with_bullet(self, bullet: Bullet) -> "Section":
        """Add a bullet behind the last one, before the blank line that ends the section."""
        place = len(self.lines)
        while place and not isinstance(self.lines[place - 1], Bullet):
            place -= 1
        return replace(self, lines=(*self.lines[:place], bullet, *self.lines[place:]))


def _start_sections() -> tuple[Section, ...]:
    *first, last = (Section(heading=f"## {name}", lines=("",)) for name in DEFAULT_SECTIONS)
    return (*first, replace(last, lines=()))


@dataclass(frozen=True, kw_only=True)
class Playbook:
    """All that has been learnt.

    Args:
        sections: In the order of the file.
        counts: Of every bullet, by its id.
        next_number: Of the next bullet's id; larger than that of any bullet that there ever was.
    """

    sections: tuple[Section, ...] = field(default_factory=_start_sections)
    counts: Mapping[str, Counts] = field(default_factory=dict[str, Counts])
    next_number: int = 1

    @cached_property
    def bullets(self) -> Mapping[str, Bullet]:
        """The bullets by their ids, in the order of the file."""
        return {bullet.id: bullet for section in self.sections for bullet in section.bullets}

    @cached_property
    def section_names(self) -> Mapping[str, str]:
        """{id of a bullet: the name of its section}."""
        return {bullet.id: section.name for section in self.sections for bullet in section.bullets}

    @cached_property
    def by_age(self) -> Sequence[Bullet]:
        """The bullets in the order in which they were made: by number, those without one first."""
        return sorted(self.bullets.values(), key=lambda bullet: bullet.number or 0)

    def __len__(self) -> int:
        """Return how many bullets there are."""
        return len(self.bullets)

    def __bool__(self) -> bool:
        """Be there, also where there is no bullet: sections are something."""
        return True

    def add(self, section: str, text: str, *, step: int = 0) -> "tuple[Playbook, Bullet]":
        """Add a bullet to a section, or to OTHERS where there is none such; it is made if need be.

        Raises:
            EditError: The text is empty, too long, or there in this section already; no number is used up.
                Or there is no number left.
        """
        place = self._place_of(section)
        sections = list(self.sections) if place < len(self.sections) else [*self.sections, Section.others()]
        text = checked_text(text)
        if twin := self._twin(sections[place], text):
            raise EditError(f"the same as [{twin}]")
        if self.next_number > MAX_NUMBER:
            raise EditError(f"no number is left for its id; {MAX_NUMBER} was given out")
        bullet = Bullet(id=f"{slug_of(sections[place].name)}-{self.next_number:05d}", text=text)
        sections[place] = sections[place].with_bullet(bullet)
        counts = {**self.counts, bullet.id: Counts(born=step, used=step)}
        return Playbook(sections=tuple(sections), counts=counts, next_number=self.next_number + 1), bullet

    def update(self, bullet_id: str, text: str, *, step: int = 0) -> "Playbook":
        """Give a bullet another text; its id and counts stay.

        Raises:
            EditError: There is no such bullet, or the text cannot be taken.
        """
        self._require([bullet_id])
        text = checked_text(text)
        if self.bullets[bullet_id].text == text:
            raise EditError(f"[{bullet_id}] says that already")
        if twin := self._twin(self._section_of(bullet_id), text, but=[bullet_id]):
            raise EditError(f"the same as [{twin}]")
        counts = self.counts[bullet_id]
        changed = {**self.counts, bullet_id: replace(counts, used=max(counts.used, step))}
        edited = self._edited(lambda line: replace(line, text=text) if line.id == bullet_id else line)
        return replace(edited, counts=changed)

    def remove(self, bullet_ids: Iterable[str]) -> "Playbook":
        """Take bullets out; their numbers are not used again.

        Raises:
            EditError: One of them is not there.
        """
        gone = set(bullet_ids)
        self._require(gone)
        edited = self._edited(lambda line: None if line.id in gone else line)
        counts = {name: one for name, one in self.counts.items() if name not in gone}
        return replace(edited, counts=counts)

    def merge(self, bullet_ids: Sequence[str], text: str, *, step: int = 0) -> "Playbook":
        """Make one bullet of several: the oldest keeps its id and gets the text and the sum of the counts.

        Raises:
            EditError: There are fewer than two, one is not there, or the text cannot be taken.
        """
        merged = list(dict.fromkeys(bullet_ids))
        self._require(merged)
        if len(merged) < 2:  # noqa: PLR2004 - it takes two
            raise EditError("a merge takes two bullets or more")
        text = checked_text(text)
        kept, *gone = [bullet.id for bullet in self.by_age if bullet.id in set(merged)]
        if twin := self._twin(self._section_of(kept), text, but=merged):
            raise EditError(f"the same as [{twin}]")
        total = sum((self.counts[one] for one in gone), self.counts[kept])
        rest = self.remove(gone)
        edited = rest._edited(lambda line: replace(line, text=text) if line.id == kept else line)  # noqa: SLF001
        counts = {**rest.counts, kept: replace(total, used=max(total.used, step))}
        return replace(edited, counts=counts)

    def tagged(self, tags: Iterable[tuple[str, str]], *, step: int = 0) -> "Playbook":
        """Count votes, (id, tag), each of them; those for bullets that are not there are left out."""
        counts = dict(self.counts)
        for bullet_id, tag in tags:
            if bullet_id in counts:
                counts[bullet_id] = counts[bullet_id].tagged(tag, step)
        return replace(self, counts=counts)

    def _edited(self, edit: Callable[[Bullet], Bullet | None]) -> "Playbook":
        sections: list[Section] = []
        for section in self.sections:
            lines = [edit(line) if isinstance(line, Bullet) else line for line in section.lines]
            sections.append(replace(section, lines=tuple(line for line in lines if line is not None)))
        return replace(self, sections=tuple(sections))

    def _require(self, bullet_ids: Iterable[str]) -> None:
        for one in bullet_ids:
            if one not in self.bullets:
                raise EditError(f"there is no bullet [{_shown(one)}]")

    def section_for(self, name: str) -> Section:
        """Return the section that a bullet for this one is added to: OTHERS, where there is none such."""
        return [*self.sections, Section.others()][self._place_of(name)]

    @property
    def section_choices(self) -> list[str]:
        """Names that a bullet can be added to, as a model is shown them; OTHERS is always one."""
        names = {fold_name(name): name for name in [OTHERS, *(one.name for one in reversed(self.sections))]}
        names.pop("", None)
        return [one_line(name) for name in reversed(names.values())]

    def _section_of(self, bullet_id: str) -> Section:
        return next(one for one in self.sections if any(b.id == bullet_id for b in one.bullets))

    def _place_of(self, name: str) -> int:
        """Return the place of a section; one behind the last where OTHERS is to be made."""
        folded = {
            fold_name(section.name): place for place, section in reversed(list(enumerate(self.sections)))
        }
        folded.pop("", None)  # the lines before the first heading are no section
        wanted = fold_name(name[:MAX_TEXT_CHARACTERS])
        return folded.get(wanted, folded.get(fold_name(OTHERS), len(self.sections)))

    def _twin(self, section: Section, text: str, but: Sequence[str] = ()) -> str | None:
        key = likeness_key(text)
        same = (one.id for one in section.bullets if one.id not in but and likeness_key(one.text) == key)
        return next(same, None)


def _shown(name: str) -> str:
    return one_line(name[: 2 * SHOWN_CHARACTERS])[:SHOWN_CHARACTERS]


def checked_text(text: str) -> str:
    """Return a text as one line.

    Raises:
        EditError: It is empty or too long.
    """
    # Measured first: what a model writes without end is not to be worked on.
    if len(text) > 2 * MAX_TEXT_CHARACTERS:
        raise EditError(f"{len(text):,} characters; a bullet has {MAX_TEXT_CHARACTERS:,} at most")
    line = one_line(text)
    if not line:
        raise EditError("it is empty")
    if len(line) > MAX_TEXT_CHARACTERS:
        raise EditError(f"{len(line):,} characters; a bullet has {MAX_TEXT_CHARACTERS:,} at most")
    return line


def fold_name(name: str) -> str:
    """Return one name for all ways of writing a section's.

    >>> fold_name("Problem-Solving Heuristics") == fold_name("problem_solving_heuristics")
    True
    """
    return "_".join(re.findall(r"[^\W_]+", one_line(name).casefold().replace("&", " and ")))


def slug_of(name: str) -> str:
    """Return what ids of a section's bullets begin with."""
    known = {fold_name(section): slug for section, slug in DEFAULT_SECTIONS.items()}
    letters = re.sub(r"[^a-z]", "", fold_name(name))
    return known.get(fold_name(name)) or letters[:SLUG_LETTERS] or DEFAULT_SECTIONS[OTHERS]


def next_number_after(bullet_ids: Iterable[str]) -> int:
    """Return a number that none of these ids has, nor any lower one: 1 for none."""
    return max((number_of(one) or 0 for one in bullet_ids), default=0) + 1
