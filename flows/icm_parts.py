"""The parts of an ICM run that ask the model: searches, bootstrapping, tests; each is shown and costed."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prefect.logging import get_run_logger

from backends.errors import BackendError, BadRequestError
from backends.messages import Request, Response
from flows.icm_progress import Progress
from flows.ledger import BOOTSTRAPPING, SEARCH, Ledger
from flows.run import Run
from tasks.icm import chat
from tasks.icm.bootstrapping import Bootstrapped, bootstrap
from tasks.icm.claims import Claim, Draw
from tasks.icm.evaluation import TestScore, contexts, score_on_test
from tasks.icm.prompts import Prompter
from tasks.icm.scoring import LabelMassError
from tasks.icm.search import Search, Step
from tasks.icm.search_settings import SearchSettings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch before its search."""

    number: int
    """From 0."""
    draw: Draw
    keys: Sequence[str] | None
    """Each claim's consistency key."""
    prompter: Prompter
    settings: SearchSettings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the parts of one run have in common.

    Args:
        run: Answers questions.
        progress: Shows how far they have come.
        ledger: Writes down what they cost.
    """

    run: Run
    progress: Progress
    ledger: Ledger
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the first error, from when on nothing more is asked."""

    async def search_all(self, batches: Sequence[Batch]) -> list[list[Step]]:
        """Search all batches at the same time."""
        return await at_once([self.search(batch) for batch in batches], self.failed)

    async def search(self, batch: Batch) -> list[Step]:
        """Search one batch."""
        steps: list[Step] = []
        number, name = batch.number + 1, self.progress.name(batch.number)
        search = Search(batch.draw, batch.keys, batch.prompter, batch.settings, BatchAsk(self, batch.number))
        try:
            async with aclosing(search.steps()) as running:
                async for step in running:
                    steps.append(step)
                    await self.ledger.ended(SEARCH, batch=number, iteration=step.iteration, of=name)
                    await self.progress.show(step, batch.number)
        except BaseException:
            self.ledger.interrupted(SEARCH, batch=number, iteration=len(steps), of=name)
            raise
        return steps

    async def bootstrap(self, batches: Sequence[Batch], rounds: int) -> list[Bootstrapped | None]:
        """Label the claims of all batches in the cheaper way; None where the model hardly knows labels."""
        if not rounds:
            return [None] * len(batches)
        await self.progress.show_baseline(BOOTSTRAPPING)
        async with self.ledger.part(BOOTSTRAPPING):
            return await at_once([self._bootstrapped(batch, rounds) for batch in batches], self.failed)

    async def _bootstrapped(self, batch: Batch, rounds: int) -> Bootstrapped | None:
        try:
            return await bootstrap(
                batch.draw,
                batch.keys,
                batch.prompter,
                BatchAsk(self, batch.number),
                rounds=rounds,
                min_label_mass=batch.settings.min_label_mass,
            )
        except LabelMassError as error:
            get_run_logger().warning("%sno bootstrapping: %s", self.progress.name(batch.number), error)
            return None

    async def test(
        self, batch: Batch, found: Mapping[int, int], bootstrapped: Bootstrapped | None, test: Sequence[Claim]
    ) -> list[TestScore]:
        """Evaluate the labels of one batch, which is what a context holds, beside the baselines."""
        labels = bootstrapped.labels if bootstrapped else None
        ways = contexts(batch.draw.claims, found, batch.settings.seed, bootstrapped=labels)
        ask = self.run.ask()
        scores: list[TestScore] = []
        for number, (method, shown) in enumerate(ways.items()):
            await self.progress.show_test(method, number, of=len(ways))
            async with self.ledger.part(f"test {method}"):
                scores.append(await score_on_test(batch.prompter, shown, test, ask, method=method))
        return scores

    async def chat(self, test: Sequence[Claim]) -> list[TestScore]:
        """Ask about the test claims in conversations: one score, or none where the model has none."""
        if not await self._can_chat():
            return []
        await self.progress.show_baseline(chat.METHOD)
        run = self.run
        async with self.ledger.part(f"test {chat.METHOD}"):
            try:
                return [await chat.score_chat(test, run.ask(), model=run.model, revision=run.revision)]
            except ExceptionGroup as group:
                refused, others = group.split(BadRequestError)
                if others or refused is None:
                    raise
                get_run_logger().warning("no conversations: %s", refused.exceptions[0])
                return []

    async def _can_chat(self) -> bool:
        run = self.run
        if run.server is None:
            return True
        try:
            return await chat.can_chat(run.server.count_tokens, run.model, run.revision, run.generator.lookup)
        except BackendError as error:
            get_run_logger().warning("no conversations, since the server was not there to ask: %s", error)
            return False


class BatchAsk:
    """Asks for one batch, whose name all its purposes and task runs bear; no more once one has failed."""

    def __init__(self, parts: Parts, batch: int) -> None:
        self._failed = parts.failed
        self._name = parts.progress.name(batch)
        self._ask = parts.run.ask(lambda purpose: parts.progress.title(purpose, batch=batch))

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        """Answer the batch's requests; end the batch where another one has failed."""
        if self._failed.is_set():
            raise asyncio.CancelledError
        return await self._ask(requests, purpose=f"{self._name}{purpose}")


async def at_once(coroutines: Sequence[Coroutine[Any, Any, T]], failed: asyncio.Event) -> list[T]:
    """Run all at the same time; set `failed` at the first error, and raise that as it is when all have ended.

    The others are to end soon after it of their own: what they have on its way is paid for, and is stored
    when it comes. If this call is cancelled, so are they.
    """
    running = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return await asyncio.gather(*running)
    except Exception:
        failed.set()
        await asyncio.wait(running)
        raise
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
