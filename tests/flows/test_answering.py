"""Facts about who answers a run."""

import io
import logging
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from backends.errors import BackendConnectionError, BackendTimeoutError
from backends.openai_compatible import OpenAICompatible
from backends.replicas import Replicas
from backends.scripted import Scripted
from backends.server_counters import ServerCounters
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from flows.answering import Answerer, first_error, identify, open_backend, served_model, server_gone
from flows.parameters import ICMParameters
from flows.run_tables import report_table
from flows.settings import Settings, SettingsError
from tasks.identity import WeightsChangedError
from tasks.run_report import run_report
from tests.fake_vllm import FakeVLLM

VLLM = ICMParameters()
API = ICMParameters(model="openai:m")


def test_the_vllm_server_answers_unless_an_api_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    keyed = Settings()
    assert isinstance(open_backend(VLLM, keyed), VLLMServer)
    assert isinstance(open_backend(API, keyed), OpenAICompatible)


async def test_several_addresses_are_one_backend() -> None:
    with FakeVLLM(models=["one"]) as a, FakeVLLM(models=["one"]) as b:
        both = Settings().model_copy(update={"base_url": f"{a.base_url},{b.v1_url}"})
        async with open_backend(VLLM, both) as backend:
            assert isinstance(backend, Replicas)
            assert [server.root for server in backend.servers] == [a.base_url, b.base_url]
            assert await served_model(backend) == "one"


def test_an_api_without_a_key_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        open_backend(API, Settings())


async def test_the_only_served_model_is_taken_and_of_several_none() -> None:
    with FakeVLLM(models=["one"]) as server:
        async with VLLMServer(server.base_url) as backend:
            assert await served_model(backend) == "one"
    with FakeVLLM(models=["one", "two"]) as server:
        async with VLLMServer(server.base_url) as backend:
            with pytest.raises(SettingsError, match="serves one, two; choose"):
                await served_model(backend)


async def test_a_server_that_is_frozen_is_not_called_another_kind_of_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def frozen(server: VLLMServer) -> object:
        raise BackendTimeoutError(f"{server.root} did not answer in time")

    monkeypatch.setattr(VLLMServer, "capabilities", frozen)
    with pytest.raises(BackendTimeoutError):
        await served_model(VLLMServer("http://127.0.0.1:9"))


async def test_a_backend_that_lists_no_models_needs_a_name() -> None:
    with pytest.raises(SettingsError, match="parameter model"):
        await served_model(Scripted(lambda request: BackendConnectionError(str(request))))


@pytest.mark.parametrize(("parameters", "variable"), [(VLLM, "VLLM_BASE_URL"), (API, "OPENAI_BASE_URL")])
def test_a_server_that_is_gone_is_told_with_the_variable_that_names_it(
    parameters: ICMParameters, variable: str
) -> None:
    inner = ExceptionGroup("some", [BackendConnectionError("no connection to x")])
    nested = ExceptionGroup("all", [inner])
    told = server_gone(parameters, Settings(), first_error(nested))
    assert told.startswith("no connection to x;")
    assert variable in told
    assert "stored" in told


class Counting:
    """As much of a server as is counted: readings, one after another."""

    root = "http://a"

    def __init__(self, *readings: ServerCounters) -> None:
        self._readings = list(readings)

    async def counters(self) -> ServerCounters:
        return self._readings.pop(0)


@pytest.mark.parametrize(("started", "counted"), [(1.0, 5), (2.0, 12)])
async def test_what_a_server_counted_before_it_was_started_again_is_said_to_be_lost(
    started: float, counted: int
) -> None:
    first = ServerCounters(counts={"prompt_tokens": 7}, started=1.0)
    last = ServerCounters(counts={"prompt_tokens": 12}, started=started)
    server = cast("VLLMServer", Counting(first, last))
    answerer = Answerer(model="m", revision="r", servers=(server,))
    await answerer.count(server)
    end = await answerer.counted()
    assert end == {"server_counters": {"prompt_tokens": counted}, "server_restarted": started > 1}
    report = run_report([{"event": "end", "state": "completed", **end}])
    console = Console(file=io.StringIO(), width=200)
    console.print(report_table(report, ""))
    shown = cast("io.StringIO", console.file).getvalue()
    assert f"prompt_tokens {counted}" in shown
    assert ("since it was started again; what it counted before is lost" in shown) is (started > 1)


def computed(tokens: int, started: float = 1.0) -> ServerCounters:
    return ServerCounters(counts={"prompt_tokens_computed": tokens}, started=started)


async def test_what_servers_have_computed_is_told_from_one_look_to_the_next() -> None:
    """A server that was started again has counted from nothing; one that was never met is not asked."""
    first = Counting(computed(100), computed(130), computed(131), computed(8, started=2.0))
    never_met = Counting()
    first.root, never_met.root = "http://b", "http://c"
    second = Counting(computed(10), computed(15), computed(15), computed(17))
    servers = cast("tuple[VLLMServer, ...]", (first, second, never_met))
    answerer = Answerer(model="m", revision="r", servers=servers)
    assert await answerer.computed_since_last() is None
    for server in servers[:2]:
        await answerer.count(server)
    assert [await answerer.computed_since_last() for _ in range(3)] == [35, 1, 10]


async def test_servers_that_do_not_tell_what_they_have_computed_are_not_guessed_at() -> None:
    other = ServerCounters(counts={"prompt_tokens": 7})
    server = cast("VLLMServer", Counting(other, other, computed(1), computed(5), computed(9)))
    answerer = Answerer(model="m", revision="r", servers=(server,))
    await answerer.count(server)
    assert await answerer.computed_since_last() is None


async def test_other_weights_behind_a_server_that_was_away_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.answering.get_run_logger", lambda: logging.getLogger("a run"))
    store = DiskStore(tmp_path)
    with FakeVLLM(models=["one"]) as fake:
        settings = Settings().model_copy(update={"base_url": fake.base_url})
        async with open_backend(VLLM, settings) as backend:
            await identify(VLLM, settings, backend, store)
            await backend.hooks.on_contact()
            await backend.hooks.on_contact()  # it was away, and came back as it was
            fake.config(weight_noise=1.0)
            with pytest.raises(WeightsChangedError, match="other weights"):
                await backend.hooks.on_contact()
    store.close()
