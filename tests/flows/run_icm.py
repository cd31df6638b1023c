"""Runs `icm` or another flow for each line on standard input, and answers each with one line of JSON.

`python -m tests.flows.run_icm <<< '{"parameters": {"dataset": "general_knowledge"}, "environment": {}}'`
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from prefect.client.schemas.objects import State

from flows.ace import ace
from flows.ace_online import ace_online
from flows.batch import batch
from flows.extraction import extraction
from flows.icm import icm
from flows.nightly import nightly

FLOWS: Mapping[str, Callable[..., object]] = {
    "icm": icm,
    "ace": ace,
    "ace-online": ace_online,
    "batch": batch,
    "extraction": extraction,
    "nightly": nightly,
}


async def run(flow: str, parameters: Any) -> dict[str, object]:  # noqa: ANN401 - wrong ones, too
    """Run the flow and say how it ended."""
    state = await cast("Awaitable[State[Any]]", FLOWS[flow](parameters=parameters, return_state=True))
    result: Any = await state.aresult(raise_on_failure=False)
    return {
        "flow_run_id": str(state.state_details.flow_run_id),
        "state": state.name,
        "message": state.message or "",
        "summary": result if state.is_completed() else {},
        "error": "" if state.is_completed() else f"{type(result).__name__}: {result}",
    }


def main() -> None:
    """Answer line by line until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        os.environ.update(order["environment"])
        sys.stdout.write(json.dumps(asyncio.run(run(order.get("flow", "icm"), order["parameters"]))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
