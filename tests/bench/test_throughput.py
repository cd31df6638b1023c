"""Facts about the verdicts of the throughput benchmark."""

from typing import Any

import pytest

from bench.throughput import PROMPTS, Runs, targets_of


def row(wall: float = 5.0, cpu: float = 1.0, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any figure
    return {
        "wall_seconds": wall, "cpu_seconds": cpu, "peak_mb": 60.0, "requests": 0, "lost": 0,
        "resent_though_stored": 0, "prefect_is_imported": False, **more,
    }  # fmt: skip


def runs(**changed: dict[str, Any]) -> Runs:
    """Make runs that meet every target, apart from the scenarios that are given."""
    engine = {
        "one prompt": row(0.5, 0.5),
        "cold": row(),
        "warm": row(0.5),
        "10% faults": row(),
        "resumed": row(),
    }
    return {
        "engine": {name: [one] for name, one in {**engine, **changed}.items()},
        "script": {"cold": [row()]},
    }


def missed(found: Runs, prefect: Any = None) -> list[str]:  # noqa: ANN401 - rows
    return [target.name.partition(":")[0] for target in targets_of(found, prefect) if not target.is_met]


def test_runs_that_are_good_enough_meet_all_targets() -> None:
    assert missed(runs()) == []


@pytest.mark.parametrize(
    ("scenario", "bad", "named"),
    [
        ("cold", row(5.6), "cold"),
        ("cold", row(cpu=0.5 + PROMPTS * 0.51e-3), "cold"),
        ("warm", row(1.1), "warm in a fresh process, imports included"),
        ("warm", row(0.5, requests=1), "warm"),
        ("warm", row(0.5, prefect_is_imported=True), "warm"),
        ("10% faults", row(7.6), "10% faults"),
        ("resumed", row(resent_though_stored=1), "resumed"),
        ("resumed", row(lost=1), "results lost, in all runs"),
        ("resumed", row(peak_mb=101.0), "peak memory, in all runs"),
    ],
)
def test_each_figure_that_is_too_high_is_named(scenario: str, bad: dict[str, Any], named: str) -> None:
    assert missed(runs(**{scenario: bad})) == [named]


def test_three_seconds_of_prefect_are_the_most() -> None:
    def with_prefect(seconds: float) -> dict[str, list[dict[str, Any]]]:
        return {"flow": [row(6.0 + seconds)], "engine": [row(6.0)]}

    assert missed(runs(), with_prefect(2.9)) == []
    assert missed(runs(), with_prefect(3.1)) == ["20 task runs of Prefect"]
