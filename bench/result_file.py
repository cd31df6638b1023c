"""The file that a bench leaves in bench/results, and what it says of the machine."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path


def machine() -> str:
    """Return its system, its kind of processor and how many cores it has."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def write_result(result: Mapping[str, object], path: Path) -> None:
    """Write what was found as JSON, into a folder that need not be there."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
