"""The oracle for extraction: the truth about its items, its shares and seeds, and its place in a server."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from semantic_text_splitter import TextSplitter

from bench import extraction_corruption as corruption
from bench.extraction_oracle import (
    LENER_BR,
    Asked,
    Gold,
    GoldDocument,
    GoldError,
    Kind,
    Noise,
    Oracle,
    OracleItem,
    load_gold,
    sample_of,
)
from tests.fake_vllm import FakeVLLM, FakeVLLMProcess
from tests.oracle_server import oracle_program

TEXT = (
    "On 3 May 2011 the High Court of Ruritania heard Zenda Holdings Limited against Ana Lima. "
    "Judge Rudolf Rassendyll cited § 12 of the Crowns Act, and\nZenda Hol-\ndings Limited appealed "
    "to the Court of Strelsau, which Ana Lima left on 4 May 2011."
)
OTHER = "The Duchy of Grand Fenwick sued Tully Bascomb and Gloriana Mountjoy Incorporated on 1 June 1955."


def document(name: str, text: str, *entities: tuple[str, str]) -> GoldDocument:
    """Make a document whose entities are each found after the one before it."""
    gold: list[Gold] = []
    place = 0
    for label, words in entities:
        start = text.index(words, place)
        place = start + 1
        gold.append(Gold(label=label, start=start, end=start + len(words)))
    return GoldDocument(id=name, text=text, entities=tuple(gold))


SMALL = document(
    "a",
    TEXT,
    ("DATE", "3 May 2011"),
    ("COURT", "High Court of Ruritania"),
    ("PARTY", "Zenda Holdings Limited"),
    ("PARTY", "Ana Lima"),
    ("JUDGE", "Rudolf Rassendyll"),
    ("PARTY", "Zenda Hol-\ndings Limited"),
    ("COURT", "Court of Strelsau"),
    ("PARTY", "Ana Lima"),
    ("DATE", "4 May 2011"),
)
SECOND = document(
    "b", OTHER, ("PARTY", "Duchy of Grand Fenwick"), ("PARTY", "Tully Bascomb"), ("DATE", "1 June 1955")
)
WHOLE = ("a", 0, len(TEXT))
CLEAN = Noise(hallucinated=0.0)


def oracle(noise: Noise = CLEAN) -> Oracle:
    return Oracle([SMALL, SECOND], noise)


def said(noise: Noise, samples: int = 200) -> list[OracleItem]:
    asked = oracle(noise)
    return [item for sample in range(samples) for item in asked.answer(*WHOLE, sample=str(sample))]


def test_without_noise_all_entities_come_in_order_each_with_its_place() -> None:
    items = oracle().answer(*WHOLE)
    assert [(item.label, item.start, item.end) for item in items] == [
        (gold.label, gold.start, gold.end) for gold in SMALL.entities
    ]
    assert all(item.text == TEXT[item.start : item.end] for item in items)
    assert {item.origin for item in items} == {"gold"}


def test_only_entities_wholly_in_the_chunk_are_found() -> None:
    start, end = TEXT.index("Court"), TEXT.index(" Lima")
    assert [item.text for item in oracle().answer("a", start, end)] == ["Zenda Holdings Limited"]


def test_the_visible_part_of_an_entity_is_given_where_that_is_asked_for() -> None:
    start, end = TEXT.index(" Court"), TEXT.index("Limited against")
    items = oracle(replace(CLEAN, cut=1.0)).answer("a", start, end)
    assert [(item.text, item.origin) for item in items] == [
        ("Court of Ruritania", "cut"),
        ("Zenda Holdings", "cut"),
    ]
    assert all(TEXT[item.start : item.end] == item.text for item in items)


def test_normalized_text_is_one_line_of_whole_words() -> None:
    assert corruption.normalize(
        "the \u201cCom-\npany\u2019s\u201d\n  Mid\u2013West", Random(0), other_case=0
    ) == ('the "Company\'s" Mid-West')
    assert corruption.normalize("pre-\n1990 and Anglo-\nSaxon", Random(0), other_case=0) == (
        "pre- 1990 and Anglo- Saxon"
    )


def test_some_normalized_items_have_another_case() -> None:
    changed = [item.text != TEXT[item.start : item.end] for item in said(Noise(kind="normalized"))]
    assert 0.05 < sum(changed) / len(changed) < 0.35  # one in nine is hyphenated, one in ten has another case


def test_grouped_items_stand_label_by_label_in_an_order_of_the_seed_and_in_the_texts_order_within() -> None:
    orders: set[tuple[str, ...]] = set()
    for sample in range(20):
        items = oracle(Noise(kind="grouped", hallucinated=0.3)).answer(*WHOLE, sample=str(sample))
        labels = [item.label for item in items]
        assert labels == sorted(labels, key=labels.index)
        for label in set(labels):
            starts = [item.start for item in items if item.label == label and item.start is not None]
            assert starts == sorted(starts)
        orders.add(tuple(dict.fromkeys(labels)))
    assert len(orders) > 5


@given(st.text(min_size=1, max_size=60), st.integers())
def test_a_misspelt_text_is_another_one_not_far_away_and_a_short_one_stays(text: str, seed: int) -> None:
    misspelt = corruption.misspell(text, Random(seed))
    if len(text) < 5:
        assert misspelt == text
    else:
        assert 1 <= Levenshtein.distance(text, misspelt) <= corruption.FARTHEST_TYPO


@given(st.text("ab1 2lO.", min_size=5, max_size=20), st.integers())
def test_typos_leave_the_digits_alone_where_that_is_asked_for(text: str, seed: int) -> None:
    misspelt = corruption.misspell(text, Random(seed), numbers=False)
    assert corruption.digits(misspelt) == corruption.digits(text)


def test_half_of_the_items_have_typos() -> None:
    changed = [item.text != TEXT[item.start : item.end] for item in said(Noise(kind="typos", hallucinated=0))]
    assert 0.45 < sum(changed) / len(changed) < 0.55


def test_a_tenth_of_the_items_is_made_up_and_stands_nowhere_in_the_document() -> None:
    items = said(Noise(hallucinated=0.1))
    made_up = [item for item in items if item.origin == "hallucinated"]
    assert 0.08 < len(made_up) / len(items) < 0.12
    assert len({item.text for item in made_up}) > 20
    for item in made_up:
        assert (item.start, item.end) == (None, None)
        assert corruption.core(item.text) not in corruption.core(TEXT)


@given(st.text("abc ", min_size=1, max_size=8), st.text("abc ", max_size=12))
def test_the_distance_to_the_nearest_place_is_that_of_the_best_substring(pattern: str, text: str) -> None:
    parts = {text[start:end] for start in range(len(text) + 1) for end in range(start, len(text) + 1)}
    best = min(Levenshtein.distance(pattern, part) for part in parts)
    assert corruption.edits_to_nearest(pattern, text) == best


@pytest.mark.parametrize(("share", "edits"), [(True, 0), (False, 4)])
def test_something_made_up_is_never_within_reach_of_a_typo(share: bool, edits: int) -> None:  # noqa: FBT001
    near = "Zenda Holdinhs Limitde"
    assert corruption.is_far_from(near, corruption.core(TEXT), edits) is share


def test_shares_of_recall_boundaries_and_additions_are_as_asked_for() -> None:
    samples = 300
    items = said(Noise(hallucinated=0, recall=0.8, boundary_noise=0.1, spurious=0.04), samples)
    entities = samples * len(SMALL.entities)
    count = Counter(item.origin for item in items)
    assert (count["gold"] + count["boundary"]) / entities == pytest.approx(0.8, abs=0.03)
    assert count["boundary"] / (count["gold"] + count["boundary"]) == pytest.approx(0.1, abs=0.02)
    assert count["spurious"] / entities == pytest.approx(0.04, abs=0.015)
    assert all(item.text == TEXT[item.start : item.end] for item in items)
    gold = {(one.label, one.start, one.end) for one in SMALL.entities}
    assert all(((each.label, each.start, each.end) in gold) == (each.origin == "gold") for each in items)


def test_a_moved_boundary_is_a_word_off_and_stays_in_the_chunk() -> None:
    start, end = TEXT.index("High Court"), TEXT.index(" heard")
    moved = {
        TEXT[slice(*corruption.shift(TEXT, (start, end), (start - 4, end), Random(seed)))]
        for seed in range(40)
    }
    assert moved == {"Court of Ruritania", "High Court of", "the High Court of Ruritania"}


def test_the_same_question_has_the_same_answer_and_seeds_and_samples_and_chunks_have_others() -> None:
    noise = Noise(kind="mixed", recall=0.5, spurious=0.5, boundary_noise=0.5, hallucinated=0.3)
    first = oracle(noise).answer(*WHOLE)
    assert first == oracle(noise).answer(*WHOLE)
    others = [
        oracle(replace(noise, seed=1)).answer(*WHOLE),
        oracle(noise).answer(*WHOLE, sample="1"),
        oracle(noise).answer("a", 0, len(TEXT) - 1),
    ]
    assert first not in others
    assert len({tuple(items) for items in others}) == 3


def test_samples_differ_only_at_a_temperature() -> None:
    assert sample_of({"temperature": 0.7, "seed": 3}, 1) != sample_of({"temperature": 0.7, "seed": 4}, 1)
    assert sample_of({"temperature": 0.7, "seed": 3}, 1) != sample_of({"temperature": 0.7, "seed": 3}, 0)
    assert sample_of({"temperature": 0.0, "seed": 3}, 1) == sample_of({}) == ""


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (f"Find.\n<text>\n{OTHER}\n</text>", Asked("b", 0, len(OTHER))),
        (f"<text>\n  {TEXT[5:40]} \n\n</text>\nAnswer.", Asked("a", 5, 40)),
        ("<text>\nAna Lima\n</text>", Asked("a", TEXT.index("Ana Lima"), TEXT.index("Ana Lima") + 8)),
        (f"<text>\n{OTHER[:40]}\n</text>\n<text>\n{TEXT[:30]}\n</text>", Asked("a", 0, 30)),
        (f"<text>\n{OTHER[:40]}\n</text>\nAs:\n<text>\nnone of it\n</text>", Asked("b", 0, 40)),
        ("<text>\nunknown\n</text>", None),
        ("<text>\n\n</text>", None),
        (f"{OTHER}", None),
    ],
)
def test_the_chunk_is_what_stands_between_the_last_markers(prompt: str, expected: Asked | None) -> None:
    assert oracle().find(prompt) == expected


def test_other_markers_may_be_chosen() -> None:
    asked = Oracle([SMALL], CLEAN, opening="[[[", closing="]]]")
    assert asked.find(f"[[[\n{TEXT[:30]}\n]]]") == Asked("a", 0, 30)


def test_a_passage_that_stands_twice_is_told_by_what_stands_around_it() -> None:
    text = "First. Ana sued Rui. Second. Ana sued Rui. Third."
    asked = Oracle([GoldDocument(id="a", text=text, entities=())], Noise())
    chunk = "<text>\nAna sued Rui.\n</text>"
    first, second = Asked("a", 7, 20), Asked("a", 29, 42)
    assert asked.find(chunk) == first
    assert asked.find(f"<before>\nSecond.\n</before>\n{chunk}") == second
    assert asked.find(f"{chunk}\n<after>\nThird.\n</after>") == second
    assert asked.find(f"<before>\nFirst.\n</before>\n{chunk}\n<after>\nSecond.\n</after>") == first


def ask(url: str, content: str, **fields: object) -> dict[str, Any]:
    """Ask a server one question and return its first choice."""
    body = {"model": "fake-model", "messages": [{"role": "user", "content": content}], **fields}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20)
    return cast("dict[str, Any]", answer.json()["choices"][0])


def entities_of(choice: dict[str, Any]) -> list[tuple[str, str]]:
    rows = json.loads(choice["message"]["content"])["entities"]
    assert all(set(row) == {"label", "text", "attributes"} for row in rows)
    return [(row["label"], row["text"]) for row in rows]


def test_a_server_with_the_oracle_as_its_writer_answers_a_chat_request_with_its_items() -> None:
    asked = oracle(Noise(kind="mixed", hallucinated=0.3))
    with FakeVLLM(writer=asked) as server:
        choice = ask(server.base_url, f"Entities?\n<text>\n{TEXT}\n</text>", temperature=0.5, seed=7)
        nothing = ask(server.base_url, "Entities?\n<text>\nSomething else.\n</text>")
    assert entities_of(choice) == [(one.label, one.text) for one in asked.answer(*WHOLE, sample="7/0")]
    assert choice["finish_reason"] == "stop"
    assert entities_of(nothing) == []


def test_a_server_in_a_process_of_its_own_says_the_same_as_the_oracle_here(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    rows = [
        {
            "id": each.id,
            "text": each.text,
            "entities": [
                {
                    "label": gold.label,
                    "start": gold.start,
                    "end": gold.end,
                    "text": each.text[gold.start : gold.end],
                }
                for gold in each.entities
            ],
        }
        for each in (SMALL, SECOND)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    noise = Noise(kind="mixed", hallucinated=0.3, seed=5)
    with FakeVLLMProcess(program=oracle_program(noise, documents=path)) as server:
        choice = ask(server.base_url, f"<text>\n{TEXT}\n</text>")
    here = Oracle(load_gold(path), noise)
    assert entities_of(choice) == [(one.label, one.text) for one in here.answer(*WHOLE)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a gold document"),
        ('{"id": "a", "text": "Ana"}', "not a gold document"),
        (
            '{"id": "a", "text": "Ana", "entities": [{"label": "P", "start": 1, "end": 3, "text": "An"}]}',
            "'An' does not stand at 1 of a",
        ),
    ],
)
def test_a_file_that_is_not_gold_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(f'{{"id": "b", "text": "", "entities": []}}\n{line}\n', encoding="utf-8")
    with pytest.raises(GoldError, match=f"gold.jsonl:2: {message}"):
        load_gold(path)


@pytest.fixture(scope="module")
def court() -> list[GoldDocument]:
    if not LENER_BR.exists():
        pytest.skip(f"the gold documents are not there: {LENER_BR}")
    return load_gold()


@pytest.mark.parametrize("kind", ["verbatim", "normalized", "grouped", "typos", "mixed"])
def test_on_real_documents_truth_is_near_and_what_is_made_up_is_not(
    court: list[GoldDocument], kind: Kind
) -> None:
    asked = Oracle(court, Noise(kind=kind))
    count: Counter[str] = Counter()
    for known in court:
        for start, chunk in TextSplitter(1000).chunk_indices(known.text):
            for item in asked.answer(known.id, start, start + len(chunk)):
                count[item.origin] += 1
                if item.start is None:
                    assert corruption.is_far_from(item.text, known.core)
                    continue
                assert start <= item.start < (item.end or 0) <= start + len(chunk)
                there = corruption.core(known.text[item.start : item.end])
                assert Levenshtein.distance(there, corruption.core(item.text)) <= corruption.FARTHEST_TYPO
    assert count.total() > 1000
    assert 0.08 < count["hallucinated"] / count.total() < 0.12
