"""Launch: bring the services of a project up, one after another or keep those that run."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backends.addresses import split_addresses
from backends.serving import config as server_config
from backends.serving import demo_model
from backends.serving.config import ServerConfig
from backends.serving.process import ProcessId, Stopped, require_free_port, set_aside, start, stop
from backends.serving.server import (
    StartProgress,
    cause_of_death,
    served_models,
    start_server,
    wait_until_ready,
)
from flows.services.environments import (
    client_environment,
    inherited,
    server_environment,
    worker_environment,
)
from flows.services.prefect_api import PrefectAPI
from flows.services.settings import ServiceSettings
from flows.services.state import Service, ServiceName, ServicesError, fingerprint
from flows.services.terminal import Terminal

WORK_POOL = "local"
FLOW_RUNS_AT_ONCE = 4
PREFECT_START_SECONDS = {"first": 15, "again": 6}
DEPLOY_SECONDS = 8
WORKER_START_SECONDS = 5
START_TIMEOUT_SECONDS = 120.0
VLLM_TIMEOUT_FACTOR = 5
"""A vLLM server may take this many times as long as expected: disks and other users differ."""

POLL_SECONDS = 0.3
LAYERS = ("flows", "tasks", "backends", "cache")
NOT_FOR_VLLM = frozenset({"VLLM_PORT", "VLLM_CONFIG", "VLLM_BASE_URL", "VLLM_FLOWS_HOME", "VIRTUAL_ENV"})
"""vLLM reads VLLM_PORT itself, as something else, and warns of names that it does not know."""

TITLES: dict[ServiceName, str] = {"prefect": "Prefect server", "worker": "Worker", "vllm": "vLLM server"}
GRACE_SECONDS: dict[ServiceName, float] = {"worker": 10.0, "vllm": 30.0, "prefect": 15.0}
"""How long each may take to stop. vLLM may finish its requests in flight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedServer:
    """A vLLM server that is coming up."""

    service: Service
    config: ServerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One run of `up`: what it works with."""

    settings: ServiceSettings
    environ: Mapping[str, str]
    terminal: Terminal

    def run(self) -> None:
        """Bring every service up, or say which one is in the way.

        vLLM takes longest, so it is started first and waited for last.
        """
        external = self.settings.vllm_base_url
        self._require_ports()
        server = self._start_vllm() if external is None else None
        if external is not None:
            for address in split_addresses(external):
                known = self.settings.vllm_address
                here = replace(known, base_url=address) if known else address
                models = served_models(here, self.settings.vllm_api_key)
                self.terminal.say(f"vLLM server: {address} serves {', '.join(models)}")
        api = self._start_prefect()
        self._provision(api)
        self._start_worker(api)
        if server is not None:
            self._wait_for_vllm(server)

    # -- vLLM ------------------------------------------------------------------------------------------------

    def _start_vllm(self) -> StartedServer:
        python = vllm_python(self.settings, self.environ)
        config, path = self._vllm_config()
        self._require_model(config, python)
        port = self.settings.vllm_port
        env = {name: value for name, value in self.environ.items() if name not in NOT_FOR_VLLM}
        # Compilers that vLLM calls at run time (ninja) lie beside its Python.
        env["PATH"] = os.pathsep.join([str(python.parent), env.get("PATH", os.defpath)])
        log = self.settings.logs / "vllm.log"

        def begin() -> ProcessId:
            return start_server(config, python=python, port=port, env=env, log=log, variable="VLLM_PORT")

        service = self.keep_or_start(
            "vllm",
            log=log,
            mark=fingerprint(server_config.command(config, python, port), config.env),
            begin=begin,
            details={
                "base_url": self._vllm_url,
                "model": config.served_model_name,
                "config": str(path),
            },
        )
        return StartedServer(service=service, config=config)

    def _vllm_config(self) -> tuple[ServerConfig, Path]:
        name = self.settings.vllm_config
        if name is None:
            name = "gpu-demo" if _bootstrap(self.settings, self.environ, "device") == "gpu" else "cpu"
        given = Path(name).expanduser()
        is_path = given.suffix in {".yaml", ".yml"} or len(given.parts) > 1
        path = given.absolute() if is_path else self.settings.project / "configs" / "vllm" / f"{name}.yaml"
        return server_config.load(path, models=self.settings.models, cpus=usable_cpus()), path

    def _require_model(self, config: ServerConfig, python: Path) -> None:
        """Make the demonstration model where it is asked for; refuse other folders that do not exist."""
        folder = Path(config.model).expanduser()
        if folder == demo_model.path_in(self.settings.models):
            make_demo_model(self.settings, self.environ, self.terminal, python)
        elif (folder.is_absolute() or config.model.startswith((".", "~"))) and not folder.is_dir():
            raise ServicesError(
                f"the model folder {folder} does not exist; correct `model` in the configuration."
            )

    def _wait_for_vllm(self, server: StartedServer) -> None:
        def show(start_progress: StartProgress) -> None:
            what = f"vLLM server: {start_progress.phase}"
            self.terminal.wait(what, start_progress.elapsed_seconds, start_progress.expected_seconds)

        begin = time.monotonic()
        base_url = server.service.details["base_url"]
        wait_until_ready(
            server.service.process,
            config=server.config,
            base_url=base_url,
            api_key=self.settings.vllm_api_key,
            log=server.service.log,
            on_progress=show,
            timeout_seconds=max(START_TIMEOUT_SECONDS, VLLM_TIMEOUT_FACTOR * server.config.start_seconds),
        )
        seconds = time.monotonic() - begin
        self.terminal.say(f"vLLM server: {base_url} serves {server.config.served_model_name}{_took(seconds)}")

    def _require_ports(self) -> None:
        """Refuse before anything is started or stopped: a vLLM server takes long to come up."""
        known = self.settings.services.read()
        prefect, vllm = known.get("prefect"), known.get("vllm")
        if prefect is None or not prefect.is_running or prefect.details["url"] != self.settings.prefect_url:
            require_free_port(self.settings.prefect_port, variable="PREFECT_PORT")
        if self.settings.vllm_base_url is not None:
            return
        # What is left of a server that died may still hold the port; that is stopped before the next one.
        if vllm is None or vllm.details["base_url"] != self._vllm_url:
            require_free_port(self.settings.vllm_port, variable="VLLM_PORT")

    @property
    def _vllm_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.vllm_port}"

    # -- Prefect ---------------------------------------------------------------------------------------------

    def _start_prefect(self) -> PrefectAPI:
        url, home = self.settings.prefect_url, self.settings.state / "prefect"
        age = "again" if (home / "prefect.db").exists() else "first"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        command += ["--port", str(self.settings.prefect_port)]
        own = server_environment(self.settings)
        log = self.settings.logs / "prefect.log"

        def begin() -> ProcessId:
            require_free_port(self.settings.prefect_port, variable="PREFECT_PORT")
            return self._start(command, own, log)

        service = self.keep_or_start(
            "prefect", log=log, mark=fingerprint(command, own), begin=begin, details={"url": url}
        )
        api = PrefectAPI(url=f"{url}/api", auth=self.environ.get("PREFECT_API_AUTH_STRING"))
        seconds = self._wait_for(service, api.is_healthy, PREFECT_START_SECONDS[age])
        self.terminal.say(f"Prefect server: {url}{_took(seconds)}")
        return api

    def _provision(self, api: PrefectAPI) -> None:
        """Make pool, automation and deployments, unless this server has them from these very files."""
        file = self.settings.project / "prefect.yaml"
        if not file.exists():
            raise ServicesError(
                f"{file} does not exist, so there is nothing to deploy; run this in a checkout."
            )
        mark_file, mark = (
            self.settings.state / "prefect" / "deployed",
            deployment_digest(self.settings.project),
        )
        known = mark_file.read_text(encoding="ascii") if mark_file.exists() else ""
        if known == mark and api.has_work_pool(WORK_POOL):
            return
        log = self.settings.logs / "deploy.log"
        log.unlink(missing_ok=True)
        begin = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.services.provisioning"],
                cwd=self.settings.project,
                env={**inherited(self.environ), **client_environment(self.settings)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            with process:
                while process.poll() is None:
                    self.terminal.wait("Deployments", time.monotonic() - begin, DEPLOY_SECONDS)
                    time.sleep(POLL_SECONDS)
        if process.returncode != 0:
            raise ServicesError(f"the deployments of {file} failed: {cause_of_death(log)}; the log: {log}")
        mark_file.write_text(mark, encoding="ascii")
        self.terminal.say(f"Deployments: as {file.name} says{_took(time.monotonic() - begin)}")

    def _start_worker(self, api: PrefectAPI) -> None:
        command = [sys.executable, "-m", "prefect", "worker", "start"]
        command += ["--pool", WORK_POOL, "--limit", str(FLOW_RUNS_AT_ONCE), "--name", "vllm-flows"]
        own = worker_environment(self.settings, self.environ)
        external = self.settings.vllm_base_url
        log = self.settings.logs / "worker.log"
        service = self.keep_or_start(
            "worker",
            log=log,
            mark=fingerprint(command, own),
            begin=lambda: self._start(command, own, log),
            details={"url": self.settings.prefect_url, **({"base_url": external} if external else {})},
        )
        since = service.process.create_time
        seconds = self._wait_for(
            service, lambda: api.worker_reported_since(WORK_POOL, since), WORKER_START_SECONDS
        )
        self.terminal.say(f"Worker: takes flow runs from the pool {WORK_POOL!r}{_took(seconds)}")

    # -- any service -----------------------------------------------------------------------------------------

    def keep_or_start(
        self,
        name: ServiceName,
        *,
        log: Path,
        mark: str,
        begin: Callable[[], ProcessId],
        details: Mapping[str, str],
    ) -> Service:
        """Return the service that runs with these very settings, or start it and remember it at once."""
        known = self.settings.services.read().get(name)
        if known is not None and known.is_running and known.fingerprint == mark:
            return known
        if known is not None:
            # Something of it may be left even when it died.
            if stop_service(known, self.terminal) is not Stopped.NOT_RUNNING:
                self.terminal.say(f"{TITLES[name]}: started again, its settings have changed or it had died")
            self.settings.services.remove(name)
        service = Service(name=name, process=begin(), log=log, fingerprint=mark, details=details)
        self.settings.services.add(service)
        return service

    def _start(self, command: list[str], own: Mapping[str, str], log: Path) -> ProcessId:
        set_aside(log)
        return start(command, env={**inherited(self.environ), **own}, log=log, cwd=self.settings.project)

    def _wait_for(self, service: Service, is_there: Callable[[], bool], expected_seconds: float) -> float:
        """Wait until a service answers; return how long that took."""
        title, begin = TITLES[service.name], time.monotonic()
        while not is_there():
            elapsed = time.monotonic() - begin
            if not service.is_running:
                cause = cause_of_death(service.log)
                raise ServicesError(f"the {title} died while starting: {cause}; its log: {service.log}")
            if elapsed > START_TIMEOUT_SECONDS:
                message = f"the {title} (pid {service.process.pid}) does not answer after {elapsed:.0f} s"
                raise ServicesError(f"{message}; try `make down` and again; its log: {service.log}")
            self.terminal.wait(title, elapsed, expected_seconds)
            time.sleep(POLL_SECONDS)
        return time.monotonic() - begin


def stop_service(service: Service, terminal: Terminal) -> Stopped:
    """Stop one service, with what it started."""
    grace = GRACE_SECONDS[service.name]
    what = f"{TITLES[service.name]}: stopping"
    return stop(
        service.process, grace_seconds=grace, on_wait=lambda elapsed: terminal.wait(what, elapsed, grace)
    )


def make_demo_model(
    settings: ServiceSettings, environ: Mapping[str, str], terminal: Terminal, python: Path
) -> Path:
    """Return the demonstration model's folder; make it if it is not there.

    Raises:
        DemoModelError: It cannot be downloaded or converted.
    """
    if not demo_model.path_in(settings.models).is_dir():
        seconds = demo_model.EXPECTED_SECONDS
        terminal.say(f"Demonstration model: making it once in {settings.models}, about {seconds} s")
    return demo_model.make(
        settings.models,
        python=python,
        env=environ,
        on_step=lambda step: terminal.say(f"Demonstration model: {step}"),
    )


def vllm_python(settings: ServiceSettings, environ: Mapping[str, str]) -> Path:
    """Return the interpreter of the vLLM environment that `scripts/bootstrap.py vllm` made.

    Raises:
        ServicesError: It has not been made.
    """
    return Path(_bootstrap(settings, environ, "where"))


def deployment_digest(project: Path) -> str:
    """Name what deployments follow from: their file, and the code, whose signatures become forms."""
    digest = hashlib.sha256()
    sources = [
        path for layer in ("flows", "tasks", "backends", "cache") for path in project.glob(f"{layer}/**/*.py")
    ]
    for path in [project / "prefect.yaml", project / "pyproject.toml", *sorted(sources)]:
        content = path.read_bytes() if path.exists() else b""
        digest.update(f"{path.relative_to(project)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def usable_cpus() -> list[int]:
    """Return the logical CPUs that this process may use, which in a container are not all there are."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _bootstrap(settings: ServiceSettings, environ: Mapping[str, str], question: str) -> str:
    """Ask scripts/bootstrap.py, the one place that knows where environments are."""
    answer = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(settings.project / "scripts" / "bootstrap.py"), question],
        check=False,
        env=dict(environ),
        capture_output=True,
        text=True,
    )
    if answer.returncode != 0:
        raise ServicesError(answer.stderr.strip().removeprefix("bootstrap: "))
    return answer.stdout.strip()


def _took(seconds: float) -> str:
    """Say how long something took, if anybody had to wait."""
    return f" (after {seconds:.0f} s)" if seconds >= 1 else ""
