"""Small files of the kinds that are read, made by hand."""

from io import BytesIO
from pathlib import Path

from pypdf import PdfWriter
from pypdf.generic import ContentStream, DictionaryObject, NameObject


def write_pdf(path: Path, pages: list[str], *, password: str | None = None) -> Path:
    """Write a PDF with one line of text a page; "" is a page that holds only a drawing."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(width=300, height=300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        content = ContentStream(None, writer)
        shown = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET" if text else "0 0 50 50 re f"
        content.set_data(shown.encode("latin-1"))
        page.replace_contents(content)
    if password is not None:
        writer.encrypt(password)
    held = BytesIO()
    writer.write(held)
    path.write_bytes(held.getvalue())
    return path
