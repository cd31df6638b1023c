"""Test vectors of the reference implementation of ACE, from beside the checkout; see their own note."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "ace_redblack.json"

needs_vectors = pytest.mark.skipif(not PATH.exists(), reason=f"{PATH} is not here")


def vectors(name: str, *, part: str = "ace") -> Sequence[Any]:
    """Return the vectors of a name; none where the file is not here."""
    if not PATH.exists():
        return []
    found = json.loads(PATH.read_text(encoding="utf-8"))[part]
    named = [one for one in found if one["name"] == name]
    assert named, f"there is no vector {name}"
    return named


def vector(name: str) -> Any:  # noqa: ANN401 - JSON
    """Return the one vector of a name."""
    [one] = vectors(name)
    return one
