"""Each way of spoiling an answer spoils it in that way, as often as asked for."""

import json
from collections import Counter

import httpx
import pytest

from bench.extraction_oracle import Gold, GoldDocument, Noise, Oracle
from bench.extraction_spoiling import KINDS, Spoiling, SpoilKind, spoil
from tests.fake_vllm import FakeVLLM

ROWS: list[dict[str, object]] = [
    {"label": "PERSON", "text": f"Ana {name}", "attributes": {}} for name in ("Lima", "d'Or", "Sá", "B")
]
GOOD = json.dumps({"entities": ROWS}, ensure_ascii=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_spoilt_answer_is_not_the_answer(kind: SpoilKind, count: int) -> None:
    good = json.dumps({"entities": ROWS[:count]})
    spoilt = spoil(good, kind)
    if kind == "null_item":
        rows = json.loads(spoilt)["entities"]
        assert [row for row in rows if row["text"] is not None] == ROWS[:count]
        assert len(rows) == count + 1
    elif kind != "single_quotes" or count:
        with pytest.raises(ValueError, match=r".") as error:
            json.loads(spoilt)
        assert isinstance(error.value, json.JSONDecodeError)


def test_what_breaks_off_holds_the_first_half_of_the_items() -> None:
    for kind in ("truncated", "whitespace"):
        spoilt = spoil(GOOD, kind, limit=10)
        first = json.dumps({"entities": ROWS[:2]}, ensure_ascii=False)
        assert spoilt.startswith(first[:-2])


def test_fences_hold_the_halves() -> None:
    blocks = spoil(GOOD, "two_fences").split("```")[1::2]
    rows = [row for block in blocks for row in json.loads(block.removeprefix("json"))["entities"]]
    assert rows == ROWS


def test_the_share_and_the_kinds_are_as_asked_for_and_the_same_each_time() -> None:
    spoiling = Spoiling(share=0.3, kinds=("preamble", "null_item"))
    drawn = [spoiling.kind_for(("document", str(number))) for number in range(1000)]
    assert drawn == [spoiling.kind_for(("document", str(number))) for number in range(1000)]
    count = Counter(drawn)
    assert 250 < count["preamble"] + count["null_item"] < 350
    assert abs(count["preamble"] - count["null_item"]) < 70
    assert set(count) == {None, "preamble", "null_item"}


TEXT = "Ana Lima met Rui Costa and Eva Paz in Lisbon, where Tom Reis and Ivo Dias were born."
NAMES = ("Ana Lima", "Rui Costa", "Eva Paz", "Tom Reis", "Ivo Dias")
KNOWN = GoldDocument(
    id="a",
    text=TEXT,
    entities=tuple(
        Gold(label="PERSON", start=TEXT.index(name), end=TEXT.index(name) + len(name)) for name in NAMES
    ),
)
QUESTION = {"role": "user", "content": f"<text>\n{TEXT}\n</text>"}


def answers(spoiling: Spoiling, *messages: dict[str, str]) -> tuple[str, str]:
    """Return the text of an oracle's answer over HTTP, and why it ended."""
    oracle = Oracle([KNOWN], Noise(hallucinated=0.0), spoiling=spoiling)
    with FakeVLLM(writer=oracle) as server:
        body = {"model": "fake-model", "messages": list(messages), "max_tokens": 300}
        choice = httpx.post(f"{server.base_url}/v1/chat/completions", json=body, timeout=20).json()
    return choice["choices"][0]["message"]["content"], choice["choices"][0]["finish_reason"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_says_length_for_answers_that_do_not_end_and_stop_for_the_others(kind: SpoilKind) -> None:
    text, reason = answers(Spoiling(share=1.0, kinds=(kind,)), QUESTION)
    assert reason == ("length" if kind in {"truncated", "whitespace"} else "stop")
    if kind == "whitespace":
        assert len(text) - len(text.rstrip()) > 64


def test_asked_again_the_oracle_does_better_unless_it_always_fails() -> None:
    again = (
        QUESTION,
        {"role": "assistant", "content": "{"},
        {"role": "user", "content": "That is no JSON. Try again."},
    )
    spoiling = Spoiling(share=1.0, kinds=("preamble",))
    assert answers(spoiling, QUESTION)[0].startswith("Here")
    assert len(json.loads(answers(spoiling, *again)[0])["entities"]) == len(NAMES)
    stubborn = Spoiling(share=1.0, kinds=("preamble",), always=True)
    assert answers(stubborn, *again)[0].startswith("Here")
    shown = ({"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello."}, QUESTION)
    assert answers(spoiling, *shown)[0].startswith("Here")
