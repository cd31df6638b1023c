"""`provider:model` names, and the backend that answers for each; its module is imported when first used."""

import difflib
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from backends.addresses import Address, split_addresses, without_credentials
from backends.base import HookedBackend, Hooks
from backends.limiting import Limits
from backends.retrying import Retrier

OWN = "vllm"
"""The provider of names that have none."""

_COULD_BE_A_PROVIDER = re.compile(r"[A-Za-z_-]+")
"""So that "qwen3:8b" and "vendor/name:free" are names, and "olama:qwen3" is a slip."""


class ModelNameError(ValueError):
    """A name of a model that nobody can answer for; the message says what to write."""


class NotInstalledError(RuntimeError):
    """A provider needs a package that is not there; the message says what to type."""


@dataclass(frozen=True, slots=True)
class ModelName:
    """Who answers, and by what name the model is asked for there."""

    provider: str
    name: str

    def __str__(self) -> str:
        """Write it as a user does."""
        return f"{self.provider}:{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """How a provider is reached. Read from the environment in one place, and never shown."""

    address: Address
    """One place; for servers of one's own, several with commas between them."""
    api_key: SecretStr | None = None
    limits: Limits = field(default_factory=Limits)
    """For external APIs; a server of one's own has none."""
    retrier: Retrier = field(default_factory=Retrier)
    waits_for_first_contact: bool = False
    """Whether servers of one's own that are not there yet are waited for; see `VLLMServer`."""
    hooks: Hooks = field(default_factory=Hooks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """What is known of a provider before it is asked."""

    module: str
    open: Callable[[Any, Connection], HookedBackend]
    """From its module, imported, and a connection."""
    base_url: str | None = None
    """Where it is unless the user says otherwise; None: the user has to."""
    variables: str = ""
    """How its environment variables begin."""
    needs_key: bool = False
    external: bool = True
    """Whether it costs money and has limits."""
    scores_labels: bool = True
    install: str | None = None
    """What to type when its module cannot be imported."""


def _open_vllm(module: Any, to: Connection) -> HookedBackend:  # noqa: ANN401 - a module
    places = split_addresses(to.address.base_url)
    open_one = partial(
        module.VLLMServer,
        api_key=to.api_key,
        retrier=to.retrier,
        waits_for_first_contact=to.waits_for_first_contact,
    )
    if len(places) == 1:
        return open_one(to.address, hooks=to.hooks)
    replicas = cast("Any", importlib.import_module("backends.replicas"))
    servers = [open_one(replace(to.address, base_url=place)) for place in places]
    return replicas.Replicas(servers, hooks=to.hooks)


def _open_api(name: str) -> Callable[[Any, Connection], HookedBackend]:
    """Return what opens the class of this name, which takes what every external API takes."""

    def open_it(module: Any, to: Connection) -> HookedBackend:  # noqa: ANN401 - a module
        kind = getattr(module, name)
        return kind(to.address, api_key=to.api_key, limits=to.limits, retrier=to.retrier, hooks=to.hooks)

    return open_it


def _open_scripted(module: Any, to: Connection) -> HookedBackend:  # noqa: ANN401 - a module
    del to
    return module.Scripted(module.echo)


def _open_transformers(module: Any, to: Connection) -> HookedBackend:  # noqa: ANN401 - a module
    return module.TransformersLocal(hooks=to.hooks)


PROVIDERS: Mapping[str, Provider] = {
    OWN: Provider(module="backends.vllm_server", open=_open_vllm, variables="VLLM_", external=False),
    "openai": Provider(
        module="backends.openai_compatible",
        open=_open_api("OpenAICompatible"),
        base_url="https://api.openai.com/v1",
        variables="OPENAI_",
        needs_key=True,
    ),
    "openrouter": Provider(
        module="backends.openai_compatible",
        open=_open_api("OpenAICompatible"),
        base_url="https://openrouter.ai/api/v1",
        variables="OPENROUTER_",
        needs_key=True,
    ),
    "anthropic": Provider(
        module="backends.anthropic_api",
        open=_open_api("AnthropicAPI"),
        base_url="https://api.anthropic.com",
        variables="ANTHROPIC_",
        needs_key=True,
        scores_labels=False,
        install=".venv/bin/pip install -r requirements/anthropic.txt",
    ),
    "openai-compatible": Provider(
        module="backends.openai_compatible",
        open=_open_api("OpenAICompatible"),
        variables="OPENAI_COMPATIBLE_",
    ),
    "transformers": Provider(module="backends.transformers_local", open=_open_transformers, external=False),
    "scripted": Provider(module="backends.scripted", open=_open_scripted, external=False),
}


def parse_model(text: str) -> ModelName:
    """Take a name apart at its first colon; the rest may hold more of them, and slashes.

    Raises:
        ModelNameError: No such provider, or no model after it.

    Examples:
        >>> parse_model("openrouter:meta-llama/llama-3.1-8b:free")
        ModelName(provider='openrouter', name='meta-llama/llama-3.1-8b:free')
        >>> parse_model("Qwen/Qwen3-8B")
        ModelName(provider='vllm', name='Qwen/Qwen3-8B')
    """
    before, colon, after = text.partition(":")
    if colon and before in PROVIDERS:
        if not after:
            raise ModelNameError(f"{text!r} names no model; write {before}:NAME")
        return ModelName(before, after)
    if colon and _COULD_BE_A_PROVIDER.fullmatch(before):
        raise ModelNameError(
            f"{text!r} names no provider that is known; the closest is {closest_provider(before)!r} (write "
            f"vllm:{text} if that is the model's whole name)"
        )
    if not text:
        raise ModelNameError("the name of the model is empty")
    return ModelName(OWN, text)


def closest_provider(name: str) -> str:
    """Return the known provider that looks most like this."""
    return difflib.get_close_matches(name.lower(), PROVIDERS, n=1, cutoff=0)[0]


def provider_of(name: str) -> Provider:
    """Return what is known of a provider.

    Raises:
        ModelNameError: There is none of this name.
    """
    if name not in PROVIDERS:
        raise ModelNameError(f"there is no provider {name!r}; the closest is {closest_provider(name)!r}")
    return PROVIDERS[name]


def open_backend(name: str, connection: Connection) -> HookedBackend:
    """Make the backend of a provider; it connects when it is first asked.

    Raises:
        ModelNameError: There is no such provider.
        NotInstalledError: The package that it needs is not installed.
        ValueError: The connection has headers or certificates that cannot be used.
    """
    provider = provider_of(name)
    try:
        module = cast("Any", importlib.import_module(provider.module))
    except ImportError as error:
        if provider.install is None:
            raise
        raise NotInstalledError(
            f"{name} needs the package {error.name!r}, which is not installed; type `{provider.install}`"
        ) from error
    return provider.open(module, connection)


def identity(name: str, base_url: str) -> str:
    """Name who answers, for keys: answers of one model's name from two providers are never mixed.

    Examples:
        >>> identity("openai", "https://api.openai.com/v1")
        'openai@api.openai.com/v1'
    """
    parts = urlsplit(without_credentials(base_url))
    return f"{name}@{parts.netloc.lower()}{parts.path.rstrip('/').removesuffix('/v1')}/v1"
