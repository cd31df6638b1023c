"""Writes entities that have a span in the formats of other tools: CoNLL and brat standoff."""

import re
import unicodedata
from bisect import bisect, bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.extraction.values import Document, Entity

Found = Mapping[str, Sequence[Entity]]
"""{document id: entities}."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_BLANK_LINE = re.compile(r"\n\s*\n")
_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
"""What brat's reader takes for one line; a fragment of its own in a span of several."""
_MAX_NAME_BYTES = 150


def outermost(entities: Iterable[Entity]) -> list[Entity]:
    """Return the entities that CoNLL can say, which has one tag for a token.

    Where some overlap, that is the one that starts first, then the longest: of nested ones the outermost.
    """
    kept: list[Entity] = []
    end = 0
    for one in sorted(_with_span(entities), key=_place):
        start, its_end = _span(one)
        if start >= end:
            kept.append(one)
            end = its_end
    return kept


def conll(documents: Iterable[Document], found: Found) -> Iterator[str]:
    r"""Yield the lines of a file in the style of CoNLL-2003, line ends included.

    A line is a token, a blank and its tag: B-label for the first token of an entity, I-label for the others,
    O elsewhere (so IOB2; the files of 2003 have IOB1, and two columns more). `-DOCSTART- O` stands before
    each document, an empty line after it and after each paragraph. A token is `\w+` or one other character,
    cut where an entity begins or ends; so the tokens, put in order into the text, cover all that is not
    blank, and every entity of `outermost` can be read back. Labels are written as in brat's files.
    """
    labels = _distinct(_labels(found), _safe_label)
    for document in documents:
        yield "-DOCSTART- O\n\n"
        entities = outermost(found.get(document.id, ()))
        end, inside = 0, False
        for start, its_end, entity in _tokens(document.text, entities):
            begins = entity is not None and entity.start == start
            if end and (begins or not inside) and _BLANK_LINE.search(document.text, end, start):
                yield "\n"
            tag = f"{'B' if begins else 'I'}-{labels[entity.label]}" if entity else "O"
            yield f"{document.text[start:its_end]} {tag}\n"
            end, inside = its_end, entity is not None
        yield "\n"


def write_conll(path: Path, documents: Iterable[Document], found: Found) -> None:
    """Write a file as `conll` has it."""
    with path.open("wb") as file:
        file.writelines(map(_encoded, conll(documents, found)))


def brat(entities: Iterable[Entity], text: str, names: Mapping[str, str] | None = None) -> str:
    r"""Return brat's annotation of one text: a T line for each entity, an A line for each attribute.

    brat reads line by line, so a span over line breaks is written as its parts, joined by `;`. Whatever is
    not a letter, a digit, `_` or `-` in labels and names of attributes becomes an underscore; runs of blanks
    in values become one blank.

    Args:
        entities: In any order.
        text: The document's.
        names: {label or name of an attribute: what it is called in the file}; None: made from these entities.
    """
    ordered = sorted(_with_span(entities), key=_place)
    names = names or _names({"": ordered})
    attributes: list[tuple[str, int, str]] = []
    lines: list[str] = []
    for number, one in enumerate(ordered, start=1):
        parts = _parts(text, *_span(one))
        places = ";".join(f"{start} {end}" for start, end in parts)
        words = " ".join(text[start:end] for start, end in parts)
        lines.append(f"T{number}\t{names[one.label]} {places}\t{words}\n")
        attributes += [(names[name], number, value) for name, value in sorted(one.attributes.items())]
    for number, (name, target, value) in enumerate(attributes, start=1):
        lines.append(f"A{number}\t{' '.join([name, f'T{target}', *value.split()])}\n")
    return "".join(lines)


def write_brat(folder: Path, documents: Sequence[Document], found: Found) -> dict[str, str]:
    """Write a `.txt` and an `.ann` file for each document, as brat reads them.

    Returns:
        {document id: the name of its files, without the ending}. No two are the same, not even where case is
        not told apart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stems = _distinct((document.id for document in documents), _safe_stem)
    names = _names(found)
    for document in documents:
        stem = stems[document.id]
        (folder / f"{stem}.txt").write_bytes(_encoded(document.text))
        annotation = brat(found.get(document.id, ()), document.text, names)
        (folder / f"{stem}.ann").write_bytes(_encoded(annotation))
    return stems


def _with_span(entities: Iterable[Entity]) -> Iterator[Entity]:
    return (one for one in entities if one.start is not None)


def _span(entity: Entity) -> tuple[int, int]:
    return entity.start or 0, entity.end or 0


def _place(entity: Entity) -> tuple[int, int, str]:
    start, end = _span(entity)
    return start, -end, entity.label


def _tokens(text: str, entities: Sequence[Entity]) -> Iterator[tuple[int, int, Entity | None]]:
    """Yield start, end and entity of each token; the entities do not overlap and are in order."""
    starts = [start for start, _ in map(_span, entities)]
    cuts = sorted({place for one in entities for place in _span(one)})
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        within = cuts[bisect(cuts, start) : bisect_left(cuts, end)]
        for first, last in zip([start, *within], [*within, end], strict=True):
            before = bisect(starts, first) - 1
            holds = before >= 0 and first < _span(entities[before])[1]
            yield first, last, entities[before] if holds else None


def _parts(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the parts of a span between its line breaks, without the blanks around them."""
    parts: list[tuple[int, int]] = []
    for match in _LINE.finditer(text, start, end):
        words = match.group()
        if words.strip():
            begin = match.start() + len(words) - len(words.lstrip())
            parts.append((begin, begin + len(words.strip())))
    return parts


def _labels(found: Found) -> list[str]:
    return sorted({one.label for entities in found.values() for one in entities})


def _names(found: Found) -> dict[str, str]:
    """Name labels and attributes; one name is not given to both, which brat would not tell apart."""
    attributes = {name for entities in found.values() for one in entities for name in one.attributes}
    return _distinct([*_labels(found), *sorted(attributes)], _safe_label)


def _safe_label(label: str) -> str:
    return re.sub(r"[^\w-]+", "_", label) or "_"


def _safe_stem(name: str) -> str:
    safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFKC", name)).strip(".")
    return safe.encode()[:_MAX_NAME_BYTES].decode(errors="ignore") or "document"


def _distinct(names: Iterable[str], safe: Callable[[str], str]) -> dict[str, str]:
    """Return {name: its safe form}, with a number where another has that already."""
    taken: set[str] = set()
    turns: Counter[str] = Counter()
    given: dict[str, str] = {}
    for name in dict.fromkeys(names):
        plain = given[name] = safe(name)
        while given[name].casefold() in taken:
            turns[plain] += 1
            given[name] = f"{plain}-{turns[plain] + 1}"
        taken.add(given[name].casefold())
    return given


def _encoded(text: str) -> bytes:
    # Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes one character: offsets stay right.
    return text.encode(errors="replace")
