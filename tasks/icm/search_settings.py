"""The numbers of a search, and what follows from them alone."""

import random
from dataclasses import dataclass
from typing import Literal

from tasks.icm import scoring

Evaluation = Literal["full", "sequential"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """The numbers of a search, with those of the reference for TruthfulQA as defaults."""

    alpha: float = 50.0
    iterations: int = 1500
    initial_temperature: float = 10.0
    final_temperature: float = 0.01
    schedule: scoring.Schedule = "log"
    decay: float = 0.99
    consistency_fix_passes: int = 10
    min_label_mass: float = 0.01
    lookahead: int = 0
    """How many of the changes that may come next are evaluated together with the one that is decided."""
    evaluation: Evaluation = "full"
    """Whether a change may be rejected before the whole pool was asked; see `sequential.py`."""
    error_probability: float = 0.01
    """In "sequential": of a decision that a full evaluation would have taken otherwise."""
    seed: int = 27565976

    def temperature(self, flips: int) -> float:
        """Return the temperature after so many accepted changes."""
        return scoring.temperature(
            flips,
            schedule=self.schedule,
            initial=self.initial_temperature,
            final=self.final_temperature,
            decay=self.decay,
        )

    def random(self, purpose: str, *step: int) -> random.Random:
        """Make a generator for one purpose and step, so that no draw depends on how often others drew."""
        return random.Random(f"{self.seed}/{purpose}/{'/'.join(map(str, step))}")
