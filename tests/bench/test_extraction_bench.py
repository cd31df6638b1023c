"""The bench of extraction: what it counts, how it asks langextract, and the bars on real documents."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import langextract_environment as langextract
from bench.extraction import OURS, Bar, bars, noises
from bench.extraction_grounding import (
    Answered,
    Score,
    answers,
    chunks_of,
    fastest_groundings,
    groundings,
    places,
    score,
)
from bench.extraction_oracle import LENER_BR, Gold, GoldDocument, OracleItem, load_gold
from bench.extraction_passes import Looked, Quality, Setting, look, ours, quality, seconds_to_merge, union
from scripts import bootstrap
from tasks.extraction.values import Grounding, Item, Mention, Provenance, Window

TEXT = "Ana Lima met Rui Costa in Lisbon, and Ana Lima left."
KNOWN = GoldDocument(
    id="a",
    text=TEXT,
    entities=(Gold(label="PERSON", start=0, end=8), Gold(label="PERSON", start=13, end=22)),
)


def said(text: str, start: int | None) -> OracleItem:
    end = None if start is None else start + len(text)
    return OracleItem(
        label="PERSON", text=text, start=start, end=end, origin="hallucinated" if start is None else "gold"
    )


def answered(*items: OracleItem) -> Answered:
    return Answered(document=KNOWN, start=0, end=len(TEXT), items=list(items))


def test_a_place_counts_only_if_it_is_the_very_one_and_what_is_made_up_only_if_it_has_none() -> None:
    asked = [
        answered(said("Ana Lima", 0), said("Rui Costa", 13), said("Otto", None)),
        answered(said("Ana Lima", 38), said("Eva", None)),
    ]
    found = score(asked, [[(0, 8), (13, 16), (0, 3)], [None, None]])
    assert found == Score(items=3, exact=1, elsewhere=1, made_up=2, made_up_grounded=1)
    assert found.exact_percent == pytest.approx(100 / 3)
    assert found.made_up_percent == 50.0
    with pytest.raises(ValueError, match="shorter"):
        score(asked, [[(0, 8)], [None, None]])


def test_only_grounded_statuses_have_a_place() -> None:
    found = [
        Grounding(status="fuzzy", start=1, end=2),
        Grounding(status="duplicate"),
        Grounding(status="leaked"),
    ]
    assert places([found]) == [[(1, 2), None, None]]


def test_chunks_are_parts_of_the_text_and_no_longer_than_asked_for() -> None:
    assert [TEXT[start:end] for start, end in chunks_of(TEXT, 20)] == [
        "Ana Lima met Rui",
        "Costa in Lisbon, and",
        "Ana Lima left.",
    ]
    overlapping = [TEXT[start:end] for start, end in chunks_of(TEXT, 26, overlap=6)]
    assert overlapping == ["Ana Lima met Rui", "Rui Costa in Lisbon, and", "and Ana Lima left."]


def test_quality_is_of_labels_with_their_spans() -> None:
    looked = Looked(document=KNOWN, windows={}, mentions=[])
    found = quality([looked], [{("PERSON", 0, 8), ("PLACE", 13, 22), ("PERSON", 26, 32), ("PERSON", 38, 46)}])
    assert (found.precision, found.recall) == (0.25, 0.5)
    assert found.f1 == pytest.approx(1 / 3)
    assert quality([looked], [set()]) == Quality(0.0, 0.0)


def test_findings_go_to_langextract_pass_by_pass_and_without_those_that_have_no_place() -> None:
    windows = {(number, 0): Window(start=0, end=52, context_start=0, context_end=52) for number in (0, 1)}
    grounding = (Grounding(status="exact", start=0, end=8), Grounding(status="ungrounded"))
    mentions = [
        Mention(
            item=Item(label="PERSON", text="Ana Lima"),
            grounding=place,
            provenance=Provenance(pass_number=number, chunk=0, index=index),
        )
        for number in (0, 1)
        for index, place in enumerate(grounding)
    ]
    looked = Looked(document=KNOWN, windows=windows, mentions=mentions)
    assert looked.by_pass() == [[("PERSON", 0, 8)], [("PERSON", 0, 8)]]
    assert union([looked]) == [{("PERSON", 0, 8)}]


def test_bars_are_met_or_missed() -> None:
    assert str(Bar(name="exact", found=99.6, bound=99.5)) == "met    exact: 99.600 (>= 99.5)"
    assert not Bar(name="exact", found=99.4, bound=99.5).met
    assert not Bar(name="seconds", found=0.3, bound=0.2, at_most=True).met


def test_bars_are_those_of_our_own_rows() -> None:
    rows = [
        {
            "noise": name,
            "chunk": 1000,
            "who": who,
            "exact_percent": 99.9 if who == OURS else 10.0,
            "made_up_grounded_percent": 0.0 if who == OURS and "near" not in name else 5.0,
            "mb_per_second": 2.0 if who == OURS else 0.1,
        }
        for name in noises()
        for who in (OURS, "langextract")
    ]
    merged = [
        {"who": f"{OURS}, votes >= 2", "passes": 3, "recall": 0.9, "f1": 0.98},
        {"who": "union", "passes": 3, "recall": 0.9, "f1": 0.99},
        {"who": f"{OURS}, votes >= 1", "passes": 1, "recall": 0.9, "f1": 0.99},
    ]
    judged = bars(rows, merged, 0.1)
    assert all(bar.met for bar in judged)
    assert [bar.found for bar in judged] == [99.9, 99.9, 99.9, 99.9, 0.0, 2.0, 0.98, 0.1]


# --- langextract ----------------------------------------------------------------------------------------


def test_the_python_of_langextract_is_the_one_named_or_one_made_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANGEXTRACT_PYTHON", "/somewhere/python")
    assert langextract.python_of_langextract() == Path("/somewhere/python")
    monkeypatch.delenv("LANGEXTRACT_PYTHON")
    monkeypatch.setenv("VLLM_FLOWS_HOME", str(tmp_path))
    digest = bootstrap.digest_of([langextract.REQUIREMENTS])
    made = bootstrap.Environment(tmp_path / "envs" / f"langextract-{digest[:12]}", digest)
    made.python.parent.mkdir(parents=True)
    made.python.touch()
    made.mark_complete()
    assert langextract.python_of_langextract() == made.python


def test_what_langextract_is_pinned_to_is_what_was_measured() -> None:
    assert "langextract==1.7.1" in langextract.REQUIREMENTS.read_text(encoding="utf-8").split()


def test_a_failing_langextract_is_named() -> None:
    lacking = Path(sys.executable)  # the project's own Python has none
    with pytest.raises(RuntimeError, match="langextract failed under"):
        langextract.version_of(lacking)


@pytest.fixture(scope="module")
def python() -> Path:
    given = os.environ.get("LANGEXTRACT_PYTHON")
    if given is None:
        pytest.skip("LANGEXTRACT_PYTHON names no Python that has langextract")
    return Path(given)


def test_langextract_is_asked_as_it_works(python: Path) -> None:
    """Its own defect, first in the list: what is made up is grounded in a word that it begins with."""
    text = "The United States filed a suit. Nothing else."
    chunks = [
        langextract.Chunk(text=text, offset=100, items=[("PARTY", "The State of Texas")]),
        langextract.Chunk(text=text, offset=200, items=[("ACT", "a suit"), ("PARTY", "Otto")]),
        langextract.Chunk(text=text, offset=300, items=[]),
    ]
    found = langextract.align(python, chunks)
    assert found["langextract"].spans == [[(100, 103)], [(224, 230), None], []]
    assert found["langextract, lesser off"].spans == [[None], [(224, 230), None], []]


def test_langextract_merges_by_the_first_pass(python: Path) -> None:
    passes = [[("ORG", 10, 14)], [("ORG", 10, 26), ("DATE", 12, 14), ("DATE", 30, 34)]]
    assert langextract.merge(python, [passes]) == [{("ORG", 10, 14), ("DATE", 30, 34)}]


# --- On real documents ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def court() -> list[GoldDocument]:
    if not LENER_BR.exists():
        pytest.skip(f"the gold documents are not there: {LENER_BR}")
    return load_gold()


@pytest.mark.parametrize("size", [1000, 5000])
@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("verbatim", 99.5),
        ("normalized", 99.5),
        ("grouped", 95.0),
        ("typos", 90.0),
        ("typos, numbers kept", 90.0),
    ],
)
def test_items_come_back_to_their_places_and_nothing_made_up_has_one(
    court: list[GoldDocument], name: str, bar: float, size: int
) -> None:
    runs = [answers(court, replace(noises()[name], seed=seed), size) for seed in range(3)]
    asked = [each for run in runs for each in run]
    once, _ = groundings(asked)
    again, seconds = fastest_groundings(asked, 2)
    assert again == once
    assert seconds > 0
    found = score(asked, places(once))
    assert found.items > 3 * 900
    assert found.made_up > 3 * 90
    assert found.made_up_grounded == 0
    assert found.exact_percent >= (bar if size == 1000 else bar - 5.0)


def test_three_passes_find_nearly_all_entities_and_little_else(court: list[GoldDocument]) -> None:
    setting = Setting(recall=0.9, overlap=200, passes=3)
    looked = [look(court, setting, seed) for seed in range(2)]
    found = [quality(each, ours(each, passes=3, min_votes=2)) for each in looked]
    assert sum(each.f1 for each in found) / len(found) >= 0.97


def test_merging_is_timed_on_as_many_spans_as_asked_for() -> None:
    assert seconds_to_merge(100, 2) > 0
