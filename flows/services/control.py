"""The services that flows need on this machine: a Prefect server, a worker, a vLLM server; up, down, status.

All listen on the loopback address only, are detached from the terminal, and log to `.vllm-flows/logs`.
"""

from collections.abc import Mapping

from backends.serving.process import children_end
from flows.services.launch import TITLES, WORK_POOL, Launch, stop_service
from flows.services.prefect_api import PrefectAPI
from flows.services.settings import ServiceSettings
from flows.services.state import SERVICE_NAMES, Service, ServiceName, only_one
from flows.services.terminal import Terminal

STOP_ORDER: tuple[ServiceName, ...] = ("worker", "vllm", "prefect")
"""The worker first: without the server's API it would wait for ever."""

FLOW_RUN_GRACE_SECONDS = 30.0
"""How long `down` lets flow runs go on. Their answers so far are stored; a resume asks for the rest."""


def up(settings: ServiceSettings, environ: Mapping[str, str], terminal: Terminal) -> None:
    """Start what does not run yet, and wait until everything answers.

    What was started is remembered at once, so that `down` stops it even if something after it fails.

    Raises:
        ServingError: One sentence about what is in the way and what to do.
    """
    with only_one(settings.state / "up.lock"):
        Launch(settings=settings, environ=environ, terminal=terminal).run()


def down(settings: ServiceSettings, environ: Mapping[str, str], terminal: Terminal) -> None:
    """Stop what `up` started, the worker first; never another process that has got the number of one.

    Raises:
        ServicesError: The list of services cannot be read.
    """
    services = settings.services.read()
    if not services:
        terminal.say("Nothing to stop.")
    for name in STOP_ORDER:
        if (service := services.get(name)) is None:
            continue
        all_done = name != "worker" or _flow_runs_end(service, terminal)
        outcome = stop_service(service, terminal)
        if not all_done and (server := services.get("prefect")):
            api = PrefectAPI(url=f"{server.details['url']}/api", auth=environ.get("PREFECT_API_AUTH_STRING"))
            count = api.crash_unfinished_runs(WORK_POOL, "Stopped together with its worker.")
            terminal.say(
                f"Worker: {count} unfinished flow runs are Crashed now; running them again resumes them"
            )
        settings.services.remove(name)
        terminal.say(f"{TITLES[name]} (pid {service.process.pid}): {outcome}")


def _flow_runs_end(worker: Service, terminal: Terminal) -> bool:
    """Give flow runs time to finish: a worker of Prefect 3.8 that is asked to end kills them at once."""
    return children_end(
        worker.process,
        timeout_seconds=FLOW_RUN_GRACE_SECONDS,
        on_wait=lambda elapsed: terminal.wait(
            "Worker: waiting for its flow runs to finish", elapsed, FLOW_RUN_GRACE_SECONDS
        ),
    )


def status(settings: ServiceSettings) -> list[str]:
    """Return one line for each service: whether it runs, where it answers, its log.

    Raises:
        ServicesError: The list of services cannot be read.
    """
    services = settings.services.read()
    external = services["worker"].details.get("base_url") if "worker" in services else None
    lines: list[str] = []
    for name in SERVICE_NAMES:
        if (service := services.get(name)) is None:
            where = f"elsewhere, at {external}" if name == "vllm" and external else "not started"
            lines.append(f"{TITLES[name]}: {where}")
            continue
        state = "runs" if service.is_running else "died"
        where = service.details.get("base_url" if name == "vllm" else "url")
        lines.append(f"{TITLES[name]}: {state}, {where}, pid {service.process.pid}, log {service.log}")
    return lines
