"""Every fault, on every kind of question, alone and in a list of 32: right answers, each of them stored once.

Each case is a run of its own: a fresh store, a backend that backs off in no time, and a fault that passes.
The requests sent are those that the errors' policy allows, counted by the server.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backends.errors import BackendConnectionError, BackendError
from backends.messages import Label, Request, Response
from backends.retrying import RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from tasks.generate import Generator
from tasks.keys import request_key
from tests.backends.test_vllm_server import EXACT
from tests.fake_vllm import FakeVLLM, JsonObject
from tests.helpers import Naps, chat, completion, responses_of, scoring

KINDS = ("completions", "chat", "labels")
SIZES = (1, 32)
ONE_OF_32 = 13
ATTEMPTS = 4

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one backend for all: its TLS context takes 30 ms


def questions(kind: str, size: int) -> list[Request]:
    """Ask for log-probabilities in any case, so that every fault has something to spoil."""
    labels: Sequence[Label] = EXACT
    texts = [f"question {number:02d}" for number in range(size)]
    match kind:
        case "completions":
            return [completion(text, logprobs=2) for text in texts]
        case "chat":
            return [chat(text, logprobs=2) for text in texts]
        case _:
            return [scoring(text, labels) for text in texts]


# --- a place to ask from --------------------------------------------------------------------------------


@dataclass(slots=True)
class Place:
    """A server, a backend for it that backs off in no time, and what the server answers undisturbed."""

    server: FakeVLLM
    backend: VLLMServer
    naps: Naps
    right: dict[tuple[str, int], list[Response]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_place(shared_server: FakeVLLM) -> AsyncGenerator[Place]:
    shared_server.reset(config=True)
    naps = Naps()
    async with backend_at(shared_server.base_url, naps) as backend:
        right = {
            (kind, size): await responses_of(backend, questions(kind, size))
            for kind in KINDS
            for size in SIZES
        }
        yield Place(shared_server, backend, naps, right)


@pytest.fixture
def place(shared_place: Place) -> Place:
    shared_place.server.reset(config=True)
    shared_place.naps.seconds.clear()
    return shared_place


def backend_at(url: str, naps: Naps, *, timeout_seconds: float = 30.0) -> VLLMServer:
    retrier = naps.retrier(RetryPolicy(max_attempts=ATTEMPTS))
    return VLLMServer(url, retrier=retrier, timeout_seconds=timeout_seconds)


class Run:
    """One run on a store of its own."""

    def __init__(self, place: Place, kind: str, size: int, folder: Path) -> None:
        self.requests = questions(kind, size)
        self.right = place.right[kind, size]
        self.server = place.server
        self.store = DiskStore(folder)
        self.generate = self.with_backend(place.backend)

    def with_backend(self, backend: VLLMServer) -> Generator:
        return Generator(backend=backend, lookup=Lookup(self.store))

    def has_stored(self, *requests: Request) -> bool:
        """Whether the store holds exactly one entry for each of these, and no other."""
        return sorted(self.store.keys()) == sorted(request_key(one) for one in requests)

    def answered_once(self, number: int) -> bool:
        """Whether so many prompts were answered well by the server, each of them once."""
        return list(self.server.stats()["prompt_digests"].values()) == [1] * number


# --- faults that pass -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A fault, how often its error is tried again, and the pauses that the server asks for."""

    fault: JsonObject
    retries: int
    pause: float = 0.0

    def requests(self, hits: int, size: int) -> int:
        """Count what the policy sends until everything is answered, in as many calls as it takes."""
        if hits <= self.retries:
            return hits + 1
        if size > 1:  # the list is halved, and the halves are hit by what is left of the fault
            return hits + 2
        return hits + 1  # the first call fails, the second asks once


PERSISTENT = ATTEMPTS - 1
CASES = {
    "429": Case(fault={"kind": "status", "status": 429}, retries=PERSISTENT),
    "429-retry-after": Case(
        fault={"kind": "status", "status": 429, "retry_after": 7}, retries=PERSISTENT, pause=7.0
    ),
    "500": Case(fault={"kind": "status", "status": 500}, retries=1),
    "502": Case(fault={"kind": "status", "status": 502}, retries=2),
    "503": Case(fault={"kind": "status", "status": 503}, retries=PERSISTENT),
    "504": Case(fault={"kind": "status", "status": 504}, retries=2),
    "closed": Case(fault={"kind": "reset"}, retries=2),
    "reset": Case(fault={"kind": "reset", "hard": True}, retries=2),
    "truncated": Case(fault={"kind": "truncated"}, retries=2),
    "truncated-whole": Case(fault={"kind": "truncated", "declared": "cut"}, retries=1),
    "not-json": Case(fault={"kind": "not_json"}, retries=1),
    "html": Case(fault={"kind": "html"}, retries=1),
    "too-few-choices": Case(fault={"kind": "too_few_choices"}, retries=1),
    "no-choices": Case(fault={"kind": "empty_choices"}, retries=1),
    "bad-index": Case(fault={"kind": "bad_index"}, retries=1),
    "missing-logprobs": Case(fault={"kind": "missing_logprobs"}, retries=1),
    "minus-9999": Case(fault={"kind": "minus_9999"}, retries=3),
    "abort": Case(fault={"kind": "abort"}, retries=PERSISTENT),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
async def test_fault_that_passes_leaves_right_answers_stored_once(
    place: Place, name: str, kind: str, size: int, tmp_path: Path
) -> None:
    case = CASES[name]
    for hits in (1, 2):
        place.server.reset()
        place.naps.seconds.clear()
        run = Run(place, kind, size, tmp_path / str(hits))
        place.server.faults([{**case.fault, "times": hits}])
        if size == 1 and hits > case.retries:
            with pytest.raises(ExceptionGroup) as caught:
                await run.generate(run.requests)
            assert [error.retryable for error in failures(caught.value)] == [True]
        assert await run.generate(run.requests) == run.right
        assert run.has_stored(*run.requests)
        assert run.answered_once(size)
        sent = place.server.stats()["requests"]
        assert sent == run.generate.tally.requests == case.requests(hits, size)
        assert sum(nap >= case.pause for nap in place.naps.seconds) == min(hits, case.retries)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
async def test_answer_that_takes_too_long_is_asked_for_again(
    place: Place, kind: str, size: int, tmp_path: Path
) -> None:
    run, naps = Run(place, kind, size, tmp_path), Naps()
    place.server.faults([{"kind": "hang", "seconds": 60}])
    async with backend_at(place.server.base_url, naps, timeout_seconds=1.0) as backend:
        await backend.capabilities()
        assert await run.with_backend(backend)(run.requests) == run.right
    assert run.has_stored(*run.requests)
    assert run.answered_once(size)
    assert place.server.stats()["requests"] == 2
    assert len(naps.seconds) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_reordered_choices_are_put_in_order(place: Place, kind: str, tmp_path: Path) -> None:
    run = Run(place, kind, 32, tmp_path)
    place.server.faults([{"kind": "reordered_choices"}])
    assert await run.generate(run.requests) == run.right
    assert run.has_stored(*run.requests)
    assert place.server.stats()["requests"] == 1


# --- a server that cannot be reached --------------------------------------------------------------------


class Door:
    """A port before a server that opens and closes; behind a closed one nobody listens."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        self._open |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._open -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Repairs(Naps):
    """A sleep that takes no time; after some of them, something is mended."""

    def __init__(self, after: int, mend: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.after = after
        self.mend = mend

    async def __call__(self, seconds: float) -> None:
        await super().__call__(seconds)
        if len(self.seconds) == self.after:
            await self.mend()


@pytest_asyncio.fixture(loop_scope="module")
async def door(place: Place) -> AsyncGenerator[Door]:
    door = Door(place.server.port)
    await door.open()
    yield door
    await door.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
async def test_refused_connection_is_tried_again(
    place: Place, door: Door, kind: str, size: int, tmp_path: Path
) -> None:
    for hits in (1, 2):
        place.server.reset()
        run = Run(place, kind, size, tmp_path / str(hits))
        repairs = Repairs(hits, door.open)
        async with backend_at(f"http://127.0.0.1:{door.port}", repairs) as backend:
            generate = run.with_backend(backend)
            await generate([completion("before")])
            await door.close()
            assert await generate(run.requests) == run.right
        assert run.has_stored(completion("before"), *run.requests)
        assert place.server.stats()["requests"] == 2  # what was refused was not sent
        assert hits <= len(repairs.seconds) <= hits + 1  # a look may fail beside the first pause


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
async def test_unknown_host_is_looked_up_again(
    place: Place, kind: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, known = socket.getaddrinfo, False

    def resolver(host: Any, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - the socket's own signature
        if host in {"vllm.invalid", b"vllm.invalid"}:
            if not known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return look_up(host, *rest, **options)

    async def learn() -> None:
        nonlocal known
        known = True

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for hits in (1, 2):
        known = False
        place.server.reset()
        run, repairs = Run(place, kind, size, tmp_path / str(hits)), Repairs(hits, learn)
        async with backend_at(f"http://vllm.invalid:{place.server.port}", repairs) as backend:
            assert await run.with_backend(backend)(run.requests) == run.right
        assert run.has_stored(*run.requests)
        assert place.server.stats()["requests"] == 1
        assert len(repairs.seconds) == hits


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://vllm.invalid"])
async def test_server_that_is_nowhere_fails_every_prompt_and_stores_none(
    place: Place, url: str, tmp_path: Path
) -> None:
    run = Run(place, "completions", 32, tmp_path)
    async with backend_at(url, Naps()) as backend:
        with pytest.raises(ExceptionGroup, match="32 of 32 prompts have no answer") as caught:
            await run.with_backend(backend)(run.requests)
    assert {type(error) for error in failures(caught.value)} == {BackendConnectionError}
    assert run.has_stored()


# --- faults that stay on one prompt ---------------------------------------------------------------------

LEVELS = 6  # lists of 32, 16, 8, 4, 2 and 1 that hold the prompt; each but the first has a sound sister
STAYING = {
    "400": ({"kind": "status", "status": 400}, 1),
    "500": ({"kind": "status", "status": 500}, 2),
    "502": ({"kind": "status", "status": 502}, 3),
    "504": ({"kind": "status", "status": 504}, 3),
    "closed": ({"kind": "reset"}, 3),
    "reset": ({"kind": "reset", "hard": True}, 3),
    "truncated": ({"kind": "truncated"}, 3),
    "truncated-whole": ({"kind": "truncated", "declared": "cut"}, 2),
    "not-json": ({"kind": "not_json"}, 2),
    "too-few-choices": ({"kind": "too_few_choices"}, 2),
    "bad-index": ({"kind": "bad_index"}, 2),
    "missing-logprobs": ({"kind": "missing_logprobs"}, 2),
    "minus-9999": ({"kind": "minus_9999"}, 4),
    "abort": ({"kind": "abort"}, ATTEMPTS),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STAYING)
async def test_fault_that_stays_on_one_prompt_costs_that_prompt_only(
    place: Place, name: str, kind: str, tmp_path: Path
) -> None:
    fault, attempts = STAYING[name]
    run = Run(place, kind, 32, tmp_path)
    place.server.faults([{**fault, "match": f"question {ONE_OF_32}", "times": -1}])
    sound = [one for number, one in enumerate(run.requests) if number != ONE_OF_32]
    with pytest.raises(ExceptionGroup, match="1 of 32 prompts have no answer") as caught:
        await run.generate(run.requests)
    (error,) = failures(caught.value)
    assert f"question {ONE_OF_32}'" in "".join(error.__notes__)
    assert run.has_stored(*sound)
    assert place.server.stats()["requests"] == LEVELS * attempts + LEVELS - 1
    place.server.reset()
    assert await run.generate(run.requests) == run.right
    stats = place.server.stats()
    assert (stats["requests"], stats["prompts"]) == (1, 1)  # nothing answered is asked again
    assert run.has_stored(*run.requests)


def failures(group: BaseExceptionGroup[Exception]) -> list[BackendError]:
    return [error for error in group.exceptions if isinstance(error, BackendError)]
