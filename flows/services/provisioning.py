"""Prepare a Prefect server for this project: work pool, crash automation, deployments.

    python -m flows.services.provisioning

It wants PREFECT_API_URL and the project as its working directory. One process does all three, because
importing Prefect takes longer than any of them. It can be repeated at will.
"""

import asyncio
import contextlib
import runpy
import sys
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

WORK_POOL = "local"
HEARTBEAT_SECONDS = 30
"""The shortest interval at which Prefect lets a flow run report that it lives; the worker sets it for its
runs."""

SILENCE = timedelta(seconds=3 * HEARTBEAT_SECONDS)
"""After three missed reports a run counts as crashed. With less, a busy one would be taken for dead."""

AUTOMATION = "crash-silent-flow-runs"


def main() -> None:
    """Prepare the server, then become `prefect deploy --all`."""
    asyncio.run(prepare())
    sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


async def prepare() -> None:
    """Make what deployments need."""
    await make_work_pool()
    await make_crash_automation()


async def make_work_pool() -> None:
    """Make the pool whose runs are processes on this machine, unless it exists."""
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=WORK_POOL, type=ProcessWorker.type, base_job_template=template)
    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(pool)


async def make_crash_automation() -> None:
    """Make the automation that turns silent flow runs into crashed ones, unless it exists.

    Without it a run whose process and worker were both killed stays "Running" for ever, and cannot be
    retried.
    """
    try:
        await Automation.aread(name=AUTOMATION)
    except ValueError:
        await _crash_automation().acreate()


def _crash_automation() -> Automation:
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    )
    message = f"No sign of life for {SILENCE.total_seconds():.0f} s: the process or its machine died."
    actions: list[ActionTypes] = [
        ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
    ]
    return Automation(
        name=AUTOMATION,
        description="Marks flow runs as crashed whose process died together with its worker.",
        trigger=trigger,
        actions=actions,
    )


if __name__ == "__main__":
    main()
