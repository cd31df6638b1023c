"""What every backend must do, whoever answers: subclassed once per backend."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Any

from backends.base import Exchange, HookedBackend
from backends.errors import BadRequestError
from backends.messages import Request, Response
from tests.helpers import arrivals_of, chat, outcomes_of, responses_of, sampling


@dataclass(kw_only=True)
class Subject:
    """A backend to try, and whoever answers behind it."""

    backend: HookedBackend
    refuse: Callable[[str], None]
    """From now on requests that hold this text are refused as bad."""
    asked: Callable[[], int]
    """Requests that arrived so far."""


def question(number: int, **changes: Any) -> Request:  # noqa: ANN401 - any field
    return chat(f"question {number}.", sampling=sampling(temperature=1.0), **changes)


class BackendContract(ABC):
    """Five facts about a backend."""

    @abstractmethod
    def subject(self) -> AbstractContextManager[Subject]:
        """Make a backend and whoever answers behind it."""

    async def test_every_request_has_one_answer_in_its_place(self) -> None:
        with self.subject() as subject:
            async with subject.backend as backend:
                together = await responses_of(backend, [question(number) for number in range(7)])
                alone = [(await responses_of(backend, [question(number)]))[0] for number in range(7)]
        assert [one.text for one in together] == [one.text for one in alone]
        assert len({one.text for one in together}) > 1
        assert all(one.finish_reason in {"stop", "length"} for one in together)

    async def test_no_requests_have_no_answers_and_send_nothing(self) -> None:
        with self.subject() as subject:
            async with subject.backend as backend:
                assert await arrivals_of(backend, []) == []
            assert subject.asked() == 0

    async def test_a_bad_request_is_an_outcome_and_spoils_no_other(self) -> None:
        with self.subject() as subject:
            subject.refuse("question 2.")
            async with subject.backend as backend:
                outcomes = await outcomes_of(backend, [question(number) for number in range(5)])
        kinds = [Response, Response, BadRequestError, Response, Response]
        assert [type(outcome) for outcome in outcomes] == kinds

    async def test_usage_and_requests_are_counted_once(self) -> None:
        with self.subject() as subject:
            async with subject.backend as backend:
                arrivals = await arrivals_of(backend, [question(number) for number in range(5)])
            assert sum(arrival.requests_sent for arrival in arrivals) == subject.asked()
        assert all(arrival.requests_sent > 0 for arrival in arrivals)
        assert all(arrival.halves == () for arrival in arrivals)

    async def test_whoever_stops_listening_gets_no_error(self) -> None:
        with self.subject() as subject:
            async with (
                subject.backend as backend,
                aclosing(backend.answer([question(number) for number in range(5)])) as arrivals,
            ):
                await anext(arrivals)
            await asyncio.sleep(0)


class HTTPBackendContract(BackendContract):
    """And one more about a backend that sends HTTP requests."""

    async def test_the_owner_hears_of_every_http_request(self) -> None:
        heard: list[Exchange] = []
        with self.subject() as subject:
            subject.refuse("question 1.")
            subject.backend.hooks.on_exchange = heard.append
            async with subject.backend as backend:
                await outcomes_of(backend, [question(number) for number in range(3)])
            assert len(heard) == subject.asked()
        assert {one.outcome for one in heard} == {"ok", "BadRequestError"}
        assert all("@" not in one.server and one.path.startswith("/v1/") for one in heard)
