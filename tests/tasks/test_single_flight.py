"""A question that many put at once is asked once, whoever dies, fails or leaves meanwhile."""

import asyncio
import collections.abc
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from backends.base import Arrival, Outcome
from backends.errors import BadRequestError
from backends.messages import Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.errors import StoreUnavailableError
from cache.keys import Key
from cache.leases import BEAT_SECONDS, DiskLeases, NoLeases
from cache.lookup import CacheMode, Lookup
from tasks.codec import encode_entry
from tasks.generate import Generator, UnansweredError
from tasks.keys import KeyedRequest, key_requests, request_digests, request_key
from tasks.single_flight import CLAIM_SECONDS, SingleFlight
from tests.fake_vllm import FakeVLLMProcess
from tests.helpers import completion, completions, until

ROOT = Path(__file__).parents[2]
ASK = completion("the one question")

ASKER = """
import asyncio, sys
from pathlib import Path
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.leases import DiskLeases
from cache.lookup import Lookup
from tasks.generate import Generator
from tests.helpers import completions

async def main(place, url, count):
    leases = DiskLeases(Path(place) / "leases")
    async with VLLMServer(url) as backend:
        generator = Generator(backend=backend, lookup=Lookup(DiskStore(Path(place))), leases=leases)
        print("ready", flush=True)
        sys.stdin.readline()
        responses = await generator(completions(int(count)))
    print(generator.tally.sent, generator.tally.shared, "|".join(one.text for one in responses), flush=True)
    leases.close()

asyncio.run(main(*sys.argv[1:]))
"""


class Slow(Scripted):
    """A scripted backend that answers when its door is opened."""

    def __init__(self, script: Callable[[Request], Outcome] | None = None) -> None:
        super().__init__(script or (lambda asked: Response(text=str(asked.prompt), finish_reason="stop")))
        self.door = asyncio.Event()

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        self.asked.extend(requests)
        await self.door.wait()
        yield Arrival(outcomes=tuple((index, self._script(one)) for index, one in enumerate(requests)))


class Ledger(NoLeases):
    """Leases in memory, some of them held by another process; counts what it is told."""

    def __init__(self, *, elsewhere: Iterable[Key] = ()) -> None:
        self.elsewhere = set(elsewhere)
        self.held: set[Key] = set()
        self.claims = 0
        self.beats = 0
        self.on_claim: Callable[[], object] = lambda: None

    def claim(self, keys: Iterable[Key]) -> set[Key]:
        self.claims += 1
        self.on_claim()
        ours = set(keys) - self.elsewhere
        self.held |= ours
        return ours

    def release(self, keys: Iterable[Key]) -> None:
        self.held -= set(keys)

    def beat(self) -> None:
        self.beats += 1


class Sleeps:
    """Sleeps that take no time, and are remembered."""

    def __init__(self, then: Callable[[int], object] = lambda count: None) -> None:  # noqa: ARG005
        self.seconds: list[float] = []
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._then(len(self.seconds))
        await asyncio.sleep(0)


ONE = KeyedRequest(request=ASK, key=request_key(ASK), digests=request_digests(ASK))
ANSWER = Response(text="it", finish_reason="stop")


def put_answer(store: DiskStore) -> None:
    store.put({ONE.key: encode_entry(ASK, ONE.digests, ANSWER, keep_text=True)})


@contextlib.contextmanager
def all_threads_taken() -> collections.abc.Generator[None]:
    """Leave no thread of the shared pool to anybody."""
    threads = anyio.to_thread.current_default_thread_limiter()
    holders = [object() for _ in range(int(threads.available_tokens))]
    for one in holders:
        threads.acquire_on_behalf_of_nowait(one)
    yield
    for one in holders:
        threads.release_on_behalf_of(one)


class Asked:
    """Asks nobody: answers when its door is opened, and remembers what it was asked."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.door = asyncio.Event()

    async def __call__(self, missing: Sequence[KeyedRequest]) -> AsyncGenerator[dict[Key, Outcome], None]:
        self.keys += [one.key for one in missing]
        await self.door.wait()
        yield {one.key: ANSWER for one in missing}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path)
    yield store
    store.close()


@pytest.fixture
def generator_of(store: DiskStore, tmp_path: Path) -> Iterator[Callable[..., Generator]]:
    """Makes generators that share a store, as different processes would."""
    opened: list[DiskLeases] = []

    def make(backend: Scripted, mode: CacheMode = CacheMode.USE) -> Generator:
        opened.append(DiskLeases(tmp_path / "leases"))
        return Generator(backend=backend, lookup=Lookup(store, mode), leases=opened[-1])

    yield make
    for leases in opened:
        leases.close()


async def test_hundred_callers_one_flight(generator_of: Callable[..., Generator]) -> None:
    backend = Slow()
    generator = generator_of(backend)
    callers = [asyncio.create_task(generator([ASK])) for _ in range(100)]
    await until(lambda: bool(backend.asked))
    backend.door.set()
    answers = await asyncio.gather(*callers)
    assert backend.asked == [ASK]
    assert {answer.text for (answer,) in answers} == {ASK.prompt}
    tally = generator.tally
    assert (tally.sent, tally.from_the_store) == (1, 99)
    assert tally.shared > 50  # on a busy machine some come when it has landed
    await generator([ASK])
    assert (tally.sent, tally.from_the_store, tally.prompts) == (1, 100, 101)


async def test_callers_who_leave_hand_the_question_on(generator_of: Callable[..., Generator]) -> None:
    backend = Slow()
    generator = generator_of(backend)
    first = asyncio.create_task(generator([ASK]))
    await until(lambda: len(backend.asked) == 1)
    others = [asyncio.create_task(generator([ASK])) for _ in range(5)]
    await asyncio.sleep(0.05)
    first.cancel()
    await until(lambda: len(backend.asked) == 2)
    backend.door.set()
    assert {answer.text for (answer,) in await asyncio.gather(*others)} == {ASK.prompt}
    assert generator.tally.sent == 1


async def test_failed_flight_is_not_remembered(generator_of: Callable[..., Generator]) -> None:
    outcomes: list[Outcome] = [Response(text="late", finish_reason="stop"), BadRequestError("no")]
    generator = generator_of(Scripted(lambda _: outcomes.pop()))
    with pytest.raises(UnansweredError, match="no"):
        await generator([ASK])
    assert (await generator([ASK]))[0].text == "late"


async def test_all_who_wait_hear_of_a_failure(generator_of: Callable[..., Generator]) -> None:
    backend = Slow(lambda _: BadRequestError("too long"))
    generator = generator_of(backend)
    callers = [asyncio.create_task(generator([ASK])) for _ in range(3)]
    await until(lambda: bool(backend.asked))
    backend.door.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnansweredError] * 3
    assert len(backend.asked) == 1


class Full(DiskStore):
    """A store on a disk without room."""

    tries = 0

    def put(self, entries: Mapping[Key, bytes]) -> None:
        del entries
        self.tries += 1
        raise StoreUnavailableError("database or disk is full")

    def add(self, entries: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
        self.put(entries)
        return {}


async def test_where_the_store_fails_who_asked_it_fails_all_who_wait(tmp_path: Path) -> None:
    backend = Slow()
    generator = Generator(backend=backend, lookup=Lookup(Full(tmp_path)))
    both = key_requests([ASK, completion("another")])
    callers = [asyncio.create_task(generator.answer(both[: 1 + number % 2])) for number in range(100)]
    await until(lambda: len(backend.asked) == 2)
    backend.door.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
    assert len(backend.asked) == 2


async def test_after_a_failed_write_nothing_more_is_sent(tmp_path: Path) -> None:
    store = Full(tmp_path)
    backend = Scripted(lambda _: ANSWER, max_prompts=1)
    with pytest.raises(StoreUnavailableError):
        await Generator(backend=backend, lookup=Lookup(store))(completions(10))
    assert (len(backend.asked), store.tries) == (1, 1)


async def test_generators_that_share_a_store_do_not_ask_the_same(
    generator_of: Callable[..., Generator],
) -> None:
    first, second = Slow(), Slow()
    one, other = generator_of(first), generator_of(second)
    leading = asyncio.create_task(one(completions(10)))
    await until(lambda: len(first.asked) == 10)
    following = asyncio.create_task(other(completions(15)))
    await until(lambda: len(second.asked) == 5)
    first.door.set()
    second.door.set()
    assert [answer.text for answer in await following] == [str(one.prompt) for one in completions(15)]
    await leading
    assert (one.tally.sent, other.tally.sent, other.tally.shared) == (10, 5, 10)


async def test_a_question_that_failed_elsewhere_is_asked_here(generator_of: Callable[..., Generator]) -> None:
    first, second = Slow(lambda _: BadRequestError("no")), Slow()
    one, other = generator_of(first), generator_of(second)
    leading = asyncio.create_task(one([ASK]))
    await until(lambda: bool(first.asked))
    following = asyncio.create_task(other([ASK]))
    await asyncio.sleep(0.1)
    first.door.set()
    second.door.set()
    with pytest.raises(ExceptionGroup):
        await leading
    assert (await following)[0].text == ASK.prompt


async def test_a_cancelled_call_frees_its_leases(generator_of: Callable[..., Generator]) -> None:
    first, second = Slow(), Slow()
    leading = asyncio.create_task(generator_of(first)([ASK]))
    await until(lambda: bool(first.asked))
    following = asyncio.create_task(generator_of(second)([ASK]))
    await asyncio.sleep(0.1)
    leading.cancel()
    second.door.set()
    assert (await following)[0].text == ASK.prompt


async def test_refresh_asks_whatever_others_are_doing(generator_of: Callable[..., Generator]) -> None:
    first, second = Slow(), Slow()
    second.door.set()
    leading = asyncio.create_task(generator_of(first)([ASK]))
    await until(lambda: bool(first.asked))
    await generator_of(second, CacheMode.REFRESH)([ASK])
    assert len(second.asked) == 1
    first.door.set()
    await leading


# --- what leases are told -------------------------------------------------------------------------------


async def test_who_waits_for_an_answer_beats_even_where_all_threads_wait_for_the_store(
    store: DiskStore,
) -> None:
    ledger, sleeps, ask = Ledger(), Sleeps(), Asked()
    leading = asyncio.create_task(SingleFlight(Lookup(store), ledger, sleep=sleeps).land([ONE], ask))
    await until(lambda: bool(ask.keys))
    with all_threads_taken():
        beats = ledger.beats
        with contextlib.suppress(TimeoutError):
            await until(lambda: ledger.beats > beats + 10, seconds=5)
    assert ledger.beats > beats + 10
    assert set(sleeps.seconds) == {BEAT_SECONDS}
    ask.door.set()
    assert (await leading)[ONE.key].outcome == ANSWER
    beats = ledger.beats
    for _ in range(10):
        await asyncio.sleep(0)
    assert ledger.beats == beats


async def test_what_is_stored_while_it_is_claimed_is_not_asked(store: DiskStore) -> None:
    ledger, ask = Ledger(), Asked()
    ledger.on_claim = lambda: put_answer(store)
    ask.door.set()
    landed = await SingleFlight(Lookup(store), ledger).land([ONE], ask)
    assert (landed[ONE.key].outcome, landed[ONE.key].how) == (ANSWER, "hit")
    assert ask.keys == []
    assert ledger.held == set()


async def test_leases_are_given_back_by_who_is_cancelled_and_by_who_is_answered(store: DiskStore) -> None:
    ledger, ask = Ledger(), Asked()
    flights = SingleFlight(Lookup(store), ledger)
    leading = asyncio.create_task(flights.land([ONE], ask))
    await until(lambda: bool(ask.keys))
    assert ledger.held == {ONE.key}
    leading.cancel()
    await asyncio.wait([leading])
    assert ledger.held == set()
    ask.door.set()
    await flights.land([ONE], ask)
    assert ledger.held == set()


async def test_who_waits_for_another_process_looks_often_and_claims_seldom(store: DiskStore) -> None:
    ledger = Ledger(elsewhere=[ONE.key])
    sleeps = Sleeps(lambda count: put_answer(store) if count == 45 else None)
    flights = SingleFlight(Lookup(store), ledger, poll_seconds=CLAIM_SECONDS / 10, sleep=sleeps)
    landed = await flights.land([ONE], Asked())
    assert landed[ONE.key].how == "shared"
    assert len(sleeps.seconds) == 45
    assert 4 <= ledger.claims <= 5  # once at first, then once in ten looks


def start_asker(place: Path, url: str, count: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", ASKER, str(place), url, str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_ask_each_question_once(tmp_path: Path) -> None:
    with FakeVLLMProcess(latency_seconds=0.05) as server:
        askers = [start_asker(tmp_path, server.base_url, 300) for _ in range(2)]
        printed = [process.communicate("go\n", timeout=60)[0].split(maxsplit=2) for process in askers]
        stats = server.stats()
    assert printed[0][2] == printed[1][2]
    assert stats["prompts"] == 300
    assert sum(int(sent) for sent, *_ in printed) == 300


def test_another_process_takes_over_when_the_asker_is_killed(tmp_path: Path) -> None:
    with FakeVLLMProcess(latency_seconds=600) as server:
        first = start_asker(tmp_path, server.base_url, 20)
        assert first.stdin
        first.stdin.write("go\n")
        first.stdin.flush()
        asyncio.run(until(lambda: server.stats()["prompts"] == 20))
        second = start_asker(tmp_path, server.base_url, 20)
        assert second.stdin
        second.stdin.write("go\n")
        second.stdin.flush()
        server.config(latency_seconds=0)
        first.kill()
        first.communicate()
        sent, _, texts = second.communicate(timeout=10)[0].split(maxsplit=2)
        assert int(sent) == 20
        assert len(texts.split("|")) == 20
        assert server.stats()["prompts"] == 40


class Gated(Lookup):
    """Looks into the store when its gate is open."""

    gate = threading.Event()

    def find(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as it is
        assert self.gate.wait(20)
        return super().find(*args, **kwargs)


class OneByOne(Slow):
    """Answers the first question at once, and the others when its door is opened."""

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        self.asked.extend(requests)
        yield Arrival(outcomes=((0, self._script(requests[0])),))
        await self.door.wait()
        rest = tuple((place, self._script(one)) for place, one in enumerate(requests) if place)
        yield Arrival(outcomes=rest)


async def test_a_call_that_ends_takes_no_flight_of_another_along(tmp_path: Path) -> None:
    """A question that has landed is put again while the call that it landed for still waits for others."""
    store = DiskStore(tmp_path)
    backend, lookup = OneByOne(), Gated(store)
    lookup.gate = threading.Event()
    lookup.gate.set()
    generator = Generator(backend=backend, lookup=lookup)
    first, second = completions(2)
    both = asyncio.ensure_future(generator([first, second]))
    await until(lambda: len(list(store.keys())) == 1)
    lookup.gate.clear()
    again = asyncio.ensure_future(generator([first]))
    await asyncio.sleep(0.05)  # it has begun to look
    backend.door.set()
    answers = await both
    lookup.gate.set()
    assert await again == answers[:1]
    assert len(backend.asked) == 2
    store.close()
