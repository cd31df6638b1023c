"""What a run has asked for and what it cost, counted as it goes."""

from collections import Counter
from dataclasses import dataclass, field, fields, replace

from backends.messages import Usage


@dataclass(kw_only=True)
class Tally:
    """Sums over one run."""

    prompts: int = 0
    """Questions put, repetitions included."""
    hits: int = 0
    """Questions whose answer was stored."""
    shared: int = 0
    """Questions that were on their way already, for this process or another."""
    sent: int = 0
    """Prompts that a backend answered."""
    failed: int = 0
    overflows: int = 0
    """Of those that failed, prompts that do not fit into the model's context."""
    alerts: int = 0
    """How often the memory of a GPU, or the cache of a server, was alarming."""
    requests: int = 0
    """HTTP requests, retries included."""
    usage: Usage = field(default_factory=Usage)
    waited_seconds: float = 0.0
    """Time in which a backend was waited for, by one or by many."""
    stand_ins: dict[str, int] = field(default_factory=dict[str, int])
    """{model: questions that it answered in place of the one that was asked}"""

    def with_stand_in(self, other: "Tally") -> "Tally":
        """Add what a fallback was asked, and what that cost; what it answered has not failed."""
        return replace(
            self,
            hits=self.hits + other.hits,
            shared=self.shared + other.shared,
            sent=self.sent + other.sent,
            failed=max(0, self.failed - other.prompts) + other.failed,
            overflows=self.overflows + other.overflows,
            requests=self.requests + other.requests,
            usage=self.usage + other.usage,
            waited_seconds=self.waited_seconds + other.waited_seconds,
        )

    def __add__(self, other: "Tally") -> "Tally":
        """Add what another model was asked in the same run."""
        sums = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self)
            if one.name != "stand_ins"
        }
        return Tally(**sums, stand_ins=dict(Counter(self.stand_ins) + Counter(other.stand_ins)))

    @property
    def from_the_store(self) -> int:
        """Questions that cost nothing: stored, or on their way already."""
        return self.hits + self.shared
