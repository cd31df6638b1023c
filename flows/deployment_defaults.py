"""What a deployment sets and a run leaves out."""

from collections.abc import Mapping
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.runtime import deployment as running_deployment
from pydantic import BaseModel

from flows.run_parameters import RunParameters

Defaults = Mapping[str, Mapping[str, Any]]
"""{parameter of the flow: its fields}"""


async def deployment_defaults() -> Defaults:
    """Return the parameters of the deployment that is run; nothing where none is."""
    deployment_id = running_deployment.id
    if deployment_id is None:
        return {}
    async with get_client() as client:
        deployment = await client.read_deployment(deployment_id)
    fields = cast("Mapping[str, object]", deployment.parameters)
    return {name: cast("Mapping[str, Any]", one) for name, one in fields.items() if isinstance(one, dict)}


def laid_over(kind: type[BaseModel], defaults: Mapping[str, Any], given: object) -> object:
    """Fill what the caller left out with the deployment's values, before the model's own defaults.

    Prefect replaces a deployment's parameter as a whole when a run gives one, so without this
    `-p parameters='{"num_claims": 32}'` would drop everything else that the deployment sets.
    """
    if isinstance(given, BaseModel):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, dict):
        return given
    fields = cast("dict[str, Any]", given)
    if issubclass(kind, RunParameters):
        defaults = kind.left_of(defaults, fields)
    return {**defaults, **fields}
