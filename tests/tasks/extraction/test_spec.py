"""Specs: what fits together is read, and what does not is said in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from tasks.extraction.spec import ExtractionSpec, SpecError, read_spec

GOOD: dict[str, Any] = {
    "name": "people",
    "description": "Find people.",
    "labels": [
        {"name": "person", "attributes": [{"name": "role", "values": ["judge", "party"]}]},
        {"name": "date", "normalizer": "date"},
    ],
    "examples": [
        {
            "text": "Judge Ada spoke on 3 May 2021.",
            "entities": [
                {"label": "person", "text": "Ada", "attributes": {"role": "judge"}},
                {"label": "date", "text": "3 May 2021"},
            ],
        }
    ],
}  # fmt: skip


def changed(**fields: object) -> dict[str, Any]:
    return {**GOOD, **fields}


def example(text: str, *entities: dict[str, Any]) -> dict[str, Any]:
    return changed(examples=[{"text": text, "entities": list(entities)}])


def with_values(*values: str) -> dict[str, Any]:
    return changed(labels=[{"name": "a", "attributes": [{"name": "b", "values": values}]}], examples=[])


def ada(**attributes: str) -> dict[str, Any]:
    return {"label": "person", "text": "Ada", "attributes": attributes}


@pytest.mark.parametrize("ending", [".yaml", ".json"])
def test_a_file_says_the_same_as_the_spec_itself(tmp_path: Path, ending: str) -> None:
    spec = read_spec(GOOD)
    path = tmp_path / f"spec{ending}"
    path.write_text(spec.model_dump_json(), encoding="utf-8")
    assert read_spec(path) == spec
    assert spec.label_names == ("person", "date")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (changed(labels=[]), ["labels"]),
        (changed(labels=[{"name": "person"}, {"name": "person"}]), ["'person'", "2 times"]),
        (changed(colour="red"), ["colour"]),
        (changed(labels=[{"name": " "}]), ["labels.0.name"]),
        (changed(labels=[{"name": "two\nlines"}]), ["labels.0.name"]),
        (with_values("c", "c"), ["'c'", "2 times"]),
        (changed(labels=[{"name": "person", "normalizer": "magic"}]), ["normalizer", "'date'"]),
        (example("Ada", {"label": "animal", "text": "Ada"}), ["example 1", "'animal'", "person"]),
        (example("Ada", ada(age="3")), ["example 1", "'age'"]),
        (example("Ada", ada(role="king")), ["role='king'", "judge, party"]),
        (example("Bob spoke.", ada()), ["example 1", "'Ada'", "does not stand in its text"]),
        (example("Ada.", ada(), ada()), ["example 1", "'Ada'", "more often than it stands in its text"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(given)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name: [", b"{", b"[" * 100_000])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"spec\.json"):
        read_spec(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml"):
        read_spec(Path("nowhere.yaml"))


def test_an_example_may_write_its_entities_another_way_than_its_text() -> None:
    """Case, blanks and quotes are no difference."""
    spec = read_spec(example("the “Acme\nCorp”", {"label": "person", "text": '"Acme Corp"'}))
    assert isinstance(spec, ExtractionSpec)


def test_what_is_wrong_with_a_label_is_said_once_and_in_words() -> None:
    with pytest.raises(SpecError) as caught:
        read_spec({"name": "s", "description": "Find.", "labels": [{"name": " person"}]})
    assert str(caught.value).endswith("labels.0.name: one line without blanks around it is needed")
    assert str(caught.value).count("labels") == 1
    with pytest.raises(SpecError, match="labels: Tuple should have at least 1 item"):
        read_spec({"name": "s", "description": "Find.", "labels": []})


def test_an_example_is_no_longer_than_an_answer_may_be() -> None:
    text = "x" * 400
    example = {"text": text, "entities": [{"label": "person", "text": text}]}
    with pytest.raises(SpecError, match=r"examples\.0\.entities\.0\.text: String should have at most 399"):
        read_spec({"name": "s", "description": "F.", "labels": [{"name": "person"}], "examples": [example]})
