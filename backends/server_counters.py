"""What a vLLM server counts of its own work, read before and after a run.

The server counts for everybody: where others ask it during the run, theirs are in the difference.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^(vllm:[a-z_]+?)(?:_total)?(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_STARTED = "vllm:prompt_tokens_created"

COMPUTED = "prompt_tokens_computed"
"""Our name for the prompt tokens that a server did not have in its prefix cache."""

_NAMES = {
    ("vllm:prompt_tokens", ""): "prompt_tokens",
    ("vllm:prompt_tokens_by_source", "local_compute"): COMPUTED,
    ("vllm:prompt_tokens_by_source", "local_cache_hit"): "prompt_tokens_cached",
    ("vllm:prompt_tokens_by_source", "external_kv_transfer"): "prompt_tokens_transferred",
    ("vllm:prefix_cache_queries", ""): "prefix_cache_queries",
    ("vllm:prefix_cache_hits", ""): "prefix_cache_hits",
    ("vllm:generation_tokens", ""): "generation_tokens",
    ("vllm:num_preemptions", ""): "preemptions",
    ("vllm:request_success", "stop"): "prompts_answered",
    ("vllm:request_success", "length"): "prompts_answered",
    ("vllm:request_success", "repetition"): "prompts_answered",
    ("vllm:request_success", "abort"): "prompts_aborted",
    ("vllm:request_success", "error"): "prompts_failed",
}
"""{(metric, its source or finish reason): our name}. `prompt_tokens` holds the cached ones too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCounters:
    """Sums over all engines and models of one server, since it started."""

    counts: Mapping[str, int]
    started: float = 0.0
    """When the counting began, seconds since 1970 by the server's clock; 0 where it does not say."""

    def since(self, before: "ServerCounters | None") -> dict[str, int]:
        """Subtract an earlier reading.

        A server that was started again in between has counted from nothing: then this is what it has
        counted since, and what came before its end is lost.
        """
        if before is None or self.restarted_since(before):
            return dict(self.counts)
        return {name: count - before.counts.get(name, 0) for name, count in self.counts.items()}

    def restarted_since(self, before: "ServerCounters") -> bool:
        """Tell whether the server was started again after an earlier reading."""
        fell = any(count < before.counts.get(name, 0) for name, count in self.counts.items())
        return fell or self.started != before.started


def read_counters(page: str) -> ServerCounters | None:
    """Read the page `/metrics`; None where it has no such counters, as those of other programs."""
    try:
        return _read(page)
    except (ValueError, OverflowError):  # no numbers, NaN, infinity
        return None


def _read(page: str) -> ServerCounters | None:
    counts: dict[str, int] = {}
    started = 0.0
    for metric, labels, value in _LINE.findall(page):
        if metric == _STARTED:
            started = max(started, float(value))
            continue
        pairs = dict(_LABEL.findall(labels))
        name = _NAMES.get((metric, pairs.get("source") or pairs.get("finished_reason") or ""))
        if name:
            counts[name] = counts.get(name, 0) + int(float(value))
    return ServerCounters(counts=counts, started=started) if counts else None
