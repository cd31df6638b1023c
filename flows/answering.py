"""Who answers a run, and what is said when nobody does."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

from prefect.logging import get_run_logger

from backends.base import Backend, HookedBackend, Hooks
from backends.errors import BackendError, is_absence
from backends.failover import Failover
from backends.registry import OWN, PROVIDERS
from backends.replicas import Replicas
from backends.retrying import Retrier, RetryPolicy
from backends.server_counters import COMPUTED, ServerCounters
from backends.transformers_local import TransformersLocal
from backends.vllm_engine import VLLMEngine
from backends.vllm_server import VLLMServer
from cache.lookup import CacheMode
from cache.store import Store
from flows.providers import open_provider, revision_in_keys
from flows.run_parameters import RunParameters
from flows.settings import Settings, SettingsError
from tasks.estimate import Estimator
from tasks.identity import Identity, Witness


class RunStoppedError(RuntimeError):
    """The run cannot go on now; everything answered is stored, and running it again continues."""


class Server(Witness, Protocol):
    """Whoever has a model of the user's own: a vLLM server, or the engine of this process."""

    @property
    def root(self) -> str:
        """What it is called."""
        ...

    @property
    def hooks(self) -> Hooks:
        """Whom it tells."""
        ...

    async def counters(self) -> ServerCounters | None:
        """Return what it has counted; None where it does not say."""
        ...


def open_backend(parameters: RunParameters, settings: Settings, hooks: Hooks | None = None) -> HookedBackend:
    """Make the backend that a run asks; it connects when it is first asked.

    Raises:
        SettingsError: An external API is wanted and its key is not in the environment.
    """
    retrier = Retrier(policy=RetryPolicy(max_away_seconds=parameters.max_wait_seconds))
    return open_provider(parameters.provider, settings, retrier=retrier, hooks=hooks)


async def served_model(backend: Backend) -> str:
    """Return the one model that the server serves.

    Raises:
        SettingsError: It serves several, or is no vLLM server.
        BackendError: Nobody answers.
    """
    if not isinstance(backend, VLLMServer | Replicas | Failover):
        raise SettingsError("no model is named; give the parameter model")
    try:
        served = (await backend.capabilities()).roots
    except BackendError as error:
        if is_absence(error):
            raise
        raise SettingsError(f"the server at VLLM_BASE_URL is no vLLM server: {error}") from error
    if len(served) != 1:
        names = ", ".join(sorted(served)) or "none"
        raise SettingsError(f"the server serves {names}; choose with the parameter model or VLLM_MODEL")
    return next(iter(served))


@dataclass(kw_only=True)
class Answerer:
    """Which model answers a run, and what its servers counted before the first question."""

    model: str
    revision: str
    """What pins the weights in the keys."""
    servers: tuple[Server, ...] = ()
    _before: dict[str, ServerCounters] = field(default_factory=dict[str, ServerCounters])
    _last: dict[str, ServerCounters] = field(default_factory=dict[str, ServerCounters])

    async def count(self, server: Server) -> None:
        """Remember what a server has counted, at its first contact."""
        if server.root not in self._before and (counters := await server.counters()):
            self._before[server.root] = self._last[server.root] = counters

    @property
    def watchable(self) -> tuple[VLLMServer | VLLMEngine, ...]:
        """Those that tell how busy they are."""
        return tuple(one for one in self.servers if isinstance(one, VLLMServer | VLLMEngine))

    def asked(self) -> tuple[VLLMServer | VLLMEngine, ...]:
        """Return the servers that were asked something, tell what they count, and are not away."""
        return tuple(one for one in self.watchable if one.root in self._before and not one.is_away)

    async def computed_since_last(self) -> int | None:
        """Return the prompt tokens that the servers have computed since this was last called.

        None where one of them does not tell; then the next call speaks for the time from before this one.
        """
        met = [server for server in self.servers if server.root in self._last]
        now = {server.root: await server.counters() for server in met}
        read = {root: counters for root, counters in now.items() if counters}
        since = [counters.since(self._last[root]) for root, counters in read.items()]
        if not met or len(read) < len(met) or not all(COMPUTED in counts for counts in since):
            return None
        self._last |= read
        return sum(counts[COMPUTED] for counts in since)

    async def counted(self) -> dict[str, object]:
        """Return for the journal what the servers have counted since; nothing where none was asked or tells.

        A server that was started again has lost what it had counted before, which is to be said.
        """
        sums: Counter[str] = Counter()
        restarted = False
        for server in self.servers:
            if (before := self._before.get(server.root)) and (after := await server.counters()):
                sums.update(after.since(before))
                restarted |= after.restarted_since(before)
        return {"server_counters": dict(sums), "server_restarted": restarted}


async def identify(
    parameters: RunParameters,
    settings: Settings,
    backend: Backend,
    store: Store,
) -> Answerer:
    """Find out which model answers and what pins its weights; have both checked at each contact.

    Raises:
        SettingsError: No model is named, and the server does not leave one choice.
        WeightsChangedError: Other weights answer under this name than before.
        BackendError: The server cannot be asked, and nothing is known of its model.
        CacheMissError: A replay, and nothing is known of the model.
    """
    model = parameters.model_name or settings.model
    if model is None and parameters.cache_mode is CacheMode.REPLAY:
        raise SettingsError("a replay asks no server; name the model, with the parameter model or VLLM_MODEL")
    model = model or await served_model(backend)
    servers = servers_of(backend)
    if not servers:
        revision = revision_in_keys(parameters.provider, parameters.revision, settings) or ""
        return Answerer(model=model, revision=revision)
    identity = Identity(
        witness=servers[0],
        store=store,
        mode=parameters.cache_mode,
        model=model,
        user_revision=parameters.revision,
        say=get_run_logger().warning,
        sends_prompts=not parameters.estimate,
    )
    # In turn, since one of several may be away; all have to have the weights that the first one has.
    for server in servers[:-1]:
        with contextlib.suppress(BackendError):
            await identity.found_at(server)
            break
    answerer = Answerer(model=model, revision=await identity.found_at(servers[-1]), servers=servers)
    for server in servers:
        server.hooks.on_contact = partial(_meet, server, identity.at(server), answerer)
    return answerer


async def identify_other(servers: Sequence[Server], identity: Identity) -> str:
    """Find out what pins the weights of one more model of servers; have it checked at each contact, too.

    Raises:
        WeightsChangedError: Other weights answer under its name than before.
        BackendError: The server cannot be asked, and nothing is known of it.
    """
    *before, last = servers
    for server in before:
        with contextlib.suppress(BackendError):
            await identity.found_at(server)
            break
    revision = await identity.found_at(last)
    for server in servers:
        server.hooks.on_contact = partial(_meet_both, server.hooks.on_contact, identity.at(server))
    return revision


async def _meet_both(meet: Callable[[], Awaitable[None]], identity: Identity) -> None:
    await meet()
    await identity.verify()
    identity.doubt()


def servers_of(backend: Backend) -> tuple[Server, ...]:
    """Return whoever answers for a backend with a model of the user's own; nobody for an API."""
    if isinstance(backend, Failover):
        return (*servers_of(backend.first), *servers_of(backend.second))
    if isinstance(backend, Replicas):
        return backend.servers
    if isinstance(backend, Estimator):
        return servers_of(backend.asked)
    return (backend,) if isinstance(backend, VLLMServer | VLLMEngine | TransformersLocal) else ()


async def _meet(server: Server, identity: Identity, answerer: Answerer) -> None:
    await answerer.count(server)
    await identity.verify()
    identity.doubt()  # the next contact is with a server that was away


def server_gone(parameters: RunParameters, settings: Settings, what: BaseException) -> str:
    """Say that nobody answers any more, and how to go on."""
    stored = "then run this again: everything answered so far is stored"
    if parameters.provider != OWN:
        return f"{what}; check {PROVIDERS[parameters.provider].variables}BASE_URL, {stored}"
    here = f"VLLM_BASE_URL (now {settings.base_url})"
    return f"{what}; start a server with `make up` or point {here} at one, {stored}"


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        return first_error(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error
