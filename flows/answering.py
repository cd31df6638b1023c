"""Who answers a run, and what is said when nobody does."""

from typing import cast
from urllib.parse import urlsplit

from prefect.logging import get_run_logger

from backends.base import Backend
from backends.errors import BackendConnectionError, BackendError
from backends.openai_compatible import OpenAICompatible
from backends.vllm_server import VLLMServer
from cache.store import Store
from flows.parameters import ICMParameters
from flows.settings import Settings, SettingsError
from tasks.generate import Generator
from tasks.identity import Identity


class RunStoppedError(RuntimeError):
    """The run cannot go on now; everything answered is stored, and running it again continues."""


def open_backend(parameters: ICMParameters, settings: Settings) -> VLLMServer | OpenAICompatible:
    """Make the backend that a run asks; it connects when it is first asked.

    Raises:
        SettingsError: An external API is wanted and its key is not in the environment.
    """
    if parameters.backend == "vllm":
        return VLLMServer(settings.base_url, api_key=settings.api_key)
    if settings.openai_api_key is None:
        raise SettingsError(
            "backend is 'openai' and OPENAI_API_KEY is not set; set it, then `make up` hands it to the worker"
        )
    return OpenAICompatible(
        settings.openai_base_url,
        api_key=settings.openai_api_key,
        requests_per_minute=settings.openai_requests_per_minute,
        max_in_flight=settings.openai_max_in_flight,
    )


async def served_model(backend: Backend) -> str:
    """Return the one model that the server serves.

    Raises:
        SettingsError: It serves several, or is no vLLM server.
        BackendConnectionError: Nobody answers.
    """
    if not isinstance(backend, VLLMServer):
        raise SettingsError("no model is named; give the parameter model")
    try:
        served = (await backend.capabilities()).roots
    except BackendConnectionError:
        raise
    except BackendError as error:
        raise SettingsError(f"the server at VLLM_BASE_URL is no vLLM server: {error}") from error
    if len(served) != 1:
        names = ", ".join(sorted(served)) or "none"
        raise SettingsError(f"the server serves {names}; choose with the parameter model or VLLM_MODEL")
    return next(iter(served))


def api_revision(parameters: ICMParameters, settings: Settings) -> str:
    """Return what tells weights of one name apart in the keys of an external API, which shows no weights.

    What an API calls a model is kept apart from what a vLLM server calls so.
    """
    address = urlsplit(settings.openai_base_url)
    place = f"{address.netloc.rpartition('@')[2]}{address.path}".rstrip("/").removesuffix("/v1")
    return f"api:{place}#{parameters.revision or ''}"


async def weights_revision(
    model: str, parameters: ICMParameters, settings: Settings, generator: Generator, store: Store
) -> str:
    """Return what pins the weights in the keys, and have it checked before anything is sent.

    Raises:
        WeightsChangedError: Other weights answer under this name than before.
        BackendError: The server cannot be asked, and nothing is known of its model.
        CacheMissError: A replay, and nothing is known of the model.
    """
    if not isinstance(generator.backend, VLLMServer):
        return api_revision(parameters, settings)
    identity = Identity(
        witness=generator.backend,
        store=store,
        mode=parameters.cache_mode,
        model=model,
        user_revision=parameters.revision,
        say=get_run_logger().warning,
    )
    generator.before_sending = identity.verify
    return await identity.revision()


def server_gone(
    parameters: ICMParameters, settings: Settings, group: BaseExceptionGroup[BaseException]
) -> str:
    """Say that nobody answers any more, and how to go on."""
    what = _first(group)
    stored = "then run this again: everything answered so far is stored"
    if parameters.backend == "openai":
        return f"{what}; check OPENAI_BASE_URL, {stored}"
    here = f"VLLM_BASE_URL (now {settings.base_url})"
    return f"{what}; start a server with `make up` or point {here} at one, {stored}"


def _first(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error
