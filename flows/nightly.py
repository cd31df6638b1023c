"""The flow `nightly`: a small ICM on the served model, measured and written down night by night."""

from datetime import UTC, datetime
from typing import Any

from prefect.artifacts import acreate_table_artifact
from prefect.logging import get_run_logger

from flows.estimates import told
from flows.icm import icm
from flows.parameters import ICMParameters
from flows.results import append_line
from flows.settings import load_settings
from flows.workflow import workflow

HISTORY = "nightly.jsonl"
SHOWN = 30
"""Nights in the table."""


@workflow("nightly")
async def nightly(parameters: ICMParameters) -> dict[str, Any]:
    """Run the benchmark once; with cache_mode "refresh", so that the model is asked whatever is stored.

    Returns:
        The line that was added to `nightly.jsonl` in the folder of runs.
    """
    summary = await icm(parameters)
    if parameters.estimate:
        get_run_logger().info(told(summary))  # `--watch` shows the log of this flow run only
        return summary
    row = history_row(summary, datetime.now(UTC))
    history = append_line(load_settings().runs / HISTORY, row)
    await acreate_table_artifact(
        key="nightly-benchmarks", table=history[-SHOWN:], description="The last nights"
    )
    return row


def history_row(summary: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Take what is worth comparing between nights from a run's summary."""
    cost = summary["cost"]
    return {
        "time": now.isoformat(timespec="seconds"),
        "model": summary["model"],
        "requests": cost["requests"],
        "prompts": cost["sent"],
        "input_tokens": cost["usage"]["input_tokens"],
        "output_tokens": cost["usage"]["output_tokens"],
        "seconds": round(cost["seconds"], 1),
        "label_accuracy": summary["accuracy"],
        "test_accuracy": {score["method"]: score["accuracy"] for score in summary["test"]},
    }
