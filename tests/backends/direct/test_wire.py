"""What is asked of the engine is what the server would ask of it, and its output reads as the server's."""

import math
from collections.abc import Mapping

import pytest

from backends.direct.wire import (
    canary_payload,
    chat_payload,
    chat_template_kwargs,
    completion_payload,
    sampling_fields,
)
from backends.errors import (
    AbortedError,
    BadRequestError,
    ContextOverflowError,
    LostLogprobsError,
    ServerError,
)
from backends.messages import Label, Request
from backends.wire import parse_chat, parse_completion
from tests.fake_engine import Completion, Logprob, Output
from tests.helpers import chat, completion, sampling, scoring


def fields(request: Request, *, prompt_tokens: int = 5, max_model_len: int = 100) -> Mapping[str, object]:
    return sampling_fields(request, prompt_tokens=prompt_tokens, max_model_len=max_model_len)


def test_a_request_s_own_values_are_taken() -> None:
    values = sampling(9, temperature=0.7, top_p=0.8, seed=40, stop=("\n",), extra_body={"top_k": 5})
    assert fields(completion("x", sampling=values, sample_index=2)) == {
        "n": 1,
        "max_tokens": 9,
        "temperature": 0.7,
        "top_p": 0.8,
        "seed": 42,
        "stop": ["\n"],
        "top_k": 5,
    }


def test_labels_are_scored_by_their_tokens_or_by_the_likeliest() -> None:
    by_id = fields(scoring("x", [Label(text="a", token_ids=(1, 2)), Label(text="b", token_ids=(3,))]))
    assert by_id["logprob_token_ids"] == [1, 2, 3]
    assert "logprobs" not in by_id
    assert fields(scoring("x", [Label(text="a")]))["logprobs"] == 20
    assert fields(completion("x", logprobs=0))["logprobs"] == 0


def test_an_answer_is_cut_to_the_room_that_the_context_leaves_as_the_server_does() -> None:
    assert fields(completion("x", sampling=sampling(50)), prompt_tokens=90)["max_tokens"] == 10
    with pytest.raises(ContextOverflowError, match="100 tokens") as caught:
        fields(completion("x"), prompt_tokens=100)
    assert (caught.value.estimated_tokens, caught.value.limit_tokens) == (100, 99)


def test_a_schema_and_what_else_is_said_of_structure_go_together() -> None:
    request = completion(
        "x", json_schema='{"type": "object"}', sampling=sampling(extra_body={"structured_outputs": {"a": 1}})
    )
    assert fields(request)["structured_outputs"] == {"a": 1, "json": {"type": "object"}}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"best_of": 2}, "'best_of' in extra_body; leave it out, or ask over HTTP"),
        ({"structured_outputs": "json"}, "no JSON object"),
    ],
)
def test_what_the_engine_does_not_know_is_refused(extra: Mapping[str, object], said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        fields(completion("x", sampling=sampling(extra_body=extra)))


def test_the_chat_template_s_own_arguments_are_passed_on() -> None:
    request = chat("hi", sampling=sampling(extra_body={"chat_template_kwargs": {"enable_thinking": False}}))
    assert chat_template_kwargs(request) == {"enable_thinking": False}
    assert "chat_template_kwargs" not in fields(request)
    with pytest.raises(BadRequestError, match="no JSON object"):
        chat_template_kwargs(chat("hi", sampling=sampling(extra_body={"chat_template_kwargs": 1})))


ROWS = [
    {5: Logprob(-2.0, "five"), 1: Logprob(-0.5, "one"), 2: Logprob(-1.0, "two")},
    {1: Logprob(-0.25, "one"), 2: Logprob(-3.0, "two"), 3: Logprob(-4.0, "three")},
]


def output(reason: str = "stop", rows: list[dict[int, Logprob]] | None = None) -> Output:
    return Output([Completion("five one", (5, 1), reason, rows)], num_cached_tokens=4)


def test_a_completion_reads_as_the_server_s_does() -> None:
    request = completion("x", logprobs=2)
    (response,), usage = parse_completion([request], completion_payload(request, 6, output(rows=ROWS), "me"))
    assert (response.text, response.finish_reason, response.served_by) == ("five one", "stop", "me")
    assert [(one.token, one.logprob, dict(one.top)) for one in response.token_logprobs] == [
        ("five", -2.0, {"one": -0.5, "two": -1.0}),  # what was drawn takes no place among the likeliest
        ("one", -0.25, {"one": -0.25, "two": -3.0}),
    ]
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (6, 2, 4)


def test_a_chat_counts_the_drawn_token_among_the_likeliest_as_the_server_does() -> None:
    request = chat("hi", logprobs=2)
    (response,), usage = parse_chat([request], chat_payload(request, 6, output(rows=ROWS), "me"))
    assert [(one.token, dict(one.top)) for one in response.token_logprobs] == [
        ("five", {"one": -0.5, "five": -2.0}),
        ("one", {"one": -0.25, "two": -3.0}),
    ]
    assert (response.text, usage.output_tokens) == ("five one", 2)


def test_label_scores_are_exact_though_two_tokens_have_one_text() -> None:
    row = {9: Logprob(-0.1, "so"), 1: Logprob(math.log(0.25), "a"), 2: Logprob(math.log(0.5), "a")}
    request = scoring("x", [Label(text="a", token_ids=(1, 2))])
    payload = completion_payload(request, 6, Output([Completion("so", (9,), "length", [row])]), "me")
    (response,), _ = parse_completion([request], payload)
    assert response.label_logprobs == {"a": pytest.approx(math.log(0.75))}


def test_lost_log_probabilities_are_noticed_as_the_server_s_are() -> None:
    request = scoring("x", [Label(text="a", token_ids=(1,))])
    row = {1: Logprob(-math.inf, "a")}
    payload = completion_payload(request, 6, Output([Completion("a", (1,), "length", [row])]), "me")
    with pytest.raises(LostLogprobsError):
        parse_completion([request], payload)


def test_a_request_that_was_dropped_or_failed_is_no_answer() -> None:
    request = completion("x")
    with pytest.raises(AbortedError):
        parse_completion([request], completion_payload(request, 6, output("abort"), "me"))
    with pytest.raises(ServerError):
        completion_payload(request, 6, output("error"), "me")
    with pytest.raises(ServerError):
        chat_payload(chat("hi"), 6, output("error"), "me")


def test_the_canary_s_answers_are_named_by_token() -> None:
    assert canary_payload([output(rows=ROWS), output(rows=ROWS[1:])]) == {
        "choices": [
            {
                "index": 0,
                "logprobs": {"top_logprobs": [{"token_id:5": -2, "token_id:1": -0.5, "token_id:2": -1}]},
            },
            {
                "index": 1,
                "logprobs": {"top_logprobs": [{"token_id:1": -0.25, "token_id:2": -3, "token_id:3": -4}]},
            },
        ]
    }
