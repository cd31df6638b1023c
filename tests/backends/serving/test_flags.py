import os
from pathlib import Path

import pytest

from backends.serving.config import command, load
from backends.serving.flags import refused

CONFIGS = Path(__file__).parents[3] / "configs" / "vllm"


@pytest.mark.live
def test_the_installed_vllm_understands_every_flag_of_every_configuration() -> None:
    python = Path(os.environ["VLLM_TEST_PYTHON"])
    lines = {
        path.stem: command(load(path, models=Path("/models"), cpus=[0, 1]), python, 8000)
        for path in sorted(CONFIGS.glob("*.yaml"))
    }
    assert len(lines) >= 5
    wrong = {
        "gone": [*lines["cpu"], "--disable-log-requests"],
        "not a number": [*lines["cpu"], "--max-num-seqs", "many"],
    }
    found = refused({**lines, **wrong}, python=python, env=os.environ)
    assert "unrecognized arguments: --disable-log-requests" in found.pop("gone")
    assert "invalid int value: 'many'" in found.pop("not a number")
    assert found == {}
