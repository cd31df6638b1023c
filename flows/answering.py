"""Who answers a run, and what is said when nobody does."""

from typing import cast

from backends.base import Backend
from backends.errors import BackendConnectionError, BackendError
from backends.openai_compatible import OpenAICompatible
from backends.replicas import Replicas
from backends.vllm_server import VLLMServer
from flows.parameters import ICMParameters
from flows.settings import Settings, SettingsError


class RunStoppedError(RuntimeError):
    """The run cannot go on now; everything answered is stored, and running it again continues."""


def open_backend(parameters: ICMParameters, settings: Settings) -> VLLMServer | Replicas | OpenAICompatible:
    """Make the backend that a run asks; it connects when it is first asked.

    Raises:
        SettingsError: An external API is wanted and its key is not in the environment.
    """
    if parameters.backend == "vllm":
        servers = [VLLMServer(address, api_key=settings.api_key) for address in settings.base_urls]
        return servers[0] if len(servers) == 1 else Replicas(servers)
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
    if not isinstance(backend, VLLMServer | Replicas):
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


def revision_in_key(parameters: ICMParameters, settings: Settings) -> str | None:
    """Return what tells weights of one name apart in the keys.

    What an API calls a model is kept apart from what a vLLM server calls so.
    """
    if parameters.backend == "openai":
        return f"{settings.openai_base_url}#{parameters.revision or ''}"
    return parameters.revision


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
