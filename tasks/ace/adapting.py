"""The two loops of ACE: offline (epochs over train rows, validation, the best playbook) and online (windows).

They yield what happens as it happens, keep nothing anywhere, and draw no random numbers: a run is a function
of its rows, its settings and the answers, so that one which was killed goes on by being run again.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from tasks.ace.evaluation import Evaluation
from tasks.ace.learning import Learned, Learner
from tasks.ace.playbook import Playbook
from tasks.ace.values import Row

Evaluate = Callable[[Playbook, Sequence[Row], str], Awaitable[Evaluation]]
"""(playbook, rows, what people see) -> how many it answers right."""

Room = Callable[[Playbook], Awaitable[str]]
"""Says how full a playbook is, if the Curator should know."""


async def plenty(playbook: Playbook) -> str:
    """Say nothing of the room that there is."""
    del playbook
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One mini-batch was learnt from."""

    number: int
    """From 1, over all epochs."""
    epoch: int
    """From 1."""
    rows_seen: int
    learned: Learned


@dataclass(frozen=True, kw_only=True, slots=True)
class Validated:
    """A playbook was evaluated."""

    step: int
    """After which step; 0: before the first."""
    split: str
    evaluation: Evaluation
    playbook: Playbook
    is_best: bool = False
    """Better than all before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plateau:
    """Validation has not become better for a while; nothing more is learnt."""

    step: int
    evaluations: int


Event = Step | Validated | Plateau


@dataclass(frozen=True, kw_only=True)
class Offline:
    """Adapts a playbook to train rows.

    Args:
        learner: Learns from a mini-batch.
        evaluate: Evaluates a playbook.
        batch_size: Rows of a mini-batch.
        epochs: How often all rows are gone through, in their order.
        eval_rows: After how many rows, within an epoch, the playbook is evaluated; at its end in any case.
        patience: Evaluations in a row without improvement that end learning; None: none do.
        room: Says how full a playbook is.
    """

    learner: Learner
    evaluate: Evaluate
    batch_size: int = 1
    epochs: int = 1
    eval_rows: int = 100
    patience: int | None = None
    room: Room = plenty

    async def events(
        self, start: Playbook, train: Sequence[Row], validation: Sequence[Row]
    ) -> AsyncGenerator[Event, None]:
        """Yield what happens.

        The playbook that learning starts with competes, and the last one is always evaluated. (The reference
        evaluates every 100 rows only, so that a small run ends with the playbook it began with.)
        """
        playbook, number = start, 0
        validator = _Validator(self.evaluate, validation)
        if validation:
            yield await validator.validated(start, number, "validation before learning")
        batches = [train[place : place + self.batch_size] for place in range(0, len(train), self.batch_size)]
        for epoch in range(1, self.epochs + 1):
            seen = 0
            for batch in batches:
                number += 1
                name = f"batch {number} of {self.epochs * len(batches)}"
                learned = await self.learner.learn(
                    playbook,
                    [row.question for row in batch],
                    step=number,
                    name=name,
                    room=await self.room(playbook),
                )
                playbook = learned.playbook
                is_due = self._is_due(seen, seen + len(batch), len(train))
                seen += len(batch)
                yield Step(number=number, epoch=epoch, rows_seen=seen, learned=learned)
                if validation and is_due:
                    yield await validator.validated(playbook, number, f"validation after {name}")
                    if self.patience is not None and validator.in_vain >= self.patience:
                        yield Plateau(step=number, evaluations=validator.in_vain)
                        return

    def _is_due(self, before: int, after: int, of: int) -> bool:
        return after // self.eval_rows > before // self.eval_rows or after == of


class _Validator:
    """Evaluates playbooks, and remembers how well the best one did."""

    def __init__(self, evaluate: Evaluate, rows: Sequence[Row]) -> None:
        self._evaluate = evaluate
        self._rows = rows
        self._best: float | None = None
        self.in_vain = 0
        """Evaluations since the best one."""

    async def validated(self, playbook: Playbook, step: int, purpose: str) -> Validated:
        evaluation = await self._evaluate(playbook, self._rows, purpose)
        is_best = self._best is None or evaluation.accuracy > self._best
        self._best = evaluation.accuracy if is_best else self._best
        self.in_vain = 0 if is_best else self.in_vain + 1
        return Validated(
            step=step, split="validation", evaluation=evaluation, playbook=playbook, is_best=is_best
        )


@dataclass(frozen=True, kw_only=True)
class Online:
    """Answers rows in windows, and learns from each window after it was answered.

    Args:
        learner: Learns from a mini-batch.
        evaluate: Evaluates a playbook.
        window: Rows that are answered before they are learnt from.
        batch_size: Rows of a mini-batch within a window.
        room: Says how full a playbook is.
    """

    learner: Learner
    evaluate: Evaluate
    window: int = 15
    batch_size: int = 1
    room: Room = plenty

    async def events(self, start: Playbook, rows: Sequence[Row]) -> AsyncGenerator[Event, None]:
        """Yield what happens; the score of the run is that of all windows together."""
        playbook, number = start, 0
        windows = [rows[place : place + self.window] for place in range(0, len(rows), self.window)]
        seen = 0
        for place, window in enumerate(windows, start=1):
            title = f"window {place} of {len(windows)}"
            evaluation = await self.evaluate(playbook, window, title)
            yield Validated(step=number, split="window", evaluation=evaluation, playbook=playbook)
            for first in range(0, len(window), self.batch_size):
                batch = window[first : first + self.batch_size]
                number += 1
                learned = await self.learner.learn(
                    playbook,
                    [row.question for row in batch],
                    step=number,
                    name=f"{title}, batch {number}",
                    room=await self.room(playbook),
                )
                playbook = learned.playbook
                seen += len(batch)
                yield Step(number=number, epoch=1, rows_seen=seen, learned=learned)
