"""Playbooks as text, in the reference's format: read and written without loss.

    ## FORMULAS & CALCULATIONS
    [calc-00001] helpful=3 harmful=0 :: NPV discounts each cash flow by its own period.

What is no bullet (an introduction, a remark, a blank line) stays where it stands. Of this format are the
counts; when a bullet was made and last used is not, and is in the JSON form (`playbook_json.py`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tasks.ace.bullets import Bullet, Counts, one_line
from tasks.ace.playbook import Playbook, Section, next_number_after, slug_of

BULLET = re.compile(r"\[([^\]]+)\]\s*helpful=([0-9]{1,12})\s*harmful=([0-9]{1,12})\s*::\s*(.*)\Z", re.DOTALL)
HEADING = "##"
NEXT = re.compile(r"<!-- next ([0-9]{1,12}) -->\Z")
"""Says that a higher number was given out than any that is left; a remark to the reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A playbook that was read, and what could not be taken as it was."""

    playbook: Playbook
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedLine:
    """A line that is a bullet."""

    bullet: Bullet
    counts: Counts


def parse_line(line: str) -> ParsedLine | None:
    """Read one line; None if it is no bullet."""
    found = BULLET.match(line.strip())
    if found is None:
        return None
    return ParsedLine(
        bullet=Bullet(id=found[1], text=found[4]),
        counts=Counts(helpful=int(found[2]), harmful=int(found[3])),
    )


def parse(text: str) -> Parsed:
    """Read a playbook in the reference's format; any text is one.

    A bullet whose id was there before, or could not be shown to a model, gets a new one, which a note says.
    """
    sections: list[Section] = [Section(heading=None)]
    counts: dict[str, Counts] = {}
    again: list[tuple[int, int, Counts]] = []  # (section, line) of bullets whose id is taken
    reserved = 1
    for line in text.removesuffix("\n").split("\n") if text else []:
        if line.startswith(HEADING):
            sections.append(Section(heading=line.rstrip()))
            continue
        if found := NEXT.match(line):
            reserved = int(found[1])
            continue
        one = parse_line(line)
        section = sections[-1]
        if one and (one.bullet.id in counts or one.bullet.id != one_line(one.bullet.id)):
            again.append((len(sections) - 1, len(section.lines), one.counts))
        elif one:
            counts[one.bullet.id] = one.counts
        sections[-1] = replace(section, lines=(*section.lines, one.bullet if one else line))
    first = () if not sections[0].lines else (sections[0],)
    number = max(reserved, next_number_after(counts))
    read = Playbook(sections=(*first, *sections[1:]), counts=counts, next_number=number)
    return _renamed(read, [(place - 1 + len(first), line, one) for place, line, one in again])


def _renamed(playbook: Playbook, again: Iterable[tuple[int, int, Counts]]) -> Parsed:
    """Give new ids to bullets whose id another one has."""
    sections, counts, number = list(playbook.sections), dict(playbook.counts), playbook.next_number
    notes: list[str] = []
    for place, line, counted in again:
        section = sections[place]
        bullet = section.lines[line]
        if not isinstance(bullet, Bullet):
            continue
        new = f"{slug_of(section.name)}-{number:05d}"
        number += 1
        counts[new] = counted
        lines = (*section.lines[:line], replace(bullet, id=new), *section.lines[line + 1 :])
        sections[place] = replace(section, lines=lines)
        notes.append(f"a bullet [{one_line(bullet.id)}] has an id that cannot be used; it is now [{new}]")
    return Parsed(
        playbook=Playbook(sections=tuple(sections), counts=counts, next_number=number), notes=tuple(notes)
    )


def to_text(playbook: Playbook) -> str:
    """Write a playbook; `parse` gives the same one back, but for when bullets were made and used."""
    lines: list[str] = []
    for section in playbook.sections:
        lines += [] if section.heading is None else [section.heading]
        lines += [line if isinstance(line, str) else bullet_line(playbook, line) for line in section.lines]
    if playbook.next_number > next_number_after(playbook.bullets):
        lines.append(f"<!-- next {playbook.next_number} -->")
    return "\n".join(lines)


def bullet_line(playbook: Playbook, bullet: Bullet) -> str:
    """Write a bullet with its counts."""
    counts = playbook.counts[bullet.id]
    return f"[{bullet.id}] helpful={counts.helpful} harmful={counts.harmful} :: {bullet.text}".rstrip()
