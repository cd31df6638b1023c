"""An external API that is away is not asked again and again by everybody."""

from dataclasses import replace

import pytest

from backends.base import Hooks
from backends.errors import BackendConnectionError, BadRequestError, ServerGoneError, ServerUnavailableError
from backends.guard import FIRST_CONTACT_SECONDS, Guard
from backends.limiting import Limits
from backends.openai_compatible import OpenAICompatible
from backends.retrying import Retrier, RetryPolicy
from tests.fake_vllm import FakeVLLM
from tests.helpers import Naps, completions, outcomes_of


class API:
    """An API that is there from a time on, on a clock that only sleeping moves."""

    def __init__(self, back_at: float = 0.0) -> None:
        self.now = 0.0
        self.back_at = back_at
        self.calls = 0
        self.looks = 0
        self.told: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def is_there(self) -> bool:
        self.looks += 1
        return self.now >= self.back_at

    async def call(self) -> str:
        self.calls += 1
        if self.now < self.back_at:
            raise ServerUnavailableError("overloaded")
        return "answer"

    def guard(self) -> Guard:
        retrier = Retrier(policy=RetryPolicy(max_away_seconds=300), sleep=self.sleep, clock=lambda: self.now)
        return Guard("https://api", self.is_there, retrier=retrier, hooks=Hooks(tell=self.told.append))


async def fail_three_times(guard: Guard, api: API) -> None:
    for _ in range(3):
        with pytest.raises(ServerUnavailableError):
            await guard.send(api.call)


async def test_an_api_that_was_there_is_waited_for_with_a_look_now_and_then() -> None:
    api = API()
    guard = api.guard()
    assert await guard.send(api.call) == "answer"
    api.back_at = 120
    await fail_three_times(guard, api)
    assert await guard.send(api.call) == "answer"
    assert (api.calls, 120 <= api.now < 126) == (5, True)
    assert api.looks < 40
    assert "is back" in api.told[-1]


async def test_an_api_that_was_never_there_is_given_up_within_seconds() -> None:
    api = API(back_at=1e9)
    guard = api.guard()
    await fail_three_times(guard, api)
    for _ in range(100):
        with pytest.raises(ServerGoneError):
            await guard.send(api.call)
    assert api.now <= FIRST_CONTACT_SECONDS
    assert api.calls == 3


async def test_what_an_api_refuses_does_not_count() -> None:
    api = API()
    guard = api.guard()

    async def refuse() -> None:
        raise BadRequestError("no")

    for _ in range(10):
        with pytest.raises(BadRequestError):
            await guard.send(refuse)
    assert api.looks == 0


async def test_a_hundred_prompts_to_nobody_do_not_wait_one_after_the_other() -> None:
    naps = Naps()
    retrier = replace(naps.retrier(), clock=lambda: sum(naps.seconds))
    limits = Limits(requests_per_minute=1_000_000, max_in_flight=10)
    async with OpenAICompatible(
        "http://127.0.0.1:9", api_key=None, limits=limits, retrier=retrier
    ) as backend:
        outcomes = await outcomes_of(backend, completions(100))
    assert all(isinstance(outcome, BackendConnectionError) for outcome in outcomes)
    assert sum(naps.seconds) < 1000


async def test_an_api_that_wants_a_key_for_its_models_is_there_all_the_same() -> None:
    with FakeVLLM(api_key="sk-right") as api:
        async with OpenAICompatible(api.base_url, api_key=None) as backend:
            assert await backend._is_there()  # pyright: ignore[reportPrivateUsage]
