"""Rows of prompts: what one record of a file asks, checked before anything is sent."""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from backends.messages import Message, Role

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
PLAIN_NAME = re.compile(r"[^.\[\]{}!:]+")
"""What may stand between the braces of a template: a column, and never an attribute or an index of it."""


class InputError(ValueError):
    """A file of prompts, or what is said about it, cannot be used; the message says what to mend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A text with the names of columns in braces; doubled braces stand for themselves."""

    parts: tuple[tuple[str, str | None], ...]
    """Text, and the column whose value follows it."""

    @property
    def columns(self) -> list[str]:
        """The columns that it names."""
        return [column for _, column in self.parts if column is not None]

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with values in place of names."""
        return "".join(text + ("" if column is None else values[column]) for text, column in self.parts)


def parse_template(text: str) -> Template:
    """Read a template such as `Translate into French: {sentence}`.

    Raises:
        InputError: A brace is open, or something other than the plain name of a column is in braces.
    """
    try:
        pieces = [(before, name, (spec, how)) for before, name, spec, how in string.Formatter().parse(text)]
    except ValueError as error:
        raise InputError(
            f"template {text!r}: {error}; a brace that is no column's is doubled: {{{{"
        ) from error
    for _, name, (spec, how) in pieces:
        if name is not None and (spec or how or not PLAIN_NAME.fullmatch(name)):
            raise InputError(f"template {text!r}: {{{name}}} is not the plain name of a column")
    if not any(name for _, name, _ in pieces):
        raise InputError(f"template {text!r} names no column, so that all rows would ask the same")
    return Template(parts=tuple((before, name) for before, name, _ in pieces))


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a row's question stands, and what is put around it."""

    prompt_column: str | None = None
    """Of the text; without it `prompt` or `messages`."""
    template: Template | None = None
    """Makes the text from several columns."""
    chat: bool = False
    """Send a text as what a user says, through the model's chat template."""
    system: str | None = None
    """Begins every conversation that has no system message of its own; implies `chat`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record: what it asks, or why it cannot be asked."""

    number: int
    """From 1."""
    place: str
    """For messages: `line 7`."""
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    columns: Mapping[str, object] = field(default_factory=dict[str, object])
    problem: str | None = None


class _RowError(ValueError):
    """Why a record cannot be asked."""


def make_row(number: int, place: str, record: Mapping[str, object] | str, layout: Layout) -> Row:
    """Check one record; what is wrong with it is told in the row.

    Args:
        number: Of the row.
        place: Where it stands in its file.
        record: Its columns, or why it could not be read.
        layout: Where the question stands.
    """
    if isinstance(record, str):
        return Row(number=number, place=place, problem=record)
    try:
        prompt, messages = _question(record, layout)
        for text in [prompt or "", *(message.content for message in messages)]:
            _require_unicode(text)
    except _RowError as error:
        return Row(number=number, place=place, columns=record, problem=str(error))
    return Row(number=number, place=place, prompt=prompt, messages=messages, columns=record)


def _question(record: Mapping[str, object], layout: Layout) -> tuple[str | None, tuple[Message, ...]]:
    if layout.template is None and layout.prompt_column is None and _is_given(record, "messages"):
        if _is_given(record, "prompt"):
            raise _RowError("it has both 'prompt' and 'messages'; give one of them")
        return None, _with_system(_messages(record["messages"]), layout.system)
    text = _text(record, layout)
    if layout.chat or layout.system is not None:
        return None, _with_system((Message(role="user", content=text),), layout.system)
    return text, ()


def _text(record: Mapping[str, object], layout: Layout) -> str:
    if layout.template is not None:
        return layout.template.fill({name: _filling(record, name) for name in layout.template.columns})
    name = layout.prompt_column or "prompt"
    if name not in record:
        has = ", ".join(map(repr, record)) or "no column"
        wanted = repr(name) if layout.prompt_column else "'prompt' or 'messages'"
        raise _RowError(f"it has no {wanted} but {has}; the parameter prompt_column names another")
    value = record[name]
    if not isinstance(value, str) or not value:
        raise _RowError(f"{name!r} is {_shown(value)}; it must be a text that is not empty")
    return value


def _filling(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if value is None:
        raise _RowError(f"it has no {name!r}, which the template names")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _messages(value: object) -> tuple[Message, ...]:
    if isinstance(value, str):  # as in CSV
        try:
            value = cast("object", json.loads(value))
        except ValueError:
            raise _RowError("'messages' is a text but no JSON; it must be a list of messages") from None
    if not isinstance(value, list) or not value:
        raise _RowError(
            f"'messages' is {_shown(cast('object', value))}; it must be a list of messages that is not empty"
        )
    return tuple(_message(position, one) for position, one in enumerate(cast("list[object]", value), start=1))


def _message(position: int, value: object) -> Message:
    fields = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else dict[str, object]()
    if set(fields) != {"role", "content"}:
        raise _RowError(
            f"message {position} is {_shown(cast('object', value))}; it must have 'role' and 'content' only"
        )
    role, content = fields["role"], fields["content"]
    known: Role | None = next((one for one in ROLES if one == role), None)
    if known is None:
        raise _RowError(f"message {position} has the role {_shown(role)}; there are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise _RowError(f"message {position} has the content {_shown(content)}; it must be a text")
    return Message(role=known, content=content)


def _with_system(messages: tuple[Message, ...], system: str | None) -> tuple[Message, ...]:
    if system is None or messages[0].role == "system":
        return messages
    return (Message(role="system", content=system), *messages)


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _RowError("it holds half of a surrogate pair, which is no Unicode text") from None


def _is_given(record: Mapping[str, object], name: str) -> bool:
    return record.get(name) not in (None, "")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
