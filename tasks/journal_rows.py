"""What a run's journal says of calls and HTTP requests: names, numbers and keys; no text of anybody.

What a server says of an error may repeat a prompt or a key: of errors only the kind and the status are kept.
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from backends.base import Exchange
from backends.errors import BackendError
from cache.keys import Key

MAX_NAME_CHARACTERS = 200
"""Of a task's name, which a workflow may make from anything."""

CallRow = dict[str, object]
RequestRow = dict[str, object]


def call_row(task: str, key: Key, outcome: str, *, seconds: float | None = None) -> CallRow:
    """Say what became of a question: hit, computed, shared or failed.

    Args:
        task: For whom it was asked, in words.
        key: Names the question in the store.
        outcome: What became of it.
        seconds: From asking a backend until its answer was stored.
    """
    row: CallRow = {"event": "call", "task": task[:MAX_NAME_CHARACTERS], "key": key, "outcome": outcome}
    return row if seconds is None else {**row, "seconds": round(seconds, 4)}


def failure(error: BackendError) -> Mapping[str, object]:
    """Say of which kind an error is, in no words of its own."""
    status = {} if error.status_code is None else {"status": error.status_code}
    overflow = {"overflow": True} if error.overflows else {}
    return {"error": type(error).__name__, **status, **overflow}


def alert_row(kind: str, where: str) -> Mapping[str, object]:
    """Say that something was alarming: `kind` and `where` as in `backends.gpu.Alert`."""
    return {"event": "alert", "kind": kind, "where": _without_credentials(where)}


def request_row(exchange: Exchange) -> RequestRow:
    """Say how one HTTP request went."""
    return {
        "event": "request",
        "server": _without_credentials(exchange.server),
        "path": exchange.path,
        "outcome": exchange.outcome,
        "status": exchange.status_code,
        "seconds": round(exchange.seconds, 4),
        "waited": round(exchange.waited_seconds, 4),
        "attempt": exchange.attempt,
        "prompts": exchange.prompts,
        "input_tokens": exchange.usage.input_tokens,
        "output_tokens": exchange.usage.output_tokens,
        "cached_tokens": exchange.usage.cached_tokens,
    }


@lru_cache(maxsize=64)
def _without_credentials(url: str) -> str:
    """Leave out a user, a password and a query of an address."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
