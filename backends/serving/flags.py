"""Whether the installed vLLM understands the flags of our configuration files."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.serving.errors import ServingError

PARSER = Path(__file__).with_name("parse_flags.py")
TIMEOUT_SECONDS = 120.0
"""Importing vLLM and building its parser takes 10-20 s on two cores."""


def refused(lines: Mapping[str, Sequence[str]], *, python: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return what vLLM's own parser says against command lines; nothing is started.

    Args:
        lines: A name for each command line as `config.command` makes it.
        python: The interpreter of the vLLM environment to ask.
        env: The environment for it.

    Returns:
        The complaint for each line that would be refused, under its name.

    Raises:
        ServingError: vLLM could not be asked.
    """
    # In front of the first flag stand the interpreter, "-m" and the module.
    questions = {name: list(line)[3:] for name, line in lines.items()}
    answer = subprocess.run(  # noqa: S603 - our own script
        [str(python), str(PARSER)],
        check=False,
        input=json.dumps(questions),
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    if answer.returncode != 0:
        raise ServingError(f"{python} could not parse flags: {answer.stderr.strip().splitlines()[-1:]}")
    # vLLM logs to standard output while it is imported; the answer is the last line.
    return json.loads(answer.stdout.splitlines()[-1])
