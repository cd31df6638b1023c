"""Examples and results of langextract, read as plain data.

Its examples are written as `{"text": ..., "extractions": [{"extraction_class": ..., "extraction_text": ...,
"attributes": {...}}]}`, and so are the documents of `save_annotated_documents`, where more is said of each
extraction that we find out for ourselves.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

_JOINT: Final = "; "


class LangextractFileError(ValueError):
    """A file is not what langextract writes; says where and what to do."""


class EntityFields(TypedDict):
    """One entity of an example."""

    label: str
    text: str
    attributes: dict[str, str]


class ExampleFields(TypedDict):
    """One example: a text and what is to be found in it."""

    text: str
    entities: list[EntityFields]


@dataclass(frozen=True, kw_only=True, slots=True)
class LangextractFile:
    """What a file holds."""

    examples: tuple[ExampleFields, ...]
    """In the order of the file; documents too are given as examples."""

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """{label: names of its attributes}, both in the order in which they first come."""
        found: dict[str, dict[str, None]] = {}
        for example in self.examples:
            for entity in example["entities"]:
                found.setdefault(entity["label"], {}).update(dict.fromkeys(entity["attributes"]))
        return {label: tuple(names) for label, names in found.items()}


class _Extraction(BaseModel):
    model_config = ConfigDict(strict=True)

    extraction_class: str = Field(pattern=r"\S")
    extraction_text: str = Field(pattern=r"\S")
    attributes: dict[str, str | int | float | bool | list[str | int | float | bool] | None] | None = None


class _Example(BaseModel):
    model_config = ConfigDict(strict=True)

    text: str = Field(pattern=r"\S")
    extractions: list[_Extraction] | None = None


def read_langextract(path: Path) -> LangextractFile:
    """Read langextract's examples or annotated documents.

    Args:
        path: JSON Lines if it ends with .jsonl, one example a line; else JSON: an example or a list of them.

    Raises:
        LangextractFileError: It cannot be read, or something in it is not as langextract writes it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LangextractFileError(f"{path} cannot be read ({error.strerror}); give a file") from error
    except UnicodeDecodeError as error:
        raise LangextractFileError(f"{path} is not written in UTF-8; save it so") from error
    rows = _lines(path, text) if path.suffix == ".jsonl" else _members(path, text)
    examples = tuple(_example(where, row) for where, row in rows)
    if not examples:
        raise LangextractFileError(f"{path} holds no example; write at least one")
    return LangextractFile(examples=examples)


def _lines(path: Path, text: str) -> Iterator[tuple[str, JsonValue]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, _parsed(where, line)


def _members(path: Path, text: str) -> Iterator[tuple[str, JsonValue]]:
    found = _parsed(str(path), text)
    members = cast("Sequence[JsonValue]", found) if isinstance(found, list) else [found]
    for number, member in enumerate(members, 1):
        yield f"{path}, example {number}", member


def _parsed(where: str, text: str) -> JsonValue:
    try:
        return cast("JsonValue", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise LangextractFileError(f"{where} is no JSON ({error}); correct it or write it anew") from error


def _example(where: str, row: JsonValue) -> ExampleFields:
    try:
        example = _Example.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"][:4])
        raise LangextractFileError(
            f"{where}: {place or 'it'} is not as langextract writes it ({first['msg']}); "
            'give {"text": ..., "extractions": [{"extraction_class": ..., "extraction_text": ...}]}'
        ) from error
    return {"text": example.text, "entities": [_entity(one) for one in example.extractions or []]}


def _entity(extraction: _Extraction) -> EntityFields:
    return {
        "label": extraction.extraction_class,
        "text": extraction.extraction_text,
        "attributes": {
            name: _JOINT.join(map(_written, value)) if isinstance(value, list) else _written(value)
            for name, value in (extraction.attributes or {}).items()
            if value is not None
        },
    }


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)
