"""What was stored comes back as it was, bit for bit."""

import dataclasses
import json
import math

from hypothesis import given
from hypothesis import strategies as st

from backends.messages import Label, Message, Request, Response, SamplingParams, TokenLogprob
from tasks.codec import (
    decode_entry,
    decode_labels,
    encode_entry,
    encode_labels,
    read_entry,
    response_from_json,
    response_to_json,
)
from tasks.keys import request_digests, request_key

TEXT = st.text(max_size=20)
LOGPROBS = st.floats(max_value=0.0, allow_nan=False, allow_infinity=False) | st.just(-math.inf)
LABELS = st.lists(
    st.builds(Label, text=TEXT, token_ids=st.lists(st.integers(0, 2**25), min_size=1, max_size=4).map(tuple)),
    max_size=3,
).map(tuple)
RESPONSES = st.builds(
    Response,
    text=TEXT,
    finish_reason=st.sampled_from(["stop", "length"]),
    label_logprobs=st.dictionaries(TEXT, LOGPROBS, max_size=3),
    reasoning=st.none() | TEXT,
    token_logprobs=st.lists(
        st.builds(
            TokenLogprob, token=TEXT, logprob=LOGPROBS, top=st.dictionaries(TEXT, LOGPROBS, max_size=2)
        ),
        max_size=2,
    ).map(tuple),
    served_by=st.none() | TEXT,
)
SAMPLING = st.builds(
    SamplingParams,
    max_tokens=st.integers(1, 10_000),
    temperature=st.floats(0, 2),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 2**63),
    stop=st.lists(TEXT, max_size=2).map(tuple),
    extra_body=st.dictionaries(st.sampled_from(["top_k", "min_p"]), st.integers(1, 9) | TEXT, max_size=2),
)
MESSAGES = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT)
COMPLETIONS = st.builds(
    Request, model=TEXT, sampling=SAMPLING, prompt=TEXT, labels=LABELS, revision=st.none() | TEXT
)
CHATS = st.builds(
    Request,
    model=TEXT,
    sampling=SAMPLING,
    messages=st.lists(MESSAGES, min_size=1, max_size=3).map(tuple),
    sample_index=st.integers(0, 100),
    logprobs=st.none() | st.integers(0, 5),
    json_schema=st.none() | st.sampled_from(["{}", '{"type": "object"}']),
)
REQUESTS = COMPLETIONS | CHATS


@given(RESPONSES)
def test_a_response_survives_json(response: Response) -> None:
    written = json.dumps(response_to_json(response), allow_nan=False)
    assert response_from_json(json.loads(written)) == response


@given(REQUESTS, RESPONSES, st.booleans())
def test_a_response_survives_an_entry(request: Request, response: Response, keep_text: bool) -> None:  # noqa: FBT001
    entry = encode_entry(request, request_digests(request), response, keep_text=keep_text)
    assert decode_entry(entry) == response
    assert ("request" in read_entry(entry)) is keep_text


@given(REQUESTS, RESPONSES)
def test_a_kept_request_is_the_whole_request(request: Request, response: Response) -> None:
    """Whole but for its group, which says where it goes and not what is asked."""
    entry = encode_entry(request, request_digests(request), response, keep_text=True)
    written = json.loads(json.dumps(dataclasses.asdict(request)))
    del written["group"]
    assert read_entry(entry).get("request") == written


@given(LABELS)
def test_labels_survive_an_entry(labels: tuple[Label, ...]) -> None:
    assert decode_labels(encode_labels(labels)) == labels


@given(REQUESTS, REQUESTS)
def test_different_requests_have_different_keys(left: Request, right: Request) -> None:
    assert (request_key(left) == request_key(right)) is (left == right)
