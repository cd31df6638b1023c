"""Everything that reaches the wire is in the key of a model call, and nothing else."""

import dataclasses
import doctest
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tasks.keys
from backends.messages import Label, Message, Request, SamplingParams
from cache.errors import UnencodableError
from tasks.keys import key_of_digests, key_requests, request_digests, request_key

ROOT = Path(__file__).parents[2]

SAMPLING = SamplingParams(max_tokens=16, temperature=0.5, top_p=0.9, seed=3, stop=("\n",))
LABELS = (Label(text="True", token_ids=(7, 8)), Label(text="False", token_ids=(9,)))
ASK = Request(model="tiny", sampling=SAMPLING, prompt="Is it so?", labels=LABELS)
TALK = Request(model="tiny", sampling=SAMPLING, messages=(Message(role="user", content="hi"),))

# Every field of the values that are in a key, with other values than those above; each must change the key.
OTHERS: dict[type, dict[str, list[Any]]] = {
    Request: {
        "model": ["tiny2", ""],
        "sampling": [SamplingParams(max_tokens=16)],
        "prompt": ["Is it so? ", "is it so?", ""],
        "messages": [(Message(role="user", content="hi"),) * 2],
        "labels": [(), LABELS[:1], LABELS[::-1]],
        "logprobs": [0, 5],
        "json_schema": ["{}", '{"type": "object"}'],
        "revision": ["", "main"],
        "sample_index": [1, 2],
    },
    SamplingParams: {
        "max_tokens": [17],
        "temperature": [0.0, 1.0],
        "top_p": [1.0],
        "seed": [4],
        "stop": [(), ("\n", "\n"), ("END",)],
        "extra_body": [{"top_k": 5}, {"top_k": 9}, {"top_k": "5"}, {"logit_bias": {"5": -100}}],
    },
    Label: {"text": ["true", "True "], "token_ids": [(7,), (8, 7), (78,)]},
    Message: {"role": ["system"], "content": ["hi ", "Hi"]},
}
EXCUSED: dict[type, dict[str, str]] = {
    Request: {"group": "it says where to send the question, and is no part of it"},
    SamplingParams: {},
    Label: {},
    Message: {},
}
"""{class: {field: why it is not in the key}}"""


def with_changed(kind: type, change: dict[str, Any]) -> tuple[Request, Request]:
    """Return a request, and the same with one field of one of its parts changed."""
    if kind is Request:
        base = TALK if {"messages", "logprobs"} & change.keys() else ASK
        return base, dataclasses.replace(base, **change)
    if kind is SamplingParams:
        return ASK, dataclasses.replace(ASK, sampling=dataclasses.replace(SAMPLING, **change))
    if kind is Label:
        labels = (dataclasses.replace(LABELS[0], **change), LABELS[1])
        return ASK, dataclasses.replace(ASK, labels=labels)
    message = dataclasses.replace(TALK.messages[0], **change)
    return TALK, dataclasses.replace(TALK, messages=(message,))


@pytest.mark.parametrize("kind", OTHERS)
def test_every_request_field_is_in_the_key_or_excused(kind: type) -> None:
    """A new field fails here until it is listed: with other values for it, or with an excuse."""
    listed = [*OTHERS[kind], *EXCUSED[kind]]
    assert sorted(listed) == sorted(field.name for field in dataclasses.fields(kind))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, field, value) for kind in OTHERS for field, values in OTHERS[kind].items() for value in values],
    ids=lambda part: part.__name__ if isinstance(part, type) else ascii(part)[:40],
)
def test_another_value_of_any_field_is_another_key(kind: type, field: str, value: object) -> None:
    base, changed = with_changed(kind, {field: value})
    assert base != changed
    assert request_key(base) != request_key(changed)
    differing = {
        name for name, part in request_digests(base).items() if part != request_digests(changed)[name]
    }
    assert len(differing) == 1  # and the digests tell which field it was


def test_a_group_is_no_part_of_the_question() -> None:
    grouped = dataclasses.replace(ASK, group="a subtree")
    assert grouped == ASK
    assert request_key(grouped) == request_key(ASK)


def test_a_prompt_and_a_message_of_the_same_text_are_not_the_same_question() -> None:
    prompt = Request(model="tiny", sampling=SAMPLING, prompt="hi")
    assert request_key(prompt) != request_key(TALK)


def test_whole_numbers_and_floats_are_alike_where_the_wire_has_floats() -> None:
    whole = dataclasses.replace(SAMPLING, temperature=1, top_p=1)
    broken = dataclasses.replace(SAMPLING, temperature=1.0, top_p=1.0)
    keys = {request_key(dataclasses.replace(ASK, sampling=params)) for params in (whole, broken)}
    assert len(keys) == 1


def test_pinned_digests() -> None:
    """A changed scheme needs another KEY_VERSION, and a line in CHANGELOG.md."""
    assert tasks.keys.KEY_VERSION == 2
    assert request_key(ASK) == "c5eb8d4f45d540d00cab1cca4ce2e926fd17f0ffa65d01b1302e27c235b39aec"
    assert request_key(TALK) == "c8fad31aa79e269e212bc94b3ec34544b4e896e9ca6f96aad8bcc32e2b0f43ad"


def test_key_is_the_same_in_another_process() -> None:
    program = (
        "from tests.tasks.test_keys import ASK, TALK; from tasks.keys import request_key; "
        "print(request_key(ASK), request_key(TALK))"
    )
    for seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        printed = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert printed.split() == [request_key(ASK), request_key(TALK)]


def test_keys_of_many_are_the_keys_of_each() -> None:
    keyed = key_requests([ASK, TALK])
    assert [one.key for one in keyed] == [request_key(ASK), request_key(TALK)]
    assert [key_of_digests(one.digests) for one in keyed] == [one.key for one in keyed]


def test_text_that_is_no_text_has_no_key() -> None:
    with pytest.raises(UnencodableError):
        request_key(dataclasses.replace(ASK, prompt="\ud800"))


def test_the_examples_are_true() -> None:
    results = doctest.testmod(tasks.keys)
    assert results.attempted > 0
    assert results.failed == 0
