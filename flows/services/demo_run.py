"""Run the demonstration deployment and show what it found."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.services.environments import client_environment, inherited
from flows.services.settings import DEFAULT_PREFECT_PORT, ServiceSettings
from flows.services.state import ServicesError
from flows.services.terminal import Terminal

DEPLOYMENT = "icm/demo"
FLOW_RUN_ID = re.compile(r"UUID: ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a flow run says about itself in its `summary.json`."""

    headline: str
    report: Path


def demo(settings: ServiceSettings, environ: Mapping[str, str], terminal: Terminal) -> None:
    """Run the demonstration, streaming Prefect's output, then print its result and where to look on.

    Raises:
        ServicesError: The run did not complete, or left no summary.
    """
    code, run_id = _watch(settings, environ)
    if run_id is None:
        message = f"the deployment {DEPLOYMENT!r} could not be started (Prefect's message is above)"
        raise ServicesError(f"{message}; `make status` tells what runs, `make up` starts the rest.")
    logs = f"{prefect_command(settings)} flow-run logs {run_id}"
    if code != 0:
        raise ServicesError(f"the flow run did not complete; its log: `{logs}`; run it again to resume it.")
    runs = Path(environ.get("VLLM_FLOWS_RUNS") or settings.project / "runs").expanduser()
    summary = find_summary(runs, run_id)
    if summary is None:
        raise ServicesError(f"the flow run completed but left no summary in {runs}; `{logs}`.")
    terminal.say("")
    terminal.say(summary.headline)
    terminal.say(f"Report:   {summary.report.absolute().as_uri()}")
    terminal.say(f"Flow run: {settings.prefect_url}/runs/flow-run/{run_id}")


def prefect_command(settings: ServiceSettings) -> str:
    """Return what to type for Prefect's own command line, in the checkout."""
    if settings.prefect_port == DEFAULT_PREFECT_PORT:  # pyproject.toml says where the server is
        return ".venv/bin/prefect"
    return f"PREFECT_API_URL={settings.prefect_url}/api .venv/bin/prefect"


def find_summary(runs: Path, flow_run_id: str) -> Summary | None:
    """Return the summary of one flow run among all that were written."""
    newest_first = sorted(runs.glob("*/summary.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first:
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if str(fields["flow_run_id"]) == flow_run_id:
                report = Path(str(fields["report"]))
                return Summary(headline=str(fields["headline"]), report=path.parent / report)
        except (ValueError, KeyError, TypeError):
            continue  # not one of ours, or of another version
    return None


def _watch(settings: ServiceSettings, environ: Mapping[str, str]) -> tuple[int, str | None]:
    """Run the deployment to its end; return Prefect's exit code and the flow run's id."""
    # Into a pipe Prefect would otherwise write lines of 80 characters, late.
    width = str(shutil.get_terminal_size(fallback=(120, 24)).columns)
    own = {**client_environment(settings), "PYTHONUNBUFFERED": "1", "COLUMNS": width}
    process = subprocess.Popen(  # noqa: S603 - our own deployment
        [sys.executable, "-m", "prefect", "deployment", "run", DEPLOYMENT, "--watch"],
        cwd=settings.project,
        env={**inherited(environ), **own},
        stdout=subprocess.PIPE,
        text=True,
    )
    run_id = None
    with process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            if run_id is None and (match := FLOW_RUN_ID.search(line)):
                run_id = match[1]
    return process.returncode, run_id
