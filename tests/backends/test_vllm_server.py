"""A vLLM server is asked in lists, told exactly what to score, and never believed when it is wrong."""

import asyncio
import logging
import math
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backends.base import Exchange, Hooks
from backends.batching import ListBounds
from backends.capabilities import Capabilities
from backends.concurrency import AdaptiveLimit
from backends.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    ConnectionLostError,
    ContextOverflowError,
    GatewayError,
    LostLogprobsError,
    RateLimitError,
    ResponseFormatError,
    ServerError,
    ServerUnavailableError,
    UnknownModelError,
)
from backends.messages import Label, Request, Response, Usage
from backends.retrying import RetryPolicy
from backends.vllm_server import FIRST_CONTACT_ATTEMPTS, VLLMServer
from tests.backends.test_labels import WORDS, model_directory
from tests.fake_vllm import (
    BATCH_CHAT,
    CHAT,
    COMPLETIONS,
    FakeVLLM,
    encode,
    prompt_digest,
    spellings,
    synthetic_scorer,
)
from tests.helpers import (
    MODEL,
    Naps,
    arrivals_of,
    chat,
    completion,
    completions,
    error_of,
    outcomes_of,
    responses_of,
    sampling,
    scoring,
    until,
)

KEY = "sk-very-secret"
ATTEMPTS = 3
TEXTS = ["True", "False"]
EXACT = tuple(
    Label(text=text, token_ids=tuple(sorted(encode(spelling)[0] for spelling in spellings(text))))
    for text in TEXTS
)
BY_TEXT = tuple(Label(text=text) for text in TEXTS)
CLAIMS = [f"Claim {number}.\nI think this claim is" for number in range(5)]


def backend_of(server: FakeVLLM, naps: Naps | None = None, **changes: Any) -> VLLMServer:  # noqa: ANN401
    retrier = (naps or Naps()).retrier(RetryPolicy(max_attempts=ATTEMPTS, max_away_seconds=0.0))
    given: dict[str, Any] = {"retrier": retrier, "timeout_seconds": 20.0}
    return VLLMServer(server.base_url, **{**given, **changes})


def model_requests(server: FakeVLLM) -> dict[str, int]:
    """Count the POSTs by path, without the questions about the server itself."""
    by_path = server.stats()["by_path"]
    return {path: by_path[path] for path in (COMPLETIONS, CHAT, BATCH_CHAT) if path in by_path}


def log_odds(response: Response) -> float:
    return response.label_logprobs["True"] - response.label_logprobs["False"]


# --- lists ----------------------------------------------------------------------------------------------


async def test_a_list_of_prompts_is_one_request_and_answers_find_their_prompts(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        (arrival,) = await arrivals_of(backend, completions(10))
        alone = [await responses_of(backend, [request]) for request in completions(10)]
    together = [outcome for _, outcome in sorted(arrival.outcomes, key=lambda pair: pair[0])]
    assert together == [response for (response,) in alone]
    assert arrival.requests_sent == 1
    assert server.stats()["max_list"] == 10
    assert server.stats()["by_path"][COMPLETIONS] == 11


async def test_every_answer_carries_text_reason_fingerprint_and_cost(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        (arrival,) = await arrivals_of(backend, completions(2))
    responses = [outcome for _, outcome in arrival.outcomes if isinstance(outcome, Response)]
    assert all(response.text for response in responses)
    assert {response.finish_reason for response in responses} <= {"stop", "length"}
    assert {response.served_by for response in responses} == {"vllm-0.32.0-fa4e0001"}
    prompts = sum(len(encode(f"question {number}")) for number in range(2))
    assert arrival.usage.input_tokens == prompts
    assert arrival.usage.output_tokens == sum(len(encode(response.text)) for response in responses)


async def test_lists_are_cut_at_max_prompts(server: FakeVLLM) -> None:
    async with backend_of(server, bounds=ListBounds(max_prompts=4)) as backend:
        arrivals = await arrivals_of(backend, completions(10))
    assert sorted(len(arrival.outcomes) for arrival in arrivals) == [2, 4, 4]
    assert server.stats()["max_list"] == 4


async def test_200_prompts_are_all_in_flight_at_once(server: FakeVLLM) -> None:
    server.config(latency_seconds=60)
    requests = completions(200)
    limit = AdaptiveLimit(initial=200)
    bounds = ListBounds(max_prompts=25)
    async with (
        backend_of(server, bounds=bounds, limit=limit) as backend,
        aclosing(backend.answer(requests)) as arrivals,
    ):
        reader = asyncio.ensure_future(anext(arrivals))
        await until(lambda: server.stats()["in_flight"] == 8 or reader.done())
        assert (server.stats()["in_flight"], server.stats()["prompts"]) == (8, 200)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    await until(lambda: not server.stats()["in_flight"])  # whoever stops early leaves nobody computing
    assert server.stats()["answered"] == 0


async def test_no_more_lists_are_open_than_allowed(server: FakeVLLM) -> None:
    server.config(latency_seconds=0.1)
    async with backend_of(
        server, bounds=ListBounds(max_prompts=2), limit=AdaptiveLimit(initial=6, largest=6)
    ) as backend:
        await responses_of(backend, completions(12))
    assert server.stats()["max_in_flight"] == 3


async def test_conversations_are_one_request_where_the_server_can(server: FakeVLLM) -> None:
    requests = [chat(f"question {number}") for number in range(6)]
    async with backend_of(server) as backend:
        together = await responses_of(backend, requests)
        assert model_requests(server) == {BATCH_CHAT: 1}
        alone = [await responses_of(backend, [request]) for request in requests]
    assert model_requests(server) == {BATCH_CHAT: 1, CHAT: 6}
    assert together == [response for (response,) in alone]


async def test_conversations_go_one_by_one_where_the_server_cannot(server: FakeVLLM) -> None:
    server.config(supports_batch_chat=False)
    async with backend_of(server) as backend:
        arrivals = await arrivals_of(backend, [chat(f"question {number}") for number in range(6)])
    assert model_requests(server) == {CHAT: 6}
    assert sum(arrival.requests_sent for arrival in arrivals) == 6
    outcomes = [outcome for arrival in arrivals for _, outcome in arrival.outcomes]
    assert len({outcome.text for outcome in outcomes if isinstance(outcome, Response)}) > 1
    assert sum(arrival.usage.input_tokens for arrival in arrivals) > 6


async def test_one_bad_conversation_spoils_no_other(server: FakeVLLM) -> None:
    requests = [chat(f"question {number}") for number in range(5)]
    for batch in (True, False):
        server.reset()
        server.config(supports_batch_chat=batch)
        server.faults([{"kind": "status", "status": 400, "match": "question 3", "times": -1}])
        async with backend_of(server) as backend:
            outcomes = await outcomes_of(backend, requests)
        assert [type(outcome) for outcome in outcomes] == [Response] * 3 + [BadRequestError, Response]


async def test_draws_of_one_request_differ_and_repeat(server: FakeVLLM) -> None:
    hot = sampling(temperature=1.0, seed=5)
    requests = [completion("hi", sampling=hot, sample_index=number) for number in range(4)]
    async with backend_of(server) as backend:
        first, again = await responses_of(backend, requests), await responses_of(backend, requests)
    assert first == again
    assert len({response.text for response in first}) > 1


# --- labels ---------------------------------------------------------------------------------------------


async def test_exact_labels_are_the_model_s_own_log_odds(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        labels = await backend.find_labels(MODEL, TEXTS)
        responses = await responses_of(backend, [scoring(claim, labels) for claim in CLAIMS])
    assert labels == EXACT
    for claim, response in zip(CLAIMS, responses, strict=True):
        # " TRUE" is two tokens, but then every other spelling of both labels was counted
        assert log_odds(response) == pytest.approx(synthetic_scorer(claim), abs=1e-5)
        mass = sum(math.exp(value) for value in response.label_logprobs.values())
        assert mass == pytest.approx(0.9, abs=1e-4)


async def test_labels_by_text_come_near_the_exact_ones(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        exact = await responses_of(backend, [scoring(claim, EXACT) for claim in CLAIMS])
        likely = await responses_of(backend, [scoring(claim, BY_TEXT) for claim in CLAIMS])
    assert [log_odds(one) for one in likely] == pytest.approx([log_odds(one) for one in exact], abs=0.1)


async def test_a_tokenizer_on_this_machine_is_read_in_place_of_asking(
    server: FakeVLLM, tmp_path: Path
) -> None:
    server.config(model_root=str(model_directory(tmp_path, WORDS)))
    async with backend_of(server) as backend:
        labels = await backend.find_labels(MODEL, TEXTS)
    assert [len(label.token_ids) for label in labels] == [6, 2]
    assert "/tokenize" not in server.stats()["by_path"]


async def test_what_lies_here_at_a_remote_server_s_path_is_not_its_tokenizer(
    server: FakeVLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = socket.getaddrinfo

    def resolve(host: str | bytes | None, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as socket's
        return here("127.0.0.1" if host in ("gpu-box", b"gpu-box") else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("no_proxy", "gpu-box")
    server.config(model_root=str(model_directory(tmp_path, ["False", "True"])))
    async with VLLMServer(f"http://gpu-box:{server.port}", retrier=Naps().retrier()) as backend:
        assert await backend.find_labels(MODEL, TEXTS) == EXACT
    assert "/tokenize" in server.stats()["by_path"]


async def test_a_label_that_is_no_token_is_refused_before_anything_is_scored(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        with pytest.raises(BadRequestError, match="'Perhaps' is no single token"):
            await backend.find_labels(MODEL, ["True", "Perhaps"])
    assert model_requests(server) == {}


async def test_labels_of_a_model_that_is_not_served_are_refused(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        with pytest.raises(UnknownModelError, match="`other` does not exist"):
            await backend.find_labels("other", TEXTS)


async def test_an_old_server_gives_labels_without_ids(server: FakeVLLM) -> None:
    server.config(supports_logprob_token_ids=False)
    async with backend_of(server) as backend:
        labels = await backend.find_labels(MODEL, TEXTS)
        assert labels == BY_TEXT
        responses = await responses_of(backend, [scoring(claim, labels) for claim in CLAIMS])
    assert all(math.isfinite(log_odds(response)) for response in responses)
    assert "/tokenize" not in server.stats()["by_path"]


async def test_an_old_server_is_not_asked_for_exact_scores_that_it_would_ignore(server: FakeVLLM) -> None:
    server.config(supports_logprob_token_ids=False, version="0.9.0")
    async with backend_of(server) as backend:
        outcomes = await outcomes_of(backend, [scoring(claim, EXACT) for claim in CLAIMS])
    assert {str(outcome) for outcome in outcomes} == {
        "vLLM 0.9.0 cannot score chosen tokens (logprob_token_ids); use scoring='top-20'"
    }
    assert model_requests(server) == {}


# --- counting -------------------------------------------------------------------------------------------


async def test_tokens_are_counted_without_being_computed(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        assert await backend.count_text(MODEL, "Acme True Inc.") == len(encode("Acme True Inc."))
        assert await backend.count_tokens(chat("Acme")) > len(encode("Acme"))
    assert model_requests(server) == {}


# --- what the server can do -----------------------------------------------------------------------------


async def test_nothing_is_sent_before_it_is_needed(server: FakeVLLM) -> None:
    async with backend_of(server) as backend:
        assert [arrival async for arrival in backend.answer([])] == []
        unread = backend.answer(completions(3))
    await unread.aclose()
    assert server.stats()["all_requests"] == 0


@pytest.mark.parametrize("token_ids", [True, False])
@pytest.mark.parametrize("batch_chat", [True, False])
async def test_the_server_is_asked_once_what_it_can(
    server: FakeVLLM,
    token_ids: bool,  # noqa: FBT001
    batch_chat: bool,  # noqa: FBT001
) -> None:
    server.config(supports_logprob_token_ids=token_ids, supports_batch_chat=batch_chat, models=["a", "b"])
    async with backend_of(server) as backend:
        several = await asyncio.gather(*(backend.capabilities() for _ in range(5)))
        can = await backend.capabilities()
    assert can == Capabilities(
        version="0.32.0",
        roots={"a": "/models/fake-model", "b": "/models/fake-model"},
        scores_token_ids=token_ids,
        has_batch_chat=batch_chat,
        max_model_lens={"a": 8192, "b": 8192},
    )
    assert several == [can] * 5
    assert server.stats()["by_path"] == {"/version": 1, "/v1/models": 1, "/openapi.json": 1}


async def test_a_server_that_cannot_be_asked_fails_every_request_with_the_reason() -> None:
    with FakeVLLM() as gone:
        naps = Naps()
        backend = backend_of(gone, naps)
    async with backend:
        outcomes = await outcomes_of(backend, completions(3))
    assert [type(outcome) for outcome in outcomes] == [BackendConnectionError] * 3
    assert len(naps.seconds) == ATTEMPTS - 1


# --- faults ---------------------------------------------------------------------------------------------


def retried(kind: str, error: type[BackendError], **changes: object) -> Any:  # noqa: ANN401 - a ParameterSet
    fault = {"kind": kind, **changes}
    return pytest.param(fault, error, id="-".join(str(part) for part in fault.values()))


TRANSIENT = [
    retried("status", RateLimitError, status=429),
    retried("status", ServerUnavailableError, status=503),
    retried("status", ServerError, status=500),
    retried("status", GatewayError, status=502),
    retried("status", GatewayError, status=504),
    retried("reset", ConnectionLostError),
    retried("reset", ConnectionLostError, hard=True),
    retried("truncated", ConnectionLostError),
    retried("truncated", ResponseFormatError, declared="cut"),
    retried("not_json", ResponseFormatError),
    retried("html", ResponseFormatError),
    retried("too_few_choices", ResponseFormatError),
    retried("empty_choices", ResponseFormatError),
    retried("bad_index", ResponseFormatError),
    retried("bad_index", ResponseFormatError, index=-1),
    retried("missing_logprobs", ResponseFormatError),
    retried("minus_9999", LostLogprobsError),
    retried("abort", ServerError),
]
ATTEMPTS_OF: Mapping[type[BackendError], int] = {ServerError: 2, ResponseFormatError: 2}


@pytest.mark.parametrize(("fault", "error"), TRANSIENT)
async def test_a_fault_that_passes_is_asked_again(
    server: FakeVLLM, fault: dict[str, object], error: type[BackendError]
) -> None:
    del error
    requests = [scoring(claim, EXACT) for claim in CLAIMS]
    naps = Naps()
    async with backend_of(server, naps) as backend:
        undisturbed = await responses_of(backend, requests)
        server.reset()
        server.faults([fault])
        (arrival,) = await arrivals_of(backend, requests)
    assert [outcome for _, outcome in sorted(arrival.outcomes, key=lambda pair: pair[0])] == undisturbed
    assert arrival.requests_sent == 2
    assert model_requests(server) == {COMPLETIONS: 2}
    assert len(naps.seconds) == 1


@pytest.mark.parametrize(("fault", "error"), TRANSIENT)
async def test_a_fault_that_stays_is_an_outcome_after_the_last_attempt(
    server: FakeVLLM, fault: dict[str, object], error: type[BackendError]
) -> None:
    server.faults([{**fault, "times": -1}])
    async with backend_of(server) as backend:
        outcome = await error_of(backend, scoring(CLAIMS[0], EXACT))
    assert isinstance(outcome, error)
    attempts = ATTEMPTS if fault["kind"] == "abort" else ATTEMPTS_OF.get(error, ATTEMPTS)
    assert model_requests(server) == {COMPLETIONS: attempts}


@pytest.mark.parametrize(
    "kind", ["too_few_choices", "bad_index", "missing_logprobs", "minus_9999", "abort", "status", "truncated"]
)
async def test_the_prompt_that_spoils_every_list_stands_alone_in_the_end(server: FakeVLLM, kind: str) -> None:
    requests = [scoring(claim, EXACT) for claim in CLAIMS]
    cut = {"declared": "cut"} if kind == "truncated" else {}
    async with backend_of(server) as backend:
        undisturbed = await responses_of(backend, requests)
        server.reset()
        server.faults([{"kind": kind, "match": CLAIMS[2], "times": -1, **cut}])
        outcomes = await outcomes_of(backend, requests)
    assert isinstance(outcomes.pop(2), BackendError)
    assert outcomes == undisturbed[:2] + undisturbed[3:]


async def test_reordered_choices_are_no_fault(server: FakeVLLM) -> None:
    requests = [scoring(claim, EXACT) for claim in CLAIMS]
    async with backend_of(server) as backend:
        undisturbed = await responses_of(backend, requests)
        server.reset()
        server.faults([{"kind": "reordered_choices"}])
        assert await responses_of(backend, requests) == undisturbed
    assert model_requests(server) == {COMPLETIONS: 1}


async def test_a_hanging_request_is_given_up_and_asked_again(server: FakeVLLM) -> None:
    server.faults([{"kind": "hang", "seconds": 60, "match": "question"}])
    async with backend_of(server, timeout_seconds=1.0) as backend:
        await backend.capabilities()
        (response,) = await responses_of(backend, completions(1))
    assert response.text
    assert model_requests(server) == {COMPLETIONS: 2}


async def test_a_server_that_always_hangs_is_a_timeout(server: FakeVLLM) -> None:
    server.faults([{"kind": "hang", "seconds": 60, "times": -1}])
    async with backend_of(server, timeout_seconds=0.3) as backend:
        backend_knows = await backend.capabilities()
        assert type(await error_of(backend, completion("hi"))) is BackendTimeoutError
    assert backend_knows.version
    assert model_requests(server) == {COMPLETIONS: ATTEMPTS}


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Fri, 01 Jan 2999 00:00:00 GMT", 600.0)],
)
async def test_a_pause_that_the_server_asks_for_is_made(
    server: FakeVLLM, header: str, expected: float
) -> None:
    naps = Naps()
    server.faults([{"kind": "status", "status": 503, "retry_after": header}])
    async with backend_of(server, naps) as backend:
        await responses_of(backend, completions(1))
    assert naps.seconds == [expected]


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequestError), (401, AuthenticationError), (403, AuthenticationError)]
)
async def test_a_refusal_comes_out_at_once_in_the_server_s_words(
    server: FakeVLLM, status: int, kind: type[BackendError]
) -> None:
    naps = Naps()
    server.faults([{"kind": "status", "status": status, "message": "not on a Sunday", "times": -1}])
    async with backend_of(server, naps) as backend:
        error = await error_of(backend, completion("hi"))
    assert type(error) is kind
    assert "not on a Sunday" in str(error)
    assert model_requests(server) == {COMPLETIONS: 1}
    assert naps.seconds == []


async def test_a_model_that_is_not_served_costs_one_request(server: FakeVLLM) -> None:
    requests = [completion(f"question {number}", model="other") for number in range(8)]
    async with backend_of(server) as backend:
        outcomes = await outcomes_of(backend, requests)
    assert {type(outcome) for outcome in outcomes} == {UnknownModelError}
    assert "The model `other` does not exist. Valid aliases: fake-model." in str(outcomes[0])
    assert model_requests(server) == {COMPLETIONS: 1}


@pytest.mark.parametrize("place", range(6))
async def test_one_prompt_that_is_too_long_spoils_no_other(server: FakeVLLM, place: int) -> None:
    server.config(max_model_len=64)
    requests: list[Request] = completions(6)
    requests[place] = completion("word " * 100)
    async with backend_of(server) as backend:
        outcomes = await outcomes_of(backend, requests)
    error = outcomes.pop(place)
    assert isinstance(error, ContextOverflowError)
    assert "maximum context length is 64 tokens" in str(error)
    assert error.limit_tokens == 64
    assert [type(outcome) for outcome in outcomes] == [Response] * 5
    assert answered_once(server, [request for request in requests if request is not requests[place]])


def answered_once(server: FakeVLLM, requests: Sequence[Request]) -> bool:
    expected = Counter(prompt_digest(str(request.prompt)) for request in requests)
    return server.stats()["prompt_digests"] == expected


async def test_usage_counts_what_was_answered_after_a_retry(server: FakeVLLM) -> None:
    server.faults([{"kind": "status", "status": 503}])
    async with backend_of(server) as backend:
        (arrival,) = await arrivals_of(backend, completions(2))
    assert arrival.usage != Usage()
    assert arrival.requests_sent == 2


# --- keys -----------------------------------------------------------------------------------------------


async def test_a_key_is_sent_and_shown_nowhere(server: FakeVLLM, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.config(api_key=KEY)
    async with backend_of(server, api_key=SecretStr(KEY)) as backend:
        assert await responses_of(backend, completions(1))
        shown = [repr(backend), repr(vars(backend))]
        server.config(api_key="sk-another")
        error = await error_of(backend, completion("again"))
    assert type(error) is AuthenticationError
    written = [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]
    assert written
    assert not [text for text in (*shown, repr(error), *written) if KEY in text]


async def test_a_server_that_is_not_there_is_looked_for_once_and_not_list_by_list() -> None:
    naps = Naps()
    backend = VLLMServer("http://127.0.0.1:9", bounds=ListBounds(max_prompts=1), retrier=naps.retrier())
    async with backend:
        outcomes = await outcomes_of(backend, completions(50))
    assert {type(outcome) for outcome in outcomes} == {BackendConnectionError}
    assert len(naps.seconds) == FIRST_CONTACT_ATTEMPTS - 1


async def test_every_http_request_is_reported_with_its_outcome_and_its_try(server: FakeVLLM) -> None:
    seen: list[Exchange] = []
    server.faults([{"kind": "status", "status": 429}, {"kind": "reset"}])
    naps = Naps()
    async with VLLMServer(
        server.base_url, retrier=naps.retrier(), hooks=Hooks(on_exchange=seen.append)
    ) as backend:
        await responses_of(backend, completions(3))
    assert [(one.outcome, one.status_code, one.attempt) for one in seen] == [
        ("RateLimitError", 429, 1),
        ("ConnectionLostError", None, 2),
        ("ok", None, 3),
    ]
    assert {(one.server, one.path, one.prompts) for one in seen} == {(server.base_url, COMPLETIONS, 3)}
    assert all(one.waited_seconds >= 0 and one.seconds > 0 for one in seen)
    assert seen[-1].usage.output_tokens > 0


async def test_the_pause_after_a_failure_counts_as_waiting(server: FakeVLLM) -> None:
    seen: list[Exchange] = []

    async def short_pause(seconds: float) -> None:
        del seconds
        await asyncio.sleep(0.05)

    server.faults([{"kind": "status", "status": 429}])
    retrier = Naps().retrier()
    retrier.sleep = short_pause
    async with VLLMServer(server.base_url, retrier=retrier, hooks=Hooks(on_exchange=seen.append)) as backend:
        await responses_of(backend, completions(1))
    assert [one.waited_seconds >= 0.05 for one in seen] == [False, True]
