"""Facts about gold files: what is read, and what is refused, by line."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tasks.extraction.gold import GoldError, GoldSpan, read_gold
from tasks.extraction.plain_text import cleaned

TEXT = "Acme sued Bolt in Oslo."
TEXTS = {"a": TEXT, "b": ""}
ACME: Mapping[str, object] = {"start": 0, "end": 4, "label": "ORG", "text": "Acme"}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "gold.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return path


def test_spans_are_read_by_document_and_place(tmp_path: Path) -> None:
    bolt = {"start": 10, "end": 14, "label": "ORG", "note": "other fields are left alone"}
    path = written(
        tmp_path, {"id": "a", "text": TEXT, "entities": [bolt, ACME]}, "", {"id": "b", "entities": []}
    )
    gold = read_gold(path, texts=TEXTS, labels=["ORG"])
    assert gold == {"a": (GoldSpan(0, 4, "ORG"), GoldSpan(10, 14, "ORG")), "b": ()}


def test_a_line_break_inside_of_a_text_ends_no_line(tmp_path: Path) -> None:
    line = json.dumps({"id": "a", "text": "x\u2028y\u0085z", "entities": []}, ensure_ascii=False)
    assert read_gold(written(tmp_path, line)) == {"a": ()}


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"id": "a", "entities": []}', "utf-8-sig")
    assert read_gold(path) == {"a": ()}


def test_one_span_may_have_two_labels(tmp_path: Path) -> None:
    gold = read_gold(written(tmp_path, {"id": "a", "entities": [ACME, {**ACME, "label": "PER"}]}))
    assert [span.label for span in gold["a"]] == ["ORG", "PER"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ({"id": "a"}, "entities: Field required"),
        ({"id": 3, "entities": []}, "id: Input should be a valid string"),
        ({"id": "a", "entities": [{"start": 0, "end": 4}]}, "entities: 0 label: Field required"),
        ({"id": "a", "entities": [{**ACME, "end": "4"}]}, "entities: 0 end: Input should be a valid integer"),
        ({"id": "a", "entities": [{**ACME, "start": -1}]}, "0 start: Input should be greater than"),
        ({"id": "z", "entities": []}, "there is no document 'z'; there are 'a', 'b'"),
        ({"id": "first", "entities": []}, "document 'first' is there twice"),
        ({"id": "a", "text": TEXT[:-1], "entities": []}, "the text of 'a' differs .* from character 22 on"),
        ({"id": "a", "text": "Acne", "entities": []}, "the text of 'a' differs .* from character 2 on"),
        ({"id": "a", "entities": [{**ACME, "label": "X"}]}, "entity 0 .* 'X' is not known; there are 'ORG'"),
        ({"id": "a", "entities": [{**ACME, "end": 0}]}, "entity 0 of 'a': it ends at 0, and begins at 0"),
        ({"id": "a", "entities": [{**ACME, "end": 24}]}, "it ends at 24, and the text has 23 characters"),
        ({"id": "a", "entities": [{**ACME, "start": 1}]}, "at 1 to 4 stands 'cme', and not 'Acme'"),
        ({"id": "a", "entities": [ACME, ACME]}, "entity 1 of 'a': it is there twice; remove one"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, record: object, message: str) -> None:
    path = written(tmp_path, {"id": "first", "entities": []}, record)
    with pytest.raises(GoldError, match=f"^{re.escape(str(path))}:2: .*{message}") as raised:
        read_gold(path, texts={**TEXTS, "first": ""}, labels=["ORG"])
    assert "\n" not in str(raised.value)


def test_a_files_own_text_is_believed_where_there_are_no_documents(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": "a", "text": TEXT, "entities": [{**ACME, "start": 1}]})
    with pytest.raises(GoldError, match="stands 'cme'"):
        read_gold(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(GoldError, match=r"nowhere\.jsonl cannot be read"):
        read_gold(tmp_path / "nowhere.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9")
    with pytest.raises(GoldError, match=r"latin\.jsonl cannot be read"):
        read_gold(tmp_path / "latin.jsonl")


def test_a_text_may_have_the_control_characters_that_reading_replaces(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    row = {
        "id": "a",
        "text": "Ada\fwas here",
        "entities": [{"start": 0, "end": 7, "label": "x", "text": "Ada\fwas"}],
    }
    path.write_text(json.dumps(row))
    assert read_gold(path, texts={"a": cleaned("Ada\fwas here")}) == {"a": (GoldSpan(0, 7, "x"),)}


def test_a_text_whose_offsets_move_when_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "Ada\r\nwas", "entities": []}))
    with pytest.raises(GoldError, match="from character 3 on"):
        read_gold(path, texts={"a": cleaned("Ada\r\nwas")})
