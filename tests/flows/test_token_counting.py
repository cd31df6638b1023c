"""Who counts a model's tokens: its own files where they are those of the server, the server, or a guess."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import huggingface_hub
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from backends.errors import BackendConnectionError
from backends.messages import Message
from backends.retrying import RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from flows.answering import Answerer
from flows.extraction_parameters import ExtractionParameters
from flows.model_serving import Serving
from flows.run import Run
from flows.settings import Settings
from flows.token_counting import PROBE, token_counter
from tasks.generate import Generator
from tasks.tokens.counting import LocalCounter, RoughCounter
from tasks.tokens.remembered import RememberedCounter
from tests.fake_vllm import FakeVLLM, encode, listen, render_chat
from tests.flows.running import free_port
from tests.helpers import MODEL, Naps

GUESSED = f"tokens of {MODEL} are guessed from bytes: "
FROM_SERVER = "tokens are counted by the server: "
OF_PROBE = len(encode(render_chat([{"role": "user", "content": PROBE}])))
"""What the fake counts of it as a conversation."""
ELSEWHERE = "http://gpu.example:8000"

MakeRun = Callable[..., Run]


@pytest.fixture
def server() -> Iterator[FakeVLLM]:
    with FakeVLLM() as fake:
        yield fake


@pytest.fixture
async def make_run(tmp_path: Path) -> AsyncIterator[MakeRun]:
    """Make a run whose server is at an address, and perhaps said to be at another; None: an external API."""
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(DiskStore(tmp_path / "store")))
        servers: dict[str, VLLMServer] = {}

        def make(address: str | None, *, said: str | None = None, mode: CacheMode = CacheMode.USE) -> Run:
            root = address or ELSEWHERE
            if root not in servers:
                servers[root] = VLLMServer(root, retrier=Naps().retrier(RetryPolicy(max_attempts=1)))
                stack.push_async_exit(servers[root])
            return Run(
                parameters=ExtractionParameters(text="Ada."),
                settings=Settings().model_copy(update={"base_url": said or root}),
                model=MODEL,
                revision="r",
                generator=Generator(backend=servers[root], lookup=Lookup(store, mode)),
                prices={},
                store=store,
                answerer=Answerer(model=MODEL, revision="r"),
                server=servers[root] if address else None,
            )

        yield make


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr("flows.token_counting.get_run_logger", lambda: logging.getLogger("a run"))
    caplog.set_level(logging.INFO, logger="a run")
    return caplog


def write_model(folder: Path, *, of_probe: int | None = OF_PROBE) -> Serving:
    """Write a tokenizer of words, whose template has so many; None: without a template."""
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    template = {} if of_probe is None else {"chat_template": "a " * of_probe}
    (folder / "tokenizer_config.json").write_text(json.dumps(template))
    return Serving(root=str(folder), max_model_len=None)


async def test_a_models_own_files_count_where_the_server_agrees(
    make_run: MakeRun, server: FakeVLLM, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    counter = await token_counter(make_run(server.base_url), write_model(tmp_path / "m"))
    assert isinstance(counter, LocalCounter)
    assert await counter.count_text("three words here") == 3
    assert server.stats()["by_path"] == {"/tokenize": 1}
    assert log.messages == []


@pytest.mark.parametrize("of_probe", [OF_PROBE - 1, OF_PROBE + 1, None])
async def test_the_server_counts_where_its_template_is_another(
    make_run: MakeRun,
    server: FakeVLLM,
    tmp_path: Path,
    log: pytest.LogCaptureFixture,
    of_probe: int | None,
) -> None:
    counter = await token_counter(make_run(server.base_url), write_model(tmp_path / "m", of_probe=of_probe))
    assert isinstance(counter, RememberedCounter)
    assert await counter.count_text("Acme True Inc.") == len(encode("Acme True Inc."))
    [message] = log.messages
    assert message.startswith(FROM_SERVER)


async def test_what_the_server_has_counted_is_not_asked_again(
    make_run: MakeRun, server: FakeVLLM, tmp_path: Path
) -> None:
    serving = Serving(root=str(tmp_path / "nothing here"), max_model_len=None)
    for _ in range(2):
        counter = await token_counter(make_run(server.base_url), serving)
        assert await counter.count_messages([Message(role="user", content=PROBE)]) == OF_PROBE
    assert server.stats()["by_path"] == {"/tokenize": 2}  # the probe and the conversation


@pytest.mark.parametrize("said", [ELSEWHERE, f"http://127.0.0.1:9,{ELSEWHERE}"])
async def test_what_lies_here_at_the_path_of_a_server_elsewhere_is_not_its_model(
    make_run: MakeRun, server: FakeVLLM, tmp_path: Path, said: str
) -> None:
    serving = write_model(tmp_path / "m")
    assert isinstance(await token_counter(make_run(server.base_url, said=said), serving), RememberedCounter)
    assert isinstance(await token_counter(make_run(server.base_url), serving), LocalCounter)


async def test_a_name_on_the_hub_means_the_same_everywhere(
    make_run: MakeRun, server: FakeVLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "m")

    def cached(_repository: str, name: str, **_: object) -> object:
        return str(tmp_path / "m" / name) if (tmp_path / "m" / name).exists() else object()

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    serving = Serving(root="org/model", max_model_len=None)
    counter = await token_counter(make_run(server.base_url, said=ELSEWHERE), serving)
    assert isinstance(counter, LocalCounter)


async def test_files_count_for_a_server_that_is_away_or_silent(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.token_counting.PATIENCE_SECONDS", 0.1)
    serving = write_model(tmp_path / "m")
    assert isinstance(await token_counter(make_run(f"http://127.0.0.1:{free_port()}"), serving), LocalCounter)
    with closing(listen()) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert isinstance(await token_counter(make_run(address), serving), LocalCounter)


async def test_a_server_that_is_away_is_waited_for_and_no_reason_to_guess(make_run: MakeRun) -> None:
    with pytest.raises(BackendConnectionError):
        await token_counter(make_run(f"http://127.0.0.1:{free_port()}"), None)


async def test_a_server_that_cannot_count_leaves_a_guess_and_a_warning(
    make_run: MakeRun, server: FakeVLLM, log: pytest.LogCaptureFixture
) -> None:
    counter = await token_counter(make_run(f"{server.base_url}/without/tokenize"), None)
    assert isinstance(counter, RoughCounter)
    [record] = log.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(GUESSED)
    assert "HTTP 404" in record.getMessage()


async def test_an_external_api_leaves_a_guess_and_a_warning(
    make_run: MakeRun, log: pytest.LogCaptureFixture
) -> None:
    assert isinstance(await token_counter(make_run(None), None), RoughCounter)
    [record] = log.records
    assert (record.levelname, record.getMessage()) == ("WARNING", f"{GUESSED}nothing here can count them")


async def test_a_replay_counts_as_its_run_did_and_asks_nobody(
    make_run: MakeRun, server: FakeVLLM, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    with_template = write_model(tmp_path / "m", of_probe=1)  # not the server's, which cannot be known
    without = write_model(tmp_path / "n", of_probe=None)
    replay = make_run(server.base_url, mode=CacheMode.REPLAY)
    assert isinstance(await token_counter(replay, with_template), LocalCounter)
    assert isinstance(await token_counter(replay, without), RoughCounter)
    assert GUESSED in log.messages[-1]
    await token_counter(make_run(server.base_url), without)
    assert server.stats()["by_path"] == {"/tokenize": 1}

    assert isinstance(await token_counter(replay, without), RememberedCounter)
    assert server.stats()["by_path"] == {"/tokenize": 1}
