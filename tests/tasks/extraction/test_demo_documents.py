"""Facts about the demo documents, their gold spans and the specs that ship with them."""

import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import yaml

from scripts.extraction_gold import MarkError, made, unmarked
from tasks.extraction.gold import GoldSpan, read_gold
from tasks.extraction.spec import read_spec

PROJECT = Path(__file__).parents[3]
FOLDER = PROJECT / "data" / "extraction"
SPECS = {path.stem: path for path in sorted((PROJECT / "configs" / "extraction").glob("*.yaml"))}
TEXTS = {path.name: path.read_bytes().decode() for path in sorted((FOLDER / "documents").glob("*.txt"))}
LABELS_OF = {"legal": {"contract.txt", "opinion.txt"}, "entities": {"news.txt"}, "demo": set(TEXTS)}


def gold() -> dict[str, tuple[GoldSpan, ...]]:
    return read_gold(FOLDER / "gold.jsonl", texts=TEXTS)


def spec(name: str) -> dict[str, list[dict[str, object]]]:
    return cast("dict[str, list[dict[str, object]]]", yaml.safe_load(SPECS[name].read_text("utf-8")))


def labels(name: str) -> set[object]:
    return {label["name"] for label in spec(name)["labels"]}


def examples(name: str) -> list[tuple[str, list[dict[str, object]]]]:
    return [
        (cast("str", example["text"]), cast("list[dict[str, object]]", example["entities"]))
        for example in spec(name)["examples"]
    ]


def test_marks_become_places_and_may_nest() -> None:
    text, entities = unmarked("a [[x|b [[y|c]]]] d")
    assert text == "a b c d"
    assert entities == [
        {"start": 2, "end": 5, "label": "x", "text": "b c"},
        {"start": 4, "end": 5, "label": "y", "text": "c"},
    ]


@pytest.mark.parametrize("marked", ["a [[x|b", "a]] b"])
def test_marks_that_do_not_fit_are_refused(marked: str) -> None:
    with pytest.raises(MarkError):
        unmarked(marked)


def test_documents_and_gold_are_what_the_marked_texts_make() -> None:
    made_now = made(FOLDER)
    assert {name: (FOLDER / name).read_bytes().decode() for name in made_now} == made_now
    subprocess.run([sys.executable, PROJECT / "scripts" / "extraction_gold.py", "--check"], check=True)


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_that_ships_with_the_project_is_one(name: str) -> None:
    spec = read_spec(SPECS[name])
    assert spec.name == name
    assert spec.examples


def test_the_gold_fits_the_documents() -> None:
    assert set(gold()) == set(TEXTS) == {"contract.txt", "opinion.txt", "news.txt"}
    assert all(len(spans) > 50 for spans in gold().values())


def test_nobody_has_to_guess_what_makes_them_awkward() -> None:
    for name, spans in gold().items():
        words = [TEXTS[name][start:end] for start, end, _ in spans]
        assert any("\n" in one for one in words), "over a line break"
        assert len(set(words)) < len(words) - 5, "repeated"
        assert "”" in TEXTS[name], "curly quotes"
        inner = [one for one in spans for other in spans if one != other and inside(one, other)]
        assert inner, "nested"
    hyphenated = [
        start for start, end, _ in gold()["contract.txt"] if "-\n" in TEXTS["contract.txt"][start:end]
    ]
    assert hyphenated


def inside(one: GoldSpan, other: GoldSpan) -> bool:
    return other.start <= one.start and one.end <= other.end


@pytest.mark.parametrize("name", LABELS_OF)
def test_each_spec_has_the_labels_of_its_documents_and_no_more(name: str) -> None:
    used = {span.label for document, spans in gold().items() if document in LABELS_OF[name] for span in spans}
    assert labels(name) == used


@pytest.mark.parametrize("name", SPECS)
def test_examples_hold_their_entities_word_for_word_and_in_order(name: str) -> None:
    for text, entities in examples(name):
        place = 0
        for entity in entities:
            assert entity["label"] in labels(name)
            place = text.index(cast("str", entity["text"]), place)
            assert set(entity) <= {"label", "text", "attributes"}


@pytest.mark.parametrize("name", SPECS)
def test_examples_share_nothing_with_the_demo_documents(name: str) -> None:
    together = " ".join(" ".join(text.split()).casefold() for text in TEXTS.values())
    for text, entities in examples(name):
        shared = [entity["text"] for entity in entities if str(entity["text"]).casefold() in together]
        assert shared == []
        words = text.casefold().split()
        runs = [" ".join(words[place : place + 5]) for place in range(len(words) - 4)]
        assert [run for run in runs if run in together] == []


@pytest.mark.parametrize("name", SPECS)
def test_specs_have_the_fields_of_the_format_only(name: str) -> None:
    assert set(spec(name)) == {"name", "description", "labels", "examples"}
    for label in spec(name)["labels"]:
        assert {"name", "description"} <= set(label) <= {"name", "description", "normalizer", "attributes"}
        assert label.get("normalizer") in {None, "date", "amount", "citation", "upper", "whitespace"}
