from pathlib import Path

import pytest

from tasks.extraction.pdf_text import pdf_text
from tasks.extraction.plain_text import UnreadableError
from tests.tasks.extraction.made_documents import write_pdf


def test_pages_have_a_blank_line_between_them(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["The Agreement", "between Acme Inc."])

    assert pdf_text(path, 1000) == "The Agreement\n\nbetween Acme Inc."


def test_a_scan_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="OCR"):
        pdf_text(write_pdf(tmp_path / "a.pdf", ["", ""]), 1000)


def test_an_encrypted_one_is_told_and_an_empty_password_is_tried(tmp_path: Path) -> None:
    assert pdf_text(write_pdf(tmp_path / "open.pdf", ["Acme"], password=""), 1000) == "Acme"
    with pytest.raises(UnreadableError, match="it is encrypted"):
        pdf_text(write_pdf(tmp_path / "closed.pdf", ["Acme"], password="secret"), 1000)


@pytest.mark.parametrize("keep", [0, 4, 100, 400])
def test_a_broken_one_is_told(tmp_path: Path, keep: int) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["Acme"])
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(UnreadableError):
        pdf_text(path, 1000)


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["a" * 50] * 3)

    assert len(pdf_text(path, 154)) == 154
    with pytest.raises(UnreadableError, match="more than 153 characters"):
        pdf_text(path, 153)
