"""The direct engine as a backend: the same Response as a server's, and an engine that dies is made anew."""

import asyncio
import importlib.util
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from backends.base import CANCELLED, Exchange, Hooks
from backends.direct.engine import DirectEngine
from backends.errors import (
    BackendConnectionError,
    ConnectionLostError,
    ModelNotLoadedError,
    UnknownModelError,
)
from backends.load import Load
from backends.messages import Label, Response
from backends.registry import NotInstalledError
from backends.retrying import Retrier
from backends.vllm_engine import EngineModel, VLLMEngine
from backends.weights import directory_digest
from tests.fake_engine import DeadError, FakeLibrary, Output, fake_engine
from tests.helpers import MODEL, Naps, completion, completions, outcomes_of, scoring
from tests.model_files import write_model


@pytest.fixture
def library() -> FakeLibrary:
    return FakeLibrary()


@pytest.fixture
def engine(library: FakeLibrary, tmp_path: Path) -> Iterator[DirectEngine]:
    made = fake_engine(library, str(tmp_path))
    yield made
    made.close()


def backend_of(
    engine: DirectEngine, hooks: Hooks | None = None, retrier: Retrier | None = None
) -> VLLMEngine:
    model = EngineModel(path=engine.model, served_name=MODEL)
    return VLLMEngine(model, engine=engine, hooks=hooks, retrier=retrier or Naps().retrier())


def test_a_model_is_called_as_it_is_served_else_as_its_folder() -> None:
    assert EngineModel(path="/models/smollm2").name == "smollm2"
    assert EngineModel(path="/models/smollm2", served_name="small").name == "small"


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is here")
def test_without_vllm_it_says_what_to_type() -> None:
    with pytest.raises(NotInstalledError, match=r"-e '\.\[direct\]'"):
        VLLMEngine(EngineModel(path="/models/smollm2"))


async def test_every_request_has_its_own_answer_and_its_own_line_in_the_journal(engine: DirectEngine) -> None:
    exchanges: list[Exchange] = []
    async with backend_of(engine, Hooks(on_exchange=exchanges.append)) as backend:
        outcomes = await outcomes_of(backend, completions(5))
        assert [one.text for one in outcomes if isinstance(one, Response)] == ["yes"] * 5
    assert {(one.server, one.outcome, one.prompts, one.usage.input_tokens) for one in exchanges} == {
        (f"direct:{engine.model}", "ok", 1, 2)
    }
    assert len(exchanges) == 5


async def test_another_model_is_unknown(engine: DirectEngine, library: FakeLibrary) -> None:
    async with backend_of(engine) as backend:
        (outcome,) = await outcomes_of(backend, [completion("x", model="other")])
    assert isinstance(outcome, UnknownModelError)
    assert library.asked == []


async def test_one_engine_serves_the_next_run_of_the_process(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    for _ in range(2):
        async with backend_of(engine) as backend:
            await outcomes_of(backend, completions(1))
    assert len(library.engines) == 1
    assert engine.is_there


async def test_whoever_owns_it_looks_at_each_engine_before_it_is_asked(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    met: list[int] = []

    async def meet() -> None:
        met.append(len(library.asked))

    async with backend_of(engine, Hooks(on_contact=meet)) as backend:
        await outcomes_of(backend, completions(3))
        assert met == [0]
        library.engines[0].errored = True
        await outcomes_of(backend, completions(3))
    assert met == [0, 3]
    assert engine.times_made == 2


async def test_an_engine_that_is_refused_is_asked_nothing(engine: DirectEngine, library: FakeLibrary) -> None:
    async def refuse() -> None:
        raise BackendConnectionError("not this one")

    retrier = Retrier(leaves=(BackendConnectionError,))
    async with backend_of(engine, Hooks(on_contact=refuse), retrier) as backend:
        (outcome,) = await outcomes_of(backend, completions(1))
    assert str(outcome) == "not this one"
    assert library.asked == []


async def test_one_that_died_over_a_request_is_made_anew_and_the_request_asked_again(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    answer = library.script

    def die_once(_: object) -> Output:
        library.script = answer
        library.engines[-1].errored = True
        raise DeadError

    library.script = die_once
    exchanges: list[Exchange] = []
    async with backend_of(engine, Hooks(on_exchange=exchanges.append)) as backend:
        (outcome,) = await outcomes_of(backend, completions(1))
    assert isinstance(outcome, Response)
    assert [one.outcome for one in exchanges] == ["ConnectionLostError", "ok"]


async def test_where_somebody_else_comes_in_it_fails_at_once(
    engine: DirectEngine, library: FakeLibrary
) -> None:
    def die(_: object) -> Output:
        library.engines[-1].errored = True
        raise DeadError

    library.script = die
    async with backend_of(engine, retrier=Retrier(leaves=(BackendConnectionError,))) as backend:
        (outcome,) = await outcomes_of(backend, completions(1))
        assert isinstance(outcome, ConnectionLostError)
        assert not engine.is_there
        await backend.ready()
        assert engine.is_there


async def test_one_that_cannot_be_made_is_an_outcome(engine: DirectEngine, library: FakeLibrary) -> None:
    library.builds = [RuntimeError("no such folder")]
    async with backend_of(engine) as backend:
        outcomes = await outcomes_of(backend, completions(2))
    assert [type(one) for one in outcomes] == [ModelNotLoadedError] * 2


async def test_leaving_early_aborts_what_is_under_way(engine: DirectEngine, library: FakeLibrary) -> None:
    exchanges: list[Exchange] = []
    async with backend_of(engine, Hooks(on_exchange=exchanges.append)) as backend:
        await outcomes_of(backend, completions(1))
        library.gate_is_open = False
        async with aclosing(backend.answer(completions(3))) as arrivals:
            waiting = asyncio.ensure_future(anext(arrivals))
            while library.engines[0].running < 3:  # noqa: ASYNC110 - in another thread
                await asyncio.sleep(0.001)
            waiting.cancel()
            await asyncio.wait([waiting])
        while library.engines[0].running:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert len(library.engines[0].aborted) == 3
    assert [one.outcome for one in exchanges[1:]] == [CANCELLED] * 3


async def test_weights_are_pinned_by_the_folder_as_for_a_server_here(engine: DirectEngine) -> None:
    write_model(Path(engine.model))
    backend = backend_of(engine)
    assert await backend.weights(MODEL) == directory_digest(Path(engine.model))
    assert await backend.weights("other") is None


async def test_labels_and_tokens_and_counters(engine: DirectEngine, library: FakeLibrary) -> None:
    async with backend_of(engine) as backend:
        assert (backend.is_away, await backend.load(), await backend.counters()) == (True, None, None)
        assert await backend.count_tokens(completion("a bb")) == 2
        (label,) = await backend.find_labels(MODEL, ["Yes"])
        assert label == Label(text="Yes", token_ids=(3, 4))  # with a space before it, and without
        (outcome,) = await outcomes_of(backend, [scoring("x", [label])])
        assert isinstance(outcome, Response)
        assert (backend.is_away, await backend.load()) == (False, Load(waiting=3, kv_use=0.25, preemptions=0))
        counters = await backend.counters()
        assert counters is not None
        assert counters.counts == {"prompt_tokens": 5}
        with pytest.raises(UnknownModelError):
            await backend.count_tokens(completion("a", model="other"))
    assert len(library.asked) == 1


def test_the_context_of_an_engine_that_is_not_there_yet_is_read_from_its_model(tmp_path: Path) -> None:
    model = EngineModel(path=str(tmp_path))
    assert model.context() is None
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 8192}')
    assert model.context() == 8192
    assert EngineModel(path=str(tmp_path), args={"max_model_len": 4096}).context() == 4096
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 512}}')
    assert model.context() == 512
    (tmp_path / "config.json").write_text("no JSON")
    assert model.context() is None
