"""Shows what a run would cost."""

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import acreate_table_artifact
from prefect.logging import get_run_logger

from backends.messages import Usage
from backends.prices import cost_usd
from flows.run import Run
from tasks.speed import expected_seconds


async def show_estimate(run: Run) -> dict[str, Any]:
    """Show what a run would cost, in the log and in the UI; return it as plain JSON."""
    if run.estimator is None:
        raise ValueError("the run was no estimate")
    tally, usage = run.tally, sum((one.usage for one, _ in run.estimators), Usage())
    costs = [cost_usd(one.usage, price) for one, price in run.estimators if one.usage != Usage()]
    found: dict[str, Any] = {
        "calls": tally.prompts,
        "hits": tally.from_the_store,
        "to_send": tally.sent,
        "input_tokens": usage.input_tokens,
        "computed_input_tokens": sum(one.computed_tokens for one, _ in run.estimators),
        "max_output_tokens": usage.output_tokens,
        "seconds": expected_seconds(run.store, run.model, run.revision, run.estimator.usage),
        "max_cost_usd": None if None in costs else sum((one for one in costs if one is not None), 0.0),
    }
    get_run_logger().info(told(found))
    await acreate_table_artifact(
        key="estimate", table=[found], description="What the run would cost; nothing was sent"
    )
    return found


def told(found: Mapping[str, Any]) -> str:
    """Put an estimate into a sentence."""
    seconds, usd = found["seconds"], found["max_cost_usd"]
    takes = "an unknown time, nothing is known of this model" if seconds is None else f"about {seconds:.0f} s"
    most = "if every answer is as long as it may be"
    money = "unknown" if usd is None else f"about {usd:.4f} USD {most}" if usd else "nothing"
    return (
        f"estimate: {found['calls']} calls, {found['hits']} of them stored, {found['to_send']} to send; "
        f"{found['input_tokens']} prompt tokens, of which about {found['computed_input_tokens']} to compute, "
        f"and up to {found['max_output_tokens']} generated; {takes}; cost {money}; nothing was sent"
    )
