"""While a server is away one asks whether it is back, all others wait, and the user is told."""

import asyncio

import pytest

from backends.breaker import LONGEST_PAUSE_SECONDS, TRIP_AFTER, Breaker
from backends.errors import (
    AbortedError,
    BackendConnectionError,
    BackendError,
    RateLimitError,
    ServerError,
    ServerGoneError,
    ServerUnavailableError,
)

REFUSED = BackendConnectionError("no connection: refused")


class Server:
    """A server that is away until a time, on a clock of its own."""

    def __init__(self, *, back_at: float) -> None:
        self.now = 0.0
        self.back_at = back_at
        self.looks: list[float] = []
        self.told: list[str] = []
        self.returned = 0
        self.refusal: BackendError | None = None

    async def is_healthy(self) -> bool:
        self.looks.append(self.now)
        await asyncio.sleep(0)
        return self.now >= self.back_at

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def on_return(self) -> None:
        self.returned += 1
        if self.refusal:
            raise self.refusal

    def breaker(self, wait_seconds: float = 300.0) -> Breaker:
        return Breaker(
            "http://server",
            self.is_healthy,
            wait_seconds=wait_seconds,
            on_return=self.on_return,
            tell=self.told.append,
            sleep=self.sleep,
            clock=lambda: self.now,
        )


def trip(breaker: Breaker, error: BackendError = REFUSED) -> None:
    for _ in range(TRIP_AFTER):
        breaker.failed(error)


async def test_requests_pass_while_the_server_answers() -> None:
    server = Server(back_at=0)
    breaker = server.breaker()
    for _ in range(10):
        breaker.failed(REFUSED)
        breaker.succeeded()
        await breaker.ready()
    assert server.looks == []


@pytest.mark.parametrize("kind", [BackendConnectionError, ServerUnavailableError, AbortedError])
async def test_all_wait_until_the_server_is_back_and_one_looks(kind: type[BackendError]) -> None:
    server = Server(back_at=60)
    breaker = server.breaker()
    trip(breaker, kind("away"))
    await asyncio.gather(*(breaker.ready() for _ in range(100)))
    assert 60 <= server.now < 60 + LONGEST_PAUSE_SECONDS
    assert len(server.looks) < 20  # with a growing pause, and by one for all
    assert server.returned == 1
    assert server.told[0].startswith("http://server is away (away)")
    assert server.told[-1].startswith("http://server is back after 6")
    await breaker.ready()
    assert server.returned == 1


@pytest.mark.parametrize("kind", [RateLimitError, ServerError])
async def test_a_server_that_is_there_and_fails_is_not_away(kind: type[BackendError]) -> None:
    server = Server(back_at=60)
    breaker = server.breaker()
    trip(breaker, kind("no"))
    await breaker.ready()
    assert server.looks == []


async def test_a_server_that_never_comes_back_fails_all_who_wait_once_the_time_is_up() -> None:
    server = Server(back_at=float("inf"))
    breaker = server.breaker(wait_seconds=60)
    trip(breaker)
    outcomes = await asyncio.gather(*(breaker.ready() for _ in range(5)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ServerGoneError}
    assert server.now == 60
    assert "60 s" in str(outcomes[0])


async def test_after_that_each_one_fails_at_once_until_the_server_is_seen_again() -> None:
    server = Server(back_at=1000)
    breaker = server.breaker(wait_seconds=60)
    trip(breaker)
    for _ in range(3):
        with pytest.raises(ServerGoneError, match="stayed away for 60 s"):
            await breaker.ready()
        trip(breaker)  # others that were under way
    assert server.now == 60
    server.now = 1000
    await breaker.ready()
    assert server.returned == 1


async def test_a_server_that_comes_back_as_another_is_not_asked() -> None:
    server = Server(back_at=5)
    server.refusal = BackendError("other weights")
    breaker = server.breaker()
    trip(breaker)
    with pytest.raises(BackendError, match="other weights"):
        await breaker.ready()


async def test_closing_stops_the_looking() -> None:
    server = Server(back_at=float("inf"))
    breaker = server.breaker(wait_seconds=float("inf"))
    trip(breaker)
    waiting = asyncio.create_task(breaker.ready())
    await asyncio.sleep(0)
    await breaker.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    looks = len(server.looks)
    await asyncio.sleep(0)
    assert len(server.looks) == looks


async def test_nothing_is_told_of_a_server_that_turns_out_to_be_there() -> None:
    server = Server(back_at=0)
    breaker = server.breaker()
    trip(breaker)
    await breaker.ready()
    assert server.returned == 1  # it may have been away, and be another now
    assert server.told == []


async def test_a_server_that_refuses_and_is_healthy_all_the_time_is_not_introduced_again() -> None:
    server = Server(back_at=0)
    breaker = server.breaker()
    for _ in range(5):
        trip(breaker, ServerUnavailableError("its queue is full"))
        await breaker.ready()
    assert len(server.looks) == 5
    assert server.returned == 0


async def test_a_server_that_goes_again_while_it_is_introduced_is_waited_for_all_the_same() -> None:
    server = Server(back_at=5)

    async def on_return() -> None:
        server.returned += 1
        if server.returned == 1:
            raise BackendConnectionError("gone again")

    server.on_return = on_return
    breaker = server.breaker(wait_seconds=60)
    trip(breaker)
    await breaker.ready()
    assert server.returned == 2
    assert server.told[-1].startswith("http://server is back after ")


async def test_a_connection_that_breaks_during_the_introduction_has_it_done_again() -> None:
    server = Server(back_at=0)

    async def on_return() -> None:
        server.returned += 1
        if server.returned == 1:
            breaker.trip(REFUSED)

    server.on_return = on_return
    breaker = server.breaker()
    breaker.trip(REFUSED)
    await breaker.ready()
    assert server.returned == 2


async def test_where_others_can_answer_nobody_waits_and_one_look_decides() -> None:
    server = Server(back_at=5)
    breaker = server.breaker()
    breaker.wait_no_more()
    breaker.trip(REFUSED)
    assert breaker.is_away
    with pytest.raises(ServerGoneError, match="http://server is away"):
        await breaker.ready()
    assert (len(server.looks), server.now, breaker.is_away) == (1, 0.0, True)
    server.now = 5
    await breaker.ready()
    assert (server.returned, breaker.is_away, server.told) == (1, False, [])
