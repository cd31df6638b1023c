"""Who answers for the roles of ACE: the models that the parameters name, the cheapest first."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from prefect.logging import get_run_logger

from backends.errors import BackendError
from backends.registry import PROVIDERS, ModelName, parse_model
from cache.lookup import CacheMode
from flows.ace_parameters import AceBase, TierParameters
from flows.answering import identify_other, servers_of
from flows.providers import revision_in_keys
from flows.run import Run
from flows.settings import SettingsError
from tasks.ace.made_up import is_made_up
from tasks.ace.roles import Role, Tier
from tasks.ask import Stop
from tasks.identity import Identity

GENERATOR, REFLECTOR, CURATOR = "generator", "reflector", "curator"
CHECK = "self-check"
SHEET_WRITER, SHEET_CHECK = "cheat-sheet writer", "cheat-sheet self-check"
"""What the cheat-sheet costs is told apart from what ACE does."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The three roles of a run."""

    generator: Role
    reflector: Role
    curator: Role

    def evaluating(self, name: str) -> Role:
        """Return the Generator under another name, by which its costs are told apart."""
        return Role(name=name, tiers=self.generator.tiers)


async def open_roles(parameters: AceBase, run: Run, stop: Stop) -> Roles:
    """Find out which models answer.

    Raises:
        BackendError: A server cannot be asked for a model, and nothing is known of it.
        SettingsError: An API is named whose key or address is not set.
    """
    models = Models(parameters, run, stop)
    return Roles(
        generator=Role(name=GENERATOR, tiers=await models.tiers(parameters.generator)),
        reflector=Role(name=REFLECTOR, tiers=await models.tiers(parameters.reflector)),
        curator=Role(name=CURATOR, tiers=await models.tiers(parameters.curator)),
    )


class Models:
    """Knows who asks a model, and what pins its weights; each is found out once."""

    def __init__(self, parameters: AceBase, run: Run, stop: Stop) -> None:
        self._parameters = parameters
        self._run = run
        self._stop = stop
        self._revisions: dict[str, str] = {}

    async def tiers(self, given: Sequence[TierParameters]) -> tuple[Tier, ...]:
        """Return the tiers of a role; the run's model alone by default."""
        return tuple([await self._tier(one) for one in given or [TierParameters()]])

    async def _tier(self, given: TierParameters) -> Tier:
        run, name = self._run, parse_model(given.model) if given.model else None
        other = run.others.get(str(name))
        return Tier(
            ask=self._stop.guard(run.ask_each(other)),
            model=name.name if name else run.model,
            revision=await self._revision(name) if name else run.revision,
            sampling=self._parameters.sampling(given),
            min_confidence=given.min_confidence,
            doubts=is_made_up,
        )

    async def _revision(self, name: ModelName) -> str:
        if str(name) not in self._revisions:
            self._revisions[str(name)] = await self._found(name)
        return self._revisions[str(name)]

    async def _found(self, name: ModelName) -> str:
        run = self._run
        if name.provider == run.parameters.provider and name.name == run.model:
            return run.revision
        other = run.others.get(str(name))
        servers = servers_of(other.backend) if other else run.answerer.servers
        if not servers or PROVIDERS[name.provider].external:
            return revision_in_keys(name.provider, None, run.settings) or ""
        await self._require_served(name)
        identity = Identity(
            witness=servers[0],
            store=run.store,
            mode=run.generator.lookup.mode,
            model=name.name,
            say=get_run_logger().warning,
            sends_prompts=run.estimator is None,
        )
        return await identify_other(servers, identity)

    async def _require_served(self, name: ModelName) -> None:
        """Insist that the run's own server has a model, if it can be asked.

        Raises:
            SettingsError: It has others.
        """
        run = self._run
        if run.server is None or name.provider != run.parameters.provider:
            return
        if run.generator.lookup.mode is CacheMode.REPLAY:
            return
        with contextlib.suppress(BackendError):
            served = (await run.server.capabilities()).roots
            if name.name not in served:
                raise SettingsError(
                    f"a tier names the model {name.name!r}, which the server does not serve; it serves "
                    f"{', '.join(sorted(served)) or 'none'}"
                )
