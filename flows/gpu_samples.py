"""What was read of GPUs and servers during a run: some hundred points of each figure, however long it was."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import TypedDict

from backends.readings import GPUReading, Readings, ServerReading

MOST_POINTS = 512
"""Of one figure; where there are more, every second one is dropped, and from then on every second reading."""

KV_CACHE = "KV cache, %"
WAITING = "requests waiting"
PREEMPTED = "requests preempted since the first reading"
USED = "memory used, GiB"


class Row(TypedDict):
    """One figure over a whole run."""

    where: str
    what: str
    least: float
    median: float
    most: float


@dataclass(kw_only=True)
class Series:
    """One figure over time."""

    points: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """(seconds, value), evenly thinned out."""
    least: float = float("inf")
    most: float = float("-inf")
    """Of all readings, those that are dropped too."""
    _seen: int = 0
    _step: int = 1

    def add(self, at: float, value: float) -> None:
        """Take in one reading."""
        self.least, self.most = min(self.least, value), max(self.most, value)
        if self._seen % self._step == 0:
            self.points.append((at, value))
        self._seen += 1
        if len(self.points) > MOST_POINTS:
            del self.points[1::2]
            self._step *= 2

    @property
    def middle(self) -> float:
        """The median of the points."""
        return median(value for _, value in self.points)


@dataclass(kw_only=True)
class Samples:
    """All figures of one run."""

    series: dict[tuple[str, str], Series] = field(default_factory=dict[tuple[str, str], Series])
    """{(a server's address or a GPU, what is measured): its figure}"""
    _last_preemptions: dict[str, int] = field(default_factory=dict[str, int])
    _preempted: dict[str, int] = field(default_factory=dict[str, int])

    def __bool__(self) -> bool:
        """Tell whether anything was read."""
        return bool(self.series)

    def add(self, at: float, readings: Readings) -> None:
        """Take in what was read.

        Args:
            at: Seconds since the run began.
            readings: All of that moment.
        """
        for server in readings.servers:
            self._add_server(at, server)
        for gpu in readings.gpus:
            self._add(at, gpu_name(gpu), USED, gpu.used_bytes / 2**30)

    def rows(self) -> list[Row]:
        """Return one row for each figure: its least, its median and its most."""
        return [
            {
                "where": where,
                "what": what,
                "least": _rounded(one.least),
                "median": _rounded(one.middle),
                "most": _rounded(one.most),
            }
            for (where, what), one in self.series.items()
        ]

    def of(self, what: str) -> Iterator[tuple[str, Series]]:
        """Yield (where, its figure) of one thing that is measured."""
        for (where, measured), one in self.series.items():
            if measured == what:
                yield where, one

    def _add_server(self, at: float, server: ServerReading) -> None:
        where = server.server
        self._add(at, where, KV_CACHE, 100 * server.kv_cache_usage)
        self._add(at, where, WAITING, server.requests_waiting)
        if (now := server.preemptions) is None:
            return
        last = self._last_preemptions.get(where, now)
        # After a restart the server counts from nothing.
        self._preempted[where] = self._preempted.get(where, 0) + (now - last if now >= last else now)
        self._last_preemptions[where] = now
        self._add(at, where, PREEMPTED, self._preempted[where])

    def _add(self, at: float, where: str, what: str, value: float) -> None:
        self.series.setdefault((where, what), Series()).add(at, value)


def gpu_name(gpu: GPUReading) -> str:
    """Name a GPU for people."""
    return f"GPU {gpu.index} ({gpu.name})"


def _rounded(value: float) -> float:
    return round(value, 1)
