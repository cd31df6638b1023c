"""Playbooks as text, in the reference's format: read and written without loss.

    ## FORMULAS & CALCULATIONS
    [calc-00001] helpful=3 harmful=0 :: NPV discounts each cash flow by its own period.

What is no bullet (an introduction, a remark, a blank line) stays where it stands. Of this format are the
counts; when a bullet was made and last used is not, and is in the JSON form (`playbook_json.py`).

Without loss means: every heading, bullet, count and remark, in its place. Not kept are the newline that ends
the file, blanks and a carriage return around a bullet and at the end of a heading, the blanks between a
bullet's parts, and zeros that a count begins with; an id that cannot be used is given anew.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tasks.ace.bullets import MAX_NUMBER, Bullet, Counts
from tasks.ace.markup import one_line
from tasks.ace.playbook import Playbook, Section, next_number_after, slug_of

BULLET = re.compile(r"\[([^\]]+)\]\s*helpful=([0-9]{1,12})\s*harmful=([0-9]{1,12})\s*::\s*(.*)\Z", re.DOTALL)
HEADING = "##"
NEXT = re.compile(r"<!-- next ([0-9]{1,13}) -->\Z")
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
    sections = [_Sheet(heading=None)]
    counts: dict[str, Counts] = {}
    again: list[tuple[_Sheet, int, Counts]] = []  # where bullets stand whose id cannot be used
    reserved = 1
    for line in text.removesuffix("\n").split("\n") if text else []:
        if line.startswith(HEADING):
            sections.append(_Sheet(heading=line.rstrip()))
            continue
        if found := NEXT.match(line):
            reserved = int(found[1])
            continue
        one = parse_line(line)
        lines = sections[-1].lines
        if one and (one.bullet.id in counts or one.bullet.id != one_line(one.bullet.id)):
            again.append((sections[-1], len(lines), one.counts))
        elif one:
            counts[one.bullet.id] = one.counts
        lines.append(one.bullet if one else line)
    number = max(reserved, next_number_after(counts))
    number, notes = _give_ids(again, counts, number)
    kept = sections if sections[0].lines else sections[1:]
    read = tuple(Section(heading=one.heading, lines=tuple(one.lines)) for one in kept)
    return Parsed(playbook=Playbook(sections=read, counts=counts, next_number=number), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """A section that is being read."""

    heading: str | None
    lines: list[Bullet | str] = field(default_factory=list[Bullet | str])


def _give_ids(
    again: Iterable[tuple[_Sheet, int, Counts]], counts: dict[str, Counts], number: int
) -> tuple[int, list[str]]:
    """Give new ids to bullets whose own cannot be used; return the next number, and what to say of it."""
    notes: list[str] = []
    for section, place, counted in again:
        bullet = section.lines[place]
        if not isinstance(bullet, Bullet):
            continue
        slug = slug_of(Section(heading=section.heading).name)
        while (new := f"{slug}-{number:05d}") in counts:  # of more digits than are read as a number
            number += 1
        number += 1
        counts[new] = counted
        section.lines[place] = replace(bullet, id=new)
        notes.append(f"a bullet [{one_line(bullet.id)}] has an id that cannot be used; it is now [{new}]")
    return min(number, MAX_NUMBER + 1), notes


def to_text(playbook: Playbook) -> str:
    """Write a playbook; `parse` gives the same one back, but for when bullets were made and used."""
    lines: list[str] = []
    for section in playbook.sections:
        lines += [] if section.heading is None else [section.heading]
        lines += [line if isinstance(line, str) else bullet_line(playbook, line) for line in section.lines]
    if playbook.next_number > next_number_after(playbook.bullets):
        lines.append(f"<!-- next {playbook.next_number} -->")
    # The newline that ends a file is none of its lines; a blank last line needs one of its own.
    return "\n".join(lines) + ("\n" if lines and not lines[-1] else "")


def bullet_line(playbook: Playbook, bullet: Bullet) -> str:
    """Write a bullet with its counts."""
    counts = playbook.counts[bullet.id]
    return f"[{bullet.id}] helpful={counts.helpful} harmful={counts.harmful} :: {bullet.text}".rstrip()
