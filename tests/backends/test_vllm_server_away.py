"""A server that dies, comes back, stays away, or is crowded: the user hears of it, and nothing is lost."""

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends import vllm_server
from backends.base import Exchange, Hooks
from backends.batching import ListBounds
from backends.concurrency import AdaptiveLimit
from backends.errors import BackendConnectionError, BackendError, BadRequestError, ServerGoneError
from backends.messages import Request, Response
from backends.retrying import Retrier, RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from tasks.generate import Generator
from tasks.keys import request_key
from tests.backends.test_vllm_server import EXACT
from tests.fake_vllm import COMPLETIONS, FakeVLLM, FakeVLLMProcess, prompt_digest
from tests.helpers import MODEL, Dice, Naps, chat, completion, completions, outcomes_of, responses_of, scoring

LIST = 8
COUNT = 64


class World:
    """Time that passes only when somebody sleeps, and what happens then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, Callable[[], None]]] = []

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        self.events.append((seconds, event))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for moment, event in self.events if moment <= self.now]
        self.events = [(moment, event) for moment, event in self.events if moment > self.now]
        for event in due:
            await asyncio.to_thread(event)
        await asyncio.sleep(0)

    def retrier(self, *, max_away_seconds: float = 600.0) -> Retrier:
        policy = RetryPolicy(max_away_seconds=max_away_seconds)
        return Retrier(policy=policy, sleep=self.sleep, rng=Dice(highest=True), clock=lambda: self.now)


class Ears:
    """Hooks that remember."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.exchanges: list[Exchange] = []
        self.contacts: list[int] = []
        self.refusal: BackendError | None = None
        self.after: dict[int, Callable[[], None]] = {}
        self.hooks = Hooks(on_exchange=self._hear, tell=self.told.append, on_contact=self._meet)

    async def _meet(self) -> None:
        self.contacts.append(len(self.exchanges))
        if self.refusal:
            raise self.refusal

    def _hear(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        if event := self.after.pop(len(self.exchanges), None):
            event()


def backend_of(url: str, world: World, ears: Ears, **changes: Any) -> VLLMServer:  # noqa: ANN401
    given: dict[str, Any] = {
        "retrier": world.retrier(),
        "bounds": ListBounds(max_prompts=LIST),
        "limit": AdaptiveLimit(initial=2 * LIST, largest=2 * LIST),
        "timeout_seconds": 20.0,
        "hooks": ears.hooks,
    }
    return VLLMServer(url, **{**given, **changes})


def asked(exchanges: Sequence[Exchange]) -> int:
    return sum(exchange.prompts for exchange in exchanges if exchange.outcome == "ok")


# --- away -----------------------------------------------------------------------------------------------


async def test_server_that_dies_and_comes_back_after_a_minute_costs_nothing_answered(tmp_path: Path) -> None:
    world, ears, requests = World(), Ears(), completions(COUNT)
    answered_before: list[int] = []
    first = FakeVLLMProcess()
    with first:
        ears.after[3] = first.kill
        async with backend_of(first.base_url, world, ears) as backend:
            again = FakeVLLMProcess(port=first.port)
            world.at(60, lambda: answered_before.append(asked(ears.exchanges)))
            world.at(60, again.start)
            generate = Generator(backend=backend, lookup=Lookup(DiskStore(tmp_path)))
            try:
                answers = await generate(requests)
                answered_later = again.stats()["prompt_digests"]
            finally:
                again.__exit__()
    (before,) = answered_before
    assert before >= LIST
    assert sum(answered_later.values()) == COUNT - before  # nothing answered is asked again
    assert set(answered_later.values()) == {1}
    assert asked(ears.exchanges) == COUNT
    assert [answer.text for answer in answers] == [one.text for one in await undisturbed(requests)]
    assert ears.told[0].startswith(f"{first.base_url} is away (")
    assert "waiting up to 600 s for it" in ears.told[0]
    assert ears.told[1] == f"{first.base_url} is still away, 8 of 600 s"
    assert re.fullmatch(r"http://127.0.0.1:\d+ is back after [56]\d s", ears.told[-1])
    assert len(ears.contacts) == 2


async def undisturbed(requests: Sequence[Request]) -> list[Response]:
    with FakeVLLM() as server:
        async with VLLMServer(server.base_url) as backend:
            return await responses_of(backend, requests)


async def test_server_that_never_comes_back_fails_what_is_left_within_the_limit(tmp_path: Path) -> None:
    world, ears, requests, store = World(), Ears(), completions(COUNT), DiskStore(tmp_path)
    with FakeVLLM() as server:
        port = server.port
        ears.after[3] = server.__exit__
        limited = world.retrier(max_away_seconds=120)
        async with backend_of(server.base_url, world, ears, retrier=limited) as backend:
            generate = Generator(backend=backend, lookup=Lookup(store))
            with pytest.raises(ExceptionGroup) as caught:
                await generate(requests)
            assert {type(error) for error in caught.value.exceptions} == {ServerGoneError}
            assert "stayed away for 120 s" in str(caught.value.exceptions[0])
            assert world.now <= 120 + 60  # and the pauses of the first failures
            stored = {request_key(one) for one in requests} & set(store.keys())
            assert len(stored) == asked(ears.exchanges) == COUNT - len(caught.value.exceptions)
            assert stored
            with FakeVLLM(port=port) as back:  # the same backend finds it again by itself
                assert len(await generate(requests)) == COUNT
                answered = back.stats()["prompt_digests"]
    left = [one for one in requests if request_key(one) not in stored]
    assert answered == {prompt_digest(str(one.prompt)): 1 for one in left}


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_server_that_is_away_behind_a_gateway_is_waited_for(server: FakeVLLM, status: int) -> None:
    world, ears = World(), Ears()
    async with backend_of(server.base_url, world, ears) as backend:
        await responses_of(backend, completions(1))
        server.faults([{"kind": "status", "status": status, "times": -1}])
        server.config(healthy=False)

        def start() -> None:
            server.faults([])
            server.config(healthy=True)

        world.at(300, start)
        requests = [completion(f"later {number}") for number in range(COUNT)]
        await responses_of(backend, requests)
    assert "waiting up to 600 s for it" in ears.told[0]
    assert ears.told[-1].startswith(f"{server.base_url} is back after ")
    assert len(ears.contacts) == 2


async def test_server_that_came_back_as_another_is_asked_nothing(server: FakeVLLM) -> None:
    world, ears = World(), Ears()
    server.faults([{"kind": "ok"}, {"kind": "reset"}])
    one_list = AdaptiveLimit(initial=LIST, largest=LIST)
    async with backend_of(server.base_url, world, ears, limit=one_list) as backend:
        await responses_of(backend, completions(1))
        ears.refusal = BadRequestError("other weights under the same name")
        outcomes = await outcomes_of(backend, completions(4 * LIST))
    assert {str(outcome) for outcome in outcomes} == {"other weights under the same name"}
    assert asked(ears.exchanges) == 1


async def test_server_that_refuses_and_is_healthy_is_introduced_once(server: FakeVLLM) -> None:
    ears = Ears()
    async with backend_of(server.base_url, World(), ears, bounds=ListBounds(max_prompts=1)) as backend:
        await responses_of(backend, completions(1))
        server.faults([{"kind": "status", "status": 503, "times": 100}])
        await responses_of(backend, [completion(f"another {number}") for number in range(COUNT)])
    assert len(ears.contacts) == 1
    asked_for = server.stats()["by_path"]
    assert (asked_for["/version"], asked_for["/v1/models"], asked_for["/openapi.json"]) == (1, 1, 1)
    assert ears.told == []


@pytest.mark.parametrize("status", [429, 503])
async def test_server_that_refuses_for_minutes_is_asked_until_it_answers(
    server: FakeVLLM, status: int
) -> None:
    world = World()
    server.faults([{"kind": "status", "status": status, "times": -1}])
    world.at(400, lambda: server.faults([]))
    async with backend_of(server.base_url, world, Ears()) as backend:
        await responses_of(backend, completions(1))
    assert 400 <= world.now < 600
    assert server.stats()["requests"] > RetryPolicy().max_attempts


@pytest.mark.parametrize("hard", [False, True])
async def test_server_is_introduced_again_after_one_broken_connection(server: FakeVLLM, hard: bool) -> None:  # noqa: FBT001
    ears = Ears()
    one_list = AdaptiveLimit(initial=LIST, largest=LIST)
    async with backend_of(server.base_url, World(), ears, limit=one_list) as backend:
        await responses_of(backend, completions(1))
        server.faults([{"kind": "reset", "hard": hard}])
        await responses_of(backend, [completion(f"another {number}") for number in range(LIST)])
    assert ears.contacts == [0, 2]  # before anything more was sent
    assert ears.told == []


async def test_server_that_was_started_again_while_nothing_was_asked_is_introduced_again(
    server: FakeVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_server, "LOOK_SECONDS", 0.0)
    server.config(process_start=1000.0)
    ears = Ears()
    one_list = AdaptiveLimit(initial=LIST, largest=LIST)
    async with backend_of(server.base_url, World(), ears, limit=one_list) as backend:
        for number in range(3):
            await responses_of(backend, [completion(f"question {number}")])
        assert len(ears.contacts) == 1
        server.config(process_start=2000.0)
        await responses_of(backend, [completion("after")])
        assert ears.contacts == [0, 4]
        await responses_of(backend, [completion("later")])
    assert ears.contacts == [0, 4]
    last = ears.exchanges[-3:]
    assert [one.outcome for one in last] == ["ConnectionLostError", "ok", "ok"]  # that answer was not taken


# --- expected -------------------------------------------------------------------------------------------


async def test_server_that_is_expected_is_waited_for_although_it_was_never_there() -> None:
    world, ears, later = World(), Ears(), FakeVLLMProcess()
    with later:
        url = later.base_url
    again = FakeVLLMProcess(port=later.port)
    world.at(300, again.start)
    try:
        async with backend_of(url, world, ears, waits_for_first_contact=True) as backend:
            assert await backend.weights(MODEL) is None
            assert ears.contacts == []  # nothing was to be sent yet
            await responses_of(backend, completions(COUNT))
            assert ears.contacts == [0]
    finally:
        again.__exit__()
    assert ears.told[0].startswith(f"{url} is away (")
    assert re.fullmatch(r"http://127.0.0.1:\d+ is back after (29|30)\d s", ears.told[-1])


async def test_server_that_is_expected_and_never_comes_is_gone_after_the_wait() -> None:
    world, url = World(), "http://127.0.0.1:9"
    limited = world.retrier(max_away_seconds=120)
    async with backend_of(url, world, Ears(), retrier=limited, waits_for_first_contact=True) as backend:
        with pytest.raises(BackendConnectionError, match="no connection"):
            await backend.weights(MODEL, max_attempts=1)
        assert world.now == 0
        outcomes = await outcomes_of(backend, completions(COUNT))
        assert {type(outcome) for outcome in outcomes} == {ServerGoneError}
        assert 120 <= world.now < 130
        await outcomes_of(backend, completions(COUNT))
        assert world.now < 140  # not waited for a second time


async def test_server_that_is_not_expected_is_an_error_within_seconds() -> None:
    world = World()
    async with backend_of("http://127.0.0.1:9", world, Ears()) as backend:
        outcomes = await outcomes_of(backend, completions(COUNT))
    assert {type(outcome) for outcome in outcomes} == {BackendConnectionError}
    assert world.now < 10


# --- hooks ----------------------------------------------------------------------------------------------


async def test_first_question_waits_for_the_introduction(server: FakeVLLM) -> None:
    seen: list[int] = []

    async def meet() -> None:
        await asyncio.sleep(0.05)
        seen.append(server.stats()["requests"])

    async with backend_of(server.base_url, World(), Ears(), hooks=Hooks(on_contact=meet)) as backend:
        await asyncio.gather(*(responses_of(backend, [one]) for one in completions(LIST)))
        await responses_of(backend, completions(1))
    assert seen == [0]  # once, and before anything was asked


async def test_failed_introduction_stops_the_questions(server: FakeVLLM) -> None:
    ears = Ears()
    ears.refusal = BackendError("other weights")
    async with backend_of(server.base_url, World(), ears) as backend:
        outcomes = await outcomes_of(backend, completions(4 * LIST))
    assert {str(outcome) for outcome in outcomes} == {"other weights"}
    assert server.stats()["requests"] == 0
    assert ears.contacts == [0]


async def test_each_request_is_one_exchange(server: FakeVLLM) -> None:
    ears = Ears()
    server.faults([{"kind": "status", "status": 429}, {"kind": "ok"}, {"kind": "reset"}])
    async with backend_of(
        server.base_url, World(), ears, limit=AdaptiveLimit(initial=LIST, largest=LIST)
    ) as backend:
        await responses_of(backend, completions(2 * LIST))
        await responses_of(backend, [chat("hello")])
    assert len(ears.exchanges) == server.stats()["requests"] == 5
    assert sorted(one.outcome for one in ears.exchanges) == [
        "ConnectionLostError", "RateLimitError", "ok", "ok", "ok"
    ]  # fmt: skip
    refused = next(one for one in ears.exchanges if one.outcome == "RateLimitError")
    assert (refused.server, refused.path, refused.prompts) == (server.base_url, COMPLETIONS, LIST)
    assert (refused.status_code, refused.usage.input_tokens) == (429, 0)
    good = [one for one in ears.exchanges if one.outcome == "ok"]
    assert sum(one.prompts for one in good) == 2 * LIST + 1
    assert all(one.usage.output_tokens and one.seconds > 0 for one in good)


# --- load -----------------------------------------------------------------------------------------------


async def test_crowded_server_is_given_less_at_once(server: FakeVLLM) -> None:
    server.config(others_waiting=500, kv_use=0.99)
    limit = AdaptiveLimit(initial=64, smallest=8)
    async with backend_of(server.base_url, World(), Ears(), limit=limit) as backend:
        for _ in range(20):
            await responses_of(backend, completions(LIST))
        assert limit.limit == 8
        server.config(others_waiting=0, kv_use=0.1)
        await responses_of(backend, completions(10 * LIST))
    assert limit.limit > 8


async def test_server_that_tells_no_load_is_asked_all_the_same(server: FakeVLLM) -> None:
    server.config(reports_load=False)
    limit = AdaptiveLimit(initial=16)
    async with backend_of(server.base_url, World(), Ears(), limit=limit) as backend:
        await responses_of(backend, completions(COUNT))
    assert limit.limit > 16


@pytest.mark.parametrize("initial", [8, 200])
async def test_limit_finds_the_slots_of_a_server(server: FakeVLLM, initial: int) -> None:
    """A server with 32 slots is kept busy, with some waiting there, and not with hundreds."""
    slots = 32
    server.config(slots=slots, latency_seconds=0.05)
    limit = AdaptiveLimit(initial=initial, smallest=8)
    async with backend_of(server.base_url, World(), Ears(), limit=limit) as backend:
        await responses_of(backend, completions(20 * slots))
        await responses_of(backend, [completion(f"more {number}") for number in range(20 * slots)])
    assert slots / 2 <= limit.limit <= 4 * slots
    assert server.stats()["answered"] == 40 * slots


# --- one style at a time --------------------------------------------------------------------------------


async def test_two_styles_of_logprobs_never_meet_at_the_server(server: FakeVLLM) -> None:
    server.config(v1_runner=True, latency_seconds=0.03)
    mixed = [
        request
        for number in range(24)
        for request in (
            scoring(f"claim {number} is", EXACT),
            completion(f"top {number}", logprobs=3),
            chat(f"chat {number}", logprobs=3),
            completion(f"plain {number}"),
        )
    ]
    world, ears = World(), Ears()
    bounds, limit = ListBounds(max_prompts=2), AdaptiveLimit(initial=64)
    async with backend_of(server.base_url, world, ears, bounds=bounds, limit=limit) as backend:
        responses = await responses_of(backend, mixed)
    stats = server.stats()
    assert stats["mixed"] == 0
    assert stats["max_in_flight"] > 4
    assert {one.outcome for one in ears.exchanges} == {"ok"}  # no answer was lost, so none was asked again
    assert responses == await undisturbed(mixed)


async def test_fake_does_lose_logprobs_when_styles_meet(server: FakeVLLM) -> None:
    """Two backends know nothing of each other; without this the test above would show nothing."""
    server.config(v1_runner=True, latency_seconds=0.5)
    naps = Naps()
    one, other = (VLLMServer(server.base_url, retrier=naps.retrier()) for _ in range(2))
    async with one, other:
        await asyncio.gather(one.capabilities(), other.capabilities())
        await asyncio.gather(
            responses_of(one, [scoring("a claim", EXACT)]),
            responses_of(other, [completion("a question", logprobs=3)]),
        )
    assert server.stats()["mixed"] >= 1
    assert naps.seconds


async def test_two_styles_that_come_by_turns_still_go_many_at_once(server: FakeVLLM) -> None:
    server.config(latency_seconds=0.1)
    mixed = [
        request
        for number in range(48)
        for request in (scoring(f"claim {number} is", EXACT), completion(f"top {number}", logprobs=3))
    ]
    bounds, limit = ListBounds(max_prompts=4), AdaptiveLimit(initial=96)
    async with backend_of(server.base_url, World(), Ears(), bounds=bounds, limit=limit) as backend:
        await responses_of(backend, mixed)
    stats = server.stats()
    assert stats["mixed"] == 0
    assert stats["max_in_flight"] > 4
