"""Reads documents one at a time; one that cannot be read is told of in its place, and never ends a run.

What a path holds is listed in `sources`, text is made in `plain_text`, `html_text` and `pdf_text`.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tasks.extraction.html_text import html_text
from tasks.extraction.pdf_text import pdf_text
from tasks.extraction.plain_text import UnreadableError, cleaned, decoded
from tasks.extraction.sources import KINDS, DocumentsError, Found, find, json_lines
from tasks.extraction.values import Document

MAX_CHARACTERS = 5_000_000
MAX_BYTES_A_CHARACTER = 4
"""In UTF-8, -16 and -32; no other encoding that Python knows needs more in the long run."""
MAX_JSON_BYTES_A_CHARACTER = 6
r"""As JSON writes it: \u00e9."""
OTHER_FIELDS_BYTES = 65_536
"""What a row of a JSONL file may hold beside its text, at least."""

_DECLARATION = re.compile(
    rb"""(?:charset|<\?xml[^>]*?encoding)\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A document that there is and that cannot be read."""

    id: str
    """Unique in a run, as those of documents are."""
    source: str
    """Its file."""
    reason: str
    """One sentence."""


def read_documents(
    source: Path | str, *, max_characters: int = MAX_CHARACTERS, encoding: str = "utf-8"
) -> Iterator[Document | Unreadable]:
    r"""Yield every document of a source in a fixed order, holding one of them at a time.

    Ids are the row's in a JSONL file ("FILE:LINE" where it has none), the path from the folder on with "/" in
    a folder, the file's name, and "text" for a text. One that was there before gets "#2", ... behind it.
    Offsets are those of `Document.text`, see `cleaned`. Text is never guessed at: a file has the encoding of
    its byte order mark, a web page the one that it declares, and everything else the one that is given.
    Markdown is taken as it is. The pages of a PDF have a blank line between them.

    Args:
        source: The path of a file (txt, text, md, markdown, html, htm, xhtml, pdf, jsonl, ndjson: rows of
            {"id", "text"}) or of a folder: all files in it at any depth, sorted by name; what begins with a
            dot is left out, and files of other kinds come as `Unreadable`. A `str` is the text itself.
        max_characters: Longer documents, markup included, are not read and come as `Unreadable`.
        encoding: Of text files, web pages and JSONL without a mark or declaration of their own.

    Raises:
        DocumentsError: There is no such path, a single file is of no known kind, the folder holds no
            document, or there is no such encoding; before anything is read.
    """
    if not _is_text_encoding(encoding):
        raise DocumentsError(f"there is no text encoding {encoding!r}; give one as utf-8 or cp1252")
    if isinstance(source, str):
        return _Reader(max_characters, encoding).one_text(_text_itself(source))
    return _Reader(max_characters, encoding).all_of(find(source))


def count_documents(source: Path | str) -> int:
    """Return how many documents `read_documents` yields, readable or not; reads JSONL files and no others.

    Raises:
        DocumentsError: As `read_documents`.
    """
    if isinstance(source, str):
        _text_itself(source)
        return 1
    return sum(_num_rows(found) for found in find(source))


def _text_itself(text: str) -> str:
    if "\n" not in text and text.lower().endswith(tuple(KINDS)) and " " not in text.strip():
        raise DocumentsError(
            f"{text!r} looks like a path and is a str, which is the text itself; give a Path"
        )
    return text


def _num_rows(found: Found) -> int:
    if found.problem or KINDS[found.path.suffix.lower()] != "jsonl":
        return 1
    try:
        return max(sum(1 for _ in json_lines(found.path, OTHER_FIELDS_BYTES)), 1)
    except OSError:
        return 1


class _Reader:
    """One walk through a source; remembers the ids that it gave."""

    def __init__(self, max_characters: int, encoding: str) -> None:
        self._max_characters = max_characters
        self._encoding = encoding
        self._given: set[str] = set()
        self._last: dict[str, int] = {}

    def one_text(self, text: str) -> Iterator[Document | Unreadable]:
        try:
            yield Document(id="text", text=self._fitting(text))
        except UnreadableError as error:
            yield Unreadable(id="text", source="text", reason=str(error))

    def all_of(self, files: Iterator[Found]) -> Iterator[Document | Unreadable]:
        for found in files:
            if found.problem is None and KINDS[found.path.suffix.lower()] == "jsonl":
                yield from self._rows(found)
            else:
                yield self._file(found)

    def _file(self, found: Found) -> Document | Unreadable:
        identity, source = self._unique(found.id), cleaned(str(found.path))
        try:
            return Document(id=identity, text=self._fitting(self._text(found)), source=source)
        except UnreadableError as error:
            return Unreadable(id=identity, source=source, reason=str(error))
        except OSError as error:
            return Unreadable(id=identity, source=source, reason=_cannot(error))

    def _text(self, found: Found) -> str:
        if found.problem is not None:
            raise UnreadableError(found.problem)
        path, kind = found.path, KINDS[found.path.suffix.lower()]
        if kind == "pdf":
            return pdf_text(path, self._max_characters)
        size = path.stat().st_size
        if size > self._max_characters * MAX_BYTES_A_CHARACTER:
            raise UnreadableError(self._too_long(f"{size:,} bytes"))
        with path.open("rb") as file:  # one that grows meanwhile is not followed
            data = file.read(size)
        if kind == "html":
            return html_text(self._short_enough(decoded(data, declared(data) or self._encoding)))
        return decoded(data, self._encoding)

    def _rows(self, found: Found) -> Iterator[Document | Unreadable]:
        limit = self._max_characters * MAX_JSON_BYTES_A_CHARACTER + OTHER_FIELDS_BYTES
        place = found.id
        number = 0
        try:
            for number, line in json_lines(found.path, limit):
                place = f"{found.id}:{number}"
                yield self._row(place, cleaned(str(found.path)), line)
        except OSError as error:
            yield Unreadable(id=self._unique(place), source=cleaned(str(found.path)), reason=_cannot(error))
            return
        if not number:
            yield Unreadable(
                id=self._unique(place), source=cleaned(str(found.path)), reason="it is empty: it holds no row"
            )

    def _row(self, place: str, source: str, line: bytes | None) -> Document | Unreadable:
        try:
            given, text = self._fields(line)
            text = self._fitting(text)
        except UnreadableError as error:
            return Unreadable(id=self._unique(place), source=source, reason=str(error))
        return Document(id=self._unique(place if given is None else given), text=text, source=source)

    def _fields(self, line: bytes | None) -> tuple[str | None, str]:
        if line is None:
            raise UnreadableError(f"the row is longer than {self._max_characters:,} characters allow")
        return _fields(line, self._encoding)

    def _fitting(self, text: str) -> str:
        text = cleaned(self._short_enough(text))
        if not text.strip():
            raise UnreadableError("it is empty: it holds nothing but blanks" if text else "it is empty")
        return text

    def _short_enough(self, text: str) -> str:
        if len(text) > self._max_characters:
            raise UnreadableError(self._too_long(f"{len(text):,} characters"))
        return text

    def _too_long(self, size: str) -> str:
        allowed = f"the {self._max_characters:,} characters that are allowed"
        return f"its {size} are more than {allowed} (max_document_characters)"

    def _unique(self, wanted: str) -> str:
        wanted = cleaned(wanted)
        identity = wanted
        while identity in self._given:
            self._last[wanted] = self._last.get(wanted, 1) + 1
            identity = f"{wanted}#{self._last[wanted]}"
        self._given.add(identity)
        return identity


def declared(data: bytes) -> str | None:
    """Return the encoding that a web page or XML file declares in its first 1,024 bytes, where Python has it.

    As browsers do, UTF-16 in such a declaration is taken for UTF-8: it could not be read if it were true.
    """
    found = _DECLARATION.search(data[:1024])
    if found is None:
        return None
    if not _is_text_encoding(found[1].decode("ascii")):
        return None
    name = codecs.lookup(found[1].decode("ascii")).name
    if name.startswith("utf-16"):
        return "utf-8"
    return "cp1252" if name in {"iso8859-1", "ascii"} else name


def _is_text_encoding(name: str) -> bool:
    try:
        return b"a".decode(name) == "a"  # those of 16 and 32 bits are told by a byte order mark
    except (LookupError, UnicodeError):
        return name.lower().replace("_", "-").startswith(("utf-16", "utf-32"))


def _fields(line: bytes, encoding: str) -> tuple[str | None, str]:
    """Return a row's id, where it has one, and its text."""
    try:
        row: object = json.loads(line.decode(encoding))
    except UnicodeDecodeError:
        raise UnreadableError(f"the row is no {encoding} text; write it in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the row is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise UnreadableError('the row is no JSON object; write it as {"id": "a", "text": "..."}')
    fields = cast("dict[str, object]", row)
    identity, text = fields.get("id"), fields.get("text")
    if not isinstance(text, str):
        raise UnreadableError("the row has no 'text' that is a string")
    if identity is None:
        return None, text
    if isinstance(identity, bool) or not isinstance(identity, str | int) or not str(identity).strip():
        raise UnreadableError("the row's 'id' is neither a string nor a whole number")
    return str(identity), text


def _cannot(error: OSError) -> str:
    return f"it cannot be read: {error.strerror or error}"
