"""Entries are JSON that a person can read, with the texts that were asked to be kept."""

import json
import math
import zlib

import pytest

from backends.messages import Label, Response
from tasks.codec import (
    decode_entry,
    decode_labels,
    encode_entry,
    encode_labels,
    read_entry,
    response_from_json,
    response_to_json,
)
from tasks.keys import request_digests
from tests.helpers import completion

ASK = completion("What is the colour of the sky?")
PLAIN = Response(text="blue", finish_reason="stop")
SCORED = Response(
    text=" True",
    finish_reason="length",
    label_logprobs={"True": -0.25, "False": -math.inf},
    served_by="vllm-0.32.0",
)


def test_empty_fields_are_left_out() -> None:
    assert response_to_json(PLAIN) == {"text": "blue", "finish_reason": "stop"}
    assert response_from_json({"text": "blue", "finish_reason": "stop"}) == PLAIN


def test_minus_infinity_is_null() -> None:
    written = response_to_json(SCORED)
    assert written == {
        "text": " True",
        "finish_reason": "length",
        "label_logprobs": {"True": -0.25, "False": None},
        "served_by": "vllm-0.32.0",
    }
    assert response_from_json(json.loads(json.dumps(written, allow_nan=False))) == SCORED


def test_not_a_number_is_never_stored() -> None:
    response = Response(text="", finish_reason="stop", label_logprobs={"True": math.nan})
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_entry(ASK, request_digests(ASK), response, keep_text=False)


def test_an_entry_is_compressed_json_with_model_and_digests_of_the_request() -> None:
    digests = request_digests(ASK)
    entry = encode_entry(ASK, digests, PLAIN, keep_text=False)
    assert json.loads(zlib.decompress(entry)) == {
        "response": {"text": "blue", "finish_reason": "stop"},
        "digests": {field: digest[:8].hex() for field, digest in digests.items()},
        "model": "fake-model",
        "asked_with": {"max_tokens": 8},
    }
    assert decode_entry(entry) == PLAIN


def test_an_entry_with_text_holds_the_whole_request() -> None:
    entry = encode_entry(ASK, request_digests(ASK), PLAIN, keep_text=True)
    assert read_entry(entry).get("request") == {
        "model": "fake-model",
        "sampling": {
            "max_tokens": 8,
            "temperature": 0.0,
            "top_p": 1.0,
            "seed": 0,
            "stop": [],
            "extra_body": {},
        },
        "prompt": "What is the colour of the sky?",
        "messages": [],
        "labels": [],
        "logprobs": None,
        "json_schema": None,
        "revision": None,
        "sample_index": 0,
    }
    assert decode_entry(entry) == PLAIN


def test_labels_are_stored_with_their_ids() -> None:
    labels = (Label(text="True", token_ids=(1, 2)), Label(text="Fal\u015fe"))
    assert encode_labels(labels) == '[["True",[1,2]],["Fal\u015fe",[]]]'.encode()
    assert decode_labels(encode_labels(labels)) == labels
