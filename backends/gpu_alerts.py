"""What of the memory of GPUs and servers is alarming; each alarm is told once, until it is over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from backends.addresses import is_loopback
from backends.readings import GPUReading, Readings, ServerReading, gib

ALERT_FRACTION = 0.9
SLACK = 0.05
"""An alarm is over when its figure has fallen so far below the limit; else one that wavers tells itself."""
CALM_READINGS = 4
"""Readings in a row without a preemption after which these are over."""

Kind = Literal["gpu-memory", "kv-cache", "preemptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """Something is alarming."""

    kind: Kind
    where: str
    """A GPU, as "GPU 0", or a server's address."""
    sentence: str
    """What is seen, and what helps."""


class Alarms:
    """Looks at readings, one after the other.

    vLLM takes its share of a GPU (0.92 by default) when it starts and keeps it, so that the memory in use of
    such a GPU is high and says nothing. For one that a server holds, the server is asked instead: its cache
    is full and requests wait for it, or running ones had to give up theirs. Any other GPU is alarming when
    its memory is nearly full.

    A GPU counts as a server's where a process of vLLM is on it; and, where its processes cannot be told, if
    a server on this machine is among the readings.

    Args:
        fraction: From which share of the memory, or of the cache, something is alarming.

    Raises:
        ValueError: The fraction is none.
    """

    def __init__(self, fraction: float = ALERT_FRACTION) -> None:
        if not 0.0 < fraction <= 1.0:
            raise ValueError(
                f"alert_fraction is {fraction:g}; give a share of the memory, above 0 and up to 1"
            )
        self.fraction = fraction
        self._standing: dict[tuple[Kind, str], Alert] = {}
        self._preemptions: dict[str, int] = {}
        self._calm: dict[str, int] = {}

    @property
    def standing(self) -> tuple[Alert, ...]:
        """What is alarming now, as it was when it began."""
        return tuple(self._standing.values())

    def look(self, readings: Readings) -> tuple[Alert, ...]:
        """Return what has become alarming; what was not read this time stays as it was."""
        before = set(self._standing)
        has_server = any(is_loopback(one.server) for one in readings.servers)
        for gpu in readings.gpus:
            self._judge_gpu(gpu, is_held=has_server if gpu.vllm_holds is None else gpu.vllm_holds)
        for server in readings.servers:
            self._judge_cache(server)
            self._judge_preemptions(server)
        return tuple(alert for key, alert in self._standing.items() if key not in before)

    def _judge_gpu(self, gpu: GPUReading, *, is_held: bool) -> None:
        share, where = gpu.used_fraction, f"GPU {gpu.index}"
        if is_held or share < self.fraction - SLACK:
            self._end("gpu-memory", where)
        elif share >= self.fraction:
            self._begin(
                "gpu-memory",
                where,
                f"{where} ({gpu.name}) holds {gib(gpu.used_bytes)} of {gib(gpu.total_bytes)} ({share:.0%}); "
                "what is started on it now may find no room",
            )

    def _judge_cache(self, server: ServerReading) -> None:
        use = server.kv_cache_usage
        if use < self.fraction - SLACK:
            self._end("kv-cache", server.server)
        elif use >= self.fraction and server.requests_waiting:
            self._begin(
                "kv-cache",
                server.server,
                f"the KV cache of {server.server} is {use:.0%} full and {server.requests_waiting} requests "
                "wait; shorter prompts, fewer of them at a time or a larger --gpu-memory-utilization help",
            )

    def _judge_preemptions(self, server: ServerReading) -> None:
        now, where = server.preemptions, server.server
        if now is None:
            return
        grown = now - self._preemptions.get(where, now)  # negative after a restart
        self._preemptions[where] = now
        self._calm[where] = 0 if grown > 0 else self._calm.get(where, 0) + 1
        if grown > 0:
            self._begin(
                "preemptions",
                where,
                f"{where} has taken their cache from {grown} running requests, which it computes again; a "
                "smaller --max-num-seqs or a larger --gpu-memory-utilization helps",
            )
        elif self._calm[where] >= CALM_READINGS:
            self._end("preemptions", where)

    def _begin(self, kind: Kind, where: str, sentence: str) -> None:
        self._standing.setdefault((kind, where), Alert(kind=kind, where=where, sentence=sentence))

    def _end(self, kind: Kind, where: str) -> None:
        self._standing.pop((kind, where), None)


def figures(readings: Readings) -> Iterator[str]:
    """Say what was read, one part for each server and each GPU."""
    for server in readings.servers:
        running = "" if server.requests_running is None else f", {server.requests_running} running"
        taken = f", {server.preemptions} preempted" if server.preemptions else ""
        yield (
            f"{server.server}: KV cache {server.kv_cache_usage:.0%} full, "
            f"{server.requests_waiting} waiting{running}{taken}"
        )
    for gpu in readings.gpus:
        busy = "" if gpu.utilization is None else f", {gpu.utilization:.0%} busy"
        heat = "" if gpu.temperature is None else f", {gpu.temperature:.0f} °C"
        yield f"GPU {gpu.index}: {gib(gpu.used_bytes)} of {gib(gpu.total_bytes)}{busy}{heat}"
