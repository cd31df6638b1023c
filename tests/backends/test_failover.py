"""Each request fails over on its own, and the preferred backend is asked again when it is back."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

import pytest

from backends.base import Arrival, Hooks, Outcome
from backends.capabilities import Capabilities
from backends.errors import (
    BackendConnectionError,
    BackendError,
    BadRequestError,
    ConnectionLostError,
    ModelNotLoadedError,
    ServerError,
)
from backends.failover import Failover, Return
from backends.messages import Label, Request, Response
from tests.helpers import completion, completions, outcomes_of

Script = Callable[[Request], Outcome]


def says(text: str) -> Script:
    return lambda _: Response(text=text, finish_reason="stop")


def fails(error: BackendError) -> Script:
    return lambda _: error


class Fake:
    """Answers from a script, one arrival for each request; `ready` fails with the next of a list."""

    def __init__(self, script: Script, *, returns: Sequence[BackendError | None] = ()) -> None:
        self.hooks = Hooks()
        self.root = "direct:model"
        self.script = script
        self.after: Script | None = None
        """What it answers when it is back."""
        self.returns = list(returns)
        self.asked: list[Request] = []
        self.tries = 0
        self.opened = self.closed = 0

    async def __aenter__(self) -> Self:
        self.opened += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed += 1

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        for index, request in enumerate(requests):
            self.asked.append(request)
            await asyncio.sleep(0)
            yield Arrival(outcomes=((index, self.script(request)),))

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        outcome = self.script(completion(model))
        if isinstance(outcome, BackendError):
            raise outcome
        return tuple(Label(text=outcome.text + text) for text in texts)

    async def count_text(self, model: str, text: str) -> int:
        del model
        return len(text.split())

    async def count_tokens(self, request: Request) -> int:
        outcome = self.script(request)
        if isinstance(outcome, BackendError):
            raise outcome
        return len(outcome.text)

    async def capabilities(self) -> Capabilities:
        return Capabilities(
            version=self.root, roots={"model": self.root}, scores_token_ids=True, has_batch_chat=False
        )

    async def ready(self) -> None:
        self.tries += 1
        error = self.returns.pop(0) if self.returns else None
        if error is not None:
            raise error
        self.script = self.after or self.script


class Pauses:
    """A sleep that lasts until it is let go."""

    def __init__(self, *, free: bool = False) -> None:
        self.seconds: list[float] = []
        self.gate = asyncio.Event()
        if free:
            self.gate.set()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.gate.wait()


def both(first: Fake, second: Fake, told: list[str], pauses: Pauses, **policy: float) -> Failover:
    return Failover(
        first,
        second,
        second_name="the server",
        hooks=Hooks(tell=told.append),
        policy=Return(max_tries=int(policy.get("max_tries", 5))),
        sleep=pauses,
    )


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


def texts(outcomes: Sequence[Outcome]) -> list[str]:
    return [one.text if isinstance(one, Response) else type(one).__name__ for one in outcomes]


LOST = ConnectionLostError("the engine died")
ABSENT = BackendConnectionError("nobody there")


async def test_the_second_is_asked_nothing_while_the_first_is_there() -> None:
    first, second, told = Fake(says("direct")), Fake(says("http")), list[str]()
    async with both(first, second, told, Pauses()) as backend:
        assert texts(await outcomes_of(backend, completions(3))) == ["direct"] * 3
    assert (second.asked, told) == ([], [])
    assert (first.opened, first.closed, second.opened, second.closed) == (1, 1, 1, 1)


async def test_only_those_that_were_lost_fail_over() -> None:
    def half(request: Request) -> Outcome:
        return LOST if request.prompt in {"question 1", "question 3"} else says("direct")(request)

    first, second, told = Fake(half), Fake(says("http")), list[str]()
    async with both(first, second, told, Pauses()) as backend:
        found = await outcomes_of(backend, completions(4))
    assert texts(found) == ["direct", "http", "direct", "http"]
    assert [one.prompt for one in second.asked] == ["question 1", "question 3"]
    assert len(told) == 1
    assert "direct:model is away" in told[0]
    assert "the server answers" in told[0]


@pytest.mark.parametrize("error", [BadRequestError("too long"), ServerError("failed")])
async def test_what_the_first_refused_or_failed_is_no_reason(error: BackendError) -> None:
    first, second = Fake(fails(error)), Fake(says("http"))
    async with both(first, second, [], Pauses()) as backend:
        assert await outcomes_of(backend, completions(1)) == [error]
        assert backend.is_on_first
    assert second.asked == []


async def test_an_engine_that_cannot_be_made_is_one() -> None:
    first, second = Fake(fails(ModelNotLoadedError("no room"))), Fake(says("http"))
    async with both(first, second, [], Pauses()) as backend:
        assert texts(await outcomes_of(backend, completions(1))) == ["http"]


async def test_while_the_first_is_away_it_is_not_asked_and_when_it_is_back_it_is() -> None:
    first, second, told, pauses = Fake(fails(LOST)), Fake(says("http")), list[str](), Pauses()
    first.after = says("direct again")
    async with both(first, second, told, pauses) as backend:
        assert texts(await outcomes_of(backend, completions(1))) == ["http"]
        assert texts(await outcomes_of(backend, completions(2))) == ["http"] * 2
        assert len(first.asked) == 1
        pauses.gate.set()
        await until(lambda: backend.is_on_first)
        assert texts(await outcomes_of(backend, completions(2))) == ["direct again"] * 2
    assert "is back" in told[-1]
    assert first.tries == 1


async def test_tries_are_bounded_with_longer_and_longer_pauses_and_then_it_is_given_up() -> None:
    never: list[BackendError | None] = [ModelNotLoadedError("no room")] * 9
    first, second, told, pauses = Fake(fails(LOST), returns=never), Fake(says("http")), list[str](), Pauses()
    async with both(first, second, told, pauses, max_tries=4) as backend:
        await outcomes_of(backend, completions(1))
        pauses.gate.set()
        await until(lambda: "given up" in told[-1])
        assert texts(await outcomes_of(backend, completions(1))) == ["http"]
    assert (first.tries, pauses.seconds, len(first.asked)) == (4, [1.0, 2.0, 4.0, 8.0], 1)
    assert "no room" in told[-1]


async def test_one_that_dies_each_time_it_is_asked_is_given_up_too() -> None:
    first, second, told = Fake(fails(LOST)), Fake(says("http")), list[str]()
    async with both(first, second, told, Pauses(free=True), max_tries=3) as backend:
        for _ in range(20):
            assert texts(await outcomes_of(backend, completions(1))) == ["http"]
            await asyncio.sleep(0.001)
        assert "given up" in told[-1]
    assert (first.tries, len(first.asked)) == (3, 4)


async def test_where_both_are_away_the_first_is_waited_for() -> None:
    first, second, pauses = Fake(fails(LOST)), Fake(fails(ABSENT)), Pauses()
    first.after = says("direct again")
    async with both(first, second, [], pauses) as backend:
        waiting = asyncio.ensure_future(outcomes_of(backend, completions(2)))
        await until(lambda: len(second.asked) == 2)
        pauses.gate.set()
        assert texts(await waiting) == ["direct again"] * 2


async def test_where_both_stay_away_the_last_error_is_the_outcome() -> None:
    never: list[BackendError | None] = [ModelNotLoadedError("no room")] * 9
    first, second = Fake(fails(LOST), returns=never), Fake(fails(ABSENT))
    async with both(first, second, [], Pauses(free=True)) as backend:
        assert await outcomes_of(backend, completions(2)) == [ABSENT, ABSENT]
    assert (len(first.asked), len(second.asked)) == (2, 2)


async def test_no_request_is_moved_for_ever() -> None:
    first, second = Fake(fails(LOST)), Fake(fails(ABSENT))
    async with both(first, second, [], Pauses(free=True), max_tries=100) as backend:
        (outcome,) = await outcomes_of(backend, completions(1))
    assert outcome in (LOST, ABSENT)
    assert len(first.asked) + len(second.asked) == 3


async def test_labels_and_token_counts_come_from_whoever_is_there() -> None:
    first, second = Fake(fails(LOST)), Fake(says("http"))
    async with both(first, second, [], Pauses()) as backend:
        assert await backend.find_labels("model", ["x"]) == (Label(text="httpx"),)
        assert not backend.is_on_first
        assert await backend.count_tokens(completion("x")) == 4
    assert first.asked == []


async def test_an_error_that_is_none_of_ours_reaches_the_caller() -> None:
    def breaks(request: Request) -> Outcome:
        raise ZeroDivisionError(request.prompt)

    async with both(Fake(breaks), Fake(says("http")), [], Pauses()) as backend:
        with pytest.raises(ZeroDivisionError):
            await outcomes_of(backend, completions(1))


async def test_leaving_early_cancels_what_is_under_way() -> None:
    held = asyncio.Event()

    class Held(Fake):
        async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
            try:
                yield Arrival(outcomes=((0, says("first")(requests[0])),))
                await asyncio.Event().wait()
            finally:
                held.set()

    async with (
        both(Held(says("")), Fake(says("http")), [], Pauses()) as backend,
        aclosing(backend.answer(completions(2))) as arrivals,
    ):
        await anext(arrivals)
    assert held.is_set()


async def test_both_tell_the_owner_whose_hooks_may_change() -> None:
    first, second = Fake(says("direct")), Fake(says("http"))
    backend = both(first, second, [], Pauses())
    heard: list[str] = []
    met: list[None] = []

    async def meet() -> None:
        met.append(None)

    backend.hooks.tell = heard.append
    backend.hooks.on_contact = meet
    first.hooks.tell("a")
    second.hooks.tell("b")
    await second.hooks.on_contact()
    assert (heard, len(met)) == (["a", "b"], 1)
