"""What the tests of flows start: a Prefect server, and processes that run the flow `icm`."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx
import psutil
import yaml

from backends.canary import PROMPTS
from backends.messages import Label, Message, Request, SamplingParams
from cache.disk_store import DiskStore
from tasks.codec import read_entry
from tasks.keys import request_key
from tests.fake_vllm import prompt_digest, render_chat

T = TypeVar("T")
JsonObject = dict[str, Any]

PROJECT = Path(__file__).resolve().parents[2]
SMALL_SEARCH: JsonObject = {
    "dataset": "general_knowledge",
    "num_claims": 16,
    "iterations": 12,
    "consistency": "answer",
    "trailing_space": False,
    "test_claims": 8,
    "bootstrap_rounds": 0,
    "chat_baseline": False,
}
"""Parameters of a search that takes seconds, and accepts and rejects."""

FOUND = ("labels.jsonl", "history.jsonl")
"""The files of a run that equal runs write alike."""

OUTSIDE = ("VLLM_", "OPENAI_", "PREFECT_")
SILENT_FAILURES = ("computing cache key", "committing transaction", "Traceback")
"""What Prefect only logs when a result cannot be cached."""

SHUTDOWN_SECONDS = 20.0
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return cast("tuple[str, int]", sock.getsockname())[1]


def wait_for(look: Callable[[], T | None], what: str, *, seconds: float = 60.0, pause: float = 0.1) -> T:
    """Look until something other than None or False is seen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds:.0f} s for {what}")


def own_environment() -> dict[str, str]:
    """Return this process's environment without what would lead to somebody else's servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def stop(process: subprocess.Popen[Any], *, seconds: float = SHUTDOWN_SECONDS) -> None:
    """End a process that we started, and whatever it has started, and collect it."""
    children = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    for pid in [process.pid, *children] if process.poll() is None else children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


# --- Prefect --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PrefectServer:
    """A running server, and the environment of processes that are to use it."""

    api_url: str
    environment: Mapping[str, str]
    log: Path

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Send one request to the API."""
        answer = httpx.request(method, f"{self.api_url}{path}", json=body, timeout=30, trust_env=False)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def flow_run(self, flow_run_id: str) -> JsonObject:
        """Read one flow run."""
        return self.call("GET", f"/flow_runs/{flow_run_id}")

    def artifacts(self, flow_run_id: str) -> dict[str, JsonObject]:
        """Return {key: artifact} of one flow run."""
        found = self.call("POST", "/artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
        return {one["key"]: one for one in found}

    def task_states(self, flow_run_id: str, *, count: int) -> list[str]:
        """Wait until the end of `count` task runs has been recorded, which Prefect does in the background."""

        def ended() -> list[str] | None:
            body = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
            runs = self.call("POST", "/task_runs/filter", body)
            states = [run["state"]["name"] for run in runs if run["state"] and run["state_type"] in TERMINAL]
            return states if len(states) >= count else None

        return wait_for(ended, f"{count} task runs of flow run {flow_run_id}")

    def prefect(self, *arguments: str, **environment: str) -> str:
        """Run the command `prefect` to its end and return what it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            check=False, cwd=PROJECT, env={**self.environment, **environment}, capture_output=True, text=True,
            timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, f"prefect {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def running_prefect(folder: Path) -> Generator[PrefectServer]:
    """Run a Prefect server of one's own, its database in `folder`."""
    port = free_port()
    api_url = f"http://127.0.0.1:{port}/api"
    environment = {
        **own_environment(),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    log = folder / "prefect-server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def healthy() -> bool:
        assert process.poll() is None, f"the Prefect server died: {log.read_text()[-2000:]}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{api_url}/health", trust_env=False, timeout=5).is_success
        return False

    try:
        wait_for(healthy, "the Prefect server", seconds=100)
        yield PrefectServer(api_url=api_url, environment=environment, log=log)
    finally:
        stop(process)


# --- The flow -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run asks and stores."""

    base_url: str
    model: str
    folder: Path
    more: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other environment variables; they stay set in a process that has run there."""

    @property
    def store(self) -> Path:
        """Answers."""
        return self.folder / "store"

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told of it."""
        return {
            "VLLM_BASE_URL": self.base_url,
            "VLLM_MODEL": self.model,
            "VLLM_FLOWS_STORE": str(self.store),
            "VLLM_FLOWS_RUNS": str(self.folder / "runs"),
            **self.more,
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    flow_run_id: str
    state: str
    message: str
    summary: JsonObject
    error: str
    log: str
    """What the process logged during this run."""

    @property
    def directory(self) -> Path:
        """Where the run left its files."""
        return Path(self.summary["report"]).parent

    @property
    def task_runs(self) -> int:
        """How many task runs it had; each logs one end."""
        return len(re.findall(r"Task run .* Finished in state", self.log))

    def bytes_of(self, *names: str) -> list[bytes]:
        """Read files of the run."""
        return [(self.directory / name).read_bytes() for name in names]

    def require_completed(self) -> Self:
        """Return itself if all went well, and Prefect swallowed no error either."""
        assert self.state == "Completed", f"{self.state} {self.error}\n{self.log}"
        for failure in SILENT_FAILURES:
            assert failure not in self.log, self.log
        return self


class ICMProcess:
    """A process that runs the flow when told to, as often as told.

    Args:
        environment: All of its environment variables, apart from those of a `Place`.
        folder: For its log.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._log = folder / "icm-process.log"
        self._seen = 0
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.run_icm"],
                cwd=PROJECT, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=output, text=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        """Start nothing more."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill it if it still runs."""
        self.kill()

    def start(self, place: Place, parameters: Mapping[str, object], *, flow: str = "icm") -> None:
        """Begin a run and return at once."""
        assert self._process.stdin
        order = {"flow": flow, "parameters": parameters, "environment": place.environment}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Outcome:
        """Wait for the end of the run."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        log = self._log.read_text(encoding="utf-8")
        new, self._seen = log[self._seen :], len(log)
        assert line, f"the process died: {new}"
        return Outcome(**json.loads(line), log=new)

    def run(self, place: Place, parameters: Mapping[str, object], *, flow: str = "icm") -> Outcome:
        """Run to the end."""
        self.start(place, parameters, flow=flow)
        return self.finish()

    @property
    def is_busy(self) -> bool:
        """Whether it is alive and its run has not ended."""
        assert self._process.stdout
        ended, _, _ = select.select([self._process.stdout], [], [], 0)
        return self._process.poll() is None and not ended

    def require_busy(self) -> None:
        """Insist on a run that still goes on."""
        assert self.is_busy, f"the run is over: {self._log.read_text()[-2000:]}"

    def peak_megabytes(self) -> float:
        """Return the most memory that it has held at any time."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return int(kilobytes) / 1000

    def kill(self) -> None:
        """Kill it as the kernel does when memory runs out: without a word."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


# --- Workers --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_worker(
    server: PrefectServer, place: Place, pool: str, name: str
) -> Generator[subprocess.Popen[bytes]]:
    """Run a worker that takes one flow run at a time."""
    command = ["worker", "start", "--pool", pool, "--name", name, "--limit", "1"]
    own = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    environment = {**server.environment, **place.environment, **own}
    with (place.folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


def deploy_icm(server: PrefectServer, folder: Path, name: str, parameters: JsonObject) -> None:
    """Make a work pool and a deployment of the flow `icm`, both of this name."""
    deployment = {
        "name": name,
        "entrypoint": "flows.icm.icm",
        "parameters": {"parameters": parameters},
        "work_pool": {"name": name},
    }
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump({"name": name, "deployments": [deployment]}))
    server.prefect("work-pool", "create", name, "--type", "process")
    server.prefect("deploy", "--all", "--prefect-file", str(file))


def start_deployed(server: PrefectServer, deployment: str, parameters: JsonObject) -> str:
    """Start a run of a deployment and return its id."""
    said = server.prefect("deployment", "run", deployment, "-p", f"parameters={json.dumps(parameters)}")
    found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)
    assert found, said
    return found[0]


# --- What was asked -------------------------------------------------------------------------------------

CANARY = frozenset(map(prompt_digest, PROMPTS))


def asked_of(stats: JsonObject) -> Mapping[str, int]:
    """Return {digest of a prompt: times answered} of a fake's statistics, without the canary's."""
    counted = cast("dict[str, int]", stats["prompt_digests"])
    return {digest: times for digest, times in counted.items() if digest not in CANARY}


def asked_again(before: JsonObject, after: JsonObject) -> set[str]:
    """Name the prompts that were answered between two looks at a fake's statistics."""
    earlier = asked_of(before)
    return {digest for digest, times in asked_of(after).items() if times > earlier.get(digest, 0)}


def stored_prompts(store: Path) -> set[str]:
    """Return the digests of the prompts in a store that was written with keep_prompts."""
    disk = DiskStore(store)
    found = disk.get(list(disk.keys()))
    disk.close()
    assert not found.damaged
    digests: set[str] = set()
    for key, entry in found.entries.items():
        if entry.startswith((b"[", b"{")):  # how labels are spelt, or which weights answer
            continue
        request = _request(cast("JsonObject", read_entry(entry))["request"])
        assert request_key(request) == key
        rendered = request.prompt or render_chat([asdict(message) for message in request.messages])
        digests.add(prompt_digest(rendered))
    return digests


def _request(written: JsonObject) -> Request:
    sampling: JsonObject = {**written["sampling"], "stop": tuple(written["sampling"]["stop"])}
    labels = [Label(text=one["text"], token_ids=tuple(one["token_ids"])) for one in written["labels"]]
    return Request(
        model=written["model"],
        revision=written["revision"],
        prompt=written["prompt"],
        messages=tuple(Message(**one) for one in written["messages"]),
        sampling=SamplingParams(**sampling),
        labels=tuple(labels),
        json_schema=written["json_schema"],
    )


def one_sentence(message: str, *parts: str) -> None:
    """Insist on a message for people: one line, not long, with everything that one needs to know."""
    missing: Sequence[str] = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in {message!r}"
    assert "\n" not in message.strip(), message
    assert len(message) < 500, message
