"""langextract in a Python of its own: its packages are no part of the project, and only the bench asks it."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from scripts import bootstrap

SIDE = Path(__file__).parent / "langextract_side.py"
REQUIREMENTS = bootstrap.REQUIREMENTS / "langextract.txt"
LIMIT_SECONDS = 1200.0

Span: TypeAlias = tuple[int, int]
Found: TypeAlias = tuple[str, int, int]
"""(label, start, end)"""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "langextract": {},
    "langextract, lesser off": {"accept_match_lesser": False},
}
"""{name: keywords of its aligner that are not its defaults}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A part of a document and what was said to be in it."""

    text: str
    offset: int
    """Where it starts in the document."""
    items: Sequence[tuple[str, str]]
    """(label, text) of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aligned:
    """Where langextract finds the items of each chunk."""

    spans: list[list[Span | None]]
    """Of the document, as long as the chunks and their items."""
    cpu_seconds: float


def python_of_langextract() -> Path:
    """Return the Python that has langextract: `LANGEXTRACT_PYTHON`, or one whose environment is made here.

    Raises:
        BootstrapError: The environment cannot be made.
    """
    if given := os.environ.get("LANGEXTRACT_PYTHON"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("VLLM_FLOWS_HOME") or f"{cache}/vllm-flows").expanduser().absolute()
    digest = bootstrap.digest_of([REQUIREMENTS])
    environment = bootstrap.Environment(home / "envs" / f"langextract-{digest[:12]}", digest)
    if not environment.is_complete():
        with bootstrap.only_one(environment.path.with_suffix(".lock")):
            if not environment.is_complete():
                bootstrap.say(f"langextract in {environment.path}: about 100 MB to download, once")
                bootstrap.create(environment)
                bootstrap.install(environment, ["--requirement", str(REQUIREMENTS)], what="langextract")
                environment.mark_complete()
    return environment.python


def align(python: Path, chunks: Sequence[Chunk]) -> dict[str, Aligned]:
    """Let langextract find the items in their chunks, in each way of `SETTINGS`.

    Raises:
        RuntimeError: It failed; its own message is above.
    """
    rows = [{"text": each.text, "offset": each.offset, "items": list(each.items)} for each in chunks]
    answer = _ask(python, {"align": {"chunks": rows, "settings": SETTINGS}})
    return {
        name: Aligned(
            spans=[[None if one is None else (one[0], one[1]) for one in each] for each in found["spans"]],
            cpu_seconds=found["cpu_seconds"],
        )
        for name, found in answer["align"].items()
    }


def merge(python: Path, documents: Sequence[Sequence[Sequence[Found]]]) -> list[set[Found]]:
    """Let langextract merge what the passes over each document found.

    Raises:
        RuntimeError: It failed; its own message is above.
    """
    answer = _ask(python, {"merge": documents})
    return [{(label, start, end) for label, start, end in each} for each in answer["merge"]]


def version_of(python: Path) -> str:
    """Return langextract's version.

    Raises:
        RuntimeError: It failed; its own message is above.
    """
    return str(_ask(python, {})["version"])


def _ask(python: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - the Python of an environment that is ours or was named to us
        [str(python), str(SIDE)],
        input=json.dumps(question),
        stdout=subprocess.PIPE,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"langextract failed under {python} (its message is above)")
    return cast("dict[str, Any]", json.loads(done.stdout))
