"""What every run opens and closes: its store, its leases, its journal, its budget, and whoever answers it."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.base import HookedBackend, Hooks
from backends.errors import BackendConnectionError
from backends.messages import Label, Request, Usage
from backends.prices import Price, PricesError, cost_usd, price_of, read_prices
from backends.registry import ModelName, parse_model
from backends.retrying import Retrier, RetryPolicy
from cache.disk_store import DiskStore
from cache.journal import FileJournal
from cache.leases import DiskLeases
from cache.lookup import CacheMode, Lookup
from cache.overlay_store import OverlayStore
from cache.store import Store
from flows.answering import RunStoppedError, first_error, identify, server_gone
from flows.providers import open_provider, revision_in_keys
from flows.run_parameters import RunParameters
from flows.settings import Settings, SettingsError
from tasks.batches import TaskAsk
from tasks.budget import Budget, BudgetSpentError
from tasks.estimate import Estimator
from tasks.generate import Fallback, Generator
from tasks.speed import expected_seconds, remember_speed

P = TypeVar("P", bound=RunParameters)


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
    journal: FileJournal
    store: Store
    estimator: Estimator | None = None
    """Stands in for the backend where only the costs are wanted."""

    def ask(self, title: Callable[[str], str] = lambda purpose: purpose) -> TaskAsk | Generator:
        """Return what answers questions: through Prefect tasks, unless the run is an estimate.

        Args:
            title: Turns a purpose into the name of a task run.
        """
        if self.estimator:
            return self.generator
        return TaskAsk(self.generator, results=self.settings.store / "results", title=title)

    def cost_usd(self) -> float | None:
        """Return what the run has cost so far, its fallback's share too; None where a price is missing."""
        asked = [self.generator]
        if self.generator.fallback:
            asked.append(self.generator.fallback.generator)
        costs = [
            cost_usd(one.tally.usage, price)
            for one, price in zip(asked, self.prices.values(), strict=True)
            if one.tally.usage != Usage()
        ]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


@asynccontextmanager
async def open_run(parameters: RunParameters, settings: Settings) -> AsyncGenerator[Run]:
    """Open everything that a run needs, for as long as it lasts.

    Raises:
        RunStoppedError: Nobody answers any more, or the budget is spent; running it again goes on.
        SettingsError: Something that is wanted is not set.
        StoreUnavailableError: The store cannot be used.
    """
    prices = _prices(parameters, settings)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(DiskStore(settings.store)))
        leases = stack.enter_context(closing(DiskLeases(settings.store / "leases")))
        journal = stack.enter_context(closing(FileJournal(_journal_path(settings))))
        open_backend = partial(_open_backend, parameters, settings, stack)
        backend = await open_backend(parameters.provider)
        estimator = Estimator(asked=backend) if parameters.estimate else None
        seen: Store = OverlayStore(store) if estimator else store
        generator = Generator(
            backend=estimator or backend,
            lookup=Lookup(seen, parameters.cache_mode),
            leases=leases,
            journal=journal,
            budget=Budget(
                max_requests=parameters.max_requests,
                max_tokens=parameters.max_tokens,
                max_cost_usd=parameters.max_cost_usd,
            ),
            cost_of=_cost_of(next(iter(prices.values()))),
            keep_text=parameters.keep_prompts,
        )
        backend.hooks.on_exchange = generator.record
        if parameters.fallback and not estimator:
            other = parse_model(parameters.fallback)
            standing_by = replace(
                generator, backend=await open_backend(other.provider), tally=type(generator.tally)()
            )
            standing_by.cost_of = _cost_of(prices[str(other)])
            generator.fallback = Fallback(generator=standing_by, translate=partial(_put_to, other, settings))
        journal.write([{"event": "run", "run": journal.path.stem, **_about(parameters)}])
        try:
            answerer = await identify(parameters, settings, backend, seen)
            journal.write([{"event": "model", "model": answerer.model, "revision": answerer.revision}])
            run = Run(
                parameters=parameters,
                settings=settings,
                model=answerer.model,
                revision=answerer.revision,
                generator=generator,
                prices=prices,
                journal=journal,
                store=seen,
                estimator=estimator,
            )
            yield run
        except BaseException as error:
            # The kind only: what a server says of an error may repeat a prompt or a key.
            kind = type(first_error(error)).__name__
            journal.write([{"event": "end", "state": "failed", "error": kind}])
            raise _explained(error, parameters, settings) from error
        if not estimator and parameters.cache_mode in {CacheMode.USE, CacheMode.REFRESH}:
            remember_speed(store, run.model, run.revision, generator.tally)
        end = {"cost_usd": run.cost_usd(), "server_counters": await answerer.counted()}
        journal.write([{"event": "end", "state": "completed", **end}])


async def _open_backend(
    parameters: RunParameters, settings: Settings, stack: AsyncExitStack, provider: str
) -> HookedBackend:
    retrier = Retrier(policy=RetryPolicy(max_away_seconds=parameters.max_wait_seconds))
    hooks = Hooks(tell=get_run_logger().warning)
    backend = open_provider(provider, settings, retrier=retrier, hooks=hooks)
    return await stack.enter_async_context(backend)


def _put_to(other: ModelName, settings: Settings, request: Request) -> Request:
    """Put a question to another model, under its own name and as it can be asked."""
    labels = tuple(Label(text=label.text) for label in request.labels)
    revision = revision_in_keys(other.provider, None, settings)
    return replace(request, model=other.name, revision=revision, labels=labels)


def _prices(parameters: RunParameters, settings: Settings) -> dict[str, Price | None]:
    """Find what each model costs that may be asked, the one that is asked first being the first.

    Raises:
        SettingsError: A limit on costs is set and a price is not known, or the user's prices cannot be read.
    """
    try:
        own = read_prices(settings.prices) if settings.prices else {}
    except PricesError as error:
        raise SettingsError(f"VLLM_FLOWS_PRICES: {error}") from error
    names = [ModelName(parameters.provider, parameters.model_name or settings.model or "")]
    if parameters.fallback:
        names.append(parse_model(parameters.fallback))
    prices = {str(name): price_of(name, own) for name in names}
    unknown = [name for name, price in prices.items() if price is None]
    if parameters.max_cost_usd is not None and unknown:
        raise SettingsError(
            f"max_cost_usd is set and the price of {unknown[0]!r} is not known; write it into a file and "
            "name that in VLLM_FLOWS_PRICES"
        )
    return prices


def _cost_of(price: Price | None) -> Callable[[Usage], float]:
    return lambda usage: cost_usd(usage, price) or 0.0


async def with_deployment_defaults(parameters: P) -> P:
    """Fill what the caller left out with the deployment's values, before the model's own defaults.

    Prefect replaces a deployment's parameter as a whole when a run gives one, so without this
    `-p parameters='{"num_claims": 32}'` would drop everything else that the deployment sets.
    """
    deployment_id = running_deployment.id
    if deployment_id is None:
        return parameters
    async with get_client() as client:
        deployment = await client.read_deployment(deployment_id)
    defaults: dict[str, Any] = deployment.parameters.get("parameters", {})
    return parameters.model_validate({**defaults, **parameters.model_dump(exclude_unset=True)})


def _journal_path(settings: Settings) -> Path:
    return settings.store / "journal" / f"{running_flow_run.id or uuid.uuid4()}.jsonl"


def _about(parameters: RunParameters) -> dict[str, object]:
    return {
        "name": running_flow_run.flow_name,
        "deployment": running_deployment.name,
        "parameters": parameters.model_dump(mode="json"),
    }


def _explained(error: BaseException, parameters: RunParameters, settings: Settings) -> BaseException:
    """Say what stopped a run, where running it again goes on; any other error stays as it is."""
    first = first_error(error)
    if isinstance(first, BudgetSpentError):
        return RunStoppedError(str(first))
    if isinstance(first, BackendConnectionError):
        return RunStoppedError(server_gone(parameters, settings, first))
    return error


async def show_estimate(run: Run) -> dict[str, Any]:
    """Show what a run would cost, in the log and in the UI; return it as plain JSON."""
    if run.estimator is None:
        raise ValueError("the run was no estimate")
    tally, usage = run.generator.tally, run.estimator.usage
    found: dict[str, Any] = {
        "calls": tally.prompts,
        "hits": tally.from_the_store,
        "to_send": tally.sent,
        "input_tokens": usage.input_tokens,
        "computed_input_tokens": run.estimator.computed_tokens,
        "max_output_tokens": usage.output_tokens,
        "seconds": expected_seconds(run.store, run.model, run.revision, usage),
        "max_cost_usd": cost_usd(usage, next(iter(run.prices.values()))),
    }
    seconds = found["seconds"]
    takes = "an unknown time, nothing is known of this model" if seconds is None else f"about {seconds:.0f} s"
    money = "unknown" if found["max_cost_usd"] is None else f"{found['max_cost_usd']:.4f} USD at most"
    get_run_logger().info(
        "estimate: %d calls, %d of them stored, %d to send; %d prompt tokens, of which about %d to compute, "
        "and up to %d generated; %s; cost %s; nothing was sent",
        *list(found.values())[:-2],
        takes,
        money,
    )
    await acreate_table_artifact(
        key="estimate", table=[found], description="What the run would cost; nothing was sent"
    )
    return found
