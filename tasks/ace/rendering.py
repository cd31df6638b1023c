"""How a playbook is shown to a model.

By default only ever appended to: bullets in the order in which they were made, without counts. So the prompts
before and after a bullet was added begin alike up to the new bullet, and a server has all of that computed.
The reference shows counts in every line and puts new bullets into the middle (`playbook_text.to_text`).
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from tasks.ace.bullets import Bullet
from tasks.ace.markup import one_line
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import bullet_line

Rendering = Literal["append-only", "reference"]

BEGIN, END = "<playbook>", "</playbook>"


@lru_cache(maxsize=2**14)  # every prompt shows every bullet again
def shown_line(bullet: Bullet) -> str:
    """Return a bullet as a model sees it: `[calc-00001] NPV discounts ...`."""
    return f"[{bullet.id}] {one_line(bullet.text)}".rstrip()


def append_only(playbook: Playbook) -> str:
    """Return the bullets by age, one a line."""
    return "\n".join(map(shown_line, playbook.by_age))


def excerpt(playbook: Playbook, bullet_ids: Collection[str]) -> str:
    """Return some bullets, by age; those that are not there are left out."""
    return "\n".join(shown_line(bullet) for bullet in playbook.by_age if bullet.id in bullet_ids)


def reference(playbook: Playbook) -> str:
    """Return all of it as the reference does: by section, with counts."""
    return "\n".join(reference_lines(playbook))


def reference_lines(playbook: Playbook) -> list[str]:
    """Return the lines of `reference`."""
    lines: list[str] = []
    for section in playbook.sections:
        lines += [] if section.heading is None else [one_line(section.heading)]
        for line in section.lines:
            is_bullet = isinstance(line, Bullet)
            shown = replace(line, text=one_line(line.text)) if is_bullet else None
            lines.append(bullet_line(playbook, shown) if shown else one_line(str(line)))
    return lines


RENDERINGS: dict[Rendering, Callable[[Playbook], str]] = {
    "append-only": append_only,
    "reference": reference,
}


def in_tags(text: str) -> str:
    """Return a rendering between the marks that prompts have around it; of nothing, a word that says so."""
    return f"{BEGIN}\n{text or '(empty)'}\n{END}"
