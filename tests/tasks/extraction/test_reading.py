import json
import os
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from tasks.extraction.reading import Unreadable, count_documents, read_documents
from tasks.extraction.sources import DocumentsError
from tasks.extraction.values import Document
from tests.tasks.extraction.made_documents import write_pdf


def rows(path: Path, lines: Iterable[object]) -> Path:
    written = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(written) + "\n")
    return path


def texts(read: Iterable[Document | Unreadable]) -> dict[str, str]:
    return {one.id: one.text if isinstance(one, Document) else f"! {one.reason}" for one in read}


def reason(path: Path, max_characters: int = 5_000_000) -> str:
    (only,) = read_documents(path, max_characters=max_characters)
    assert isinstance(only, Unreadable)
    return only.reason


def test_a_folder_is_read_whole_sorted_and_by_kind(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("no")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "b" / "z.TXT").write_text("zed")
    (tmp_path / "b" / "a.md").write_text("# A *b*")
    (tmp_path / "a.html").write_text("<p>page &amp; more</p>")
    (tmp_path / "c.docx").write_text("no")
    write_pdf(tmp_path / "d.pdf", ["Acme"])
    rows(tmp_path / "e.jsonl", [{"id": "one", "text": "1"}, {"id": 2, "text": "2"}])

    read = texts(read_documents(tmp_path))

    assert list(read) == ["a.html", "b/a.md", "b/z.TXT", "c.docx", "d.pdf", "one", "2"]
    assert read.pop("c.docx").startswith("! its ending '.docx' is of no known kind")
    assert list(read.values()) == ["page & more", "# A *b*", "zed", "Acme", "1", "2"]
    assert count_documents(tmp_path) == 7


def test_a_single_file_has_its_name_and_source(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")

    assert list(read_documents(tmp_path / "a.txt")) == [
        Document(id="a.txt", text="one\ntwo", source=str(tmp_path / "a.txt"))
    ]


def test_a_text_is_a_document_too() -> None:
    assert list(read_documents("Acme\r\nInc.")) == [Document(id="text", text="Acme\nInc.")]
    assert count_documents("Acme") == 1
    assert [type(one) for one in read_documents(" \n")] == [Unreadable]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"", "it is empty"),
        ("a.txt", b" \n\t\x00".replace(b"\x00", b"\x01"), "nothing but blanks"),
        ("a.txt", b"\x7fELF\x00\x01", "binary"),
        ("a.txt", b"caf\xe9", "no utf-8 text (byte 0xe9 at 3)"),
        ("a.md", b"x" * 5000, "5,000 bytes are more than the 1,000 characters"),
        ("a.md", b"x" * 1001, "1,001 characters are more than the 1,000"),
        ("a.html", b"<script>1</script>", "no text"),
        ("a.html", b"<p>" + b" " * 1000 + b"x</p>", "1,008 characters"),
        ("a.pdf", b"%PDF-1.4 nothing", "no PDF"),
        ("a.jsonl", b"", "it holds no row"),
    ],
)
def test_a_document_that_cannot_be_read_is_told_of(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)

    assert said in reason(tmp_path / name, max_characters=1000)
    assert count_documents(tmp_path / name) == 1


def test_bad_rows_do_not_hide_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    good = json.dumps({"id": "a", "text": "good", "other": 1}).encode()
    path.write_bytes(
        b"\n".join(
            [
                b"\xef\xbb\xbf" + good, b"", b"{no", b"[1]", b'{"id": "b"}', b'{"id": "c", "text": 3}',
                b'{"id": [], "text": "x"}', b'{"id": true, "text": "x"}', b'{"text": " "}',
                b'{"text": "caf\xe9"}',
                b"[" * 100_000, b'{"text": "no id"}', b'{"id": "s", "text": "a\\ud800b"}', good,
            ]
        )
    )  # fmt: skip

    read = texts(read_documents(path))

    assert {name: text for name, text in read.items() if not text.startswith("!")} == {
        "a": "good",
        "r.jsonl:12": "no id",
        "s": "a\ufffdb",
        "a#2": "good",
    }
    assert [name for name, text in read.items() if text.startswith("!")] == [
        f"r.jsonl:{number}" for number in range(3, 12)
    ]
    assert count_documents(path) == len(read) == 13


def test_ids_stay_unique_when_one_looks_like_a_second(tmp_path: Path) -> None:
    path = rows(tmp_path / "r.jsonl", [{"id": name, "text": "x"} for name in ("a#2", "a", "a", "a", "a#2")])

    assert list(texts(read_documents(path))) == ["a#2", "a", "a#3", "a#4", "a#2#2"]


def test_a_row_that_is_too_long_is_skipped_without_being_held(tmp_path: Path) -> None:
    path = rows(tmp_path / "r.jsonl", [{"id": "a", "text": "x" * 30_000_000}, {"id": "b", "text": "b"}])

    tracemalloc.start()
    read = texts(read_documents(path, max_characters=1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert read["b"] == "b"
    assert "longer than 1,000 characters allow" in read["r.jsonl:1"]
    assert peak < 2_000_000


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(1 << 30)

    tracemalloc.start()
    assert "1,073,741,824 bytes" in reason(tmp_path / "a.txt")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_one_document_is_held_at_a_time(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("x" * 500_000)

    tracemalloc.start()
    assert sum(len(one.text) for one in read_documents(tmp_path) if isinstance(one, Document)) == 10_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_links_are_followed_once_and_broken_ones_told_of(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.txt").symlink_to("self.txt")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    (tmp_path / "same").symlink_to(tmp_path / "in")

    read = texts(read_documents(tmp_path))

    assert list(read) == ["gone.txt", "in/a.txt", "self.txt"]
    assert "not there" in read["gone.txt"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.txt")
    (tmp_path / "a.txt").write_text("a")

    assert "no regular file" in texts(read_documents(tmp_path))["p.txt"]
    with pytest.raises(DocumentsError, match="neither a file nor a folder"):
        read_documents(tmp_path / "p.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_may_not_be_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").chmod(0)

    assert texts(read_documents(tmp_path)) == {
        "a.txt": "! it cannot be read: Permission denied",
        "b.txt": "b",
    }


def test_a_file_that_went_away_is_told_of(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.jsonl"):
        (tmp_path / name).write_text("a")
    read = read_documents(tmp_path)
    next(read)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "c.jsonl").unlink()

    assert all(isinstance(one, Unreadable) for one in read)


def test_a_name_that_is_no_unicode_still_makes_an_id(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("a")

    (only,) = read_documents(tmp_path)

    assert only.id == "caf\ufffd.txt"
    assert str(only.source).encode()


def test_a_page_has_the_encoding_that_it_declares(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_bytes('<meta charset="windows-1252"><p>Müller “x”</p>'.encode("cp1252"))
    assert texts(read_documents(page)) == {"a.html": "Müller “x”"}

    page.write_bytes("<?xml version='1.0' encoding='ISO-8859-1'?><html><p>Müller</p></html>".encode("cp1252"))
    assert texts(read_documents(page)) == {"a.html": "Müller"}

    page.write_bytes('<meta charset="utf-16"><p>Müller</p>'.encode())
    assert texts(read_documents(page)) == {"a.html": "Müller"}

    page.write_bytes(b'<meta charset="hex"><p>abc</p>')
    assert texts(read_documents(page)) == {"a.html": "abc"}


def test_an_encoding_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Müller".encode("cp1252"))

    assert texts(read_documents(tmp_path, encoding="cp1252")) == {"a.txt": "Müller"}
    for none in ("klingon", "hex"):
        with pytest.raises(DocumentsError, match="no text encoding"):
            read_documents(tmp_path, encoding=none)


def test_mistakes_about_the_whole_source_are_errors_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")

    for call in (read_documents, count_documents):
        with pytest.raises(DocumentsError, match="there is no"):
            call(tmp_path / "nowhere")
        with pytest.raises(DocumentsError, match="the ending tells the kind"):
            call(tmp_path / "a.docx")
        with pytest.raises(DocumentsError, match="holds no document"):
            call(tmp_path)
        with pytest.raises(DocumentsError, match="looks like a path"):
            call("docs/a.pdf")
