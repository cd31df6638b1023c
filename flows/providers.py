"""From the settings to a provider: who answers for a name, and how it is reached."""

from dataclasses import replace
from pathlib import Path

from backends.addresses import Address
from backends.base import HookedBackend, Hooks
from backends.registry import (
    OWN,
    Connection,
    ModelNameError,
    NotInstalledError,
    identity,
    open_backend,
    provider_of,
)
from backends.retrying import Retrier
from flows.settings import GENERAL, APISettings, Settings, SettingsError


def open_provider(
    name: str,
    settings: Settings,
    *,
    retrier: Retrier | None = None,
    hooks: Hooks | None = None,
    waits_for_first_contact: bool = False,
) -> HookedBackend:
    """Make the backend of a provider; it connects when it is first asked.

    Args:
        name: The provider.
        settings: Say how it is reached.
        retrier: How failures are tried again.
        hooks: What the owner wants to hear of.
        waits_for_first_contact: See `VLLMServer`.

    Raises:
        SettingsError: There is no such provider, or something that it needs is not set or not installed.
    """
    try:
        connection = connection_to(name, settings, retrier=retrier, hooks=hooks)
        return open_backend(name, replace(connection, waits_for_first_contact=waits_for_first_contact))
    except SettingsError:
        raise
    except (ModelNameError, NotInstalledError, ValueError) as error:
        raise SettingsError(str(error)) from error


def connection_to(
    name: str, settings: Settings, *, retrier: Retrier | None = None, hooks: Hooks | None = None
) -> Connection:
    """Collect how a provider is reached.

    Raises:
        SettingsError: Its key or its address is not set.
        ModelNameError: There is no such provider.
    """
    provider = provider_of(name)
    retrier, hooks = retrier or Retrier(), hooks or Hooks()
    if not provider.external:
        address = Address(base_url=settings.base_url, headers=settings.headers, verify=_own_trust(settings))
        return Connection(address=address, api_key=settings.api_key, retrier=retrier, hooks=hooks)
    api = settings.apis[name]
    if api.api_key is None and provider.needs_key:
        raise SettingsError(
            f"a parameter names a model of {name!r}, and {provider.variables}API_KEY is not set; "
            "set it, then `make up` hands it to the worker"
        )
    address = Address(
        base_url=base_url_of(name, settings),
        headers=api.headers,
        verify=True if provider.base_url else _own_trust(settings),
    )
    limits = api.limits(settings.apis[GENERAL])
    return Connection(address=address, api_key=api.api_key, limits=limits, retrier=retrier, hooks=hooks)


def base_url_of(name: str, settings: Settings) -> str:
    """Return where a provider is.

    Raises:
        SettingsError: Only the user can know, and has not said so.
    """
    if name == OWN:
        return settings.base_url
    provider = provider_of(name)
    api: APISettings | None = settings.apis.get(name)
    found = (api.base_url if api else None) or provider.base_url
    if found is None:
        raise SettingsError(f"{provider.variables}BASE_URL is not set; {name!r} is wherever it says")
    return found


def revision_in_keys(name: str, revision: str | None, settings: Settings) -> str | None:
    """Return what tells models of one name apart in keys: a revision, and for an API who it is.

    Raises:
        SettingsError: Only the user can know where the API is, and has not said so.
    """
    if not provider_of(name).external:
        return revision
    return f"{identity(name, base_url_of(name, settings))}#{revision or ''}"


def _own_trust(settings: Settings) -> bool | Path:
    return settings.ca_file or True if settings.tls_verify else False
