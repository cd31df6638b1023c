"""What a vLLM server says of its own load, in a header of every answer: it queues where others refuse."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

ASK_FOR_LOAD = {"endpoint-load-metrics-format": "JSON"}
"""Request header; the answer then carries `endpoint-load-metrics` (vLLM since 2025; others ignore it)."""

CROWDED_KV_USE = 0.95
"""Above this, requests that wait do so for room in the KV cache, and running ones may be preempted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Requests (prompts, not lists) that wait in the server's engine, and how full its KV cache is."""

    waiting: int
    kv_use: float
    """From 0 to 1."""
    preemptions: int | None = None
    """Since the server started; None in the header, which does not tell."""
    running: int | None = None
    """Requests that the engine works on; None in the header, which does not tell."""


def load_from_header(headers: Mapping[str, str]) -> Load | None:
    """Read the header of an answer; None where the server does not send it, or in another form."""
    written = headers.get("endpoint-load-metrics", "")
    try:
        metrics = json.loads(written.removeprefix("JSON "))["named_metrics"]
        return Load(
            waiting=int(metrics["num_requests_waiting"]), kv_use=float(metrics["kv_cache_usage_perc"])
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def load_from_metrics(text: str) -> Load | None:
    """Read the page `/metrics`; None where it has no such figures.

    Requests are those of all of a server's engines; each has a KV cache of its own, and the fullest is told.
    """
    found: dict[str, list[float]] = {}
    try:
        for line in text.splitlines():
            name, _, rest = line.partition("{")
            if name in _METRICS:
                found.setdefault(name, []).append(float(rest.rpartition(" ")[2]))
        if _METRICS[0] not in found:
            return None
        waiting, kv_uses, preemptions, running = (found.get(name, []) for name in _METRICS)
        return Load(
            waiting=int(sum(waiting)),
            kv_use=_finite(max(kv_uses, default=0.0)),
            preemptions=int(sum(preemptions)),
            running=int(sum(running)) if running else None,
        )
    except (ValueError, OverflowError):  # no numbers, NaN, infinity
        return None


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is no share")
    return number


def process_start(text: str) -> float | None:
    """Read from the page `/metrics` when the server's process began; None where it does not say.

    Returns:
        Seconds since 1970 by the server's clock. A server of several processes does not say.
    """
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == _STARTED:
            try:
                return float(value)
            except ValueError:
                return None
    return None


_STARTED = "process_start_time_seconds"
_METRICS = cast(
    "tuple[str, ...]",
    (
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:num_preemptions_total",
        "vllm:num_requests_running",
    ),
)
