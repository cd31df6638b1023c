"""When Prefect may skip a task: when the very same questions were answered before."""

from dataclasses import dataclass
from typing import Any

from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext


@dataclass
class ByContentKey(CachePolicy):
    """Takes the key that the task's argument carries, made by the same code as the store's keys.

    Prefect's own default never hits in another run, and its keys of objects change from process to process.
    An error in here would only be logged and the task run uncached, so the key is made before the task is.
    """

    argument: str = "batch"

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002, ANN401 - Prefect's signature
    ) -> str | None:
        """Return `<task name>-<key of the argument>`."""
        return f"{task_ctx.task.name}-{inputs[self.argument].key}"
