"""One run of the bench of ACE: some rows are learnt from in one way, and it is counted what that took."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.base import Outcome
from backends.batching import ListBounds
from backends.messages import Request, Response, SamplingParams, prompt_text
from backends.vllm_server import VLLMServer
from bench.ace_worlds import World
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from tasks.ace.adapting import Offline, Step
from tasks.ace.attempts import EARLY
from tasks.ace.curating import Curation
from tasks.ace.evaluation import Evaluation, evaluate
from tasks.ace.generating import Asking
from tasks.ace.judging import LabelJudge
from tasks.ace.learning import Learner
from tasks.ace.playbook import Playbook
from tasks.ace.rendering import Rendering
from tasks.ace.roles import Role, Tier
from tasks.ace.values import AceTask, Row
from tasks.ask import AskEach
from tasks.generate import Generator

CHUNK = 20
"""Reviews that one Curator is shown."""
ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How rows are learnt from."""

    name: str
    batch_size: int = 1
    as_published: bool = False
    """Every call a request of its own, one after the other; each row asked once more for a metric; no stops
    but a right answer; nothing kept."""


ONE_BY_ONE = Way(name="one call at a time", as_published=True)
STRICT = Way(name="b = 1")
BATCHES = tuple(Way(name=f"b = {size}", batch_size=size) for size in (10, 20, 40))
WAYS = (ONE_BY_ONE, STRICT, *BATCHES)


@dataclass(kw_only=True)
class CountingAsk:
    """Satisfies AskEach, and counts what is asked.

    A wave is a list that is asked while no other is under way: what comes next waits for it.
    """

    ask: AskEach
    sent: Callable[[], int] = int
    """Says how many HTTP requests were sent so far."""
    keeps: str = ""
    """The role whose requests are kept."""
    waves: int = 0
    calls: Counter[str] = field(default_factory=Counter[str])
    """{role: questions}"""
    requests: Counter[str] = field(default_factory=Counter[str])
    """{role: HTTP requests}"""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """{role: seconds that its lists took}"""
    kept: list[Request] = field(default_factory=list[Request])
    _under_way: int = 0

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        """Answer requests."""
        role = purpose.partition(":")[0]
        self.calls[role] += len(requests)
        if role == self.keeps:
            self.kept += requests
        self.waves += not self._under_way
        self._under_way += 1
        started, sent = time.perf_counter(), self.sent()
        try:
            return await self.ask(requests, purpose=purpose)
        finally:
            self._under_way -= 1
            self.requests[role] += self.sent() - sent
            self.seconds[role] = self.seconds.get(role, 0.0) + time.perf_counter() - started


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Satisfies AskEach with the model of a world, without a server."""

    world: World

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        """Answer requests."""
        del purpose
        return [Response(text=self.world.write(prompt_text(one)), finish_reason="stop") for one in requests]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is learnt, and with which model."""

    task: AceTask
    rows: Sequence[Row]
    model: str
    sampling: SamplingParams
    rendering: Rendering = "append-only"


def learner(setting: Setting, way: Way, ask: AskEach) -> Learner:
    """Make the engine's learner; what tidies a playbook asks nobody, and is left out."""
    tiers = (Tier(ask=ask, model=setting.model, sampling=setting.sampling),)
    return Learner(
        task=setting.task,
        generator=Role(name="generator", tiers=tiers),
        reflector=Role(name="reflector", tiers=tiers),
        curation=Curation(
            task=setting.task,
            curator=Role(name="curator", tiers=tiers),
            chunk=CHUNK,
            rendering=setting.rendering,
        ),
        judge=LabelJudge(
            checker=setting.task.checker, targets={row.question.id: row.target for row in setting.rows}
        ),
        rounds=ROUNDS,
        stops=frozenset() if way.as_published else frozenset(EARLY),
        post_generation=way.as_published,
    )


async def learnt(setting: Setting, way: Way, ask: AskEach) -> list[Step]:
    """Go through the rows once, without validation."""
    loop = Offline(learner=learner(setting, way, ask), evaluate=_nothing, batch_size=way.batch_size)
    events = [event async for event in loop.events(Playbook(), setting.rows, [])]
    return [event for event in events if isinstance(event, Step)]


async def _nothing(playbook: Playbook, rows: Sequence[Row], purpose: str) -> Evaluation:
    del playbook, rows, purpose
    return Evaluation(rows=())


def summary(way: Way, ask: CountingAsk, steps: Sequence[Step]) -> dict[str, Any]:
    """Say what was asked, and what came of it."""
    stops = Counter(run.stop for step in steps for run in step.learned.questions)
    changes = [change for step in steps for change in step.learned.changes]
    return {
        "way": way.name,
        "rows": sum(len(step.learned.questions) for step in steps),
        "waves": ask.waves,
        "calls": ask.calls.total(),
        "calls_by_role": dict(ask.calls),
        "stops": dict(stops),
        "bullets": len(steps[-1].learned.playbook),
        "edits_refused": sum(change.refused is not None for change in changes),
    }


async def counted(
    setting: Setting, way: Way, world: World, *, keeps: str = ""
) -> tuple[dict[str, Any], CountingAsk]:
    """Learn without a server: (what was asked, who asked)."""
    ask = CountingAsk(ask=Scripted(world=world), keeps=keeps)
    steps = await learnt(setting, way, ask)
    return summary(way, ask, steps), ask


async def timed(setting: Setting, way: Way, url: str) -> tuple[dict[str, Any], Playbook]:
    """Learn with a server: (what was asked and how long it took, the playbook)."""
    bounds = ListBounds(max_prompts=1, window_seconds=0) if way.as_published else None
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(Path(folder))
        async with VLLMServer(url, bounds=bounds) as server:
            await server.capabilities()
            mode = CacheMode.OFF if way.as_published else CacheMode.USE
            generator = Generator(backend=server, lookup=Lookup(store, mode))
            tally = generator.tally
            ask = CountingAsk(ask=generator.each, sent=lambda: tally.requests)
            before, started, cpu = await server.counters(), time.perf_counter(), time.process_time()
            steps = await learnt(setting, way, ask)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            after = await server.counters()
        store.close()
    if tally.failed:
        raise RuntimeError(f"{tally.failed} questions got no answer from {url}")
    costs = {
        "requests": tally.requests,
        "requests_by_role": dict(ask.requests),
        "seconds": seconds,
        "seconds_by_role": ask.seconds,
        "cpu_seconds": cpu,
    }
    found = {**summary(way, ask, steps), **costs, **(after.since(before) if after else {})}
    return found, steps[-1].learned.playbook


async def accuracy(playbook: Playbook, setting: Setting, world: World) -> float:
    """Ask all rows with a playbook, without a server."""
    tiers = (Tier(ask=Scripted(world=world), model=setting.model, sampling=setting.sampling),)
    role = Role(name="evaluation", tiers=tiers)
    asking = Asking(setting.task, playbook, setting.rendering)
    done = await evaluate(setting.rows, asking, role, setting.task.checker, purpose="all rows")
    return done.accuracy
