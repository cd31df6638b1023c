"""What each part of a run cost, over all runs of it: one that goes on answers most from the store."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from flows.json_lines import Row, append_row
from tasks.tally import Tally

LEDGER = "ledger.jsonl"
"""In a run's directory."""
SEARCH = "search"
"""The part whose lines name steps."""
BOOTSTRAPPING = "bootstrapping"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What something cost."""

    prompts: int = 0
    """Questions put, stored or not."""
    sent: int = 0
    """Prompts that a backend answered."""
    requests: int = 0
    """HTTP requests, retries included."""
    input_tokens: int = 0
    tokens_computed: int = 0
    """Input tokens that no prefix cache had, as the servers counted them; all where they do not tell."""
    output_tokens: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Add two."""
        ours, theirs = asdict(self), asdict(other)
        return Cost(**{name: ours[name] + theirs[name] for name in ours})


@dataclass(kw_only=True, slots=True)
class _Open:
    """What was counted for one purpose and is in no line yet."""

    prompts: int = 0
    sent: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    new_tokens: int = 0
    """Those input tokens that came after the servers' counters were last read."""
    computed: int = 0
    """Its share of what the servers have counted."""
    by_usage: bool = False
    """The servers did not tell at some time."""


class Ledger:
    """Writes a line whenever a part of a run has ended during which something was sent.

    Parts that go on at the same time are told apart by their purposes. What servers count is for all of them
    together, so each gets the share that it has of the input tokens. A process that is killed outright takes
    along what its open parts have cost since their last lines.

    Args:
        path: The file; None, for an estimate: nothing is written.
        computed: Returns the prompt tokens that the servers have computed since it was last called; None
            where they do not tell.
    """

    def __init__(self, path: Path | None, computed: Callable[[], Awaitable[int | None]]) -> None:
        self._path = path
        self._computed = computed
        self._open: dict[str, _Open] = {}
        self._reading = asyncio.Lock()
        self._told_last = True
        self._unshared = 0
        self.put: Counter[str] = Counter()
        """{part: questions that this run has put for it}"""

    def note(self, purpose: str, growth: Tally) -> None:
        """Count what a tally has grown by."""
        one = self._open.setdefault(purpose, _Open())
        one.prompts += growth.prompts
        one.sent += growth.sent
        one.requests += growth.requests
        one.input_tokens += growth.usage.input_tokens
        one.output_tokens += growth.usage.output_tokens
        one.new_tokens += growth.usage.input_tokens

    @asynccontextmanager
    async def part(self, name: str) -> AsyncGenerator[None]:
        """Write what is counted within, however it ends; nothing else may be asked meanwhile."""
        try:
            yield
        except BaseException:
            self.interrupted(name)
            raise
        await self.ended(name)

    async def ended(
        self, part: str, *, batch: int | None = None, iteration: int | None = None, of: str = ""
    ) -> None:
        """Write what a part has cost since its last line, if anything was sent.

        Args:
            part: Its name.
            batch: Of a search, from 1.
            iteration: Of a search, from 0.
            of: What the purposes of this part begin with, where several parts go on at the same time.
        """
        async with self._reading:
            if self._path and any(one.requests or one.sent for one in self._of(of).values()):
                self._share_out(await self._computed())
            self._close(part, batch, iteration, of)

    def interrupted(
        self, part: str, *, batch: int | None = None, iteration: int | None = None, of: str = ""
    ) -> None:
        """Write what a part has cost that has failed or was cancelled; no server is asked any more."""
        for one in self._of(of).values():
            one.by_usage = True
        self._close(part, batch, iteration, of)

    def _of(self, beginning: str) -> dict[str, _Open]:
        return {purpose: one for purpose, one in self._open.items() if purpose.startswith(beginning)}

    def _share_out(self, computed: int | None) -> None:
        """Divide what the servers have counted among the purposes that had input tokens since."""
        waiting = [one for one in self._open.values() if one.new_tokens]
        if computed is None or not self._told_last:  # what they count across a gap is in earlier lines
            for one in waiting:
                one.by_usage, one.new_tokens = True, 0
            self._told_last, self._unshared = computed is not None, 0
            return
        self._unshared += computed
        if not waiting:
            return
        for one, share in zip(
            waiting, _shares(self._unshared, [one.new_tokens for one in waiting]), strict=True
        ):
            one.computed += share
            one.new_tokens = 0
        self._unshared = 0

    def _close(self, part: str, batch: int | None, iteration: int | None, beginning: str) -> None:
        closed = self._of(beginning)
        for purpose in closed:
            del self._open[purpose]
        cost = sum((_cost(one) for one in closed.values()), Cost())
        self.put[part] += cost.prompts
        if self._path and (cost.sent or cost.requests):
            counted_by = "usage" if any(one.by_usage for one in closed.values()) else "server"
            row = {
                "part": part,
                "batch": batch,
                "iteration": iteration,
                **asdict(cost),
                "counted_by": counted_by,
            }
            append_row(self._path, row)


def costs_by_part(rows: Sequence[Row]) -> dict[str, Cost]:
    """Sum the lines of a ledger: {part: what it cost over all runs}.

    Prompts are those of the steps that sent something; `Ledger.put` has those of a whole run.
    """
    costs: defaultdict[str, Cost] = defaultdict(Cost)
    for row in rows:
        costs[str(row["part"])] += Cost(**{name: cast("int", row.get(name, 0)) for name in Cost.__slots__})
    return dict(costs)


def tokens_by_step(rows: Sequence[Row]) -> dict[tuple[int, int], int]:
    """Return {(batch, iteration): tokens computed} of the searches, over all runs."""
    tokens: Counter[tuple[int, int]] = Counter()
    for row in rows:
        if row["part"] == SEARCH:
            step = cast("int", row["batch"]), cast("int", row["iteration"])
            tokens[step] += cast("int", row["tokens_computed"])
    return dict(tokens)


def summed_up(put: Mapping[str, int], rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return one row for each part of a run: the questions that the run put, and what all runs paid for."""
    costs = costs_by_part(rows)
    return [{"part": part, **asdict(costs.get(part, Cost())), "prompts": put[part]} for part in put]


def _cost(one: _Open) -> Cost:
    return Cost(
        prompts=one.prompts,
        sent=one.sent,
        requests=one.requests,
        input_tokens=one.input_tokens,
        tokens_computed=one.input_tokens if one.by_usage else one.computed,
        output_tokens=one.output_tokens,
    )


def _shares(number: int, weights: Sequence[int]) -> list[int]:
    """Divide a number in proportion to weights, into whole numbers that add up to it."""
    shares: list[int] = []
    seen = given = 0
    for weight in weights:
        seen += weight
        shares.append(number * seen // sum(weights) - given)
        given += shares[-1]
    return shares
