"""What the roles of an ACE run cost, tier by tier: lines of its ledger, over all runs of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.ledger import Cost, Ledger, costs_by_part
from tasks.ace.roles import Role, purpose_of


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleCost:
    """What one tier of a role cost, and what came of it in this run."""

    role: str
    tier: int
    """From 0, the cheapest."""
    model: str
    put: int
    """Questions that this run put, stored or not."""
    cost: Cost
    """Of all runs."""
    asked: int
    usable: int
    """Of the questions asked in this run, those with an answer that can be used."""
    took_over: int
    """Questions that the tiers below could not answer, or not surely, or to no avail."""
    rescued: int
    """Of them, those that have a usable answer now and had none."""
    gained: int
    """Of them, those that are right now and were wrong; of evaluations and of reviews."""
    lost: int
    """The other way round."""


class RoleCosts:
    """Writes a line for each tier of each role whenever something of a run has ended.

    Args:
        ledger: Takes the lines.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._roles: dict[str, Role] = {}

    def add(self, role: Role) -> Role:
        """Have a role's costs told apart by its name; return the one that has that name."""
        return self._roles.setdefault(role.name, role)

    async def ended(self) -> None:
        """Write what was spent since."""
        for part, purpose in self._parts():
            await self.ledger.ended(part, of=purpose)

    def interrupted(self) -> None:
        """Write what was spent since, without asking anybody."""
        for part, purpose in self._parts():
            self.ledger.interrupted(part, of=purpose)

    def rows(self, written: Sequence[dict[str, object]]) -> list[RoleCost]:
        """Return what each tier cost, of the lines of a ledger; tiers that were never asked are left out."""
        costs = costs_by_part(written)
        rows: list[RoleCost] = []
        for role in self._roles.values():
            for number, (tier, counts) in enumerate(zip(role.tiers, role.counts, strict=True)):
                part = _part(role.name, number)
                cost, put = costs.get(part, Cost()), self.ledger.put[part]
                if not put and not cost.sent:
                    continue
                rows.append(
                    RoleCost(
                        role=role.name,
                        tier=number,
                        model=tier.model,
                        put=put,
                        cost=cost,
                        asked=counts.asked,
                        usable=counts.usable,
                        took_over=counts.took_over,
                        rescued=counts.rescued,
                        gained=counts.gained,
                        lost=counts.lost,
                    )
                )
        return rows

    def _parts(self) -> list[tuple[str, str]]:
        return [
            (_part(role.name, number), purpose_of(role.name, number, ""))
            for role in self._roles.values()
            for number in range(len(role.tiers))
        ]


def _part(role: str, tier: int) -> str:
    return purpose_of(role, tier, "").removesuffix(": ")
