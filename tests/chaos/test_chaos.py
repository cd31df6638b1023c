"""Two workers, one store, a server that fails one time in ten, and kills: nothing lost or paid twice."""

from pathlib import Path

import pytest

from tests.chaos.driver import Plan, run


@pytest.mark.timeout(200)
def test_killed_workers_lose_nothing_and_ask_nothing_twice(tmp_path: Path) -> None:
    plan = Plan(prompts=1000, kills=5, limit_seconds=150)
    report = run(plan, tmp_path)
    assert report.is_clean, report.summary()
    assert (report.kills, report.prompts) == (5, 1000)
    assert report.faults
    assert report.delivered == 1000 + report.in_flight
