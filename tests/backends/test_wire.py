"""Everything that may change an answer is sent, and nothing is read that was not asked for."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pytest

from backends import wire
from backends.errors import AbortedError, ContentFilterError, LostLogprobsError, ResponseFormatError
from backends.messages import Label, Message, Request, SamplingParams, TokenLogprob, Usage
from tests.helpers import chat, completion, completions, sampling, scoring

EXACT = (Label(text="True", token_ids=(11, 12)), Label(text="False", token_ids=(13,)))
BY_TEXT = (Label(text="True"), Label(text="False"))
HALF = "\ud83d"
"""Half of a surrogate pair: JSON can hold it, and neither a file nor a key can."""
SCORES = {"token_id:11": math.log(0.5), "token_id:12": math.log(0.25), "token_id:13": math.log(0.125)}


def choice(index: object = 0, **changes: object) -> dict[str, Any]:
    return {"index": index, "text": f"text {index}", "finish_reason": "stop", "logprobs": None, **changes}


def chat_choice(index: object = 0, **changes: object) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"text {index}"}
    return {"index": index, "message": message, "finish_reason": "stop", "logprobs": None, **changes}


def scored(top: Mapping[str, object], index: int = 0) -> dict[str, Any]:
    return choice(index, logprobs={"top_logprobs": [top]}, finish_reason="length")


def reply(*choices: Mapping[str, object], **changes: object) -> dict[str, Any]:
    return {"choices": list(choices), "usage": {"prompt_tokens": 5, "completion_tokens": 3}, **changes}


def texts(parsed: wire.Parsed) -> list[str]:
    return [response.text for response in parsed[0]]


# --- what is sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        sampling(7),
        SamplingParams(max_tokens=7, temperature=0.7, top_p=0.9, seed=41, stop=("\n", "END")),
    ],
)
def test_every_body_says_how_to_sample_whatever_the_server_s_defaults(params: SamplingParams) -> None:
    expected = {
        "model": "fake-model",
        "max_tokens": 7,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "n": 1,
        "seed": params.seed + 2,
        **({"stop": ["\n", "END"]} if params.stop else {}),
    }
    asked = completion("hi", sampling=params, sample_index=2)
    talk = chat("hi", sampling=params, sample_index=2)
    conversation = [{"role": "user", "content": "hi"}]
    assert wire.completion_body([asked]) == {**expected, "prompt": ["hi"]}
    assert wire.chat_body(talk) == {**expected, "messages": conversation}
    assert wire.batch_chat_body([talk, talk]) == {**expected, "messages": [conversation, conversation]}


def test_a_body_holds_the_prompts_in_their_order() -> None:
    assert wire.completion_body(completions(3))["prompt"] == ["question 0", "question 1", "question 2"]


def test_a_conversation_is_sent_turn_by_turn() -> None:
    turns = (Message(role="system", content="be brief"), Message(role="user", content="hi"))
    body = wire.chat_body(chat("", messages=turns))
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_exact_labels_are_asked_for_by_their_token_ids() -> None:
    body = wire.completion_body([scoring("hi", EXACT)])
    assert body["logprob_token_ids"] == [11, 12, 13]
    assert body["return_tokens_as_token_ids"] is True
    assert body["logprobs"] == 1


def test_labels_without_ids_are_asked_for_by_the_twenty_likeliest_tokens() -> None:
    body = wire.completion_body([scoring("hi", BY_TEXT)])
    assert body["logprobs"] == 20
    assert "logprob_token_ids" not in body


def test_a_generation_asks_for_no_logprobs() -> None:
    assert "logprobs" not in wire.completion_body([completion("hi")])


def test_logprobs_of_tokens_are_asked_for_in_each_endpoint_s_own_way() -> None:
    assert wire.completion_body([completion("hi", logprobs=3)])["logprobs"] == 3
    for body in (wire.chat_body(chat("hi", logprobs=3)), wire.batch_chat_body([chat("hi", logprobs=3)] * 2)):
        assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


def test_a_schema_travels_as_the_format_of_the_response() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    for asked in (
        completion("hi", json_schema=json.dumps(schema)),
        chat("hi", json_schema=json.dumps(schema)),
    ):
        body = wire.chat_body(asked) if asked.messages else wire.completion_body([asked])
        expected = {"name": "answer", "schema": schema, "strict": True}
        assert body["response_format"] == {"type": "json_schema", "json_schema": expected}


def test_what_only_one_server_knows_is_sent_as_it_is() -> None:
    body = wire.completion_body([completion("hi", sampling=sampling(extra_body={"top_k": 5}))])
    assert body["top_k"] == 5


@pytest.mark.parametrize(
    ("asked", "style"),
    [
        (completion("hi"), None),
        (chat("hi"), None),
        (completion("hi", logprobs=0), "top"),
        (chat("hi", logprobs=2), "top"),
        (scoring("hi", BY_TEXT), "top"),
        (scoring("hi", EXACT), "ids"),
    ],
)
def test_each_request_has_one_style_of_logprobs(asked: Request, style: str | None) -> None:
    assert wire.logprob_style(asked) == style


def test_the_revision_and_the_draw_s_number_stay_at_home() -> None:
    body = wire.completion_body([completion("hi", revision="abc123", sample_index=3)])
    assert "abc123" not in json.dumps(body)
    assert "sample_index" not in body


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (completion("another"), True),
        (completion("one", revision="abc"), True),
        (completion("one", model="other"), False),
        (completion("one", sampling=sampling(9)), False),
        (completion("one", sampling=sampling(temperature=0.5)), False),
        (completion("one", sample_index=1), False),
        (scoring("one", BY_TEXT, sampling=sampling()), False),
        (completion("one", logprobs=1), False),
        (completion("one", json_schema="{}"), False),
        (completion("one", sampling=sampling(extra_body={"top_k": 5})), False),
        (chat("one"), False),
    ],
)
def test_requests_share_a_body_when_only_the_prompt_differs(other: Request, shared: bool) -> None:  # noqa: FBT001
    assert (wire.body_key(completion("one")) == wire.body_key(other)) is shared
    bodies = [
        {**wire.completion_body([one]), "prompt": None} for one in (completion("one"), other) if one.prompt
    ]
    if len(bodies) == 2:
        assert (bodies[0] == bodies[1]) is shared


# --- what comes back ------------------------------------------------------------------------------------

Parse = Callable[[Sequence[Request], object], wire.Parsed]
Ask = Callable[[str], Request]


class Write(Protocol):
    def __call__(self, index: object = 0, **changes: object) -> dict[str, Any]: ...


@pytest.mark.parametrize(
    ("parse", "write", "ask"),
    [(wire.parse_completion, choice, completion), (wire.parse_chat, chat_choice, chat)],
)
class TestChoices:
    """Completions and chats alike."""

    def test_choices_out_of_order_find_their_requests(self, parse: Parse, write: Write, ask: Ask) -> None:
        requests = [ask("a"), ask("b"), ask("c")]
        assert texts(parse(requests, reply(write(2), write(0), write(1)))) == ["text 0", "text 1", "text 2"]

    @pytest.mark.parametrize(
        "indices", [[], [0], [0, 1, 2], [0, 0], [0, 2], [-1, 0], [1, 1], [0, 1, 1]], ids=str
    )
    def test_a_choice_too_few_or_too_many_or_misplaced_is_refused(
        self,
        parse: Parse,
        write: Write,
        ask: Ask,
        indices: list[int],
    ) -> None:
        with pytest.raises(ResponseFormatError, match="2 prompts were sent, and choices"):
            parse([ask("a"), ask("b")], reply(*(write(index) for index in indices)))

    def test_an_aborted_choice_fails_the_whole_list_as_aborted(
        self, parse: Parse, write: Write, ask: Ask
    ) -> None:
        with pytest.raises(AbortedError, match="abort"):
            parse([ask("a"), ask("b")], reply(write(0), write(1, finish_reason="abort")))

    @pytest.mark.parametrize("reason", ["tool_calls", "error", None])
    def test_an_unfinished_answer_is_refused(
        self, parse: Parse, write: Write, ask: Ask, reason: object
    ) -> None:
        with pytest.raises(ResponseFormatError, match="finish_reason"):
            parse([ask("a")], reply(write(0, finish_reason=reason)))

    def test_a_withheld_answer_is_an_error_of_its_own(self, parse: Parse, write: Write, ask: Ask) -> None:
        with pytest.raises(ContentFilterError, match="withheld"):
            parse([ask("a")], reply(write(0, finish_reason="content_filter")))

    def test_the_server_s_fingerprint_and_tokens_are_kept(self, parse: Parse, write: Write, ask: Ask) -> None:
        responses, usage = parse([ask("a")], reply(write(0), system_fingerprint="vllm-1"))
        assert responses[0].served_by == "vllm-1"
        assert (usage.input_tokens, usage.output_tokens) == (5, 3)

    @pytest.mark.parametrize(
        "changes",
        [
            {"system_fingerprint": HALF},
            {"usage": {"prompt_tokens": -1}},
            {"usage": {"prompt_tokens": 10**400}},
            {"usage": {"prompt_tokens": 1, "completion_tokens": 10**13}},
        ],
    )
    def test_what_no_file_can_hold_is_no_reply(
        self, parse: Parse, write: Write, ask: Ask, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(ResponseFormatError, match=next(iter(changes))):
            parse([ask("a")], reply(write(0), **changes))

    @pytest.mark.parametrize(
        "payload", [HALF, [HALF], {HALF: 1}, {"choices": HALF}, {"choices": [{HALF: HALF}]}]
    )
    def test_half_a_character_is_nowhere_a_reply(
        self, parse: Parse, write: Write, ask: Ask, payload: object
    ) -> None:
        del write
        with pytest.raises(ResponseFormatError) as caught:
            parse([ask("a")], payload)
        str(caught.value).encode()

    def test_cached_tokens_are_believed_for_one_prompt_only(
        self, parse: Parse, write: Write, ask: Ask
    ) -> None:
        tokens = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4, "other": None}}
        assert parse([ask("a")], reply(write(0), usage=tokens))[1].cached_tokens == 4
        pair = [ask("a"), ask("b")]  # for a list vLLM 0.32 writes those of the last prompt
        assert parse(pair, reply(write(0), write(1), usage=tokens))[1].cached_tokens == 0
        for details in (None, {}, {"cached_tokens": None}):
            tokens = {"prompt_tokens": 9, "prompt_tokens_details": details}
            assert parse([ask("a")], reply(write(0), usage=tokens))[1].cached_tokens == 0

    def test_a_reply_without_usage_counts_no_tokens(self, parse: Parse, write: Write, ask: Ask) -> None:
        _, usage = parse([ask("a")], reply(write(0), usage=None))
        assert (usage.input_tokens, usage.output_tokens) == (0, 0)

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            [],
            "text",
            3,
            {},
            {"choices": None},
            {"choices": {"0": {}}},
            {"choices": ["text"]},
            {"choices": [{"index": 0}]},
            {"error": {"message": "no"}},
        ],
        ids=str,
    )
    def test_an_unknown_shape_is_refused(self, parse: Parse, write: Write, ask: Ask, payload: object) -> None:
        del write
        with pytest.raises(ResponseFormatError, match="cannot be read"):
            parse([ask("a")], payload)

    def test_an_index_that_is_text_is_not_read_as_a_number(
        self, parse: Parse, write: Write, ask: Ask
    ) -> None:
        with pytest.raises(ResponseFormatError, match=r"choices\.0\.index"):
            parse([ask("a")], reply(write("0")))


@pytest.mark.parametrize("strange", [None, 7, "half a surrogate pair: \ud800"], ids=ascii)
def test_text_that_is_no_text_is_refused(strange: object) -> None:
    with pytest.raises(ResponseFormatError):
        wire.parse_completion([completion("a")], reply(choice(text=strange)))


def test_a_message_without_content_is_refused() -> None:
    with pytest.raises(ResponseFormatError, match="content"):
        wire.parse_chat([chat("a")], reply(chat_choice(message={"role": "assistant", "content": None})))


def test_exact_labels_sum_the_probabilities_of_their_tokens() -> None:
    responses, _ = wire.parse_completion([scoring("a", EXACT)], reply(scored(SCORES)))
    found = responses[0].label_logprobs
    assert math.exp(found["True"]) == pytest.approx(0.75)
    assert math.exp(found["False"]) == pytest.approx(0.125)


def test_labels_of_reordered_choices_find_their_prompts() -> None:
    one = scored({"True": -0.5, "False": -1.5}, 0)
    two = scored({"True": -3.0, "False": -0.1}, 1)
    requests = [scoring("a", BY_TEXT), scoring("b", BY_TEXT)]
    responses, _ = wire.parse_completion(requests, reply(two, one))
    assert [dict(response.label_logprobs) for response in responses] == [
        {"True": pytest.approx(-0.5), "False": pytest.approx(-1.5)},
        {"True": pytest.approx(-3.0), "False": pytest.approx(-0.1)},
    ]


def test_a_missing_token_of_a_label_is_refused() -> None:
    short = {name: value for name, value in SCORES.items() if name != "token_id:12"}
    with pytest.raises(ResponseFormatError, match="token_id:12"):
        wire.parse_completion([scoring("a", EXACT)], reply(scored(short)))


@pytest.mark.parametrize("logprobs", [None, {"top_logprobs": []}, {"top_logprobs": None}, {}], ids=str)
@pytest.mark.parametrize("labels", [EXACT, BY_TEXT])
def test_missing_logprobs_are_refused(labels: Sequence[Label], logprobs: object) -> None:
    with pytest.raises(ResponseFormatError):
        wire.parse_completion([scoring("a", labels)], reply(choice(logprobs=logprobs)))


@pytest.mark.parametrize("labels", [EXACT, BY_TEXT])
def test_minus_9999_is_no_log_probability(labels: Sequence[Label]) -> None:
    top = {**SCORES, "True": -0.1, "token_id:13": -9999.0}
    with pytest.raises(ResponseFormatError, match="-9999"):
        wire.parse_completion([scoring("a", labels)], reply(scored(top)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "null", '"-0.5"', "true"])
@pytest.mark.parametrize("labels", [EXACT, BY_TEXT])
def test_a_log_probability_that_is_no_number_is_refused(labels: Sequence[Label], number: str) -> None:
    top = json.loads(f'{{"True": {number}, "token_id:11": {number}}}')  # Python reads NaN, as the client does
    with pytest.raises(ResponseFormatError, match="top_logprobs"):
        wire.parse_completion([scoring("a", labels)], reply(scored({**SCORES, **top})))


@pytest.mark.parametrize("labels", [EXACT, BY_TEXT])
def test_a_log_probability_far_above_zero_is_refused(labels: Sequence[Label]) -> None:
    top = {**SCORES, "True": 1000.0, "token_id:11": 1000.0}
    with pytest.raises(ResponseFormatError):
        wire.parse_completion([scoring("a", labels)], reply(scored(top)))


@pytest.mark.parametrize("labels", [(EXACT[0], BY_TEXT[1]), (BY_TEXT[0], EXACT[1])], ids=["first", "second"])
def test_labels_half_with_and_half_without_ids_are_never_scored_as_impossible(
    labels: tuple[Label, Label],
) -> None:
    try:
        request = scoring("a", labels)
        responses, _ = wire.parse_completion([request], reply(scored(SCORES)))
    except (ValueError, ResponseFormatError):
        return  # refusing is right, too
    assert -math.inf not in responses[0].label_logprobs.values()


def test_a_generation_has_no_label_scores_even_if_the_server_sends_some() -> None:
    responses, _ = wire.parse_completion([completion("a")], reply(scored(SCORES)))
    assert responses[0].label_logprobs == {}


# --- ICM's rule -----------------------------------------------------------------------------------------

EPSILON = 1e-5  # of the reference


def icm_score(top: Mapping[str, float]) -> float:
    found = wire.top_label_logprobs(top, ["True", "False"])
    true, false = math.exp(found["True"]), math.exp(found["False"])
    return math.log(true + EPSILON) - math.log(false + EPSILON)


def logs(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {text: math.log(probability) for text, probability in probabilities.items()}


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"True": -0.5, "False": -1.0}, 0.4999893046279557),
        (
            logs({"True": 0.4, " true": 0.1, "TRUE": 0.05, "False": 0.3, " false": 0.05}),
            0.45197473437553615,
        ),
        (logs({"True": 0.9}), 11.407576060361786),
        (logs({"False": 0.9}), -11.407576060361786),
        (logs({"maybe": 0.9}), 0.0),
        ({}, 0.0),
        ({"True": 0.0}, 11.51293546492023),
        ({"truefalse": -0.1, "False": -3.0}, -8.513126300170722),
        (logs({" untrue": 0.5, "False": 0.2}), 0.9162607329241158),
        (logs({"True": 0.4, "False": 0.4}), 0.0),
    ],
)
def test_likely_tokens_score_as_in_the_reference_of_icm(top: Mapping[str, float], expected: float) -> None:
    assert icm_score(top) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_label_without_a_likely_token_has_probability_zero() -> None:
    assert wire.top_label_logprobs({"True": -0.5}, ["True", "False"]) == {
        "True": pytest.approx(-0.5),
        "False": -math.inf,
    }


# --- log-probabilities of generated tokens --------------------------------------------------------------

COMPLETION_LOGPROBS = {
    "tokens": [" a", "b"],
    "token_logprobs": [-2.0, -0.1],
    "top_logprobs": [{" a": -2.0, " c": -0.5, " d": -0.7}, {"b": -0.1, "e": -3.0}],
}
CHAT_LOGPROBS = {
    "content": [
        {
            "token": " a",
            "logprob": -2.0,
            "top_logprobs": [{"token": " c", "logprob": -0.5}, {"token": " d", "logprob": -0.7}],
        },
        {
            "token": "b",
            "logprob": -0.1,
            "top_logprobs": [{"token": "b", "logprob": -0.1}, {"token": "e", "logprob": -3.0}],
        },
    ]
}
TOKENS = (
    TokenLogprob(token=" a", logprob=-2.0, top={" c": -0.5, " d": -0.7}),
    TokenLogprob(token="b", logprob=-0.1, top={"b": -0.1, "e": -3.0}),
)


def test_both_endpoints_tokens_read_alike() -> None:
    written = choice(0, logprobs=COMPLETION_LOGPROBS)
    (response,), _ = wire.parse_completion([completion("hi", logprobs=2)], reply(written))
    assert response.token_logprobs == TOKENS
    written = chat_choice(0, logprobs=CHAT_LOGPROBS)
    (response,), _ = wire.parse_chat([chat("hi", logprobs=2)], reply(written))
    assert response.token_logprobs == TOKENS


def test_lost_logprobs_are_no_answer_unless_a_grammar_forbade_the_token() -> None:
    lost = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "!": -9999.0}]}
    with pytest.raises(LostLogprobsError):
        wire.parse_completion([completion("hi", logprobs=2)], reply(choice(0, logprobs=lost)))
    forbidden = completion("hi", logprobs=2, json_schema="{}")
    (response,), _ = wire.parse_completion([forbidden], reply(choice(0, logprobs=lost)))
    assert response.token_logprobs[0].top == {"a": -0.5, "!": -math.inf}


@pytest.mark.parametrize("json_schema", [None, "{}"])
def test_the_token_that_was_drawn_has_a_logprob_whatever_a_grammar_forbids(json_schema: str | None) -> None:
    lost = {"tokens": ["a"], "token_logprobs": [-9999.0], "top_logprobs": [{"b": -0.5}]}
    asked = completion("hi", logprobs=1, json_schema=json_schema)
    with pytest.raises(LostLogprobsError):
        wire.parse_completion([asked], reply(choice(0, logprobs=lost)))
    drawn = {"token": "a", "logprob": -9999.0, "top_logprobs": [{"token": "b", "logprob": -0.5}]}
    talk = chat("hi", logprobs=1, json_schema=json_schema)
    with pytest.raises(LostLogprobsError):
        wire.parse_chat([talk], reply(chat_choice(0, logprobs={"content": [drawn]})))


def test_logprobs_that_do_not_fit_the_tokens_are_no_answer() -> None:
    short = {**COMPLETION_LOGPROBS, "tokens": [" a"]}
    with pytest.raises(ResponseFormatError, match="do not fit"):
        wire.parse_completion([completion("hi", logprobs=2)], reply(choice(0, logprobs=short)))


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_what_a_model_thought_is_kept_apart_from_what_it_said(field: str) -> None:
    message = {"role": "assistant", "content": None, field: "hm"}
    (response,), _ = wire.parse_chat(
        [chat("hi")], reply(chat_choice(0, message=message, finish_reason="length"))
    )
    assert (response.text, response.reasoning) == ("", "hm")


def test_a_message_that_says_nothing_at_all_is_no_answer() -> None:
    message = {"role": "assistant", "content": None}
    with pytest.raises(ResponseFormatError, match="neither content nor reasoning"):
        wire.parse_chat([chat("hi")], reply(chat_choice(0, message=message)))


def test_a_body_says_nothing_twice() -> None:
    with pytest.raises(ValueError, match="'seed'"):
        sampling(extra_body={"seed": 3})
    with pytest.raises(ValueError, match="another request"):
        scoring("hi", EXACT, logprobs=3)
    with pytest.raises(ValueError, match="Expecting"):
        completion("hi", json_schema="{")


# --- usage in detail ------------------------------------------------------------------------------------


def usage_of(prompts: int, **told: object) -> Usage:
    choices = [{"index": index, "text": "x", "finish_reason": "stop"} for index in range(prompts)]
    payload = {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 2, **told}}
    return wire.parse_completion(completions(prompts), payload)[1]


def test_cached_tokens_and_the_server_s_own_price_are_read() -> None:
    usage = usage_of(1, prompt_tokens_details={"cached_tokens": 6}, cost=0.0125)
    assert usage == Usage(input_tokens=10, output_tokens=2, cached_tokens=6, cost_nano_usd=12_500_000)
    assert usage_of(1).cost_nano_usd == 0


def test_cached_tokens_of_a_list_are_not_believed() -> None:
    assert usage_of(2, prompt_tokens_details={"cached_tokens": 6}).cached_tokens == 0


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens_details": None},
        {"prompt_tokens_details": [6]},
        {"prompt_tokens_details": {"cached_tokens": "6"}},
        {"prompt_tokens_details": {"cached_tokens": -1}, "cost": -1},
        {"cost": "free"},
        {"cost": 1e300},
        {"cost": 10**400},
        {"cost": math.nan},
        {"cost": math.inf},
        {"prompt_tokens_details": {"cached_tokens": 10**400}},
        {"cost": True},
    ],
    ids=str,
)
def test_odd_details_of_usage_lose_no_answer(told: dict[str, object]) -> None:
    assert usage_of(1, **told) == Usage(input_tokens=10, output_tokens=2)


def test_a_refusal_in_the_model_s_words_is_no_answer() -> None:
    message = {"content": None, "refusal": "I would rather not."}
    payload = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with pytest.raises(ContentFilterError, match="rather not"):
        wire.parse_chat([chat("hi")], payload)
