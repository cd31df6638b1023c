"""One engine on its own loop: shared by all callers, left by those who go, made anew when it died."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from backends.direct import engine as module
from backends.direct.engine import DirectEngine, engine_of_process
from backends.errors import (
    BackendError,
    BadRequestError,
    ConnectionLostError,
    ContextOverflowError,
    GPUMemoryError,
    ModelNotLoadedError,
    ServerError,
)
from backends.messages import Label, Response
from tests.fake_engine import FakeLibrary, Output, fake_engine
from tests.helpers import chat, completion, sampling, scoring


@pytest.fixture
def library() -> FakeLibrary:
    return FakeLibrary()


@pytest.fixture
def engine(library: FakeLibrary) -> Iterator[DirectEngine]:
    made = fake_engine(library)
    yield made
    made.close()


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - it happens in another thread
        await asyncio.sleep(0.001)


async def failure_of(engine: DirectEngine, prompt: str = "x") -> BackendError:
    with pytest.raises(BackendError) as caught:
        await engine.complete(completion(prompt))
    return caught.value


async def test_it_is_made_when_first_asked_and_once(engine: DirectEngine, library: FakeLibrary) -> None:
    assert library.engines == []
    assert not engine.is_there
    responses = await asyncio.gather(*(engine.complete(completion(f"a {i}")) for i in range(5)))
    assert [response.text for response, _ in responses] == ["yes"] * 5
    assert (len(library.engines), engine.times_made, engine.is_there) == (1, 1, True)


async def test_prompts_and_conversations_arrive_as_token_ids(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    _, usage = await engine.complete(completion("a bb ccc"))
    await engine.complete(chat("four five"))
    assert [token_ids for token_ids, _ in library.asked] == [[1, 2, 3], [4, 4]]
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (3, 1, 2)
    assert await engine.token_ids(completion("a bb")) == [1, 2]
    assert await engine.spelling("word") == [4]


async def test_callers_of_several_threads_and_loops_run_together(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    library.gate_is_open = False
    found: list[str] = []

    def ask() -> None:
        async def both() -> list[tuple[Response, object]]:
            return await asyncio.gather(*(engine.complete(completion("x")) for _ in range(10)))

        found.extend(response.text for response, _ in asyncio.run(both()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    await until(lambda: bool(library.engines) and library.engines[0].running == 40)
    library.gate_is_open = True
    for thread in threads:
        thread.join()
    assert found == ["yes"] * 40


async def test_a_caller_that_is_cancelled_aborts_its_request_and_no_other(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    library.gate_is_open = False
    asked = [asyncio.ensure_future(engine.complete(completion(f"x {i}"))) for i in range(3)]
    await until(lambda: bool(library.engines) and library.engines[0].running == 3)
    asked[1].cancel()
    await until(lambda: library.engines[0].running == 2)
    assert len(library.engines[0].aborted) == 1
    library.gate_is_open = True
    assert (await asked[0])[0].text == (await asked[2])[0].text == "yes"


async def test_two_styles_of_log_probabilities_are_never_with_it_at_once(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    library.gate_is_open = False
    scores = [engine.complete(scoring("x", [Label(text="a", token_ids=(3,))])) for _ in range(3)]
    likely = [engine.complete(completion("x", logprobs=2)) for _ in range(3)]
    asked = [asyncio.ensure_future(one) for one in [*scores, *likely]]
    await until(lambda: len(library.asked) >= 3)
    await asyncio.sleep(0.01)
    assert all("logprob_token_ids" in params for _, params in library.asked)
    library.gate_is_open = True
    responses = [(await one)[0] for one in asked]
    assert responses[0].label_logprobs == {"a": pytest.approx(-1.3)}
    assert responses[3].token_logprobs[0].top == {"t7": pytest.approx(-1.7), "t8": pytest.approx(-1.8)}


async def test_an_engine_that_dies_fails_those_who_wait_and_is_made_anew_when_asked_for(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    library.gate_is_open = False
    asked = asyncio.ensure_future(engine.complete(completion("x")))
    await until(lambda: bool(library.engines) and library.engines[0].running == 1)
    library.engines[0].errored = True
    library.gate_is_open = True
    with pytest.raises(ConnectionLostError):
        await asked
    assert isinstance(await failure_of(engine), ConnectionLostError)
    assert not engine.is_there
    await asyncio.gather(*(engine.revive() for _ in range(3)))
    assert (await engine.complete(completion("x")))[0].text == "yes"
    assert (engine.times_made, library.engines[0].ended, engine.is_there) == (2, 1, True)


async def test_one_that_cannot_be_made_says_so_at_once_until_it_is_tried_again(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    library.builds = [RuntimeError("no room for the KV cache"), RuntimeError("still none")]
    for _ in range(3):
        error = await failure_of(engine)
        assert isinstance(error, ModelNotLoadedError)
        assert "no room for the KV cache" in str(error)
    with pytest.raises(ModelNotLoadedError, match="still none"):
        await engine.ready()
    await engine.ready()
    assert (await engine.complete(completion("x")))[0].text == "yes"


async def test_it_waits_for_the_memory_that_it_takes_each_time_it_is_made(library: FakeLibrary) -> None:
    waits: list[tuple[float, int]] = []

    async def wait(share: float) -> None:
        waits.append((share, len(library.engines)))
        if len(waits) == 1:
            raise GPUMemoryError("the GPU with the most free memory has 1.0 GiB free", needed_bytes=2**36)

    library.share = 0.5
    engine = DirectEngine("/models/fake-model", library=library, watch=lambda _: None, wait=wait)
    try:
        error = await failure_of(engine)
        assert isinstance(error, ModelNotLoadedError)
        assert "has 1.0 GiB free" in str(error)
        await engine.ready()
        library.engines[0].errored = True
        await engine.revive()
    finally:
        engine.close()
    assert waits == [(0.5, 0), (0.5, 0), (0.5, 1)]


@pytest.mark.parametrize(
    ("raised", "kind"), [(ValueError("bad grammar"), BadRequestError), (RuntimeError("NaN"), ServerError)]
)
async def test_what_the_engine_raises_has_our_names(
    library: FakeLibrary, engine: DirectEngine, raised: Exception, kind: type[BackendError]
) -> None:
    def fail(_: object) -> Output:
        raise raised

    library.script = fail
    assert type(await failure_of(engine)) is kind


async def test_what_the_engine_has_never_raised_is_not_hidden(
    library: FakeLibrary, engine: DirectEngine
) -> None:
    def fail(_: object) -> Output:
        raise ZeroDivisionError

    library.script = fail
    with pytest.raises(ZeroDivisionError):
        await engine.complete(completion("x"))


async def test_a_prompt_that_does_not_fit_never_reaches_it(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    assert isinstance(await failure_of(engine, "x " * 64), ContextOverflowError)
    assert library.asked == []


async def test_bad_sampling_is_a_bad_request(engine: DirectEngine) -> None:
    with pytest.raises(BadRequestError, match="finite"):
        await engine.complete(completion("x", sampling=sampling(temperature=float("inf"))))


async def test_the_canary_is_answered(engine: DirectEngine, library: FakeLibrary) -> None:
    answers = await engine.canary("fake-model")
    assert answers is not None
    assert answers[0] == {token: pytest.approx(-1 - token / 10) for token in range(7, 27)}
    assert library.asked[0][1]["logprobs"] == 20


async def test_closing_ends_the_engine_and_its_watchdog_once(library: FakeLibrary) -> None:
    class Watcher:
        ended = 0

        def terminate(self) -> None:
            self.ended += 1

        def wait(self) -> None:
            pass

    watcher, watched = Watcher(), list[int]()

    def watch(owner: int) -> Watcher:
        watched.append(owner)
        return watcher

    engine = DirectEngine("/models/fake-model", library=library, watch=watch)
    assert watched == []
    await engine.ready()
    assert watched == [os.getpid()]
    engine.close()
    engine.close()
    assert (library.engines[0].ended, watcher.ended) == (1, 1)


def test_a_process_has_one_engine_for_all_who_want_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARED", {})
    one = engine_of_process("vendor/model", {"max_model_len": 8})
    try:
        assert engine_of_process("vendor/model", {"max_model_len": 8}) is one
        with pytest.raises(ValueError, match="an engine with vendor/model already"):
            engine_of_process("vendor/other", {"max_model_len": 8})
        with pytest.raises(ValueError, match="other VLLM_ENGINE_ARGS already"):
            engine_of_process("vendor/model")
    finally:
        one.close()
