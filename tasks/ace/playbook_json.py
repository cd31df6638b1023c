"""Playbooks as JSON: all that is known of them, so that learning can go on from a file."""

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.ace.bullets import MAX_NUMBER, Bullet, Counts
from tasks.ace.playbook import Playbook, Section, next_number_after
from tasks.ace.playbook_text import parse, to_text

FORMAT = 1


class PlaybookFileError(ValueError):
    """A file holds no playbook; the sentence says why."""


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Bullet(_Plain):
    id: str
    text: str
    helpful: int = Field(default=0, ge=0, le=MAX_NUMBER)
    harmful: int = Field(default=0, ge=0, le=MAX_NUMBER)
    born: int = Field(default=0, ge=0)
    used: int = Field(default=0, ge=0)


class _Section(_Plain):
    heading: str | None
    lines: list[_Bullet | str]


class _Playbook(_Plain):
    format: int = Field(ge=FORMAT, le=FORMAT)
    next_number: int = Field(ge=1, le=MAX_NUMBER + 1)
    sections: list[_Section]


def to_json(playbook: Playbook) -> str:
    """Write a playbook; `from_json` gives the same one back."""
    sections = [
        {
            "heading": section.heading,
            "lines": [
                line if isinstance(line, str) else _described(playbook, line) for line in section.lines
            ],
        }
        for section in playbook.sections
    ]
    return json.dumps(
        {"format": FORMAT, "next_number": playbook.next_number, "sections": sections},
        ensure_ascii=False,
        indent=1,
    )


def from_json(text: str) -> Playbook:
    """Read a playbook.

    Raises:
        PlaybookFileError: The text is none.
    """
    try:
        read = _Playbook.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PlaybookFileError(
            f"it is no playbook: {where + ': ' if where else ''}{first['msg']}"
        ) from error
    bullets = [line for section in read.sections for line in section.lines if isinstance(line, _Bullet)]
    counts = {
        one.id: Counts(helpful=one.helpful, harmful=one.harmful, born=one.born, used=one.used)
        for one in bullets
    }
    if len(counts) < len(bullets):
        raise PlaybookFileError("two of its bullets have the same id; give each one of its own")
    if read.next_number < next_number_after(counts):
        raise PlaybookFileError(f"next_number is {read.next_number}, and a bullet has a higher number")
    sections = tuple(
        Section(
            heading=section.heading,
            lines=tuple(
                line if isinstance(line, str) else Bullet(id=line.id, text=line.text)
                for line in section.lines
            ),
        )
        for section in read.sections
    )
    _check(sections, counts)
    return Playbook(sections=sections, counts=counts, next_number=read.next_number)


def _check(sections: Sequence[Section], counts: Mapping[str, Counts]) -> None:
    """Refuse what would be something else as text: a line that is a heading, an id that ends a prompt."""
    for place, section in enumerate(sections):
        alone = Playbook(sections=(section,), counts=counts)
        text = to_text(alone)
        is_nothing = section.heading is None and not text.strip()
        is_apart = section.heading is not None or not place
        if not is_apart or not (is_nothing or parse(text).playbook.sections == alone.sections):
            raise PlaybookFileError(
                f"section {place + 1} of it has a heading, a line or an id that would be something else in a "
                "playbook's text"
            )


def _described(playbook: Playbook, bullet: Bullet) -> dict[str, object]:
    counts = playbook.counts[bullet.id]
    return {
        "id": bullet.id,
        "text": bullet.text,
        "helpful": counts.helpful,
        "harmful": counts.harmful,
        "born": counts.born,
        "used": counts.used,
    }
