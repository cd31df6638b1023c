"""What a Curator may do to a playbook: ADD, UPDATE, MERGE, REMOVE, each checked and applied by itself.

A bad operation is refused, with the reason, and the others are applied. (The reference accepts only ADD,
ignores the rest, and drops a whole list for one bad operation.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tasks.ace.markup import one_line
from tasks.ace.playbook import EditError, Playbook

MAX_SHOWN_CHARACTERS = 300
"""Of what a refused operation held."""

ALIASES = {"DELETE": "REMOVE"}


class _Operation(BaseModel):
    # Models add fields of their own ("reason"); they say nothing here.
    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)


class Add(_Operation):
    """A new bullet."""

    type: Literal["ADD"] = "ADD"
    section: str = "OTHERS"
    content: str


class Update(_Operation):
    """Another text for a bullet."""

    type: Literal["UPDATE"] = "UPDATE"
    id: str
    content: str


class Merge(_Operation):
    """One bullet in place of several; their counts are added up."""

    type: Literal["MERGE"] = "MERGE"
    ids: tuple[str, ...]
    content: str


class Remove(_Operation):
    """A bullet that goes."""

    type: Literal["REMOVE"] = "REMOVE"
    id: str


Operation = Annotated[Add | Update | Merge | Remove, Field(discriminator="type")]
_ADAPTER: TypeAdapter[Add | Update | Merge | Remove] = TypeAdapter(Operation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """An operation, and what came of it."""

    type: str
    """ADD, UPDATE, MERGE, REMOVE; what a model wrote there, where it is none of them."""
    bullet_id: str | None = None
    """Of the bullet that it made or changed."""
    text: str = ""
    """The bullet's text afterwards; before, of one that is gone; what was proposed, of one refused."""
    section: str = ""
    replaced: tuple[tuple[str, str], ...] = ()
    """(id, text) of bullets as they were before."""
    refused: str | None = None
    """Why it was not applied."""
    by: str = "curator"
    """Who did it: the Curator, or a rule ("duplicate", "harmful", "budget")."""


def read_operation(value: object) -> "Add | Update | Merge | Remove | Change":
    """Read one operation; a Change that says what is wrong where it is none."""
    if not isinstance(value, dict):
        return Change(type="?", text=_shown(value), refused="it is no object with a type")
    given = cast("dict[str, object]", value)
    fields = dict(given)
    kind = _shown(fields.get("type") or fields.get("operation") or "?").upper()[:20]
    fields["type"] = kind = ALIASES.get(kind, kind)
    for name in ("id", "bullet_id"):
        if isinstance(one := fields.get(name), str):
            fields["id"] = plain_id(one)
    if isinstance(ids := fields.get("ids"), list):
        fields["ids"] = [plain_id(one) if isinstance(one, str) else one for one in cast("list[object]", ids)]
    try:
        return _ADAPTER.validate_python(fields)
    except ValidationError as error:
        return Change(type=kind, text=_shown(given), refused=_wrong(error, kind))


def apply(
    playbook: Playbook, operations: Sequence[object], *, step: int = 0
) -> tuple[Playbook, list[Change]]:
    """Apply operations one after the other.

    Args:
        playbook: Before.
        operations: As a model wrote them: decoded JSON, of any kind.
        step: When, for the age of bullets.

    Returns:
        The playbook after, and what came of each operation, in their order.
    """
    changes: list[Change] = []
    for value in operations:
        read = read_operation(value)
        if isinstance(read, Change):
            changes.append(read)
            continue
        try:
            playbook, change = _applied(playbook, read, step)
        except EditError as error:
            change = Change(
                type=read.type,
                bullet_id=None if isinstance(read, Add | Merge) else _shown(read.id),
                text=_shown(getattr(read, "content", "")),
                section=_shown(getattr(read, "section", "")),
                refused=str(error),
            )
        changes.append(change)
    return playbook, changes


def _applied(
    playbook: Playbook, operation: Add | Update | Merge | Remove, step: int
) -> tuple[Playbook, Change]:
    if isinstance(operation, Add):
        after, bullet = playbook.add(operation.section, operation.content, step=step)
        section = playbook.section_for(operation.section).name
        return after, Change(type="ADD", bullet_id=bullet.id, text=bullet.text, section=section)
    if isinstance(operation, Remove):
        after = playbook.remove([operation.id])
        return after, removal(playbook, operation.id, by="curator")
    if isinstance(operation, Update):
        after, kept, gone = (
            playbook.update(operation.id, operation.content, step=step),
            operation.id,
            [operation.id],
        )
    else:
        after = playbook.merge(operation.ids, operation.content, step=step)
        gone = list(dict.fromkeys(operation.ids))
        kept = next(one for one in gone if one in after.bullets)
    return after, Change(
        type=operation.type,
        bullet_id=kept,
        text=after.bullets[kept].text,
        section=after.section_names[kept],
        replaced=tuple((one, playbook.bullets[one].text) for one in gone),
    )


def removal(playbook: Playbook, bullet_id: str, *, by: str) -> Change:
    """Describe how a bullet goes, of a playbook that still has it."""
    text = playbook.bullets[bullet_id].text
    return Change(
        type="REMOVE",
        bullet_id=bullet_id,
        text=text,
        section=playbook.section_names[bullet_id],
        replaced=((bullet_id, text),),
        by=by,
    )


def plain_id(text: str) -> str:
    """Return an id without the brackets and blanks that models put around it."""
    return text.strip().strip("[]()").strip()


def _wrong(error: ValidationError, kind: str) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "union_tag_invalid":
        return f"there is no operation {kind!r}; there are ADD, UPDATE, MERGE and REMOVE"
    where = ".".join(str(part) for part in first["loc"][1:])
    return f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()


def _shown(value: object) -> str:
    try:
        text = str(value)
    except (RecursionError, ValueError):  # nested without end; a number that is too long to write
        text = type(value).__name__
    return one_line(text[: 2 * MAX_SHOWN_CHARACTERS])[:MAX_SHOWN_CHARACTERS]
