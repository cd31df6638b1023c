"""What runs did, as tables for people."""

from collections import Counter
from collections.abc import Mapping
from itertools import islice

from rich.markup import escape
from rich.table import Table

from tasks.explain import Explained
from tasks.run_report import OK, Calls, Requests, RunReport

MOST_ROWS = 20
"""A search has a thousand tasks; the table shows the first of them, JSON all."""


def report_table(report: RunReport, began: str) -> Table:
    """Lay out a run's sums; what was not measured is left out."""
    table = Table(show_header=False, title=f"{report.name} {report.run}".strip(), title_justify="left")
    calls, requests = report.calls, report.requests
    again = f" (started {report.starts} times)" if report.starts > 1 else ""
    rows = {
        "state": f"{report.state}{again}",
        "began, took": f"{began}, {report.wall_seconds:,.1f} s",
        "model": report.model,
        "calls": f"{calls.total:,}: {calls.hits:,} hits, {calls.computed:,} computed, "
        f"{calls.shared:,} shared, {calls.failed:,} failed",
        "by the fallback": _counted(report.stand_ins),
        "failed with": _counted(report.errors),
        "did not fit the context": f"{report.overflows:,}" if report.overflows else "",
        "alerts": _counted(report.alerts),
        **_request_rows(requests),
        "cost": "" if report.cost_usd is None else f"{report.cost_usd:,.4f} USD",
        "server counted, for all who asked": _server_counted(report),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(value))
    return table


def calls_table(tasks: Mapping[str, Calls]) -> Table:
    """Lay out calls task by task."""
    table = Table("task", "calls", "hits", "computed", "shared", "failed")
    for name, one in islice(tasks.items(), MOST_ROWS):
        counts = (one.total, one.hits, one.computed, one.shared, one.failed)
        table.add_row(escape(name or "-"), *(f"{count:,}" for count in counts))
    if len(tasks) > MOST_ROWS:
        table.add_row(f"and {len(tasks) - MOST_ROWS} more", *[""] * 5)
    return table


def short_reasons_table(
    groups: Counter[tuple[str, str]], examples: Mapping[tuple[str, str], Explained]
) -> Table:
    """Lay out reasons with how many calls have them, the most frequent first."""
    table = Table("calls", "outcome", "why", "for example", "nearest")
    for (outcome, reason), count in groups.most_common(MOST_ROWS):
        example = examples[outcome, reason]
        nearest = (example.nearest or "")[:12]
        table.add_row(
            f"{count:,}", outcome, escape(reason), f"{example.key[:12]} {escape(example.task)}", nearest
        )
    if len(groups) > MOST_ROWS:
        rest = groups.total() - sum(count for _, count in groups.most_common(MOST_ROWS))
        table.add_row(
            f"{rest:,}", "", f"{len(groups) - MOST_ROWS} other reasons; --all shows each call", "", ""
        )
    return table


def _request_rows(requests: Requests) -> dict[str, str]:
    if not requests.total:
        return {"requests": "none"}
    per_request = requests.prompts_per_request
    failed = Counter({name: count for name, count in requests.outcomes.items() if name != OK})
    cached = f" ({requests.cached_tokens:,} cached)" if requests.cached_tokens else ""
    return {
        "requests": f"{requests.total:,}: {requests.outcomes[OK]:,} answered, {requests.retries:,} retries",
        "requests failed with": _counted(failed),
        "prompts per request": "" if per_request is None else f"{per_request:,.1f}",
        "tokens": f"{requests.input_tokens:,} in{cached}, {requests.output_tokens:,} out",
        "waited for the server": (
            f"{requests.waiting_seconds:,.1f} s ({requests.seconds:,.1f} s over all requests)"
        ),
        "held back": f"{requests.held_seconds:,.1f} s over all lists" if requests.held_seconds else "",
        "one request": _latency(requests),
    }


def _server_counted(report: RunReport) -> str:
    counted = _counted(report.server_counters)
    if not report.server_restarted:
        return counted
    return f"{counted or 'nothing'} since it was started again; what it counted before is lost"


def _latency(requests: Requests) -> str:
    if requests.p50_seconds is None or requests.p95_seconds is None:
        return ""
    return f"half within {requests.p50_seconds:,.3f} s, 95 % within {requests.p95_seconds:,.3f} s"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
