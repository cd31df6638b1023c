"""What an extraction is given: documents, a spec and gold spans, checked before anything is asked."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.extraction_parameters import ExtractionParameters
from flows.settings import PROJECT
from tasks.extraction.reading import Unreadable, count_documents, read_documents
from tasks.extraction.sources import KINDS, DocumentsError, find
from tasks.extraction.spec import ExtractionSpec, SpecError, read_spec
from tasks.extraction.values import Document

SPECS = PROJECT / "configs" / "extraction"
PLAIN_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The documents of a run."""

    given: Path | str
    """A path; or a text itself."""
    name: str
    """For people, and for the name of the run's folder."""
    count: int
    digest: str
    """Of everything that is read."""
    max_characters: int
    encoding: str

    def documents(self) -> Iterator[Document | Unreadable]:
        """Read the documents, one at a time."""
        return read_documents(self.given, max_characters=self.max_characters, encoding=self.encoding)


def open_source(parameters: ExtractionParameters) -> Source:
    """Find the documents, and read their files once to know which they are.

    Raises:
        DocumentsError: There is nothing to read.
    """
    if parameters.text is not None:
        if "\n" not in parameters.text and Path(parameters.text).suffix.lower() in KINDS:
            raise DocumentsError(
                f"text is {parameters.text!r}, which looks like a path; give it as documents"
            )
        digest = hashlib.sha256(parameters.text.encode(errors="surrogatepass")).hexdigest()
        name, given = "text", parameters.text
    else:
        given = Path(parameters.documents)
        digest, name = _digest(given), _plain(given.stem or given.resolve().name)
    return Source(
        given=given,
        name=name,
        count=count_documents(given),
        digest=digest,
        max_characters=parameters.max_document_characters,
        encoding=parameters.encoding,
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for found in find(path):
        content = "" if found.problem else _content_digest(found.path)
        digest.update(f"{found.id!r} {found.problem!r} {content}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def _content_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.errno}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name)[:40]


def find_spec(given: object) -> ExtractionSpec:
    """Read a spec: a name of those that ship with the project, a path, or the spec itself.

    Raises:
        SpecError: There is none, or it does not fit.
    """
    if isinstance(given, dict):
        return read_spec(given)  # pyright: ignore[reportUnknownArgumentType]
    name = str(given)
    shipped = SPECS / f"{name}.yaml"
    if PLAIN_NAME.fullmatch(name) and shipped.exists():
        return read_spec(shipped)
    if not Path(name).is_file():
        names = ", ".join(sorted(path.stem for path in SPECS.glob("*.yaml")))
        raise SpecError(f"there is no spec {name!r}; give {names}, or the path of a YAML or JSON file")
    return read_spec(Path(name))
