"""Files that users write by hand, in YAML or JSON."""

import json
from pathlib import Path
from typing import cast

import yaml


def read_written(path: Path, what: str, error: type[ValueError]) -> object:
    """Return what is in a file: JSON where its name ends so, else YAML.

    Args:
        path: Of the file.
        what: It ought to be, for the message: "task".
        error: The kind of error that a reader of these files raises.

    Raises:
        ValueError: It cannot be read, as `error`, in one sentence.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        written = json.loads(text) if path.suffix == ".json" else cast("object", yaml.safe_load(text))
        # Both can say half of a surrogate pair, which no request can hold.
        json.dumps(written, ensure_ascii=False, default=str).encode()
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as problem:
        reason = " ".join(str(problem).split())
        raise error(f"{path} is no {what} that can be read: {reason}; give YAML or JSON") from problem
    return written
