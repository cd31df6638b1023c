"""Legal citations found without a model: eyecite's, with their places in the document as it is.

eyecite (https://github.com/freelawproject/eyecite) is an optional package and knows citations of the United
States. It resolves nothing here: what an "Id." stands for is not said.
"""

import importlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

from backends.registry import NotInstalledError
from tasks.extraction.values import Entity

LABELS = {
    "FullCaseCitation": "case_citation",
    "FullLawCitation": "statute",
    "FullJournalCitation": "journal",
    "ShortCaseCitation": "short",
    "SupraCitation": "supra",
    "IdCitation": "id",
    "ReferenceCitation": "reference",
}
"""{eyecite's kind: label}; the remaining one, UnknownCitation, is a bare section sign and no citation."""

PIECE = 100_000
"""Characters that eyecite is given at once; with many case names its time grows by the square of them.

Only a case named in one piece and referred to by its name alone in another is lost by that.
"""

_BLANKS = re.compile(r"[\u200b\s]+")
_JOKE = "eyecite"
"""A text that eyecite answers with a citation that is not there; an empty one it refuses."""


def cite(text: str) -> list[Entity]:
    r"""Find the citations of a text, by start.

    Blanks and line breaks count as one blank for eyecite, so a citation across the end of a line is found;
    spans are those of the text as given. `normalized` is the citation as eyecite corrects it, and the
    attributes are what it read around it: court, year, pin_cite, plaintiff and so on.

    Raises:
        NotInstalledError: eyecite is not there.

    Examples:
        >>> [(each.label, each.text, each.normalized) for each in cite("Roe v. Wade, 410 U. S.\n113 (1973)")]
        [('case_citation', '410 U. S.\n113', '410 U.S. 113')]
    """
    find = _finder()
    return [
        _entity(citation, text, start, places)
        for start, end in _pieces(text)
        for words, places in (_one_line(text[start:end]),)
        if words not in {"", _JOKE}
        for citation in find(words)
        if type(citation).__name__ in LABELS
    ]


def _finder() -> Any:  # noqa: ANN401 - a function of a package that may not be there
    try:
        eyecite = cast("Any", importlib.import_module("eyecite"))
    except ImportError as error:
        raise NotInstalledError(
            f"citations need the package {error.name!r}, which is not installed; type `.venv/bin/pip install "
            "-r requirements/eyecite.txt`"
        ) from error
    # It warns of overlaps that it has settled, once for each: thousands of lines for some texts.
    logging.getLogger("eyecite").setLevel(logging.ERROR)
    return eyecite.get_citations


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text where a paragraph ends, or else a line or a word."""
    start = 0
    while len(text) - start > PIECE:
        half, limit = start + PIECE // 2, start + PIECE
        ends = (text.rfind(gap, half, limit) + len(gap) for gap in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > half), limit)
        yield start, end
        start = end
    yield start, len(text)


def _one_line(text: str) -> tuple[str, Sequence[int]]:
    """Write a text with single blanks, and say where each of its characters stands; one more for its end."""
    parts: list[str] = []
    places: list[int] = []
    end = 0
    for blanks in _BLANKS.finditer(text):
        parts += [text[end : blanks.start()], " "]
        places += range(end, blanks.start() + 1)
        end = blanks.end()
    parts.append(text[end:])
    places += range(end, len(text) + 1)
    return "".join(parts), places


def _entity(citation: Any, text: str, offset: int, places: Sequence[int]) -> Entity:  # noqa: ANN401 - eyecite's
    first, last = cast("tuple[int, int]", citation.span())
    last = max(last, int(citation.token.end))  # a short form's span may end before its page
    start, end = offset + places[first], offset + places[last - 1] + 1
    said = cast("dict[str, object]", asdict(citation.metadata))
    return Entity(
        label=LABELS[type(citation).__name__],
        text=text[start:end],
        status="exact",
        start=start,
        end=end,
        votes=1,
        confidence=1.0,
        attributes={name: value for name, value in said.items() if isinstance(value, str)},
        normalized=citation.corrected_citation(),
    )
