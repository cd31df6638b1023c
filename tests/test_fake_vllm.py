"""The fake server keeps the shapes of vLLM 0.32.0, breaks as told and counts what it answered."""

import asyncio
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import fake_vllm
from tests.fake_vllm import (
    BATCH_CHAT,
    CHAT,
    COMPLETIONS,
    NO_LOGPROB,
    FakeVLLM,
    FakeVLLMProcess,
    decode,
    encode,
    latent_truth,
    prompt_digest,
    render_chat,
    spellings,
    split_demonstrations,
    synthetic_scorer,
)

# Keys of real answers, recorded from vLLM 0.32.0 on 2026-11-21.
REAL_COMPLETION = {
    "id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage",
    "kv_transfer_params", "ec_transfer_params", "metrics",
}  # fmt: skip
REAL_CHAT = REAL_COMPLETION | {"prompt_logprobs", "prompt_token_ids", "prompt_text"}
REAL_CHOICE = {
    "index", "text", "logprobs", "finish_reason", "stop_reason", "token_ids", "prompt_logprobs",
    "prompt_token_ids", "routed_experts",
}  # fmt: skip
REAL_CHAT_CHOICE = {
    "index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts",
}  # fmt: skip
REAL_MESSAGE = {"role", "content", "refusal", "annotations", "audio", "function_call", "reasoning"}
REAL_LOGPROBS = {"text_offset", "token_logprobs", "tokens", "top_logprobs"}
REAL_USAGE = {
    "prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details",
    "completion_tokens_details",
}  # fmt: skip
REAL_MODEL_CARD = {
    "id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission",
}  # fmt: skip

SKY = "The sky is blue.\nI think this claim is"
TWO = "Two is odd.\nI think this claim is"
LABELS = [encode(spelling)[0] for label in ("True", "False") for spelling in spellings(label)]
SCORING: dict[str, Any] = {
    "max_tokens": 1,
    "temperature": 0,
    "logprobs": 1,
    "logprob_token_ids": LABELS,
    "return_tokens_as_token_ids": True,
}
HELLO = [{"role": "user", "content": "Say hi"}]


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeVLLM]:
    with FakeVLLM() as fake:
        yield fake


@pytest.fixture
def server(shared: FakeVLLM) -> FakeVLLM:
    shared.reset(config=True)
    return shared


def post(server: FakeVLLM | FakeVLLMProcess, path: str = COMPLETIONS, **body: object) -> httpx.Response:
    return httpx.post(f"{server.base_url}{path}", json=body, timeout=10)


def read(server: FakeVLLM | FakeVLLMProcess, path: str = COMPLETIONS, **body: object) -> dict[str, Any]:
    response = post(server, path, **body)
    assert response.status_code == 200, response.text
    return response.json()


def scoring(token_ids: list[int]) -> dict[str, Any]:
    return {**SCORING, "logprob_token_ids": token_ids}


def label_odds(choice: dict[str, Any]) -> float:
    """Sum the spellings of each label and return the log-odds."""
    reported = choice["logprobs"]["top_logprobs"][0]
    sums = [
        sum(math.exp(reported[f"token_id:{encode(spelling)[0]}"]) for spelling in spellings(label))
        for label in ("True", "False")
    ]
    return math.log(sums[0] / sums[1])


# --- Shapes ---------------------------------------------------------------------------------------------


@given(st.text(alphabet="ab1 .\n\t_Ä\u2028", max_size=40))
def test_text_is_encoded_line_by_line_as_it_is_whole(text: str) -> None:
    assert encode(text) == list(fake_vllm.encode_line(text))
    assert decode(encode(text)) == text


def test_scoring_two_prompts_has_the_real_shape(server: FakeVLLM) -> None:
    body = read(server, model="fake-model", prompt=[SKY, TWO], **SCORING)
    assert set(body) == REAL_COMPLETION
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert set(body["usage"]) == REAL_USAGE
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    for choice in body["choices"]:
        assert set(choice) == REAL_CHOICE
        assert set(choice["logprobs"]) == REAL_LOGPROBS
        (sampled,) = choice["logprobs"]["tokens"]
        (reported,) = choice["logprobs"]["top_logprobs"]
        assert next(iter(reported)) == sampled
        assert set(reported) == {sampled} | {f"token_id:{token}" for token in LABELS}
        assert choice["logprobs"]["token_logprobs"] == [reported[sampled]]
        assert choice["finish_reason"] == "length"


def test_usage_is_summed_over_the_list(server: FakeVLLM) -> None:
    usage = read(server, prompt=[SKY, TWO], n=3, max_tokens=1)["usage"]
    assert usage["prompt_tokens"] == len(encode(SKY)) + len(encode(TWO))
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6


def test_top_20_is_keyed_by_text_and_lists_the_drawn_token_first(server: FakeVLLM) -> None:
    body = read(server, prompt=SKY, max_tokens=1, temperature=0, logprobs=20)
    (reported,) = body["choices"][0]["logprobs"]["top_logprobs"]
    assert len(reported) == 20
    assert list(reported.values()) == sorted(reported.values(), reverse=True)
    assert next(iter(reported)) == body["choices"][0]["text"]
    drawn = read(server, prompt=SKY, max_tokens=1, temperature=9, seed=5, logprobs=0)["choices"][0]
    assert list(drawn["logprobs"]["top_logprobs"][0]) == drawn["logprobs"]["tokens"]


def test_logprobs_are_absent_unless_asked_for(server: FakeVLLM) -> None:
    assert read(server, prompt=SKY, max_tokens=1)["choices"][0]["logprobs"] is None


def test_a_prompt_may_be_text_or_ids(server: FakeVLLM) -> None:
    ids = encode(SKY)
    every = [SKY, [SKY], ids, [ids]]
    answers = [read(server, prompt=prompt, **SCORING)["choices"] for prompt in every]
    assert all(answer == answers[0] for answer in answers)
    assert server.stats()["prompt_digests"] == {prompt_digest(SKY): 4}


def test_token_ids_come_back_when_asked_for(server: FakeVLLM) -> None:
    choice = read(server, prompt=SKY, max_tokens=3, return_token_ids=True)["choices"][0]
    assert choice["prompt_token_ids"] == encode(SKY)
    assert decode(choice["token_ids"]) == choice["text"]
    chat = read(server, CHAT, messages=HELLO, max_tokens=3, return_token_ids=True)
    assert decode(chat["prompt_token_ids"]) == render_chat(HELLO)
    assert decode(chat["choices"][0]["token_ids"]) == chat["choices"][0]["message"]["content"]


def test_choices_are_prompt_major(server: FakeVLLM) -> None:
    asked: dict[str, Any] = {"n": 2, "temperature": 1, "seed": 3, "max_tokens": 5}
    both = read(server, prompt=[SKY, TWO], **asked)["choices"]
    alone = read(server, prompt=TWO, **asked)["choices"]
    assert [choice["text"] for choice in both[2:]] == [choice["text"] for choice in alone]
    assert [choice["index"] for choice in both] == [0, 1, 2, 3]


def test_chat_has_the_real_shape(server: FakeVLLM) -> None:
    body = read(server, CHAT, messages=HELLO, max_tokens=4, temperature=0)
    assert set(body) == REAL_CHAT
    assert set(body["choices"][0]) == REAL_CHAT_CHOICE
    assert set(body["choices"][0]["message"]) == REAL_MESSAGE
    assert body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] == len(encode(render_chat(HELLO)))


def test_chat_logprobs_have_the_real_shape(server: FakeVLLM) -> None:
    asked: dict[str, Any] = {"messages": HELLO, "max_tokens": 1, "temperature": 0, "logprobs": True}
    (place,) = read(server, CHAT, **asked, top_logprobs=3)["choices"][0]["logprobs"]["content"]
    assert set(place) == {"token", "logprob", "bytes", "top_logprobs"}
    assert len(place["top_logprobs"]) == 3
    assert place["top_logprobs"][0]["token"] == place["token"]
    named: dict[str, Any] = {"logprob_token_ids": [1010, 1011], "return_tokens_as_token_ids": True}
    (place,) = read(server, CHAT, **asked, **named)["choices"][0]["logprobs"]["content"]
    assert [each["token"] for each in place["top_logprobs"]][1:] == ["token_id:1010", "token_id:1011"]


def test_batch_chat_answers_each_conversation_as_if_alone(server: FakeVLLM) -> None:
    other = [{"role": "user", "content": "Say no"}]
    body = read(server, BATCH_CHAT, messages=[HELLO, other], max_tokens=5, temperature=0)
    assert set(body) == REAL_CHAT
    assert set(body["choices"][1]) == REAL_CHAT_CHOICE
    assert body["usage"]["prompt_tokens_details"] is None
    alone = read(server, CHAT, messages=other, max_tokens=5, temperature=0)
    assert body["choices"][1]["message"] == alone["choices"][0]["message"]
    assert body["usage"]["prompt_tokens"] == sum(len(encode(render_chat(m))) for m in (HELLO, other))


def test_small_endpoints_have_the_real_shape(server: FakeVLLM) -> None:
    get = httpx.get(f"{server.base_url}/health")
    assert (get.status_code, get.content) == (200, b"")
    assert httpx.get(f"{server.base_url}/version").json() == {"version": "0.32.0"}
    models = httpx.get(f"{server.v1_url}/models").json()
    assert set(models) == {"object", "data"}
    assert set(models["data"][0]) == REAL_MODEL_CARD
    assert (models["data"][0]["id"], models["data"][0]["max_model_len"]) == ("fake-model", 8192)
    tokens = read(server, "/tokenize", model="fake-model", prompt=" True", return_token_strs=True)
    assert tokens == {"count": 1, "max_model_len": 8192, "tokens": [1000], "token_strs": [" True"]}
    assert httpx.get(f"{server.base_url}/nowhere").json() == {"detail": "Not Found"}
    assert httpx.get(f"{server.v1_url}/completions").json() == {"detail": "Method Not Allowed"}


def test_openapi_lists_what_a_client_probes(server: FakeVLLM) -> None:
    def probe() -> tuple[set[str], set[str]]:
        schema = httpx.get(f"{server.base_url}/openapi.json").json()
        known = schema["components"]["schemas"]["CompletionRequest"]["properties"]
        return set(schema["paths"]), set(known)

    paths, known = probe()
    assert {COMPLETIONS, CHAT, BATCH_CHAT, "/tokenize"} <= paths
    assert "logprob_token_ids" in known
    server.config(supports_logprob_token_ids=False, supports_batch_chat=False)
    paths, known = probe()
    assert BATCH_CHAT not in paths
    assert "logprob_token_ids" not in known


# --- Errors ---------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"prompt": "Hi", "max_tokens": 1}
TOO_MANY_IDS = (
    "Requested logprob_token_ids of length 129, which is greater than max allowed: 128 "
    "(parameter=logprob_token_ids, value=129)"
)
TOO_MANY_LOGPROBS = (
    "Requested sample logprobs of 21, which is greater than max allowed: 20 (parameter=logprobs, value=21)"
)
TOO_MANY_PROMPTS = (
    "prompt list length 1025 exceeds the maximum allowed count of 1024. To increase this limit, set the "
    "VLLM_MAX_COMPLETION_PROMPTS environment variable. (parameter=prompt)"
)
NOT_AN_INTEGER = (
    "1 validation error:\n  {'type': 'int_parsing', 'loc': 'body.max_tokens', 'msg': 'Input should be a "
    "valid integer, unable to parse string as an integer', 'input': 'x'}"
)
TOO_SHORT = (
    "1 validation error:\n  {'type': 'too_short', 'loc': 'body.messages.1', 'msg': 'List should have at "
    "least 1 item after validation, not 0', 'input': '<list of 0 items>', 'ctx': {'field_type': 'List', "
    "'min_length': 1, 'actual_length': 0}}"
)
BAD = "BadRequestError"
ERRORS: list[tuple[str, dict[str, Any], int, str, str | None, str]] = [
    (COMPLETIONS, GOOD | {"model": "nope"}, 404, "NotFoundError", "model",
     "The model `nope` does not exist. Valid aliases: fake-model."),
    (COMPLETIONS, GOOD | {"n": 2, "temperature": 0}, 400, BAD, None,
     "n must be 1 when using greedy sampling, got 2."),
    (COMPLETIONS, GOOD | {"n": 0}, 400, BAD, None, "n must be at least 1, got 0."),
    (COMPLETIONS, GOOD | {"logprob_token_ids": [1]}, 400, BAD, "logprob_token_ids",
     "when using `logprob_token_ids`, `logprobs` must be set. (parameter=logprob_token_ids)"),
    (COMPLETIONS, GOOD | {"logprobs": 1, "logprob_token_ids": [*range(129)]}, 400, BAD, "logprob_token_ids",
     TOO_MANY_IDS),
    (COMPLETIONS, GOOD | {"logprobs": 21}, 400, BAD, "logprobs", TOO_MANY_LOGPROBS),
    (COMPLETIONS, GOOD | {"logprobs": -2}, 400, BAD, "logprobs",
     "`logprobs` must be a positive value or -1. (parameter=logprobs, value=-2)"),
    (COMPLETIONS, GOOD | {"max_tokens": 0}, 400, BAD, "max_tokens",
     "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
    (COMPLETIONS, GOOD | {"temperature": -1}, 400, BAD, "temperature",
     "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)"),
    (COMPLETIONS, GOOD | {"top_p": 2}, 400, BAD, "top_p",
     "top_p must be in (0, 1], got 2.0. (parameter=top_p, value=2.0)"),
    (COMPLETIONS, GOOD | {"max_tokens": "x"}, 400, "Bad Request", "body.max_tokens", NOT_AN_INTEGER),
    (COMPLETIONS, {"prompt": []}, 400, BAD, None, "You must pass at least one prompt"),
    (COMPLETIONS, {"prompt": ["", "Hi"]}, 400, BAD, None, "The decoder prompt cannot be empty"),
    (COMPLETIONS, {"prompt": [99999999]}, 400, BAD, None, "Token id 99999999 is out of vocabulary"),
    (COMPLETIONS, {}, 400, BAD, "prompt",
     "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"),
    (COMPLETIONS, {"prompt": ["a"] * 1025}, 400, BAD, "prompt", TOO_MANY_PROMPTS),
    (CHAT, {"messages": []}, 400, BAD, None,
     "Cannot apply chat template to an empty conversation. Provide at least one message."),
    (CHAT, {"messages": HELLO, "top_logprobs": 3}, 400, BAD, "top_logprobs",
     "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)"),
    (BATCH_CHAT, {"messages": [HELLO], "n": 2}, 400, BAD, "n",
     "Batch chat completions do not support `n > 1`. Please set `n` to 1. (parameter=n, value=2)"),
    (BATCH_CHAT, {"messages": [HELLO, []]}, 400, "Bad Request", "body.messages.1", TOO_SHORT),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "kind", "param", "message"), ERRORS)
def test_errors_are_worded_as_vllm_words_them(
    server: FakeVLLM, path: str, body: dict[str, Any], status: int, kind: str, param: str | None, message: str
) -> None:
    response = post(server, path, **body)
    assert response.status_code == status
    assert response.json() == {"error": {"message": message, "type": kind, "param": param, "code": status}}
    assert server.stats()["answered"] == 0


def test_one_long_prompt_fails_the_whole_list(server: FakeVLLM) -> None:
    server.config(max_model_len=20)
    response = post(server, prompt=["Hi", "long " * 30], max_tokens=1)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input_tokens"
    assert "contains at least 21 input tokens" in response.json()["error"]["message"]
    assert "contains 30 input tokens" in post(server, prompt=[1000] * 30).json()["error"]["message"]
    assert server.stats()["prompts"] == 3
    assert server.stats()["answered"] == 0


def test_a_prompt_as_long_as_the_context_leaves_no_room(server: FakeVLLM) -> None:
    server.config(max_model_len=20)
    response = post(server, prompt=[1000] * 20, max_tokens=1)
    assert response.json()["error"]["param"] == "max_tokens"
    short = read(server, prompt=[1000] * 19, max_tokens=20)
    assert short["usage"]["completion_tokens"] == 1


def test_bodies_that_are_no_json_are_refused(server: FakeVLLM) -> None:
    url, kind = f"{server.v1_url}/completions", {"content-type": "application/json"}
    assert httpx.post(url, content="{bad", headers=kind).json()["error"]["param"] == "body.1"
    text = httpx.post(url, content="{}", headers={"content-type": "text/plain"})
    assert "Unsupported Media Type" in text.json()["error"]["message"]
    assert httpx.post(url, content="[1]", headers=kind).status_code == 400


def test_a_key_guards_v1_and_nothing_else(server: FakeVLLM) -> None:
    server.config(api_key="secret")
    response = post(server, **GOOD)
    assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})
    assert httpx.get(f"{server.v1_url}/models").status_code == 401
    assert post(server, "/tokenize", prompt="Hi").status_code == 200
    key = {"authorization": "Bearer secret"}
    assert httpx.get(f"{server.v1_url}/models", headers=key).status_code == 200
    assert httpx.post(f"{server.v1_url}/completions", json=GOOD, headers=key).status_code == 200


def test_what_the_fake_cannot_do_is_refused_and_unknown_fields_are_not(server: FakeVLLM) -> None:
    assert post(server, **GOOD, stream=True).status_code == 400
    assert post(server, **GOOD, guided_choice=["a"], misspelt=1).status_code == 200


def test_an_old_server_ignores_logprob_token_ids(server: FakeVLLM) -> None:
    server.config(supports_logprob_token_ids=False)
    (reported,) = read(server, prompt=SKY, **SCORING)["choices"][0]["logprobs"]["top_logprobs"]
    assert len(reported) == 1


def test_an_old_server_has_no_batch_chat(server: FakeVLLM) -> None:
    server.config(supports_batch_chat=False)
    response = post(server, BATCH_CHAT, messages=[HELLO])
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


def test_a_model_without_a_chat_template_refuses_conversations_as_vllm_032_does(server: FakeVLLM) -> None:
    server.config(has_chat_template=False)
    for path, messages in [(CHAT, HELLO), (BATCH_CHAT, [HELLO]), ("/tokenize", HELLO)]:
        response = post(server, path, messages=messages)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["type"], error["param"], error["code"]) == ("BadRequestError", None, 400)
        assert "default chat template is no longer allowed" in error["message"]
        assert post(server, path, messages=messages, model="other").status_code == 404
    assert post(server, **GOOD).status_code == 200
    assert post(server, "/tokenize", prompt="Hi").status_code == 200


# --- Answers --------------------------------------------------------------------------------------------


def test_label_sums_give_back_the_scorer() -> None:
    with FakeVLLM(scorer=lambda prompt: len(prompt) / 10 - 4) as server:
        for choice, prompt in zip(
            read(server, prompt=[SKY, f"{TWO} "], **SCORING)["choices"], [SKY, f"{TWO} "], strict=True
        ):
            assert label_odds(choice) == pytest.approx(len(prompt) / 10 - 4, abs=1e-5)
            mass = sum(
                math.exp(choice["logprobs"]["top_logprobs"][0][f"token_id:{token}"]) for token in LABELS
            )
            assert mass == pytest.approx(0.9)


def test_top_20_and_named_ids_agree(server: FakeVLLM) -> None:
    named = read(server, prompt=SKY, **SCORING)["choices"][0]["logprobs"]["top_logprobs"][0]
    top = read(server, prompt=SKY, max_tokens=1, temperature=0, logprobs=20)
    texts = top["choices"][0]["logprobs"]["top_logprobs"][0]
    shared = {text: value for text, value in texts.items() if encode(text)[0] in LABELS}
    assert len(shared) >= 5
    assert all(named[f"token_id:{encode(text)[0]}"] == value for text, value in shared.items())


def test_any_id_has_a_logprob(server: FakeVLLM) -> None:
    asked = [encode(text)[0] for text in ("banana", " Yes", "\n")]
    first, second = (read(server, prompt=SKY, **scoring(asked)) for _ in range(2))
    assert first["choices"] == second["choices"]
    reported = first["choices"][0]["logprobs"]["top_logprobs"][0]
    assert all(-20 <= reported[f"token_id:{token}"] < -5 for token in asked)


def test_labels_and_their_mass_can_be_chosen(server: FakeVLLM) -> None:
    server.config(labels=["Yes", "No", "Bad"], label_mass=0.5)
    asked = [encode(spelling)[0] for word in ("Yes", "No", "Bad") for spelling in spellings(word)]
    choice = read(server, prompt=SKY, **scoring(asked))["choices"][0]
    reported = choice["logprobs"]["top_logprobs"][0]
    mass = sum(math.exp(reported[f"token_id:{token}"]) for token in asked)
    assert mass == pytest.approx(0.5, rel=0.02)  # a filler may share a spelling


def test_allowed_tokens_force_the_draw_and_not_the_logprobs(server: FakeVLLM) -> None:
    free = read(server, prompt=SKY, **SCORING)["choices"][0]["logprobs"]["top_logprobs"][0]
    token = encode(" unclear")[0]
    held = read(server, prompt=SKY, **SCORING, allowed_token_ids=[token])["choices"][0]
    assert held["text"] == " unclear"
    assert free.items() <= held["logprobs"]["top_logprobs"][0].items()


def test_infinite_odds_are_written_as_vllm_writes_them() -> None:
    with FakeVLLM(scorer=lambda _: math.inf) as server:
        (reported,) = read(server, prompt=SKY, **SCORING)["choices"][0]["logprobs"]["top_logprobs"]
        assert reported[f"token_id:{encode(' False')[0]}"] == NO_LOGPROB


def test_generated_text_depends_on_prompt_seed_and_temperature(server: FakeVLLM) -> None:
    def text(prompt: str = SKY, **asked: object) -> str:
        fields: dict[str, Any] = {"max_tokens": 99, "temperature": 1, "seed": 1, **asked}
        return read(server, prompt=prompt, **fields)["choices"][0]["text"]

    assert text() == text()
    assert len({text(), text(seed=2), text(temperature=0.5), text(TWO)}) == 4
    assert text(temperature=0, seed=1) == text(temperature=0, seed=2)
    assert text(max_tokens=2) == decode(encode(text())[:2])


def test_a_writer_may_be_given_and_stop_strings_cut(server: FakeVLLM) -> None:
    with FakeVLLM(writer=lambda prompt, _, draw: f'{{"of": "{prompt}", "n": {draw}}}') as own:
        choice = read(own, prompt="Hi", max_tokens=50)["choices"][0]
        assert json.loads(choice["text"]) == {"of": "Hi", "n": 0}
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)
        choice = read(own, prompt="Hi", max_tokens=50, stop=["Hi"])["choices"][0]
        assert (choice["text"], choice["stop_reason"]) == ('{"of": "', "Hi")
    picked = read(server, prompt="Hi", structured_outputs={"choice": ["red", "green"]}, max_tokens=9)
    assert picked["choices"][0]["text"] in {"red", "green"}


def test_tokens_are_their_own_inverse() -> None:
    for text in (
        "",
        " True",
        "TRUE\n\n",
        "Żółć  12_345 'x'\t\n — 日本語🙂 ",
        "a" * 1000,
        " TRUE",
        "I am  not\n",
    ):
        assert decode(encode(text)) == text
    assert [len(encode(word)) for word in (" True", "true", "TRUE", " FALSE")] == [1, 1, 1, 2]
    assert encode("claim is ")[-1:] == encode(" ")
    assert encode("is True")[-1] == 1000


def test_pinned_answers() -> None:
    assert encode("True") == [1002]
    assert synthetic_scorer(SKY) == pytest.approx(-0.3873323307487594, abs=1e-9)
    assert synthetic_scorer(f"{TWO} True\n\n{SKY}") == pytest.approx(-0.18601800406038674, abs=1e-9)
    assert latent_truth("The  sky\n") == latent_truth("The sky")


# --- The synthetic search problem -----------------------------------------------------------------------


def claim(number: int) -> str:
    return f"Question: number {number}?\nClaim: yes, {number}.\nI think this claim is "


def test_demonstrations_are_read_as_icm_writes_them() -> None:
    prompt = f"{claim(1)}True\n\n{claim(2)}False\n\nA paragraph.\n\n{claim(3)}"
    demonstrations, target = split_demonstrations(prompt)
    assert demonstrations == [(claim(1), True), (claim(2), False)]
    assert target == f"A paragraph.\n\n{claim(3)}"


def test_right_demonstrations_pull_to_the_truth_and_wrong_ones_away() -> None:
    def leaning(*, right: bool) -> float:
        total = 0.0
        for target in range(30):
            others = [claim(number) for number in range(30) if number != target]
            shots = "".join(f"{other}{latent_truth(other) == right}\n\n" for other in others)
            sign = 1 if latent_truth(claim(target)) else -1
            total += sign * synthetic_scorer(shots + claim(target))
        return total / 30

    assert leaning(right=True) > 1.5
    assert leaning(right=False) < -0.5


def test_a_search_meets_additions_that_help_and_additions_that_hurt() -> None:
    def mean(labels: dict[int, bool]) -> float:
        total = 0.0
        for target, label in labels.items():
            shots = "".join(f"{claim(n)}{labels[n]}\n\n" for n in labels if n != target)
            total += (1 if label else -1) * synthetic_scorer(shots + claim(target))
        return total / len(labels)

    known = {number: latent_truth(claim(number)) for number in range(12)}
    gains: list[float] = []
    for number in range(12, 32):
        shots = "".join(f"{claim(n)}{label}\n\n" for n, label in known.items())
        proposal = synthetic_scorer(shots + claim(number)) > 0
        gains.append(mean({**known, number: proposal}) - mean(known))
    assert 5 <= sum(gain > 0 for gain in gains) <= 15


# --- Faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "retry_after"), [(429, "3"), (500, None), (503, None), (400, None)])
def test_status_faults_have_a_body_of_vllms_shape(
    server: FakeVLLM, status: int, retry_after: str | None
) -> None:
    server.faults([{"kind": "status", "status": status, "retry_after": retry_after, "message": "no"}])
    response = post(server, **GOOD)
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry_after
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["message"] == "no"
    assert post(server, **GOOD).status_code == 200


def test_a_script_is_used_up_in_order(server: FakeVLLM) -> None:
    server.faults([{"kind": "ok"}, {"kind": "status", "status": 503, "times": 2}, {"kind": "status"}])
    assert [post(server, **GOOD).status_code for _ in range(5)] == [200, 503, 503, 500, 200]
    assert server.stats()["by_status"] == {"200": 2, "503": 2, "500": 1}
    assert server.stats()["faults_left"] == []


def test_one_bad_prompt_fails_every_list_it_is_in(server: FakeVLLM) -> None:
    server.faults([{"kind": "status", "status": 400, "times": -1, "match": "odd"}])
    assert post(server, prompt=[SKY, TWO], max_tokens=1).status_code == 400
    assert post(server, prompt=[SKY], max_tokens=1).status_code == 200
    assert post(server, prompt=[TWO], max_tokens=1).status_code == 400
    assert server.stats()["prompt_digests"] == {prompt_digest(SKY): 1}


@pytest.mark.parametrize(("hard", "error"), [(False, httpx.RemoteProtocolError), (True, httpx.ReadError)])
def test_reset_closes_without_an_answer(server: FakeVLLM, hard: bool, error: type[Exception]) -> None:  # noqa: FBT001
    server.faults([{"kind": "reset", "hard": hard}])
    with pytest.raises(error):
        post(server, **GOOD)
    stats = server.stats()
    assert (stats["requests"], stats["answered"], stats["by_status"]) == (1, 0, {})


def test_hang_answers_late(server: FakeVLLM) -> None:
    server.faults([{"kind": "hang", "seconds": 0.2}])
    begun = time.monotonic()
    assert post(server, **GOOD).status_code == 200
    assert time.monotonic() - begun >= 0.2


def test_a_client_that_leaves_is_not_answered(server: FakeVLLM) -> None:
    server.faults([{"kind": "hang", "seconds": 30}])
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.v1_url}/completions", json=GOOD, timeout=0.1)
    end = time.monotonic() + 5
    while server.stats()["abandoned"] == 0:
        assert time.monotonic() < end
    assert server.stats()["answered"] == 0
    assert server.stats()["in_flight"] == 0


def test_truncated_bodies_break_off(server: FakeVLLM) -> None:
    server.faults([{"kind": "truncated"}, {"kind": "truncated", "declared": "cut"}])
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message"):
        post(server, **GOOD)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        post(server, **GOOD).json()
    assert server.stats()["answered"] == 0


def test_answers_that_are_no_json(server: FakeVLLM) -> None:
    server.faults([{"kind": "not_json"}, {"kind": "html"}])
    for kind in ("application/json", "text/html; charset=utf-8"):
        response = post(server, **GOOD)
        assert (response.status_code, response.headers["content-type"]) == (200, kind)
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            response.json()
    assert (server.stats()["answered"], server.stats()["spoiled"]) == (0, 2)


def test_faults_of_the_list_of_choices(server: FakeVLLM) -> None:
    kinds = ["too_few_choices", "reordered_choices", "bad_index", "empty_choices"]
    server.faults([{"kind": kind} for kind in kinds] + [{"kind": "bad_index", "index": 0}])
    indices = [
        [choice["index"] for choice in read(server, prompt=[SKY, TWO, "Hi"], **SCORING)["choices"]]
        for _ in range(5)
    ]
    assert indices == [[0, 1], [2, 1, 0], [0, 1, 3], [], [0, 1, 0]]


def test_reordered_choices_still_carry_their_own_answer(server: FakeVLLM) -> None:
    straight = read(server, prompt=[SKY, TWO], **SCORING)["choices"]
    server.faults([{"kind": "reordered_choices"}])
    assert read(server, prompt=[SKY, TWO], **SCORING)["choices"] == straight[::-1]
    assert server.stats()["answered"] == 4


def test_faults_of_one_choice_leave_the_others(server: FakeVLLM) -> None:
    kinds = ("missing_logprobs", "abort", "minus_9999")
    server.faults([{"kind": kind, "match": "odd"} for kind in kinds])
    missing, aborted, lost = (read(server, prompt=[SKY, TWO], **SCORING)["choices"] for _ in kinds)
    assert missing[1]["logprobs"] is None
    assert (aborted[1]["finish_reason"], aborted[1]["text"]) == ("abort", "")
    assert aborted[1]["logprobs"] == {key: [] for key in REAL_LOGPROBS}
    values = list(lost[1]["logprobs"]["top_logprobs"][0].values())
    assert values.count(NO_LOGPROB) == len(values) - 1
    for choices in (missing, aborted, lost):
        assert choices[0] == read(server, prompt=SKY, **SCORING)["choices"][0]
    stats = server.stats()
    assert (stats["spoiled"], stats["prompt_digests"]) == (3, {prompt_digest(SKY): 6})


def test_top_k_collapses_as_on_the_v1_runner(server: FakeVLLM) -> None:
    server.faults([{"kind": "minus_9999"}])
    asked: dict[str, Any] = {
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 20,
        "return_tokens_as_token_ids": True,
    }
    (reported,) = read(server, prompt=SKY, **asked)["choices"][0]["logprobs"]["top_logprobs"]
    assert len(reported) == 2
    assert reported["token_id:0"] == NO_LOGPROB


def test_chat_is_hit_by_faults_too(server: FakeVLLM) -> None:
    server.faults([{"kind": "abort"}, {"kind": "empty_choices"}])
    aborted = read(server, CHAT, messages=HELLO, max_tokens=4)["choices"][0]
    assert (aborted["finish_reason"], aborted["message"]["content"]) == ("abort", "")
    assert read(server, BATCH_CHAT, messages=[HELLO], max_tokens=4)["choices"] == []


def test_misspelt_controls_are_refused(server: FakeVLLM) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        server.faults([{"kind": "explode"}])
    with pytest.raises(ValueError, match="unexpected keyword"):
        server.faults([{"kind": "ok", "time": 3}])
    with pytest.raises(ValueError, match="no such setting: latency"):
        server.config(latency=3)
    with pytest.raises(ValueError, match="no such setting"):
        FakeVLLM(latency=3)


# --- Counting -------------------------------------------------------------------------------------------


def test_what_is_counted(server: FakeVLLM) -> None:
    read(server, prompt=[SKY, TWO, SKY], **SCORING)
    read(server, CHAT, messages=HELLO, max_tokens=1)
    httpx.get(f"{server.v1_url}/models")
    post(server, "/tokenize", prompt="Hi")
    stats = server.stats()
    assert (stats["requests"], stats["all_requests"], stats["prompts"]) == (2, 4, 4)
    assert (stats["answered"], stats["max_list"], stats["by_status"]) == (4, 3, {"200": 2})
    assert stats["by_path"] == {COMPLETIONS: 1, CHAT: 1, "/v1/models": 1, "/tokenize": 1}
    assert stats["prompt_digests"] == {
        prompt_digest(SKY): 2,
        prompt_digest(TWO): 1,
        prompt_digest(render_chat(HELLO)): 1,
    }
    server.reset()
    assert server.stats()["requests"] == 0


async def test_requests_in_flight_are_counted(server: FakeVLLM) -> None:
    server.config(latency_seconds=0.2)
    async with httpx.AsyncClient(base_url=server.base_url) as client:
        responses = await asyncio.gather(*(client.post(COMPLETIONS, json=GOOD) for _ in range(5)))
    assert {response.status_code for response in responses} == {200}
    assert server.stats()["max_in_flight"] == 5


# --- Running --------------------------------------------------------------------------------------------


def test_it_starts_fast_and_stops_while_an_answer_hangs() -> None:
    begun = time.monotonic()
    with FakeVLLM() as server:
        server.stats()
        assert time.monotonic() - begun < 1
        server.faults([{"kind": "hang", "seconds": 60}])
        with httpx.Client() as client:
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{server.v1_url}/completions", json=GOOD, timeout=0.1)
            begun = time.monotonic()
    assert time.monotonic() - begun < 2


def test_two_servers_do_not_share_anything(server: FakeVLLM) -> None:
    with FakeVLLM(models=["other"]) as other:
        read(other, **GOOD, model="other")
        assert post(server, **GOOD, model="other").status_code == 404
        assert (server.stats()["answered"], other.stats()["answered"]) == (0, 1)


def test_a_process_outlives_its_killed_client_and_answers_like_a_thread(server: FakeVLLM) -> None:
    with FakeVLLMProcess(latency_seconds=0.05) as apart:
        same = read(apart, prompt=[SKY, TWO], **SCORING)["choices"]
        assert same == read(server, prompt=[SKY, TWO], **SCORING)["choices"]
        script = f"import httpx\nwhile True: httpx.post({apart.v1_url + '/completions'!r}, json={GOOD!r})"
        with subprocess.Popen([sys.executable, "-c", script]) as client:
            try:
                while apart.stats()["answered"] < 5:
                    time.sleep(0.02)
            finally:
                client.kill()
        answered = apart.stats()["answered"]
        assert answered >= 5
        assert post(apart, **GOOD).status_code == 200


# --- load, and the runner's fault -------------------------------------------------------------------------


def test_load_is_told_to_those_who_ask(server: FakeVLLM) -> None:
    server.config(others_waiting=12, kv_use=0.25)
    body = {"model": "fake-model", "prompt": "hi"}
    asked = {"endpoint-load-metrics-format": "JSON"}
    loaded = httpx.post(f"{server.v1_url}/completions", json=body, headers=asked, trust_env=False)
    told = '{"named_metrics": {"num_requests_waiting": 12.0, "kv_cache_usage_perc": 0.25}}'
    assert loaded.headers["endpoint-load-metrics"] == f"JSON {told}"
    plain = httpx.post(f"{server.v1_url}/completions", json=body, trust_env=False)
    assert "endpoint-load-metrics" not in plain.headers


async def test_plain_logprobs_are_lost_while_chosen_ids_are_in_flight(server: FakeVLLM) -> None:
    server.config(v1_runner=True, latency_seconds=0.3)
    plain = {"model": "fake-model", "prompt": "hi", "max_tokens": 1, "logprobs": 3}
    chosen = {**plain, "logprob_token_ids": [1000, 1001]}
    async with httpx.AsyncClient(base_url=server.v1_url, trust_env=False) as client:
        alone = (await client.post("/completions", json=plain)).json()
        together, _ = await asyncio.gather(
            client.post("/completions", json=plain), client.post("/completions", json=chosen)
        )
    assert min(alone["choices"][0]["logprobs"]["top_logprobs"][0].values()) > -9000
    assert min(together.json()["choices"][0]["logprobs"]["top_logprobs"][0].values()) == -9999.0
    assert server.stats()["mixed"] == 1


def test_slots_make_prompts_wait_in_turn(server: FakeVLLM) -> None:
    server.config(slots=4, latency_seconds=0.1)
    body = {"model": "fake-model", "prompt": ["hi"] * 8}
    started = time.monotonic()
    assert httpx.post(f"{server.v1_url}/completions", json=body, trust_env=False).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_client_that_dies_in_the_middle_of_its_request_is_abandoned(server: FakeVLLM) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        time.sleep(0.2)
    end = time.monotonic() + 10
    while not server.stats()["abandoned"] and time.monotonic() < end:
        time.sleep(0.02)
    assert server.stats()["abandoned"] == 1
