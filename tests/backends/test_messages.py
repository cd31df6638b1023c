"""Messages are values: compared by content, refused when no server could answer them."""

import dataclasses
from typing import Any

import pytest

from backends.messages import Label, Message, Request, SamplingParams, Usage
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
