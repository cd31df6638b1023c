"""From the settings to an engine in the run's own process, with the server to fall back to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio

from backends.addresses import is_loopback
from backends.base import Hooks
from backends.capabilities import Capabilities
from backends.errors import BackendConnectionError, BackendError
from backends.failover import Failover
from backends.registry import NotInstalledError
from backends.replicas import Replicas
from backends.retrying import Retrier
from backends.vllm_engine import EngineModel, VLLMEngine
from backends.vllm_server import VLLMServer
from flows.settings import Settings, SettingsError

PATIENCE_SECONDS = 5.0
"""How long the server may take to say what it serves."""


async def with_engine(
    server: VLLMServer | Replicas,
    name: str | None,
    settings: Settings,
    *,
    retrier: Retrier,
    hooks: Hooks,
    make: Callable[..., VLLMEngine] = VLLMEngine,
) -> VLLMServer | Replicas | Failover:
    """Put an engine of this process before the server, or say why not and leave the server alone.

    Args:
        server: Answers where the engine cannot.
        name: The model's served name, if the run says it.
        settings: Say what the engine is made of.
        retrier: How failures are tried again.
        hooks: What the owner wants to hear of.
        make: Makes the backend of a model.
    """
    where = f"the server at {settings.base_url}"
    try:
        model = await engine_model(server, name or settings.model, settings)
        # What the engine loses goes to the server at once; it is made anew meanwhile.
        patience = replace(retrier, leaves=(BackendConnectionError,))
        engine = make(model, retrier=patience)
    except (NotInstalledError, ValueError) as error:
        hooks.tell(f"no direct engine: {error}; {where} is asked instead")
        return server
    return Failover(engine, server, second_name=where, hooks=hooks)


async def engine_model(server: VLLMServer | Replicas, name: str | None, settings: Settings) -> EngineModel:
    """Find out what the engine is made of, and the name that the server has for it.

    Raises:
        SettingsError: Neither a setting nor a server on this machine says it, or it is not there.
    """
    path = settings.engine_model
    roots = {} if path and name else await _roots(server)
    if name is None and len(roots) == 1:
        name = next(iter(roots))
    if path is None:
        path = roots.get(name or "")
        is_here = path is not None and (not Path(path).is_absolute() or _are_here(settings))
        if path is None or not is_here:
            raise SettingsError(
                "VLLM_ENGINE_MODEL is not set, and no server on this machine says where its model is; set it "
                "to a model's folder, or to its name on the hub"
            )
    if Path(path).is_absolute() and not await anyio.Path(path).is_dir():
        if settings.engine_model is None:
            raise SettingsError(
                f"the server's model is in {path}, which is no folder here; set VLLM_ENGINE_MODEL to one"
            )
        raise SettingsError(f"VLLM_ENGINE_MODEL={path!r} is no folder")
    return EngineModel(path=path, served_name=name, args=settings.engine_args)


async def _roots(server: VLLMServer | Replicas) -> dict[str, str]:
    found: Capabilities | None = None
    try:
        with anyio.move_on_after(PATIENCE_SECONDS):
            found = await server.capabilities()
    except BackendError:
        return {}
    return dict(found.roots) if found else {}


def _are_here(settings: Settings) -> bool:
    return all(is_loopback(address) for address in settings.base_urls)
