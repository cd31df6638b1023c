"""A server that is frozen keeps its connections open and answers nothing; nobody waits for it for long."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

from backends import capabilities, vllm_server
from backends.base import Hooks
from backends.errors import (
    BackendError,
    BackendTimeoutError,
    ServerGoneError,
    ServerSilentError,
)
from backends.retrying import RetryPolicy
from backends.silence import SILENT_SECONDS, Listener
from backends.vllm_server import VLLMServer
from tests.fake_vllm import FakeVLLM
from tests.helpers import MODEL, Naps, completions, error_of, outcomes_of, responses_of


class Line:
    """A server at the other end of a line, in time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.healthy_until = float("inf")
        self.looks: list[float] = []
        self.silences: list[ServerSilentError] = []
        self.slept = asyncio.Event()

    async def is_healthy(self) -> bool:
        self.looks.append(self.now)
        return self.now < self.healthy_until

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.set()
        await asyncio.sleep(0)

    def listener(self, server: VLLMServer | None = None) -> Listener:
        return Listener(
            "http://server" if server is None else server.root,
            self.is_healthy if server is None else server.is_healthy,
            self.silences.append if server is None else server.take_for_away,
            sleep=self.sleep,
            clock=lambda: self.now,
        )


@asynccontextmanager
async def listening(line: Line) -> AsyncGenerator[Listener]:
    listener = line.listener()
    yield listener
    await listener.close()


async def test_a_server_that_says_nothing_and_is_not_healthy_is_hung_up_on() -> None:
    line = Line()
    line.healthy_until = 100.0
    async with listening(line) as listener:
        with pytest.raises(ServerSilentError, match="http://server has gone silent"):
            async with listener.until_silent():
                await asyncio.Event().wait()
    healthy = [look for look in line.looks if look < line.healthy_until]
    assert healthy == [SILENT_SECONDS * number for number in range(1, 7)]
    assert line.looks[len(healthy) :] == [105.0, 105.0]  # a busy one may be late once
    assert len(line.silences) == 1


async def test_a_server_that_answers_others_is_not_asked_for_its_health() -> None:
    line = Line()
    line.healthy_until = 0.0
    async with listening(line) as listener:
        async with listener.until_silent():
            for _ in range(5):
                line.slept.clear()
                async with listener.until_silent():
                    line.now += SILENT_SECONDS - 1
                with suppress(BackendError):
                    async with listener.until_silent():
                        line.now += SILENT_SECONDS - 1
                        raise BackendError("busy")
        assert line.looks == []


async def test_who_goes_away_from_a_silent_server_is_told_nothing() -> None:
    line = Line()
    async with listening(line) as listener:
        with pytest.raises(BackendTimeoutError):
            async with listener.until_silent():
                raise BackendTimeoutError("600 s")
    assert line.silences == []


# --- a whole backend ------------------------------------------------------------------------------------


@contextmanager
def frozen() -> Generator[str]:
    """Open a port that accepts connections and answers none, as a stopped process does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time out in a moment where a first contact would in seconds."""
    monkeypatch.setattr(capabilities, "CONTACT_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(vllm_server, "CONTACT_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(vllm_server, "HEALTH_TIMEOUT_SECONDS", 0.05)


@pytest.mark.usefixtures("short")
async def test_a_first_contact_with_a_frozen_server_is_given_up() -> None:
    with frozen() as url:
        async with VLLMServer(url, retrier=Naps().retrier()) as backend:
            async with asyncio.timeout(20):
                assert type(await error_of(backend, completions(1)[0])) is BackendTimeoutError
                with pytest.raises(BackendTimeoutError):
                    await backend.weights(MODEL)


@pytest.mark.usefixtures("short")
async def test_a_server_that_freezes_amid_a_run_is_away_and_waited_for_so_long() -> None:
    line, naps, told = Line(), Naps(), list[str]()
    with FakeVLLM() as server, frozen() as elsewhere:
        retrier = naps.retrier(RetryPolicy(max_away_seconds=60))
        retrier.clock = lambda: sum(naps.seconds)
        async with VLLMServer(server.base_url, retrier=retrier, hooks=Hooks(tell=told.append)) as backend:
            await responses_of(backend, completions(1))
            backend._listener = line.listener(backend)  # pyright: ignore[reportPrivateUsage]
            backend._client.root = elsewhere  # pyright: ignore[reportPrivateUsage]
            outcomes = await outcomes_of(backend, completions(3))
    assert {type(outcome) for outcome in outcomes} == {ServerGoneError}
    assert line.now == SILENT_SECONDS
    assert 60 <= sum(naps.seconds) < 70
    assert told[0] == (
        f"{server.base_url} is away ({server.base_url} has gone silent); waiting up to 60 s for it"
    )


@pytest.mark.usefixtures("short")
async def test_a_canary_that_is_not_answered_is_no_longer_waited_for_than_an_answer() -> None:
    line = Line()
    with frozen() as url:
        async with VLLMServer(url, retrier=Naps().retrier()) as backend:
            backend._listener = line.listener(backend)  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(ServerSilentError):
                await backend.canary(MODEL)


async def test_a_request_that_times_out_has_the_server_looked_at() -> None:
    naps, told = Naps(), list[str]()
    with FakeVLLM() as server:
        retrier = naps.retrier(RetryPolicy(max_away_seconds=60))
        retrier.clock = lambda: sum(naps.seconds)
        async with VLLMServer(
            server.base_url, retrier=retrier, timeout_seconds=0.5, hooks=Hooks(tell=told.append)
        ) as backend:
            await backend.capabilities()
            server.faults([{"kind": "hang", "seconds": 60}])
            server.config(healthy=False)
            outcomes = await outcomes_of(backend, completions(3))
            assert server.stats()["requests"] == 1
    assert {type(outcome) for outcome in outcomes} == {ServerGoneError}
    assert "did not answer in time); waiting up to 60 s" in told[0]
