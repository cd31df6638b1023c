from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st

from backends.messages import Message
from backends.vllm_server import VLLMServer
from tasks.tokens.chat_template import TokenizerError
from tasks.tokens.counting import LocalCounter, ServerCounter, local_counter, pieces
from tests.fake_vllm import FakeVLLM, encode
from tests.helpers import MODEL
from tests.tasks.extraction.made_tokens import SPOKEN, small_tokenizer, write_tokenizer

ASKED = [Message(role="system", content="Be brief."), Message(role="user", content="Acme Inc.")]


@pytest.fixture
def server() -> Iterator[FakeVLLM]:
    with FakeVLLM() as fake:
        yield fake


async def test_a_folder_of_a_model_counts_with_its_template(tmp_path: Path) -> None:
    counter = local_counter(str(write_tokenizer(tmp_path)))
    rendered = "<s><|system|>\nBe brief.</s>\n<|user|>\nAcme Inc.</s>\n<|assistant|>\n"

    assert await counter.count_messages(ASKED) == len(small_tokenizer().encode(rendered).ids)
    assert await counter.count_text("Acme Inc.") == len(small_tokenizer().encode("Acme Inc.").ids)
    assert await counter.count_text("") == 0


async def test_truncation_and_padding_of_the_file_do_not_count(tmp_path: Path) -> None:
    tokenizer = cast("Any", small_tokenizer())
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert await local_counter(str(tmp_path)).count_text(SPOKEN) == len(small_tokenizer().encode(SPOKEN).ids)


async def test_a_model_without_a_template_cannot_chat(tmp_path: Path) -> None:
    counter = local_counter(str(write_tokenizer(tmp_path, template=None)))

    with pytest.raises(TokenizerError, match="no chat template"):
        await counter.count_messages(ASKED)


async def test_starts_of_tokens_are_those_of_the_whole_text() -> None:
    text = "日本 " + SPOKEN * 1_500
    starts = list(await LocalCounter(small_tokenizer()).token_starts(text))

    whole = [start for start, _ in small_tokenizer().encode(text).offsets]
    assert len(text) > 250_000
    assert starts == whole


@given(st.text(st.sampled_from("ab \n"), max_size=60), st.integers(1, 12))
def test_pieces_are_the_text(text: str, size: int) -> None:
    spans = list(pieces(text, size))

    assert "".join(text[start:end] for start, end in spans) == text
    assert all(0 < end - start <= size for start, end in spans)


def test_what_holds_no_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json"):
        local_counter(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="cannot be read as a tokenizer"):
        local_counter(str(tmp_path))
    with pytest.raises(TokenizerError, match="neither a folder here nor a name"):
        local_counter("no such/folder/here")


def not_cached(*_: object, **__: object) -> None:
    pass


def never(*_: object, **__: object) -> NoReturn:
    raise AssertionError("nothing is fetched here")


async def test_the_cache_of_the_hub_is_looked_into_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tokenizer(tmp_path)

    def cached(repository: str, name: str, revision: str | None = None) -> object:
        assert (repository, revision) == ("org/model", "abc")
        return str(tmp_path / name) if (tmp_path / name).exists() else object()

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)

    assert await local_counter("org/model", "abc").count_messages(ASKED) > 20


async def test_what_is_not_in_the_cache_is_fetched_and_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tokenizer(tmp_path)
    asked = list[str]()

    def fetched(_repository: str, name: str, **_: object) -> str:
        asked.append(name)
        if not (tmp_path / name).exists():
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", not_cached)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)

    assert await local_counter("org/model").count_messages(ASKED) > 20
    assert asked == ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(LocalEntryNotFoundError("offline"), "the hub cannot be reached"), (OSError("401 gated"), "401 gated")],
)
def test_a_hub_that_gives_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", not_cached)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)

    with pytest.raises(TokenizerError, match=said):
        local_counter("org/model")


async def test_a_server_counts_with_its_own(server: FakeVLLM) -> None:
    async with VLLMServer(server.base_url) as backend:
        counter = ServerCounter(backend, MODEL)

        assert await counter.count_text("Acme True Inc.") == len(encode("Acme True Inc."))
        assert await counter.count_text("") == 0
        assert await counter.count_messages(ASKED) > await counter.count_text("Be brief.Acme Inc.")
    assert server.stats()["by_path"] == {"/tokenize": 3}
