"""Messages are values: compared by content, refused when no server could answer them."""

import dataclasses
from typing import Any, cast

import pytest

from backends.messages import Label, Message, Request, SamplingParams, Usage
from backends.wire import body_key
from tasks.keys import request_key
from tests.helpers import chat, completion, sampling

HELLO = (Message(role="user", content="hello"),)
LABELS = (Label(text="True"), Label(text="False"))


def test_requests_with_equal_fields_are_equal_and_share_a_hash() -> None:
    assert completion("hi", labels=LABELS) == completion("hi", labels=LABELS)
    assert len({completion("hi"), completion("hi"), chat("hi")}) == 2


@pytest.mark.parametrize("given", [{}, {"prompt": "hi", "messages": HELLO}, {"messages": ()}])
def test_a_request_has_either_a_prompt_or_messages(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either a prompt or messages"):
        Request(model="m", sampling=sampling(), **given)


def test_an_empty_prompt_is_a_prompt() -> None:
    assert completion("").prompt == ""


def test_labels_are_not_asked_of_a_chat() -> None:
    with pytest.raises(ValueError, match="give prompt, not messages"):
        chat("hi", labels=LABELS)


@pytest.mark.parametrize(
    ("value", "field"),
    [(completion("hi"), "prompt"), (sampling(), "seed"), (LABELS[0], "text"), (HELLO[0], "content")],
)
def test_values_cannot_be_changed(value: object, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, "other")


def test_lists_are_taken_for_tuples_and_share_a_key_with_them() -> None:
    ids = Label(text="True", token_ids=cast("Any", [1, 2]))
    as_lists = completion("hi", labels=[ids], sampling=sampling(stop=["\n"]))
    as_tuples = completion(
        "hi", labels=(Label(text="True", token_ids=(1, 2)),), sampling=sampling(stop=("\n",))
    )
    assert as_lists == as_tuples
    assert len({body_key(as_lists), body_key(as_tuples)}) == 1
    assert request_key(as_lists) == request_key(as_tuples)
    assert chat("hi", messages=list(HELLO)) == chat("hi", messages=HELLO)


def test_a_text_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(TypeError, match="stop is a str; give a tuple or a list"):
        sampling(stop="end")


def test_sampling_defaults_are_greedy() -> None:
    params = SamplingParams(max_tokens=5)
    assert (params.temperature, params.top_p, params.seed, params.stop) == (0.0, 1.0, 0, ())


def test_usages_add_up() -> None:
    first, second = Usage(input_tokens=1, output_tokens=20), Usage(input_tokens=300, output_tokens=4000)
    assert first + second == Usage(input_tokens=301, output_tokens=4020)
    assert sum([first, second], Usage()) == first + second


def test_usage_adds_what_was_cached_and_what_the_server_says_it_cost() -> None:
    told = Usage(cached_tokens=3, cost_nano_usd=250)
    assert told + Usage(cached_tokens=4) == Usage(cached_tokens=7, cost_nano_usd=250)
    assert told + told == Usage(cached_tokens=6, cost_nano_usd=500)
