"""What every run opens and closes: its store, its leases, its journal, its budget, and whoever answers it."""

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from functools import partial

from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.base import HookedBackend, Hooks
from backends.errors import BackendConnectionError, BackendTimeoutError
from backends.failover import Failover
from backends.gpu_alerts import Alert
from backends.messages import Label, Request, Usage
from backends.prices import Price, cost_usd
from backends.registry import PROVIDERS, ModelName, parse_model
from backends.replicas import Replicas
from backends.retrying import Retrier, RetryPolicy
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.journal import FileJournal, NoJournal
from cache.leases import DiskLeases, NoLeases
from cache.lookup import CacheMode, Lookup
from cache.overlay_store import OverlayStore
from cache.store import Store
from flows.answering import Answerer, RunStoppedError, first_error, identify, server_gone
from flows.costs import cost_of, prices_of_run
from flows.direct import with_engine
from flows.gpu_progress import Watch, watch_of, watching
from flows.gpu_samples import Samples
from flows.providers import open_provider, revision_in_keys
from flows.run_parameters import RunParameters
from flows.settings import Settings
from tasks.ask import AskEach
from tasks.batches import TaskAsk
from tasks.budget import Budget, BudgetSpentError
from tasks.estimate import Estimator
from tasks.generate import Fallback, Generator
from tasks.journal_rows import alert_row
from tasks.speed import remember_speed
from tasks.tally import Tally


@dataclass(kw_only=True)
class Run:
    """An open run."""

    parameters: RunParameters
    settings: Settings
    model: str
    revision: str
    """What pins the weights, for the `revision` of requests."""
    generator: Generator
    prices: dict[str, Price | None]
    """{model with its provider: what it costs, None where that is not known}, of all who may answer."""
    store: Store
    answerer: Answerer
    server: VLLMServer | Replicas | Failover | None = None
    """Who answers, if it is a server of one's own."""
    estimator: Estimator | None = None
    """Stands in for the backend where only the costs are wanted."""
    samples: Samples = field(default_factory=Samples)
    """What was read of the servers and the GPUs so far."""
    others: dict[str, Generator] = field(default_factory=dict[str, Generator])
    """{model with its provider: who asks it}, of models of other providers that the run asks, too."""

    def ask(self, title: Callable[[str], str] = lambda purpose: purpose) -> TaskAsk | Generator:
        """Return what answers questions: through Prefect tasks, unless the run is an estimate.

        Args:
            title: Turns a purpose into the name of a task run.
        """
        if self.estimator:
            return self.generator
        return TaskAsk(self.generator, results=self.settings.store / "results", title=title)

    def ask_each(self, generator: Generator | None = None) -> AskEach:
        """Return what answers each question or says why not; through Prefect tasks likewise.

        Args:
            generator: Of another model; the run's by default.
        """
        asks = generator or self.generator
        if self.estimator:
            return asks.each
        return TaskAsk(asks, results=self.settings.store / "results").outcomes

    def on_spent(self, note: Callable[[str, Tally], None]) -> None:
        """Have it told for which purpose the tally grows; see `Generator.spent`."""
        for one in (self.generator, *self.others.values()):
            one.spent = note
        if fallback := self.generator.fallback:  # whose prompts were put already, to the one it stands in for
            fallback.generator.spent = lambda purpose, growth: note(purpose, replace(growth, prompts=0))

    @property
    def tally(self) -> Tally:
        """What the run has asked for so far, with what its fallback did."""
        fallback = self.generator.fallback
        own = self.generator.tally
        total = own.with_stand_in(fallback.generator.tally) if fallback else own
        return sum((one.tally for one in self.others.values()), total)

    @property
    def estimators(self) -> list[tuple[Estimator, Price | None]]:
        """Who stands in for the models where only the costs are wanted, with their prices."""
        asked = {next(iter(self.prices)): self.generator, **self.others}
        return [
            (one.backend, self.prices[name])
            for name, one in asked.items()
            if isinstance(one.backend, Estimator)
        ]

    def cost_usd(self) -> float | None:
        """Return what the run has cost so far, with all who answer in it; None where a price is missing."""
        return _cost_usd(self.generator, self.prices, self.others)


@asynccontextmanager
async def open_run(parameters: RunParameters, settings: Settings) -> AsyncGenerator[Run]:
    """Open everything that a run needs, for as long as it lasts.

    Raises:
        RunStoppedError: Nobody answers any more, or the budget is spent; running it again goes on.
        SettingsError: Something that is wanted is not set.
        StoreUnavailableError: The store cannot be used.
    """
    prices = prices_of_run(parameters, settings)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(DiskStore(settings.store)))
        leases = stack.enter_context(closing(DiskLeases(settings.store / "leases")))
        journal = NoJournal() if parameters.estimate else _open_journal(settings, stack)
        open_backend = partial(_open_backend, parameters, settings, stack)
        backend = await open_backend(parameters.provider, engine=engine_of(parameters))
        estimator = _estimator(backend) if parameters.estimate else None
        seen: Store = OverlayStore(store) if estimator else store
        generator = Generator(
            backend=estimator or backend,
            lookup=Lookup(seen, parameters.cache_mode),
            leases=NoLeases() if estimator else leases,  # others must not wait for answers that are made up
            journal=journal,
            budget=Budget() if estimator else _budget(parameters),
            cost_of=cost_of(next(iter(prices.values()))),
            keep_text=parameters.keep_prompts,
        )
        backend.hooks.on_exchange = generator.record
        if parameters.fallback and not estimator:
            other = parse_model(parameters.fallback)
            generator.fallback = _fallback(
                other, await open_backend(other.provider), generator, prices[str(other)], settings
            )
        journal.write([{"event": "run", **_about(parameters)}])
        others: dict[str, Generator] = {}
        try:
            answerer = await identify(parameters, settings, backend, seen)
            journal.write([{"event": "model", "model": answerer.model, "revision": answerer.revision}])
            others |= await _open_others(parameters, open_backend, generator, prices)
            run = Run(
                parameters=parameters,
                settings=settings,
                model=answerer.model,
                revision=answerer.revision,
                generator=generator,
                prices=prices,
                store=seen,
                answerer=answerer,
                server=backend if isinstance(backend, VLLMServer | Replicas | Failover) else None,
                estimator=estimator,
                others=others,
            )
            async with watching(_watch(run), seconds=settings.watch_seconds):
                yield run
        except BaseException as error:
            end = {**_failure(error), "cost_usd": _cost_usd(generator, prices, others)}
            journal.write([{"event": "end", **end}])
            raise _explained(error, parameters, settings) from error
        if not estimator and parameters.cache_mode in {CacheMode.USE, CacheMode.REFRESH}:
            remember_speed(store, run.model, run.revision, generator.tally)
        end = {"cost_usd": run.cost_usd(), **await answerer.counted()}
        journal.write([{"event": "end", "state": "completed", **end}])


def _fallback(
    other: ModelName, backend: HookedBackend, generator: Generator, price: Price | None, settings: Settings
) -> Fallback:
    """Have another model stand in, with a tally of its own."""
    second = replace(generator, backend=backend, tally=Tally(), cost_of=cost_of(price))
    backend.hooks.on_exchange = second.record
    return Fallback(
        generator=second,
        name=str(other),
        say=get_run_logger().warning,
        translate=partial(_put_to, other, settings),
    )


async def _open_others(
    parameters: RunParameters,
    open_backend: Callable[[str], Awaitable[HookedBackend]],
    generator: Generator,
    prices: Mapping[str, Price | None],
) -> dict[str, Generator]:
    """Make who asks models besides the run's, each with a tally and a price of its own.

    Other models of one's own server are asked by the run's own generator: they cost the same, nothing.
    """
    others: dict[str, Generator] = {}
    for name in map(parse_model, parameters.other_models):
        is_same = name.provider == parameters.provider
        if is_same and not PROVIDERS[name.provider].external:
            continue
        own = None if is_same else await open_backend(name.provider)
        backend = own or generator.backend
        if parameters.estimate:
            backend = _estimator(own) if own else Estimator(asked=generator.backend)
        price = cost_of(prices[str(name)])
        one = replace(generator, backend=backend, tally=Tally(), cost_of=price, fallback=None)
        if own:
            own.hooks.on_exchange = one.record
        others[str(name)] = one
    return others


def _estimator(backend: HookedBackend) -> Estimator:
    if isinstance(backend, VLLMServer | Replicas):
        return Estimator(asked=backend, count_tokens=backend.count_tokens)
    return Estimator(asked=backend)


def _watch(run: Run) -> Watch | None:
    """Watch the run's servers; none where nothing is sent."""
    is_silent = run.estimator is not None or run.parameters.cache_mode is CacheMode.REPLAY
    if is_silent or not run.answerer.watchable:
        return None

    def note(alert: Alert) -> None:
        run.generator.tally.alerts += 1
        run.generator.journal.write([alert_row(alert.kind, alert.where)])

    answerer, warn = run.answerer, get_run_logger().warning
    return watch_of(answerer.watchable, answerer.asked, run.samples, warn, note)


def _budget(parameters: RunParameters) -> Budget:
    return Budget(
        max_requests=parameters.max_requests,
        max_tokens=parameters.max_tokens,
        max_cost_usd=parameters.max_cost_usd,
    )


def engine_of(parameters: RunParameters) -> str:
    """Say where a run's model is; a run that sends nothing needs no engine."""
    sends_nothing = parameters.estimate or parameters.cache_mode is CacheMode.REPLAY
    return "http" if sends_nothing else parameters.engine


async def _open_backend(
    parameters: RunParameters,
    settings: Settings,
    stack: AsyncExitStack,
    provider: str,
    *,
    engine: str = "http",
) -> HookedBackend:
    retrier = Retrier(policy=RetryPolicy(max_away_seconds=parameters.max_wait_seconds))
    hooks = Hooks(tell=get_run_logger().warning)
    backend = open_provider(
        provider,
        settings,
        retrier=retrier,
        hooks=hooks,
        waits_for_first_contact=parameters.fallback
        is not None,  # which takes over after the wait, not at once
    )
    if engine == "direct" and isinstance(backend, VLLMServer | Replicas):
        name = parameters.model_name
        backend = await with_engine(backend, name, settings, retrier=retrier, hooks=hooks)
    return await stack.enter_async_context(backend)


def _put_to(other: ModelName, settings: Settings, request: Request) -> Request:
    """Put a question to another model, under its own name and as it can be asked."""
    labels = tuple(Label(text=label.text) for label in request.labels)
    revision = revision_in_keys(other.provider, None, settings)
    return replace(request, model=other.name, revision=revision, labels=labels)


def _cost_usd(
    generator: Generator, prices: Mapping[str, Price | None], others: Mapping[str, Generator]
) -> float | None:
    asked = {next(iter(prices)): generator, **others}
    if generator.fallback:
        asked[generator.fallback.name] = generator.fallback.generator
    costs = [
        cost_usd(one.tally.usage, prices[name]) for name, one in asked.items() if one.tally.usage != Usage()
    ]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _open_journal(settings: Settings, stack: AsyncExitStack) -> FileJournal:
    name = running_flow_run.id or uuid.uuid4()
    return stack.enter_context(closing(FileJournal(settings.store / "journal" / f"{name}.jsonl")))


def _about(parameters: RunParameters) -> dict[str, object]:
    return {
        "run": running_flow_run.id,
        "name": running_flow_run.flow_name,
        "deployment": running_deployment.name,
        "parameters": parameters.model_dump(mode="json"),
    }


def _failure(error: BaseException) -> dict[str, str]:
    """Say how a run ended that did not complete."""
    first = first_error(error)
    # What is no Exception comes from outside: a cancelled run, Ctrl-C, a worker that is stopped.
    state = "failed" if isinstance(first, Exception) else "cancelled"
    # The kind only: what a server says of an error may repeat a prompt or a key.
    return {"state": state, "error": type(first).__name__}


def _explained(error: BaseException, parameters: RunParameters, settings: Settings) -> BaseException:
    """Say what stopped a run, where running it again goes on; any other error stays as it is."""
    first = first_error(error)
    if isinstance(first, BudgetSpentError):
        return RunStoppedError(str(first))
    if isinstance(first, BackendConnectionError | BackendTimeoutError):
        return RunStoppedError(server_gone(parameters, settings, first))
    return error
