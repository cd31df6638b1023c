"""Several servers answer as one: warm caches stay warm, and whoever dies takes nothing along."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import Exchange, Hooks
from backends.batching import ListBounds
from backends.concurrency import AdaptiveLimit
from backends.errors import (
    BackendConnectionError,
    BackendError,
    BadRequestError,
    GatewayError,
    RateLimitError,
    ReplicasDifferError,
    ServerError,
    ServerGoneError,
    ServerUnavailableError,
)
from backends.masking import Mask
from backends.messages import Request, Response
from backends.openai_client import OpenAIClient, Reply
from backends.rendezvous import PREFIX_CHARACTERS, prefix_group, ranked
from backends.replicas import MAX_MOVES, Replicas
from backends.retrying import RetryPolicy
from backends.silence import SILENT_SECONDS, Listener
from backends.vllm_server import VLLMServer
from tests.backends.test_vllm_server import EXACT, TEXTS
from tests.fake_vllm import FakeVLLM, prompt_digest
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
    until,
)

AWAY = {"kind": "reset", "times": -1}


def families(count: int, *, size: int) -> list[Request]:
    """Write prompts of which `size` each begin alike."""
    return [
        completion(f"family {family} ".ljust(PREFIX_CHARACTERS, ".") + f" question {number}")
        for number in range(size)
        for family in range(count)
    ]


def by_family(requests: Sequence[Request]) -> dict[bytes, list[Request]]:
    families: dict[bytes, list[Request]] = {}
    for request in requests:
        families.setdefault(prefix_group(request), []).append(request)
    return families


# --- several real servers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three() -> Any:  # noqa: ANN401 - a fixture
    with FakeVLLM() as a, FakeVLLM() as b, FakeVLLM() as c:
        yield [a, b, c]


@pytest.fixture
def fakes(three: list[FakeVLLM]) -> list[FakeVLLM]:
    for fake in three:
        fake.reset(config=True)
    return three


def server_of(fake: FakeVLLM, **changes: Any) -> VLLMServer:  # noqa: ANN401 - any argument
    given: dict[str, Any] = {"retrier": Naps().retrier(), "timeout_seconds": 20.0}
    return VLLMServer(fake.base_url, **{**given, **changes})


class Quick:
    """Time that runs fifty times as fast."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)

    def clock(self) -> float:
        return time.monotonic() * 50


class Told:
    """Replicas whose sentences are kept."""

    def __init__(self, servers: Sequence[VLLMServer], **changes: Any) -> None:  # noqa: ANN401
        quick = Quick()
        self.said: list[str] = []
        self.replicas = Replicas(servers, sleep=quick.sleep, clock=quick.clock, **changes)
        self.replicas.hooks.tell = self.said.append

    async def meet(self) -> Replicas:
        """Wait for all: on a machine that is busy one may come too late for the first questions."""
        await self.replicas.capabilities()
        await until(lambda: len(self.replicas.there) == len(self.replicas.servers))
        return self.replicas

    async def heard(self, words: str) -> None:
        await until(lambda: any(words in sentence for sentence in self.said))


@asynccontextmanager
async def told(fakes: Sequence[FakeVLLM], **changes: Any) -> AsyncGenerator[Told]:  # noqa: ANN401
    both = Told([server_of(fake, **changes) for fake in fakes])
    async with both.replicas:
        yield both


def places(fakes: Sequence[FakeVLLM], requests: Sequence[Request]) -> dict[bytes, set[int]]:
    """Say which servers have answered prompts of each group: {group: positions}."""
    answered = [fake.stats()["prompt_digests"] for fake in fakes]
    return {
        group: {
            place
            for place, digests in enumerate(answered)
            if any(prompt_digest(str(request.prompt)) in digests for request in members)
        }
        for group, members in by_family(requests).items()
    }


async def test_prompts_that_begin_alike_go_to_the_same_server(fakes: list[FakeVLLM]) -> None:
    requests = families(24, size=5)
    async with told(fakes) as one:
        await responses_of(await one.meet(), requests[:60])
        await asyncio.gather(*(responses_of(one.replicas, [request]) for request in requests[60:]))
    where = places(fakes, requests)
    assert {len(servers) for servers in where.values()} == {1}
    roots = [fake.base_url for fake in fakes]
    assert where == {group: {ranked(group, roots)[0]} for group in where}
    assert {place for servers in where.values() for place in servers} == {0, 1, 2}


async def test_a_conversation_stays_with_its_server(fakes: list[FakeVLLM]) -> None:
    system = "You grade answers. " * 40
    async with told(fakes) as one:
        await one.meet()
        for number in range(6):
            await responses_of(one.replicas, [chat(f"{system}{number}")])
    assert sorted(fake.stats()["answered"] for fake in fakes) == [0, 0, 6]


async def test_a_server_that_is_lost_gives_away_its_own_groups_only(fakes: list[FakeVLLM]) -> None:
    requests = families(24, size=2)
    before, after = requests[:24], requests[24:]
    async with told(fakes) as one:
        await responses_of(await one.meet(), before)
        fakes[1].faults([AWAY])
        fakes[1].config(healthy=False)
        await responses_of(one.replicas, after)
    first, second = places(fakes, before), places(fakes, after)
    kept = [group for group, servers in first.items() if servers != {1}]
    moved = [group for group, servers in first.items() if servers == {1}]
    assert moved
    assert all(second[group] == first[group] for group in kept)
    assert {place for group in moved for place in second[group]} <= {0, 2}


async def test_the_rest_of_a_group_spills_to_servers_that_have_nothing_to_do(fakes: list[FakeVLLM]) -> None:
    requests = families(1, size=160)
    home = ranked(prefix_group(requests[0]), [fake.base_url for fake in fakes])[0]
    fakes[home].config(latency_seconds=0.5)
    servers = [server_of(fake, limit=AdaptiveLimit(initial=8, largest=8)) for fake in fakes]
    one = Told(servers)
    async with one.replicas as replicas:
        await one.meet()
        started = time.monotonic()
        await responses_of(replicas, requests)
    assert time.monotonic() - started < 5  # alone it would have taken 10 s
    answered = [fake.stats()["answered"] for fake in fakes]
    assert 0 < answered[home] < 80
    assert sum(answered) == 160


async def test_a_group_that_its_server_can_take_does_not_spill(fakes: list[FakeVLLM]) -> None:
    for fake in fakes:
        fake.config(latency_seconds=0.1)
    async with told(fakes) as one:
        await responses_of(await one.meet(), families(1, size=128))
    assert sorted(fake.stats()["answered"] for fake in fakes) == [0, 0, 128]


async def test_the_prompts_of_a_killed_server_are_answered_by_the_others_at_once() -> None:
    requests = families(60, size=4)
    with FakeVLLM() as a, FakeVLLM() as b:
        victim = FakeVLLM(latency_seconds=60)
        with victim:
            async with told([a, b, victim], bounds=ListBounds(max_prompts=8)) as one:
                asking = asyncio.ensure_future(responses_of(await one.meet(), requests))
                await until(lambda: victim.stats()["in_flight"] > 3)
                await asyncio.to_thread(victim.__exit__)
                started = time.monotonic()
                await asking
                assert time.monotonic() - started < 3
        answered = {**a.stats()["prompt_digests"], **b.stats()["prompt_digests"]}
        total = a.stats()["answered"] + b.stats()["answered"]
    assert total == len(requests)
    assert dict(answered) == Counter(prompt_digest(str(request.prompt)) for request in requests)


async def test_a_server_that_comes_back_is_introduced_and_gets_its_groups_again(
    fakes: list[FakeVLLM],
) -> None:
    contacts: list[str] = []

    def hooks(name: str) -> Hooks:
        async def on_contact() -> None:
            contacts.append(name)

        return Hooks(on_contact=on_contact)

    servers = [server_of(fake, hooks=hooks(str(place))) for place, fake in enumerate(fakes)]
    one = Told(servers)
    first, second, third = (families(24, size=3)[start : start + 24] for start in (0, 24, 48))
    async with one.replicas as replicas:
        await responses_of(await one.meet(), first)
        fakes[1].faults([AWAY])
        fakes[1].config(healthy=False)
        await responses_of(replicas, second)
        await one.heard("the others answer in its place")
        assert sorted(contacts) == ["0", "1", "2"]
        fakes[1].faults([])
        fakes[1].config(healthy=True)
        await one.heard("is back after")
        await responses_of(replicas, third)
    assert sorted(contacts) == ["0", "1", "1", "2"]
    assert places(fakes, third) == places(fakes, first)


async def test_when_all_are_gone_everything_fails_after_the_wait_until_one_is_there_again(
    fakes: list[FakeVLLM],
) -> None:
    retrier = Naps().retrier(RetryPolicy(max_away_seconds=20))
    async with told(fakes, retrier=retrier) as one:
        await responses_of(await one.meet(), completions(30))
        for fake in fakes:
            fake.faults([AWAY])
            fake.config(healthy=False)
        requests = [completion(f"another {number}") for number in range(30)]
        outcomes = await outcomes_of(one.replicas, requests)
        assert {type(outcome) for outcome in outcomes} == {ServerGoneError}
        assert "all 3 servers stayed away for 20 s" in str(outcomes[0])
        assert type(await error_of(one.replicas, requests[0])) is ServerGoneError
        assert [sentence for sentence in one.said if "waiting up to 20 s for one" in sentence]
        fakes[2].faults([])
        fakes[2].config(healthy=True)
        await one.heard("is back after")
        await responses_of(one.replicas, requests)
    assert fakes[2].stats()["answered"] >= 30


async def test_prompts_that_wait_for_all_are_answered_by_the_first_that_is_back(
    fakes: list[FakeVLLM],
) -> None:
    async with told(fakes) as one:
        await responses_of(await one.meet(), completions(3))
        for fake in fakes:
            fake.faults([AWAY])
            fake.config(healthy=False)
        asking = asyncio.ensure_future(responses_of(one.replicas, families(20, size=2)))
        await one.heard("no server is left")
        fakes[0].faults([])
        fakes[0].config(healthy=True)
        assert len(await asking) == 40


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_root": "/models/other"}, "fake-model from /models/other with 8192 tokens by vLLM 0.32.0"),
        ({"max_model_len": 4096}, "fake-model from /models/fake-model with 4096 tokens"),
        ({"version": "0.31.0"}, "by vLLM 0.31.0"),
        ({"models": ["elsewhere"]}, "elsewhere from"),
    ],
)
async def test_servers_that_serve_different_things_are_refused_and_the_odd_one_is_named(
    fakes: list[FakeVLLM], changes: Mapping[str, Any], words: str
) -> None:
    fakes[0].config(**changes)
    async with told(fakes) as one:
        outcomes = await outcomes_of(one.replicas, completions(5))
        with pytest.raises(ReplicasDifferError):
            await one.replicas.capabilities()
    assert {type(outcome) for outcome in outcomes} == {ReplicasDifferError}
    said = str(outcomes[0])
    assert said.startswith(f"{fakes[0].base_url} serves ")
    assert words in said
    assert "restart the odd one, or take it off the list" in said
    assert sum(fake.stats()["prompts"] for fake in fakes) == 0


async def test_a_server_that_comes_back_with_something_else_gets_nothing(fakes: list[FakeVLLM]) -> None:
    async with told(fakes[:2]) as one:
        await responses_of(await one.meet(), families(12, size=1))
        fakes[1].faults([AWAY])
        fakes[1].config(healthy=False)
        await responses_of(one.replicas, families(12, size=1))
        fakes[1].reset()
        fakes[1].config(healthy=True, model_root="/models/other")
        await until(lambda: fakes[1].stats()["by_path"].get("/v1/models", 0) > 1)
        await responses_of(one.replicas, families(12, size=1))
    assert fakes[1].stats()["prompts"] == 0


async def test_weights_that_the_owner_refuses_stop_everything_before_it_begins(
    fakes: list[FakeVLLM],
) -> None:
    async def refuse() -> None:
        raise BadRequestError("other weights")

    servers = [server_of(fake) for fake in fakes]
    servers[2].hooks = Hooks(on_contact=refuse)
    async with Told(servers).replicas as replicas:
        outcomes = await outcomes_of(replicas, completions(4))
    assert {str(outcome) for outcome in outcomes} == {"other weights"}
    assert sum(fake.stats()["prompts"] for fake in fakes) == 0


async def test_a_server_that_is_not_there_at_first_is_done_without(fakes: list[FakeVLLM]) -> None:
    with FakeVLLM() as nowhere:
        absent = server_of(nowhere)
    one = Told([absent, server_of(fakes[0])])
    async with one.replicas as replicas:
        await responses_of(replicas, families(12, size=2))
        assert await replicas.find_labels(MODEL, TEXTS) == EXACT
        assert (await replicas.capabilities()).scores_token_ids
    assert fakes[0].stats()["answered"] == 24
    assert [sentence for sentence in one.said if sentence.startswith(f"{absent.root} is not there")]


async def test_when_none_was_ever_there_everything_fails_within_seconds() -> None:
    with FakeVLLM() as a, FakeVLLM() as b:
        absent = [server_of(fake) for fake in (a, b)]
    async with Told(absent).replicas as replicas:
        outcomes = await outcomes_of(replicas, completions(5))
        with pytest.raises(BackendConnectionError):
            await replicas.find_labels(MODEL, TEXTS)
    assert {type(outcome) for outcome in outcomes} == {BackendConnectionError}
    assert str(outcomes[0]).startswith("no server is there: no connection to")


async def test_stopping_early_leaves_no_server_computing(fakes: list[FakeVLLM]) -> None:
    for fake in fakes:
        fake.config(latency_seconds=60)
    async with told(fakes) as one:
        async with aclosing((await one.meet()).answer(families(30, size=20))) as arrivals:
            reader = asyncio.ensure_future(anext(arrivals))
            await until(lambda: all(fake.stats()["in_flight"] for fake in fakes))
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await until(lambda: not any(fake.stats()["in_flight"] for fake in fakes))
        assert one.replicas.backlog == 0
    assert sum(fake.stats()["answered"] for fake in fakes) == 0


async def test_what_one_caller_gives_up_another_still_gets(fakes: list[FakeVLLM]) -> None:
    for fake in fakes:
        fake.config(latency_seconds=0.2)
    async with told(fakes, limit=None) as one:
        leaving = one.replicas.answer(families(40, size=10))
        first = asyncio.ensure_future(anext(leaving))
        staying = asyncio.ensure_future(responses_of(one.replicas, completions(50)))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await leaving.aclose()
        assert len(await staying) == 50
        assert one.replicas.backlog == 0


async def test_requests_of_all_servers_are_heard_of_and_add_up(fakes: list[FakeVLLM]) -> None:
    own: list[Exchange] = []
    every: list[Exchange] = []
    servers = [server_of(fakes[0], hooks=Hooks(on_exchange=own.append)), server_of(fakes[1])]
    one = Told(servers)
    async with one.replicas as replicas:
        await one.meet()
        replicas.hooks.on_exchange = every.append
        fakes[1].faults([{"kind": "status", "status": 503}])
        arrivals = await arrivals_of(replicas, families(24, size=1))
    assert Counter(exchange.server for exchange in every) == {
        fake.base_url: fake.stats()["requests"] for fake in fakes[:2]
    }
    assert own == [exchange for exchange in every if exchange.server == fakes[0].base_url]
    assert sum(arrival.requests_sent for arrival in arrivals) == len(every)
    assert sum(arrival.usage.input_tokens for arrival in arrivals) == sum(
        exchange.usage.input_tokens for exchange in every
    )


def test_replicas_have_addresses_of_their_own() -> None:
    for servers in ([], [VLLMServer("http://a"), VLLMServer("http://a/v1")]):
        with pytest.raises(ValueError, match="different addresses"):
            Replicas(servers)


# --- servers in memory ----------------------------------------------------------------------------------


class Memory(OpenAIClient):
    """A server without a network: what it does to each list is said beforehand, afterwards it answers."""

    def __init__(self, name: str, script: Sequence[str] = ()) -> None:
        self.mask = Mask(())
        self.root = f"http://{name}"  # and no client, which takes longer to make than a test
        self.script = list(script)
        self.healthy_after = 0  # looks
        self.answered: Counter[str] = Counter()
        self.received = 0
        self.poison = ""
        self.bad = ""
        self.refused = False
        self.failure: BackendError | None = None

    async def __aexit__(self, *_: object) -> None:
        pass

    async def get(self, path: str, *, timeout_seconds: float | None = None) -> object:
        del timeout_seconds
        if self.refused:
            raise BackendConnectionError("refused")
        if path == "/v1/models":
            return {"data": [{"id": MODEL, "root": "/m", "max_model_len": 8192}]}
        return {"version": "0.32.0"}

    async def answers(self, path: str, *, timeout_seconds: float) -> bool:
        del path, timeout_seconds
        await asyncio.sleep(0)
        self.healthy_after -= 1
        return self.healthy_after < 0

    async def exchange(
        self, path: str, body: dict[str, object], headers: Mapping[str, str] | None = None
    ) -> Reply:
        del path, headers
        self.received += 1
        prompts = cast("list[str]", body["prompt"])
        does = self.script.pop(0) if self.script else "answer"
        for _ in range(len(does)):
            await asyncio.sleep(0)
        if does == "hang":
            await asyncio.Event().wait()
        if does == "reset" or (self.poison and self.poison in prompts):
            raise BackendConnectionError("reset")
        if does == "die":
            self.healthy_after = 3
            raise BackendConnectionError("died")
        if does == "fail" or (self.bad and self.bad in prompts):
            raise ServerError("500")
        if self.failure is not None:
            raise self.failure
        self.answered.update(prompts)
        choices = [
            {"index": place, "text": prompt, "finish_reason": "stop", "logprobs": None}
            for place, prompt in enumerate(prompts)
        ]
        usage = {"prompt_tokens": 10 * len(prompts), "completion_tokens": 1}
        return Reply(content={"choices": choices, "usage": usage}, headers={})


class InMemory(VLLMServer):
    """A server that asks a `Memory`."""

    def __init__(self, memory: Memory, **changes: Any) -> None:  # noqa: ANN401 - any argument
        super().__init__(memory.root, retrier=Yielding().retrier(), **changes)
        self._client = memory


class Yielding(Naps):
    """A sleep that takes no time, but lets others run."""

    async def __call__(self, seconds: float) -> None:
        await super().__call__(seconds)
        for _ in range(1 + int(seconds)):
            await asyncio.sleep(0)


class Endless(Yielding):
    """A sleep in which short times pass at once and long ones never."""

    async def __call__(self, seconds: float) -> None:
        if seconds >= RetryPolicy().max_away_seconds:
            await asyncio.Event().wait()
        await super().__call__(seconds)


def in_memory(memories: Sequence[Memory], *, sleep: "Yielding | None" = None, **changes: Any) -> Replicas:  # noqa: ANN401
    servers = [
        InMemory(
            memory,
            bounds=ListBounds(max_prompts=3, window_seconds=0.0),
            limit=AdaptiveLimit(initial=6, smallest=3),
            **changes,
        )
        for memory in memories
    ]
    return Replicas(servers, sleep=sleep or Yielding())


DEEDS = st.lists(st.sampled_from(["answer", "reset", "die", "fail", "a while", "after a longer while"]))


@settings(max_examples=100)  # each makes servers, which takes a while
@given(st.lists(DEEDS, min_size=1, max_size=3), st.lists(st.integers(1, 25), min_size=1, max_size=3))
async def test_every_prompt_has_one_outcome_and_no_answer_is_asked_for_twice(
    scripts: list[list[str]], sizes: list[int]
) -> None:
    memories = [Memory(str(place), script) for place, script in enumerate(scripts)]
    calls = [[completion(f"{call}/{number}") for number in range(size)] for call, size in enumerate(sizes)]
    async with in_memory(memories) as replicas:
        together = await asyncio.gather(*(arrivals_of(replicas, requests) for requests in calls))
        assert replicas.backlog == 0
    answered = sum((memory.answered for memory in memories), Counter[str]())
    for requests, arrivals in zip(calls, together, strict=True):
        pairs = [pair for arrival in arrivals for pair in arrival.outcomes]
        assert sorted(index for index, _ in pairs) == list(range(len(requests)))
        for index, outcome in pairs:
            prompt = str(requests[index].prompt)
            assert answered[prompt] == isinstance(outcome, Response)
            assert not isinstance(outcome, Response) or outcome.text == prompt
    arrivals = [arrival for one in together for arrival in one]
    assert sum(one.usage.input_tokens for one in arrivals) == 10 * answered.total()
    assert sum(one.requests_sent for one in arrivals) >= sum(memory.received for memory in memories)


async def test_a_server_that_goes_silent_without_a_word_is_hung_up_on() -> None:
    memories = [Memory(name, ["hang"] * 4) for name in ("a", "b")]
    memories[1].script.clear()
    memories[0].healthy_after = 10**6
    requests = [completion(f"question {number}") for number in range(20)]
    clock = iter(range(0, 10**6, int(SILENT_SECONDS)))
    async with in_memory(memories) as replicas:
        for server in replicas.servers:
            listener = Listener(
                server.root,
                server.is_healthy,
                server.take_for_away,
                sleep=Yielding(),
                clock=lambda: next(clock),
            )
            server._listener = listener  # pyright: ignore[reportPrivateUsage]
        await responses_of(replicas, requests)
    assert not memories[0].answered
    assert memories[1].answered == Counter(str(request.prompt) for request in requests)


async def test_a_prompt_that_kills_every_server_fails_in_the_end_and_alone() -> None:
    memories = [Memory("a"), Memory("b")]
    for memory in memories:
        memory.poison = "question 3"
    async with in_memory(memories) as replicas:
        outcomes = await outcomes_of(replicas, [completion(f"question {number}") for number in range(4)])
    assert isinstance(outcomes[3], BackendError)
    assert sum(memory.received for memory in memories) <= 4 * (MAX_MOVES + 1)


FAILURES = [ServerError("500"), GatewayError("502"), ServerUnavailableError("503"), RateLimitError("429")]


def told_of(replicas: Replicas) -> list[str]:
    said: list[str] = []
    replicas.hooks.tell = said.append
    return said


@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_a_sick_server_is_ejected_and_the_others_answer_its_prompts(failure: BackendError) -> None:
    sick, well = Memory("a"), Memory("b")
    sick.failure = failure
    requests = families(40, size=25)
    async with in_memory([sick, well]) as replicas:
        said = told_of(replicas)
        for start in range(0, len(requests), 100):
            await responses_of(replicas, requests[start : start + 100])
    assert well.answered == Counter(str(request.prompt) for request in requests)
    assert f"http://a keeps failing ({failure}); the others answer in its place" in said
    assert not [sentence for sentence in said if "http://b" in sentence]


async def test_a_server_that_was_ejected_gets_one_prompt_as_a_trial_and_then_its_share() -> None:
    memories = [Memory("a"), Memory("b")]
    memories[0].failure = ServerError("500")
    async with in_memory(memories) as replicas:
        said = told_of(replicas)
        await responses_of(replicas, families(40, size=5))
        seat = replicas._seats[0]  # pyright: ignore[reportPrivateUsage]
        for _ in range(5):  # asked one by one it fails each trial, and costs no answer
            await until(lambda: seat.is_open)
            received = memories[0].received
            await responses_of(replicas, families(40, size=1))
            assert memories[0].received <= received + 1
        assert not seat.is_open
        memories[0].failure = None
        await until(lambda: seat.is_open)
        await responses_of(replicas, families(40, size=1))
        await responses_of(replicas, families(40, size=2))
    assert memories[0].answered.total() > 20
    assert len([sentence for sentence in said if "keeps failing" in sentence]) == 1
    assert said[-1].startswith("http://a is back after ")


async def test_a_prompt_that_every_server_fails_ends_with_its_own_error_and_ejects_none() -> None:
    memories = [Memory("a"), Memory("b"), Memory("c")]
    requests = [completion(f"question {number}") for number in range(60)]
    for memory in memories:
        memory.bad = "question 7"
    async with in_memory(memories) as replicas:
        said = told_of(replicas)
        for _ in range(5):
            outcomes = await outcomes_of(replicas, requests)
            assert [place for place, one in enumerate(outcomes) if isinstance(one, BackendError)] == [7]
            assert type(outcomes[7]) is ServerError
    assert said == []


async def test_where_all_servers_are_sick_each_prompt_has_its_own_error() -> None:
    memories = [Memory("a"), Memory("b")]
    for memory in memories:
        memory.failure = ServerError("500")
    async with in_memory(memories) as replicas:
        outcomes = await outcomes_of(replicas, completions(30))
        assert len(replicas.there) == len(memories)
    assert {type(outcome) for outcome in outcomes} == {ServerError}


async def test_a_prompt_that_all_refuse_for_now_is_asked_again_until_its_time_is_up() -> None:
    memories = [Memory("a"), Memory("b")]
    for memory in memories:
        memory.failure = RateLimitError("slow down")
    naps = Yielding()
    async with in_memory(memories, sleep=naps) as replicas:
        asking = asyncio.ensure_future(outcomes_of(replicas, completions(3)))
        await until(lambda: sum(naps.seconds) > 60)
        memories[1].failure = None
        assert {type(outcome) for outcome in await asking} == {Response}
        memories[1].failure = memories[0].failure
        naps.seconds.clear()
        outcomes = await outcomes_of(replicas, completions(1))
    assert {type(outcome) for outcome in outcomes} == {RateLimitError}
    assert sum(naps.seconds) >= RetryPolicy().max_away_seconds


async def test_servers_that_are_expected_are_waited_for_although_none_was_ever_there() -> None:
    memories = [Memory("a"), Memory("b")]
    for memory in memories:
        memory.refused = True
    async with in_memory(memories, sleep=Endless(), waits_for_first_contact=True) as replicas:
        said = told_of(replicas)
        asking = asyncio.ensure_future(responses_of(replicas, completions(3)))
        await until(lambda: "no server is there yet (refused); waiting up to 600 s for one" in said)
        memories[1].refused = False
        replicas.servers[1]._capabilities.forget()  # pyright: ignore[reportPrivateUsage]
        await asking
    assert memories[1].answered.total() == 3


async def test_servers_that_are_expected_and_never_come_are_gone_after_the_wait() -> None:
    memories = [Memory("a"), Memory("b")]
    for memory in memories:
        memory.refused = True
    naps = Yielding()
    async with in_memory(memories, sleep=naps, waits_for_first_contact=True) as replicas:
        outcomes = await outcomes_of(replicas, completions(3))
    assert {type(outcome) for outcome in outcomes} == {ServerGoneError}
    assert str(outcomes[0]) == "no server was there for 600 s (refused)"


async def test_a_replica_that_is_another_after_one_broken_connection_stops_no_run() -> None:
    memories = [Memory("a"), Memory("b")]
    contacts: list[int] = []

    async def on_contact() -> None:
        contacts.append(memories[0].received)
        if len(contacts) > 1:
            raise RuntimeError("other weights")

    async with in_memory(memories) as replicas:
        replicas.servers[0].hooks = Hooks(on_contact=on_contact)
        await responses_of(replicas, families(20, size=1))
        answered = memories[0].answered.total()
        memories[0].script = ["reset"]
        await responses_of(replicas, families(20, size=3)[20:])
        assert replicas.there == ("http://b",)
    assert answered
    assert memories[0].answered.total() - answered <= 6  # what was with it when the connection broke
    assert len(contacts) > 1
