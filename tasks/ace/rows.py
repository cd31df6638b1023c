"""Rows of a JSONL file, read field by field."""

import json
from collections.abc import Collection, Mapping


class RowError(ValueError):
    """A row cannot be used; the sentence names the row and the field."""


def field_text(row: Mapping[str, object], name: str, row_id: str) -> str:
    """Return a field as text: numbers and truth values as JSON writes them, lists and objects too.

    Raises:
        RowError: The row lacks it, or it is null or blank.
    """
    if (text := filled_text(row, name)) is not None:
        return text
    state = "has no field" if row.get(name) is None else "has nothing in its field"
    raise RowError(f"row {row_id} {state} {name!r}; give it one, or leave the row out")


def filled_text(row: Mapping[str, object], name: str) -> str | None:
    """Return a field as text; None where the row lacks it, or it is null or blank."""
    text = "" if row.get(name) is None else as_text(row[name])
    return text if text.strip() else None


def other_fields(row: Mapping[str, object], left_out: Collection[str]) -> dict[str, str]:
    """Return the fields of a row as texts, without some and without those that are null."""
    return {name: as_text(value) for name, value in row.items() if name not in left_out and value is not None}


def as_text(value: object) -> str:
    """Return a value of JSON as text; a text is itself."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
