"""Against a real vLLM server: label scores, chats, refusals, and a small search that is killed."""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest

from backends.base import Arrival
from backends.errors import BadRequestError, UnknownModelError
from backends.labels import labels_from_spellings, labels_from_tokenizer
from backends.messages import Label, Message, Request, Response, SamplingParams
from backends.vllm_server import VLLMServer
from tasks.icm.claims import LABEL_TEXTS, load_claims
from tasks.icm.prompts import Prompter
from tests.flows.running import (
    FOUND,
    PROJECT,
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    stored_prompts,
    wait_for,
)
from tests.helpers import outcomes_of
from tests.live.conftest import LiveServer

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]  # the first test may have to start a server

PARAMETERS: JsonObject = {
    "dataset": "general_knowledge",
    "num_claims": 12,
    "num_seeds": 4,
    "iterations": 10,
    "trailing_space": False,
    "test_claims": 2,
    "keep_prompts": True,
}
KILLED_AFTER_PROMPTS = 15
ATTEMPTS = 3


@pytest.fixture
async def backend(live_server: LiveServer) -> AsyncGenerator[VLLMServer]:
    async with VLLMServer(live_server.base_url) as server:
        yield server


def scoring_requests(model: str, labels: tuple[Label, ...]) -> list[Request]:
    """Ask about six claims, each with the five others as demonstrations."""
    claims = load_claims(PROJECT / "data" / "general_knowledge" / "train.jsonl")[:24:4]
    prompter = Prompter(claims=claims, model=model, labels=labels, trailing_space=False)
    return list(prompter.leave_one_out({uid: claim.gold or 0 for uid, claim in enumerate(claims)}).values())


async def arrival_of(backend: VLLMServer, requests: list[Request]) -> Arrival:
    async with aclosing(backend.answer(requests)) as arrivals:
        [arrival] = [arrival async for arrival in arrivals]
    return arrival


# --- The server as our client sees it -------------------------------------------------------------------


async def test_label_scores_of_a_list_are_those_of_single_requests(
    backend: VLLMServer, live_server: LiveServer
) -> None:
    labels = await backend.find_labels(live_server.model, LABEL_TEXTS)
    assert all(label.token_ids for label in labels)
    requests = scoring_requests(live_server.model, labels)
    arrival = await arrival_of(backend, requests)
    assert (arrival.requests_sent, len(arrival.outcomes)) == (1, len(requests))
    for index, response in arrival.outcomes:
        assert isinstance(response, Response)
        scores = {label: math.exp(logprob) for label, logprob in response.label_logprobs.items()}
        assert 0.01 < sum(scores.values()) <= 1
        alone = probabilities(live_server, requests[index].prompt or "", labels)
        assert scores == pytest.approx(alone, abs=1e-2)


def probabilities(server: LiveServer, prompt: str, labels: tuple[Label, ...]) -> dict[str, float]:
    """Ask for one prompt alone, in the plainest words."""
    ids = [token for label in labels for token in label.token_ids]
    answer = server.post(
        "/v1/completions", model=server.model, prompt=prompt, max_tokens=1, temperature=0,
        logprobs=1, logprob_token_ids=ids, return_tokens_as_token_ids=True,
    ).json()  # fmt: skip
    top = answer["choices"][0]["logprobs"]["top_logprobs"][0]
    return {
        label.text: sum(math.exp(top[f"token_id:{token}"]) for token in label.token_ids) for label in labels
    }


async def test_spellings_by_tokenize_are_those_of_the_vocabulary(live_server: LiveServer) -> None:
    async def tokenize(text: str) -> list[int]:
        body: JsonObject = {"model": live_server.model, "prompt": text, "add_special_tokens": False}
        return live_server.post("/tokenize", **body).json()["tokens"]

    asked = await labels_from_spellings(tokenize, LABEL_TEXTS)
    scanned = labels_from_tokenizer(live_server.directory / "tokenizer.json", LABEL_TEXTS)
    assert asked == scanned


async def test_a_batch_of_chats_is_answered_in_one_request(
    backend: VLLMServer, live_server: LiveServer
) -> None:
    requests = [
        Request(
            model=live_server.model,
            messages=(Message(role="user", content=f"Say the word {word}."),),
            sampling=SamplingParams(max_tokens=8),
        )
        for word in ("yes", "no", "tomato")
    ]
    arrival = await arrival_of(backend, requests)
    assert arrival.requests_sent == 1
    assert sorted(index for index, _ in arrival.outcomes) == [0, 1, 2]
    for _, response in arrival.outcomes:
        assert isinstance(response, Response)
        assert response.text.strip()


def short(server: LiveServer) -> Request:
    return Request(model=server.model, prompt="Two and two are", sampling=SamplingParams(max_tokens=2))


async def test_an_unknown_model_is_refused_at_once(backend: VLLMServer, live_server: LiveServer) -> None:
    arrival = await arrival_of(backend, [replace(short(live_server), model="gpt-2")] * 3)
    assert arrival.requests_sent == 1
    for _, error in arrival.outcomes:
        assert isinstance(error, UnknownModelError)
        assert "The model `gpt-2` does not exist" in str(error)


async def test_a_prompt_that_is_too_long_fails_without_its_neighbours(
    backend: VLLMServer, live_server: LiveServer
) -> None:
    requests = [short(live_server), replace(short(live_server), prompt="word " * 20000)]
    outcomes = await outcomes_of(backend, requests)
    assert isinstance(outcomes[0], Response)
    assert isinstance(outcomes[1], BadRequestError)
    assert "maximum context length" in str(outcomes[1])


async def test_a_bad_parameter_is_refused_at_once(backend: VLLMServer, live_server: LiveServer) -> None:
    bad = replace(short(live_server), sampling=SamplingParams(max_tokens=2, temperature=-1.0))
    arrival = await arrival_of(backend, [bad])
    assert arrival.requests_sent == 1
    [(_, error)] = arrival.outcomes
    assert isinstance(error, BadRequestError)
    assert "temperature must be non-negative" in str(error)


# --- A search that is killed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Resumed:
    place: Place
    process: ICMProcess
    outcome: Outcome
    stored_at_kill: set[str]


@pytest.fixture(scope="module")
def resumed(
    live_server: LiveServer,
    new_process: Callable[[], ICMProcess],
    tmp_path_factory: pytest.TempPathFactory,
) -> Resumed:
    """A small search, killed in the middle and run again to its end."""
    place = Place(
        base_url=live_server.base_url, model=live_server.model, folder=tmp_path_factory.mktemp("place")
    )
    with new_process() as victim:
        victim.start(place, PARAMETERS)

        def is_time() -> bool:
            victim.require_busy()
            return len(stored_prompts(place.store)) >= KILLED_AFTER_PROMPTS

        wait_for(is_time, "answers", seconds=120)
        victim.kill()
    stored = stored_prompts(place.store)
    process = new_process()
    return Resumed(place, process, process.run(place, PARAMETERS).require_completed(), stored)


def test_a_killed_search_asks_only_for_what_is_not_stored(resumed: Resumed) -> None:
    now = stored_prompts(resumed.place.store)
    assert resumed.stored_at_kill < now
    assert resumed.outcome.summary["cost"]["sent"] == len(now - resumed.stored_at_kill)
    assert resumed.outcome.summary["labelled"] >= PARAMETERS["num_seeds"]


def test_a_replay_finds_the_same(resumed: Resumed) -> None:
    nobody = Place(base_url="http://127.0.0.1:9", model=resumed.place.model, folder=resumed.place.folder)
    found = resumed.outcome.bytes_of(*FOUND)
    replayed = resumed.process.run(nobody, {**PARAMETERS, "cache_mode": "replay"}).require_completed()
    assert replayed.summary["cost"]["sent"] == 0
    assert replayed.bytes_of(*FOUND) == found


def test_a_second_run_sends_nothing(resumed: Resumed, live_server: LiveServer) -> None:
    """The server may have other users, so this looks for one run during which its counters stood still."""
    for _ in range(ATTEMPTS):
        before = live_server.counters()
        second = resumed.process.run(resumed.place, PARAMETERS).require_completed()
        assert (second.summary["cost"]["sent"], second.summary["cost"]["requests"]) == (0, 0)
        if live_server.counters() == before:
            return
    pytest.fail(f"the server's counters moved in each of {ATTEMPTS} runs that should have sent nothing")
