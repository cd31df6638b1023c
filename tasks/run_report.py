"""Sums up a run's journal: what was asked, what it cost, and how long it was waited for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

Row = Mapping[str, object]

OK = "ok"
RUNNING = "unfinished"
"""No end was written: the run goes on, or was killed."""


@dataclass(slots=True)
class Calls:
    """What became of questions; every question put is counted once, under one of the four."""

    hits: int = 0
    computed: int = 0
    shared: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """Questions put."""
        return self.hits + self.computed + self.shared + self.failed

    def add(self, outcome: str) -> None:
        """Count one; an outcome that this version does not know counts for nothing."""
        name = "hits" if outcome == "hit" else outcome
        if name in {"hits", "computed", "shared", "failed"}:
            setattr(self, name, getattr(self, name) + 1)


@dataclass(slots=True)
class Requests:
    """HTTP requests for answers."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    """{"ok", or the kind of error: requests}"""
    retries: int = 0
    """Those that tried a list again; included in the outcomes."""
    prompts: int = 0
    """In requests that were answered."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens that the server had already, where it said so; it does for single prompts only."""
    seconds: float = 0.0
    """The sum over all requests, many of which are open at the same time."""
    waiting_seconds: float = 0.0
    """Time in which at least one request was open."""
    held_seconds: float = 0.0
    """The sum of what lists that were ready waited here: a pause after a failure, a server that was away."""
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    """Of one answered request."""

    @property
    def total(self) -> int:
        """HTTP requests, retries included."""
        return self.outcomes.total()

    @property
    def prompts_per_request(self) -> float | None:
        """Prompts in an answered request, in the mean."""
        return self.prompts / self.outcomes[OK] if self.outcomes[OK] else None


@dataclass(slots=True)
class RunReport:
    """A run's journal in numbers."""

    run: str = ""
    name: str = ""
    model: str = ""
    cache_mode: str = ""
    state: str = RUNNING
    starts: int = 0
    """How often it was started: a run that is retried goes on in the same journal."""
    began: float = 0.0
    """Seconds since 1970."""
    wall_seconds: float = 0.0
    """From start to end, or to the last row; of all starts, without the time between them."""
    calls: Calls = field(default_factory=Calls)
    errors: Counter[str] = field(default_factory=Counter[str])
    """{kind of error: questions that failed with it}"""
    overflows: int = 0
    """Of the questions that failed, those whose prompt does not fit into the model's context."""
    alerts: Counter[str] = field(default_factory=Counter[str])
    """{what was alarming: how often it became so}, of GPUs and servers"""
    stand_ins: Counter[str] = field(default_factory=Counter[str])
    """{fallback: questions that it answered in place of the model that was asked}"""
    requests: Requests = field(default_factory=Requests)
    cost_usd: float | None = None
    server_counters: Counter[str] = field(default_factory=Counter[str])
    """What the server counted meanwhile, for everybody who asked it."""
    server_restarted: bool = False
    """It was started again meanwhile, and what it had counted before is lost."""
    tasks: dict[str, Calls] = field(default_factory=dict[str, Calls])

    @property
    def hit_rate(self) -> float | None:
        """The share of questions that cost nothing."""
        free = self.calls.hits + self.calls.shared
        return free / self.calls.total if self.calls.total else None


def run_report(rows: Iterable[Row]) -> RunReport:
    """Sum up a journal; rows and fields that this version does not know are passed over."""
    report = RunReport()
    latencies: list[float] = []
    open_times: list[tuple[float, float]] = []
    last = 0.0
    for row in rows:
        now = _number(row, "time")
        if not report.began:
            report.began = last = now
        match row.get("event"):
            case "run":
                _begin(report, row)
                last = now  # the time since the end of an earlier start is nobody's
            case "call":
                _add_call(report, row)
            case "request":
                _add_request(report.requests, row)
                seconds = _number(row, "seconds")
                open_times.append((now - seconds, now))
                if row.get("outcome") == OK:
                    latencies.append(seconds)
            case "end":
                _end(report, row)
            case _:
                _add_other(report, row)
        report.wall_seconds += max(0.0, now - last)
        last = max(last, now)
    report.requests.waiting_seconds = covered_seconds(open_times)
    report.requests.p50_seconds = percentile(latencies, 50)
    report.requests.p95_seconds = percentile(latencies, 95)
    return report


def said_at_start(row: Row, field: str) -> str:
    """Return a field of a run's first row, or of the parameters in it; empty where neither has it."""
    parameters = row.get("parameters")
    within = _text(cast("Row", parameters), field) if isinstance(parameters, Mapping) else ""
    return _text(row, field) or within


def covered_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Return how much time lies in at least one of the intervals.

    Examples:
        >>> covered_seconds([(0, 2), (1, 3), (10, 11)])
        4.0
    """
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def percentile(values: Iterable[float], percent: int) -> float | None:
    """Return the smallest value that so many percent of the values do not exceed (nearest rank).

    Examples:
        >>> percentile([4, 1, 3, 2], 50)
        2
    """
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)] if ranked else None


def _begin(report: RunReport, row: Row) -> None:
    report.starts += 1
    report.state = RUNNING
    report.run, report.name = _text(row, "run"), _text(row, "name")
    report.model, report.cache_mode = said_at_start(row, "model"), said_at_start(row, "cache_mode")


def _end(report: RunReport, row: Row) -> None:
    report.state = _text(row, "state") or RUNNING
    if row.get("cost_usd") is not None:
        report.cost_usd = (report.cost_usd or 0.0) + _number(row, "cost_usd")
    counters = row.get("server_counters")
    report.server_restarted |= row.get("server_restarted") is True
    if isinstance(counters, Mapping):
        counted = cast("Row", counters)
        report.server_counters.update({name: int(_number(counted, name)) for name in counted})


def _add_call(report: RunReport, row: Row) -> None:
    outcome = _text(row, "outcome")
    report.calls.add(outcome)
    report.tasks.setdefault(_text(row, "task"), Calls()).add(outcome)
    if outcome == "failed":
        report.errors[_text(row, "error") or "unknown"] += 1
        report.overflows += row.get("overflow") is True


def _add_other(report: RunReport, row: Row) -> None:
    match row.get("event"):
        case "stand-in":
            _add_stand_in(report, row)
        case "alert":
            report.alerts[_text(row, "kind") or "unknown"] += 1
        case "model":
            report.model = _text(row, "model") or report.model
        case _:
            pass


def _add_stand_in(report: RunReport, row: Row) -> None:
    """Take back the failures that came before: the questions are counted as the fallback's, too."""
    answered = int(_number(row, "answered"))
    report.stand_ins[_text(row, "model") or "unknown"] += answered
    report.calls.failed = max(0, report.calls.failed - answered)


def _add_request(requests: Requests, row: Row) -> None:
    outcome = _text(row, "outcome")
    requests.outcomes[outcome] += 1
    requests.retries += _number(row, "attempt") > 1
    requests.seconds += _number(row, "seconds")
    requests.held_seconds += _number(row, "waited")
    if outcome == OK:
        requests.prompts += int(_number(row, "prompts"))
        requests.input_tokens += int(_number(row, "input_tokens"))
        requests.output_tokens += int(_number(row, "output_tokens"))
        requests.cached_tokens += int(_number(row, "cached_tokens"))


def _number(row: Row, field: str) -> float:
    value = row.get(field)
    return float(value) if isinstance(value, int | float) else 0.0


def _text(row: Row, field: str) -> str:
    value = row.get(field)
    return value if isinstance(value, str) else ""
