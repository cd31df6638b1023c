"""Facts about what the nightly benchmark writes down."""

from datetime import UTC, datetime
from pathlib import Path

from flows.nightly import history_row
from flows.results import append_line, record_cost
from tests.flows.icm_results import found

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
SUMMARY = {
    "model": "m",
    "accuracy": 0.5,
    "test": [{"method": "found labels", "accuracy": 0.25}],
    "cost": {
        "requests": 3,
        "sent": 40,
        "usage": {"input_tokens": 900, "output_tokens": 40},
        "seconds": 1.234,
    },
}


def test_a_night_is_one_line_with_requests_tokens_seconds_and_accuracies() -> None:
    assert history_row(SUMMARY, NOW) == {
        "time": "2026-11-21T02:00:00+00:00",
        "model": "m",
        "requests": 3,
        "prompts": 40,
        "input_tokens": 900,
        "output_tokens": 40,
        "seconds": 1.2,
        "label_accuracy": 0.5,
        "test_accuracy": {"found labels": 0.25},
    }


def test_a_line_that_a_crash_has_cut_off_is_left_alone_and_the_next_stands_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "nights.jsonl"
    append_line(path, {"night": 1})
    path.write_text(path.read_text() + '{"night": 2, "sec')
    assert append_line(path, {"night": 3}) == [{"night": 1}, {"night": 3}]
    assert append_line(path, {"night": 4}) == [{"night": 1}, {"night": 3}, {"night": 4}]


async def test_the_cost_of_a_first_run_is_kept_when_a_second_costs_nothing(tmp_path: Path) -> None:
    first, second = await found(), await found()
    first.tally.sent, second.tally.sent = 40, 0
    record_cost(first, tmp_path, NOW)
    assert [row["prompts_sent"] for row in record_cost(second, tmp_path, NOW)] == [40, 0]
