"""Who answers a run, and what is said when nobody does."""

from typing import cast

from backends.base import Backend, HookedBackend, Hooks
from backends.errors import BackendConnectionError, BackendError
from backends.registry import OWN, PROVIDERS
from backends.retrying import Retrier, RetryPolicy
from backends.vllm_server import VLLMServer
from flows.providers import open_provider, revision_in_keys
from flows.run_parameters import RunParameters
from flows.settings import Settings, SettingsError


class RunStoppedError(RuntimeError):
    """The run cannot go on now; everything answered is stored, and running it again continues."""


def open_backend(parameters: RunParameters, settings: Settings, hooks: Hooks | None = None) -> HookedBackend:
    """Make the backend that a run asks; it connects when it is first asked.

    Raises:
        SettingsError: An external API is wanted and its key is not in the environment.
    """
    retrier = Retrier(policy=RetryPolicy(max_away_seconds=parameters.max_wait_seconds))
    return open_provider(parameters.backend, settings, retrier=retrier, hooks=hooks)


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


def revision_in_key(parameters: RunParameters, settings: Settings) -> str | None:
    """Return what tells weights of one name apart in the keys.

    What an API calls a model is kept apart from what a vLLM server calls so.
    """
    return revision_in_keys(parameters.backend, parameters.revision, settings)


def server_gone(parameters: RunParameters, settings: Settings, what: BaseException) -> str:
    """Say that nobody answers any more, and how to go on."""
    stored = "then run this again: everything answered so far is stored"
    if parameters.backend != OWN:
        return f"{what}; check {PROVIDERS[parameters.backend].variables}BASE_URL, {stored}"
    here = f"VLLM_BASE_URL (now {settings.base_url})"
    return f"{what}; start a server with `make up` or point {here} at one, {stored}"


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        return first_error(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error
