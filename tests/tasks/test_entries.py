"""An entry says what it is; what only looks like one is refused, however it was made."""

import json
import math
import zlib

import pytest

from backends.messages import Label, Request, Response, TokenLogprob
from cache.errors import CorruptEntryError
from tasks.codec import decode_note, encode_entry, encode_labels, encode_note
from tasks.entries import MAX_ENTRY_BYTES, describe
from tasks.keys import request_digests
from tests.helpers import chat, completion, scoring

LABELS = [Label(text="True", token_ids=(1,)), Label(text="False", token_ids=(2,))]
ANSWER = Response(text="blue", finish_reason="stop")
SCORES = Response(
    text=" True",
    finish_reason="length",
    label_logprobs={"True": -0.5, "False": -math.inf},
    reasoning="hm",
    token_logprobs=(TokenLogprob(token=" True", logprob=-0.5, top={" True": -0.5, " x": -math.inf}),),
    served_by="v",
)


def entry(request: Request, response: Response = ANSWER, *, keep_text: bool = True) -> bytes:
    return encode_entry(request, request_digests(request), response, keep_text=keep_text)


def changed(**changes: object) -> bytes:
    """An entry that somebody has written by hand."""
    written = json.loads(zlib.decompress(entry(completion("sky?"))))
    return zlib.compress(json.dumps({**written, **changes}).encode())


@pytest.mark.parametrize("keep_text", [True, False])
def test_the_kind_is_known_with_and_without_the_text(keep_text: bool) -> None:  # noqa: FBT001
    for request, kind in [
        (completion("sky?"), "completion"),
        (chat("sky?"), "chat"),
        (scoring("sky?", LABELS), "label scores"),
    ]:
        assert describe(entry(request, SCORES, keep_text=keep_text)).kind == kind


def test_the_text_is_what_was_asked_and_what_was_answered() -> None:
    assert describe(entry(completion("sky?"))).text == "sky? -> blue"
    assert describe(entry(chat("and the sea?"))).text == "and the sea? -> blue"
    assert describe(entry(completion("sky?"), keep_text=False)).text == "blue"


def test_the_model_is_named() -> None:
    described = describe(entry(completion("sky?"), keep_text=False))
    assert described.model == "fake-model"
    assert described.is_of("fake-model")
    assert not described.is_of("another")


def test_the_model_of_an_entry_of_before_is_known_by_its_digest() -> None:
    written = json.loads(zlib.decompress(entry(completion("sky?"), keep_text=False)))
    del written["model"]
    described = describe(zlib.compress(json.dumps(written).encode()))
    assert described.model is None
    assert described.is_of("fake-model")
    assert not described.is_of("another")


def test_how_labels_are_scored_is_an_entry_too() -> None:
    described = describe(encode_labels(LABELS))
    assert (described.kind, described.text) == ("labels", "True, False")


def test_what_the_program_remembers_is_a_note() -> None:
    described = describe(encode_note("canary", [["rev", [[1, -0.5]]]]))
    assert (described.kind, described.text) == ("note", "canary")
    assert decode_note(encode_note("canary", {"a": [1]}), "canary") == {"a": [1]}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b'{"note": 5, "content": null}',
        b'{"note": "canary", "content": NaN}',
        b"\x80\x04K\x01.",  # a pickle
        b"[",
        b'[["True", ["1"]]]',
        b'[["True", 1]]',
        zlib.compress(b"[]"),
        zlib.compress(b"null"),
        zlib.compress(b"[" * 1_000_000),
        zlib.compress(b'{"response": ' + b"[" * 1_000_000),
        zlib.compress(b'"' + b'\\"' * 1_000_000),
        zlib.compress(b"{}"),
        entry(completion("sky?"))[:-3],
        entry(completion("sky?")) + b"more",
        changed(response={"text": 5, "finish_reason": "stop"}),
        changed(response={"text": "blue"}),
        changed(response={"text": "\ud800", "finish_reason": "stop"}),
        changed(response={"text": "", "finish_reason": "stop", "label_logprobs": {"True": math.nan}}),
        changed(response={"text": "", "finish_reason": "stop", "label_logprobs": {"True": "-1"}}),
        changed(response={"text": "", "finish_reason": "stop", "label_logprobs": [1]}),
        changed(digests=["model"]),
        changed(request="sky?"),
        changed(model=["fake-model"]),
    ],
)
def test_what_is_no_entry_is_refused(value: bytes) -> None:
    with pytest.raises(CorruptEntryError):
        describe(value)


def test_an_entry_that_unpacks_to_more_than_an_answer_can_be_is_refused() -> None:
    value = entry(completion("sky?"), Response(text="x" * 33 * 2**20, finish_reason="stop"))
    assert len(value) < MAX_ENTRY_BYTES / 500
    with pytest.raises(CorruptEntryError):
        describe(value)


def filled(part: bytes, count: int) -> bytes:
    """An entry that is in form, and holds so many of something in a field that may hold anything."""
    empty = changed(request={"anything": "HERE"})
    return zlib.compress(zlib.decompress(empty).replace(b'"HERE"', b"[" + part * count + b"{}]"))


def test_an_entry_of_more_parts_than_an_answer_can_have_is_refused_before_it_fills_the_memory() -> None:
    assert describe(filled(b"{},", 1000)).kind == "completion"
    assert describe(filled(rb'", \", [", ', 1000)).kind == "completion"
    with pytest.raises(CorruptEntryError):
        describe(filled(b"{},", 2_000_000))
    labels = b'[["True",[' + b"1," * 2_000_000 + b"1]]]"
    with pytest.raises(CorruptEntryError):
        describe(labels)


def test_the_largest_answers_that_there_are_can_be_read() -> None:
    top = {f" token {number}": -1.5 for number in range(20)}
    place = TokenLogprob(token=" token 0", logprob=-1.5, top=top)
    response = Response(text="x", finish_reason="length", token_logprobs=(place,) * 32_768)
    assert describe(entry(completion("sky?"), response)).kind == "completion"
