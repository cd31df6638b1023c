"""Files of langextract, as its version 1.7.1 writes them."""

import json
from pathlib import Path

import pytest

from tasks.extraction.langextract_format import LangextractFileError, read_langextract

# Written by langextract.io.save_annotated_documents.
DOCUMENT = """{"extractions": [{"extraction_class": "party", "extraction_text": "Acme", "char_interval": \
{"start_pos": 0, "end_pos": 4}, "alignment_status": "match_exact", "extraction_index": null, \
"group_index": null, "description": null, "attributes": {"role": "plaintiff", "kinds": ["a", "b"]}}, \
{"extraction_class": "party", "extraction_text": "Core", "char_interval": null, "alignment_status": null, \
"extraction_index": null, "group_index": null, "description": null, "attributes": null}], \
"text": "Acme sued Bolt.", "document_id": "d1"}
"""
EXAMPLE = {
    "text": "On 1 May Ann paid.",
    "extractions": [
        {"extraction_class": "date", "extraction_text": "1 May"},
        {
            "extraction_class": "person",
            "extraction_text": "Ann",
            "attributes": {"age": 30, "kin": ["Bob", "Cy"], "sure": True, "title": None},
        },
    ],
}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_annotated_document_is_an_example(tmp_path: Path) -> None:
    found = read_langextract(written(tmp_path, "out.jsonl", DOCUMENT))
    assert found.examples == (
        {
            "text": "Acme sued Bolt.",
            "entities": [
                {"label": "party", "text": "Acme", "attributes": {"role": "plaintiff", "kinds": "a; b"}},
                {"label": "party", "text": "Core", "attributes": {}},
            ],
        },
    )
    assert found.labels == {"party": ("role", "kinds")}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one.json", json.dumps(EXAMPLE, indent=1)),
        ("some.json", "\ufeff" + json.dumps([EXAMPLE])),
        ("some.jsonl", f"\n{json.dumps(EXAMPLE)}\r\n\n"),
    ],
)
def test_examples_are_read_from_json_and_lines(tmp_path: Path, name: str, text: str) -> None:
    found = read_langextract(written(tmp_path, name, text))
    assert [entity["text"] for entity in found.examples[0]["entities"]] == ["1 May", "Ann"]
    assert found.examples[0]["entities"][1]["attributes"] == {"age": "30", "kin": "Bob; Cy", "sure": "true"}
    assert found.labels == {"date": (), "person": ("age", "kin", "sure")}


def test_labels_and_attributes_of_all_examples_are_put_together(tmp_path: Path) -> None:
    person = {
        "extraction_class": "person",
        "extraction_text": "Bob",
        "attributes": {"age": "3", "born": "2020"},
    }
    second = {"text": "Bob", "extractions": [person]}
    found = read_langextract(written(tmp_path, "x.json", json.dumps([EXAMPLE, second, {"text": "none"}])))
    assert found.labels == {"date": (), "person": ("age", "kin", "sure", "born")}
    assert found.examples[2] == {"text": "none", "entities": []}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.jsonl", json.dumps(EXAMPLE) + "\n{", r"x\.jsonl, line 2 is no JSON .*; correct it"),
        ("x.json", "[" * 100_000, r"x\.json is no JSON .*; correct it"),
        ("x.json", "[]", r"x\.json holds no example; write"),
        ("x.jsonl", "\n", r"x\.jsonl holds no example; write"),
        ("x.jsonl", '{"text": " "}', r"x\.jsonl, line 1: text is not .*; give"),
        ("x.json", '[{"text": "a"}, 3]', r"x\.json, example 2: it is not .*; give"),
        (
            "x.json",
            '{"text": "a", "extractions": [{"extraction_class": "b"}]}',
            r"example 1: extractions\.0\.extraction_text is not .*; give",
        ),
        (
            "x.json",
            '{"text": "a", "extractions": [{"extraction_class": "", "extraction_text": "a"}]}',
            r"extractions\.0\.extraction_class is not",
        ),
        (
            "x.json",
            json.dumps(EXAMPLE).replace('"Cy"', "{}"),
            r"example 1: extractions\.1\.attributes\.kin is not",
        ),
    ],
)
def test_what_langextract_does_not_write_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(LangextractFileError, match=said) as caught:
        read_langextract(written(tmp_path, name, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LangextractFileError, match=r"none\.json cannot be read .*; give a file"):
        read_langextract(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes('{"text": "é"}'.encode("latin-1"))
    with pytest.raises(LangextractFileError, match=r"latin\.json is not written in UTF-8; save it so"):
        read_langextract(tmp_path / "latin.json")
