"""What every run opens and closes: its store, its leases, its journal, its budget, and whoever answers it."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import deployment as running_deployment
from prefect.runtime import flow_run as running_flow_run

from backends.base import Hooks
from backends.errors import BackendConnectionError
from cache.disk_store import DiskStore
from cache.journal import FileJournal
from cache.leases import DiskLeases
from cache.lookup import CacheMode, Lookup
from cache.overlay_store import OverlayStore
from flows.answering import (
    RunStoppedError,
    first_error,
    open_backend,
    revision_in_key,
    served_model,
    server_gone,
)
from flows.run_parameters import RunParameters
from flows.settings import Settings, SettingsError
from tasks.batches import TaskAsk
from tasks.budget import Budget, BudgetSpentError
from tasks.estimate import Estimator
from tasks.generate import Generator

P = TypeVar("P", bound=RunParameters)


@dataclass(kw_only=True)
class Run:
    """An open run."""

    parameters: RunParameters
    settings: Settings
    generator: Generator
    journal: FileJournal
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


@asynccontextmanager
async def open_run(parameters: RunParameters, settings: Settings) -> AsyncGenerator[Run]:
    """Open everything that a run needs, for as long as it lasts.

    Raises:
        RunStoppedError: Nobody answers any more, or the budget is spent; running it again goes on.
        SettingsError: Something that is wanted is not set.
        StoreUnavailableError: The store cannot be used.
    """
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(DiskStore(settings.store)))
        leases = stack.enter_context(closing(DiskLeases(settings.store / "leases")))
        journal = stack.enter_context(closing(FileJournal(_journal_path(settings))))
        backend = await stack.enter_async_context(
            open_backend(parameters, settings, Hooks(tell=get_run_logger().warning))
        )
        estimator = Estimator(asked=backend) if parameters.estimate else None
        generator = Generator(
            backend=estimator or backend,
            lookup=Lookup(OverlayStore(store) if estimator else store, parameters.cache_mode),
            leases=leases,
            journal=journal,
            budget=Budget(
                max_requests=parameters.max_requests,
                max_tokens=parameters.max_tokens,
                max_cost_usd=parameters.max_cost_usd,
            ),
            keep_text=parameters.keep_prompts,
        )
        backend.hooks.on_exchange = generator.record
        run = Run(
            parameters=parameters,
            settings=settings,
            generator=generator,
            journal=journal,
            estimator=estimator,
        )
        try:
            journal.write([_first_row(parameters)])
            yield run
        except BaseException as error:
            journal.write([{"event": "end", "state": "failed", "error": str(first_error(error))[:500]}])
            raise _explained(error, parameters, settings) from error
        journal.write([{"event": "end", "state": "completed"}])


async def asked_model(run: Run) -> tuple[str, str | None]:
    """Return the model that a run asks, and what tells its weights apart in the keys.

    Raises:
        SettingsError: No model is named, and none or several are served.
    """
    parameters, settings = run.parameters, run.settings
    model = parameters.model or settings.model
    if model is None and parameters.cache_mode is CacheMode.REPLAY:
        raise SettingsError("a replay asks no server; name the model, with the parameter model or VLLM_MODEL")
    backend = run.estimator.asked if run.estimator else run.generator.backend
    model = model or await served_model(backend)
    return model, revision_in_key(parameters, settings)


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


def _first_row(parameters: RunParameters) -> dict[str, object]:
    return {
        "event": "run",
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
    }
    get_run_logger().info(
        "estimate: %(calls)d calls, %(hits)d of them stored, %(to_send)d to send; %(input_tokens)d prompt "
        "tokens, at least %(computed_input_tokens)d of them to compute, and up to %(max_output_tokens)d "
        "generated; nothing was sent",
        found,
    )
    await acreate_table_artifact(
        key="estimate", table=[found], description="What the run would cost; nothing was sent"
    )
    return found
