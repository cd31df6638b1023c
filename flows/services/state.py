"""What `vllm-flows up` started, remembered in `.vllm-flows/services.json` until `down` has stopped it."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from backends.serving.errors import ServingError
from backends.serving.process import ProcessId, is_running

ServiceName = Literal["prefect", "worker", "vllm"]
SERVICE_NAMES: tuple[ServiceName, ...] = get_args(ServiceName)
OWN_FIELDS = frozenset({"pid", "create_time", "log", "fingerprint"})


class ServicesError(ServingError):
    """A service cannot be started, stopped or used; one sentence that says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One process that was started."""

    name: ServiceName
    process: ProcessId
    log: Path
    fingerprint: str
    """Names the command and the settings that it was started with: equal ones need no new start."""

    details: Mapping[str, str] = field(default_factory=dict[str, str])
    """What others need to know to use it: `url`, or `base_url`, `model` and `config`."""

    @property
    def is_running(self) -> bool:
        """Whether this very process is alive."""
        return is_running(self.process)


class ServiceFile:
    """The file with the services, read and written whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[ServiceName, Service]:
        """Return what was started and not stopped since.

        Raises:
            ServicesError: The file is not what `write` wrote.
        """
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: _service(name, entries[name]) for name in SERVICE_NAMES if name in entries}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{self._path} cannot be read ({error}); stop the processes by hand and delete the file"
            raise ServicesError(message) from error

    def add(self, service: Service) -> None:
        """Remember a service, instead of an older one of that name."""
        self._write({**self.read(), service.name: service})

    def remove(self, name: ServiceName) -> None:
        """Forget a service."""
        services = self.read()
        services.pop(name, None)
        self._write(services)

    def _write(self, services: Mapping[ServiceName, Service]) -> None:
        entries = {name: _entry(service) for name, service in services.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._path)


def fingerprint(command: Sequence[str], env: Mapping[str, str]) -> str:
    """Name a command together with the variables that were set for it.

    Only a digest is kept: among the variables may be an API key.
    """
    exact = json.dumps([list(command), sorted(env.items())])
    return hashlib.sha256(exact.encode()).hexdigest()[:16]


@contextlib.contextmanager
def only_one(lock: Path) -> Generator[None]:
    """Let one `up` at a time work on a project.

    Raises:
        ServicesError: Another one is at work.
    """
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock.parent.chmod(0o700)  # Prefect's database in it holds prompts, and may be older than this rule
    with lock.open("w", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServicesError("another `vllm-flows up` is at work here; wait for it, or stop it.") from None
        yield


def _service(name: ServiceName, entry: Mapping[str, object]) -> Service:
    return Service(
        name=name,
        process=ProcessId(pid=int(str(entry["pid"])), create_time=float(str(entry["create_time"]))),
        log=Path(str(entry["log"])),
        fingerprint=str(entry["fingerprint"]),
        details={key: str(value) for key, value in entry.items() if key not in OWN_FIELDS},
    )


def _entry(service: Service) -> dict[str, object]:
    return {
        "pid": service.process.pid,
        "create_time": service.process.create_time,
        **service.details,
        "log": os.fspath(service.log),
        "fingerprint": service.fingerprint,
    }
