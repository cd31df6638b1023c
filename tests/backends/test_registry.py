"""A name says who answers; what answers is imported when it is first needed."""

import subprocess
import sys

import pytest

from backends import registry
from backends.addresses import Address
from backends.anthropic_api import AnthropicAPI
from backends.base import HookedBackend
from backends.openai_compatible import OpenAICompatible
from backends.registry import (
    PROVIDERS,
    Connection,
    ModelName,
    ModelNameError,
    NotInstalledError,
    identity,
    open_backend,
    parse_model,
    provider_of,
)
from backends.replicas import Replicas
from backends.scripted import Scripted
from backends.vllm_server import VLLMServer
from tests.helpers import chat, completion, responses_of

THERE = Connection(address=Address(base_url="http://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("text", "provider", "name"),
    [
        ("openai:gpt-4.1", "openai", "gpt-4.1"),
        ("openrouter:meta-llama/llama-3.1-8b:free", "openrouter", "meta-llama/llama-3.1-8b:free"),
        ("anthropic:claude-sonnet-5", "anthropic", "claude-sonnet-5"),
        ("openai-compatible:a:b/c", "openai-compatible", "a:b/c"),
        ("scripted:echo", "scripted", "echo"),
        ("vllm:sql-lora:v1", "vllm", "sql-lora:v1"),
        ("Qwen/Qwen3-8B", "vllm", "Qwen/Qwen3-8B"),
        ("meta-llama/llama-3.1-8b:free", "vllm", "meta-llama/llama-3.1-8b:free"),
        ("qwen3:8b", "vllm", "qwen3:8b"),
    ],
)
def test_a_name_is_taken_apart_at_its_first_colon(text: str, provider: str, name: str) -> None:
    assert parse_model(text) == ModelName(provider, name)
    assert parse_model(str(parse_model(text))) == parse_model(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("olama:qwen3", "the closest is"),
        ("opnai:gpt-4.1", "the closest is 'openai'"),
        ("OpenRouter:a/b", "the closest is 'openrouter'"),
        ("antropic:claude", "the closest is 'anthropic' .write vllm:antropic:claude"),
        ("openai:", "names no model; write openai:NAME"),
        ("", "empty"),
    ],
)
def test_a_slip_is_one_sentence_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ModelNameError, match=words) as caught:
        parse_model(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        ("vllm", VLLMServer),
        ("openai", OpenAICompatible),
        ("openrouter", OpenAICompatible),
        ("openai-compatible", OpenAICompatible),
        ("anthropic", AnthropicAPI),
        ("scripted", Scripted),
    ],
)
def test_every_provider_has_its_backend(provider: str, kind: type[HookedBackend]) -> None:
    backend = open_backend(provider, THERE)
    assert isinstance(backend, kind)
    assert backend.hooks is not None


def test_this_list_of_providers_is_whole() -> None:
    assert set(PROVIDERS) == {
        "vllm",
        "openai",
        "openrouter",
        "openai-compatible",
        "anthropic",
        "transformers",
        "scripted",
    }


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(ModelNameError, match="no provider 'opnai'; the closest is 'openai'"):
        open_backend("opnai", THERE)


async def test_a_scripted_model_says_what_it_was_asked() -> None:
    async with open_backend("scripted", THERE) as backend:
        answers = await responses_of(backend, [completion("a"), chat("b")])
    assert [answer.text for answer in answers] == ["a", "b"]


def test_what_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "backends.anthropic_api", raising=False)
    monkeypatch.setitem(sys.modules, "anthropic", None)  # as if it were not there
    with pytest.raises(NotInstalledError) as caught:
        open_backend("anthropic", THERE)
    command = ".venv/bin/pip install -r requirements/anthropic.txt"
    assert str(caught.value).endswith(f"which is not installed; type `{command}`")
    assert provider_of("anthropic").install == command


def test_naming_a_model_imports_no_client() -> None:
    heavy = {"openai", "anthropic", "tokenizers"}
    script = f"import sys, backends.registry; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_who_answers_is_named_without_credentials_and_whatever_the_address_ends_in() -> None:
    names = {identity("openai", f"https://api.OpenAI.com{end}") for end in ("", "/", "/v1", "/v1/")}
    assert names == {"openai@api.openai.com/v1"}
    assert identity("openai-compatible", "http://me:pw@host:1/team") == "openai-compatible@host:1/team/v1"
    assert identity("openai", "https://host") != identity("openrouter", "https://host")


def test_every_module_that_is_named_is_there() -> None:
    assert {provider.module.split(".")[0] for provider in PROVIDERS.values()} == {"backends"}
    assert registry.OWN in PROVIDERS


def test_servers_that_are_expected_are_told_so() -> None:
    for url in ("http://a", "http://a, http://b"):
        for expected in (False, True):
            connection = Connection(address=Address(base_url=url), waits_for_first_contact=expected)
            backend = open_backend("vllm", connection)
            servers = backend.servers if isinstance(backend, Replicas) else (backend,)
            assert [
                server.waits_for_first_contact for server in servers if isinstance(server, VLLMServer)
            ] == [expected] * len(url.split(","))
