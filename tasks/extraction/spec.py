"""What to extract: labels with descriptions and attributes, and examples, checked against each other."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.extraction.folding import Folded
from tasks.extraction.grounding import ground
from tasks.extraction.values import Item, Window
from tasks.written_files import read_written

Name = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
"""One line, without blanks around it: it is shown to models, and is a label in files."""

MAX_CHARACTERS = 400
"""Of an item's text, and of an attribute's: a model that repeats itself comes to an end. A text as long as
that may have been cut off, and is no item."""

Normalizer = Literal["date", "amount", "citation", "upper", "whitespace"]

M = TypeVar("M", bound=BaseModel)


class SpecError(ValueError):
    """A spec cannot be used; the message names the place and says what to mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AttributeSpec(_Strict):
    """Something that is said of an entity beside its label."""

    name: Name
    description: str = ""
    values: tuple[Name, ...] = ()
    """What it can be; empty: any text."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("value", self.values)
        return self


class LabelSpec(_Strict):
    """One kind of entity."""

    name: Name
    description: str = ""
    attributes: tuple[AttributeSpec, ...] = ()
    normalizer: Normalizer | None = None
    """How its text becomes a value that can be compared; see `tasks/extraction/normalizers.py`."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("attribute", (one.name for one in self.attributes))
        return self


class ExampleEntity(_Strict):
    """What is to be found in an example."""

    label: str
    text: str = Field(min_length=1, max_length=MAX_CHARACTERS - 1)
    attributes: dict[str, str] = {}


class Example(_Strict):
    """A text and everything that is to be found in it, in the order of the text."""

    text: str = Field(min_length=1)
    entities: tuple[ExampleEntity, ...] = ()


class ExtractionSpec(_Strict):
    """What to extract from documents."""

    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    """What to look for and what to leave alone, as the model is told."""
    labels: tuple[LabelSpec, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _require_distinct("label", (one.name for one in self.labels))
        for number, example in enumerate(self.examples, start=1):
            for entity in example.entities:
                _check_entity(entity, self.labels, f"example {number}")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in their order, which also says which of two labels wins a conflict."""
        return tuple(one.name for one in self.labels)


def _require_distinct(kind: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{kind} {name!r} is there {count} times; give each a name of its own")


def _check_entity(entity: ExampleEntity, labels: Iterable[LabelSpec], where: str) -> None:
    known = {one.name: one for one in labels}
    label = known.get(entity.label)
    if label is None:
        raise ValueError(f"{where} has the label {entity.label!r}; the labels are {', '.join(known)}")
    attributes = {one.name: one for one in label.attributes}
    for name, value in entity.attributes.items():
        attribute = attributes.get(name)
        if attribute is None:
            raise ValueError(f"{where} gives {entity.text!r} an attribute {name!r} that its label has not")
        if attribute.values and value not in attribute.values:
            raise ValueError(f"{where} has {name}={value!r}; it can be {', '.join(attribute.values)}")


def read_spec(given: ExtractionSpec | Mapping[str, object] | Path) -> ExtractionSpec:
    """Read a spec, from YAML or JSON where a file is given.

    Raises:
        SpecError: The file cannot be read, or something in it does not fit.
    """
    if isinstance(given, ExtractionSpec):
        return given
    where = str(given) if isinstance(given, Path) else "spec"
    content = read_written(given, "spec", SpecError) if isinstance(given, Path) else given
    spec = _validated(ExtractionSpec, content, where)
    for number, example in enumerate(spec.examples, start=1):
        _check_places(example, f"{where}: example {number}")
    return spec


def _check_places(example: Example, where: str) -> None:
    """Make sure that what an example finds stands in its own text, as often as it is found."""
    items = [Item(label=one.label, text=one.text) for one in example.entities]
    end = len(example.text)
    window = Window(start=0, end=end, context_start=0, context_end=end)
    for item, grounding in zip(items, ground(items, Folded(example.text), window), strict=True):
        if grounding.status == "duplicate":
            raise SpecError(
                f"{where} finds {item.text!r} more often than it stands in its text; leave one out"
            )
        if grounding.status not in {"exact", "normalized"}:
            raise SpecError(
                f"{where} finds {item.text!r}, which does not stand in its text; copy it from there"
            )


def _validated(kind: type[M], content: object, where: str) -> M:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: {'; '.join(_wrong(error))}") from error


def _wrong(error: ValidationError) -> Iterator[str]:
    """Say each thing that is wrong; not of a list with wrong members that it is too short without them."""
    places = [one["loc"] for one in error.errors()]
    for one in error.errors():
        place, kind = one["loc"], one["type"]
        if kind == "too_short" and any(other[: len(place)] == place != other for other in places):
            continue
        said = (
            "one line without blanks around it is needed" if kind == "string_pattern_mismatch" else one["msg"]
        )
        yield f"{'.'.join(map(str, place))}: {said.removeprefix('Value error, ')}".removeprefix(": ")
