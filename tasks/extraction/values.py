"""What travels through an extraction: documents, windows on them, items, mentions and entities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["exact", "normalized", "fuzzy", "duplicate", "leaked", "ungrounded"]
"""How an item stands to the text of its document.

exact: its text stands there letter by letter; normalized: once case, blanks, quotes, dashes, ligatures and
hyphenation are set aside; fuzzy: something much like it does; duplicate: it does, but items before this one
have taken every occurrence; leaked: it stands in an example of the prompt and not in the document;
ungrounded: nothing like it does.
"""

GROUNDED: frozenset[Status] = frozenset({"exact", "normalized", "fuzzy"})
"""Those that have a span. The others are kept and shown, and are never given one."""

Attributes = Mapping[str, str]
"""{name: value} of what is said of an entity beside its label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text to extract from. All offsets are in characters of `text`, from 0, the end excluded."""

    id: str
    """Unique in a run."""
    text: str
    source: str | None = None
    """The file it was read from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A part of a document that one question is about; overlaps its neighbours."""

    start: int
    end: int
    context_start: int
    """From here on the model was shown the text, to read and not to extract from; at most `start`."""
    context_end: int
    """Up to here; at least `end`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """What a model says that it has found: its words, not yet looked for in the text."""

    label: str
    text: str
    attributes: Attributes = field(default_factory=dict[str, str], hash=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounding:
    """Where an item stands in its document; `start` and `end` are both None unless the status has a span."""

    status: Status
    start: int | None = None
    end: int | None = None
    score: float = 0.0
    """How alike the item and the text of the span are, from 0 to 1, after both were folded."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Provenance:
    """Which answer an item came from, and its place there; all count from 0."""

    pass_number: int
    chunk: int
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """An item and where it stands."""

    item: Item
    grounding: Grounding
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class Entity:
    """One entity at one place of a document, after all mentions of it were merged.

    Without a span (`start` and `end` are None) it is a finding that is shown and not counted.
    """

    label: str
    text: str
    """Verbatim: the document's from `start` to `end`; without a span the model's words."""
    status: Status
    start: int | None
    end: int | None
    votes: int
    """Passes that found it."""
    confidence: float
    """`votes` by the passes that have an answer about this place, from 0 to 1."""
    attributes: Attributes = field(default_factory=dict[str, str], hash=False)
    normalized: str | None = None
    """Its value in a form that can be compared, as 2024-01-31, where its label has a normalizer."""
    similarity: float | None = None
    """How alike the model's words and the document's are, from 0 to 1; only of a span."""
    conflict: bool = False
    """Whether another label was given to the very same span; the label here won."""
    provenance: tuple[Provenance, ...] = ()
