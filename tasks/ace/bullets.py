"""One lesson of a playbook: its id, its text on one line, and the counters that are kept beside it."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

MAX_TEXT_CHARACTERS = 2_000
"""Of one bullet; a lesson that is longer is no lesson."""

MAX_NUMBER = 10**12 - 1
"""Of an id, and of either counter: what twelve digits hold."""

NUMBER = re.compile(r"-([0-9]{1,12})\Z")
"""What an id ends in, where it was given by a playbook."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bullet:
    """A lesson."""

    id: str
    text: str
    """One line."""

    @property
    def number(self) -> int | None:
        """The number in its id; None where it has none, as in playbooks from elsewhere."""
        return number_of(self.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What is known of a bullet's use; never part of its text, nor of a prompt unless asked for."""

    helpful: int = 0
    """How often a Reflector called it helpful."""
    harmful: int = 0
    born: int = 0
    """The step, from 1, at which it was added; 0: it was there before."""
    used: int = 0
    """The last step at which it was cited or tagged."""

    @property
    def net(self) -> int:
        """By how much help exceeds harm."""
        return self.helpful - self.harmful

    def __add__(self, other: "Counts") -> "Counts":
        """Take in another bullet's counts, as in a merge: no vote is lost, and the older age holds."""
        return Counts(
            helpful=min(self.helpful + other.helpful, MAX_NUMBER),
            harmful=min(self.harmful + other.harmful, MAX_NUMBER),
            born=min(self.born, other.born),
            used=max(self.used, other.used),
        )

    def tagged(self, tag: str, step: int) -> "Counts":
        """Count one vote: "helpful" or "harmful"; anything else is a use without a vote."""
        return replace(
            self,
            helpful=min(self.helpful + (tag == "helpful"), MAX_NUMBER),
            harmful=min(self.harmful + (tag == "harmful"), MAX_NUMBER),
            used=max(self.used, step),
        )


def number_of(bullet_id: str) -> int | None:
    """Return the number that an id ends in, if it has one."""
    found = NUMBER.search(bullet_id)
    return int(found[1]) if found else None


@lru_cache(maxsize=2**14)  # a new bullet is compared with every one of its section
def likeness_key(text: str) -> str:
    """Return what two texts have in common that are exact duplicates: case and blanks do not count."""
    return " ".join(text.casefold().split())
