"""An engine in the run's process: what it is made of, when it is left alone, and whose answers it shares."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backends.base import Hooks
from backends.direct.engine import DirectEngine
from backends.failover import Failover
from backends.messages import Request, Response, SamplingParams
from backends.replicas import Replicas
from backends.retrying import Retrier, RetryPolicy
from backends.vllm_engine import EngineModel, VLLMEngine
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import CacheMode
from flows.answering import identify, served_model
from flows.direct import engine_model, with_engine
from flows.parameters import ICMParameters
from flows.run import engine_of
from flows.run_parameters import STEERING
from flows.settings import Settings, SettingsError, load_settings
from tests.fake_engine import FakeLibrary, fake_engine
from tests.fake_vllm import FakeVLLM
from tests.helpers import outcomes_of
from tests.model_files import write_model

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny-model")


@pytest.fixture
def server(folder: Path) -> Iterator[FakeVLLM]:
    with FakeVLLM(models=["tiny"], model_root=str(folder)) as fake:
        yield fake


@pytest.fixture
def engine(folder: Path) -> Iterator[DirectEngine]:
    made = fake_engine(FakeLibrary(), str(folder))
    yield made
    made.close()


def settings_at(base_url: str, **changes: object) -> Settings:
    return Settings().model_copy(update={"base_url": base_url, **changes})


async def test_the_engine_is_made_of_what_the_server_serves(server: FakeVLLM, folder: Path) -> None:
    async with VLLMServer(server.base_url) as backend:
        found = await engine_model(backend, None, settings_at(server.base_url, engine_args={"a": 1}))
    assert found == EngineModel(path=str(folder), served_name="tiny", args={"a": 1})


async def test_what_the_settings_name_needs_no_server(folder: Path) -> None:
    settings = settings_at(NOWHERE, engine_model=str(folder))
    async with VLLMServer(NOWHERE) as backend:
        assert (await engine_model(backend, "mine", settings)).name == "mine"
        assert (await engine_model(backend, None, settings)).name == "tiny-model"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "VLLM_ENGINE_MODEL is not set, and no server on this machine says"),
        ({"engine_model": "/nowhere/model"}, "'/nowhere/model' is no folder"),
    ],
)
async def test_an_engine_of_nothing_is_refused_in_a_sentence(changes: dict[str, object], said: str) -> None:
    async with VLLMServer(NOWHERE) as backend:
        with pytest.raises(SettingsError, match=said):
            await engine_model(backend, "mine", settings_at(NOWHERE, **changes))


async def test_a_model_of_the_server_that_is_no_folder_here_is_told_as_such() -> None:
    with FakeVLLM(models=["tiny"], model_root="/models/elsewhere") as server:
        async with VLLMServer(server.base_url) as backend:
            with pytest.raises(SettingsError, match="the server's model is in /models/elsewhere"):
                await engine_model(backend, None, settings_at(server.base_url))


async def test_a_path_on_another_machine_is_none_here(server: FakeVLLM) -> None:
    async with VLLMServer(server.base_url) as backend:
        with pytest.raises(SettingsError, match="no server on this machine"):
            await engine_model(backend, "tiny", settings_at("http://gpu-host:8000"))


async def test_where_it_cannot_be_had_the_server_answers_and_that_is_said(server: FakeVLLM) -> None:
    told: list[str] = []
    async with VLLMServer(server.base_url) as backend:
        chosen = await with_engine(
            backend, None, settings_at(server.base_url), retrier=Retrier(), hooks=Hooks(tell=told.append)
        )
        assert chosen is backend
    assert len(told) == 1
    assert "needs vLLM" in told[0]
    assert f"{server.base_url} is asked instead" in told[0]


async def direct(server: FakeVLLM, engine: DirectEngine) -> Failover:
    chosen = await with_engine(
        VLLMServer(server.base_url),
        None,
        settings_at(server.base_url),
        retrier=Retrier(policy=RetryPolicy(max_away_seconds=0)),
        hooks=Hooks(),
        make=partial(VLLMEngine, engine=engine),
    )
    assert isinstance(chosen, Failover)
    return chosen


async def test_the_engine_answers_in_the_server_s_name_and_with_its_keys(
    server: FakeVLLM, engine: DirectEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.answering.get_run_logger", _Logger)
    parameters = ICMParameters(engine="direct")
    settings = settings_at(server.base_url)
    store = DiskStore(tmp_path / "store")
    async with await direct(server, engine) as backend:
        assert await served_model(backend) == "tiny"
        answered = await identify(parameters, settings, backend, store)
        assert [one.root for one in answered.servers] == [f"direct:{engine.model}", server.base_url]
    async with VLLMServer(server.base_url) as backend:
        over_http = await identify(ICMParameters(), settings, backend, DiskStore(tmp_path / "other"))
    assert (answered.model, answered.revision) == (over_http.model, over_http.revision)
    assert answered.revision.startswith("dir:")


async def test_what_the_engine_loses_the_server_answers(server: FakeVLLM, engine: DirectEngine) -> None:
    request = Request(model="tiny", prompt="How much?", sampling=SamplingParams(max_tokens=4))
    async with await direct(server, engine) as backend:
        (mine,) = await outcomes_of(backend, [request])
        assert isinstance(mine, Response)
        assert mine.served_by == "fake-direct"
        await engine.ready()
        library = engine.library
        assert isinstance(library, FakeLibrary)
        library.builds = [RuntimeError("no room")]
        library.engines[-1].errored = True
        (theirs,) = await outcomes_of(backend, [request])
        assert isinstance(theirs, Response)
        assert theirs.served_by != "fake-direct"


def test_where_the_model_runs_is_no_part_of_an_experiment() -> None:
    assert "engine" in STEERING


@pytest.mark.parametrize(
    ("changes", "engine"),
    [
        ({}, "direct"),
        ({"estimate": True}, "http"),
        ({"cache_mode": CacheMode.REPLAY}, "http"),
        ({"engine": "http"}, "http"),
    ],
)
def test_a_run_that_sends_nothing_makes_no_engine(changes: dict[str, object], engine: str) -> None:
    assert engine_of(ICMParameters.model_validate({"engine": "direct", **changes})) == engine


def test_its_settings_are_read_and_a_slip_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ENGINE_MODEL", "vendor/model")
    monkeypatch.setenv("VLLM_ENGINE_ARGS", '{"max_model_len": 32768}')
    settings = Settings()
    assert (settings.engine_model, settings.engine_args) == ("vendor/model", {"max_model_len": 32768})
    monkeypatch.setenv("VLLM_ENGINE_ARGS", "max_model_len=32768")
    with pytest.raises(SettingsError, match=r"VLLM_ENGINE_ARGS.*written as a JSON object"):
        load_settings()


async def test_several_servers_may_stand_behind_it(
    server: FakeVLLM, folder: Path, engine: DirectEngine
) -> None:
    with FakeVLLM(models=["tiny"], model_root=str(folder)) as other:
        both = Replicas([VLLMServer(server.base_url), VLLMServer(other.base_url)])
        chosen = await with_engine(
            both,
            "tiny",
            settings_at(f"{server.base_url},{other.base_url}"),
            retrier=Retrier(),
            hooks=Hooks(),
            make=partial(VLLMEngine, engine=engine),
        )
        async with chosen:
            assert (await chosen.capabilities()).roots == {"tiny": str(folder)}


class _Logger:
    def warning(self, *words: object) -> None:
        raise AssertionError(words)
