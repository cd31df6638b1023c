"""Takes the text out of a PDF, page after page; what is only drawn (a scan) is not read."""

from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from tasks.extraction.plain_text import UnreadableError

MAX_PDF_BYTES = 500_000_000
PAGE_BREAK = "\n\n"


def pdf_text(path: Path, max_characters: int) -> str:
    """Return the text of all pages, a blank line between two; stops once there is more than is allowed.

    Raises:
        UnreadableError: It is encrypted, broken or a scan, or holds more text than allowed.
        OSError: The file cannot be read.
    """
    if path.stat().st_size > MAX_PDF_BYTES:
        raise UnreadableError(f"it has more than {MAX_PDF_BYTES:,} bytes")
    try:
        with path.open("rb") as file:
            text = _text(PdfReader(file), max_characters)
    except (UnreadableError, OSError):
        raise
    # Of a broken file a reader may raise anything at all, and it is this file alone that is left out.
    except Exception as error:
        raise UnreadableError(f"it is no PDF that can be read ({_said(error)})") from error
    if not text.strip():
        raise UnreadableError("it holds no text; a scan has to go through text recognition (OCR) first")
    return text


def _text(reader: PdfReader, max_characters: int) -> str:
    # What anybody may open is often "encrypted" with an empty password.
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableError("it is encrypted; save it without a password")
    pages = list[str]()
    characters = 0
    for page in reader.pages:
        pages.append(page.extract_text())
        characters += len(pages[-1]) + len(PAGE_BREAK)
        if characters > max_characters + len(PAGE_BREAK):
            raise UnreadableError(f"it holds more than {max_characters:,} characters")
    return PAGE_BREAK.join(pages)


def _said(error: Exception) -> str:
    said = str(error).splitlines()[0][:200] if str(error) else ""
    name = "" if isinstance(error, PyPdfError) and said else type(error).__name__
    return ": ".join(part for part in (name, said) if part)
