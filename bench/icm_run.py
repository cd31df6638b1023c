"""One full search against a made-up server, in one way; prints what it cost as JSON.

    python -m bench.icm_run CLAIMS TOKENIZER SIZE WAY [--iterations K] [--lookahead M] [--sequential]

CLAIMS is a file in the format of ICM's TruthfulQA, TOKENIZER a `tokenizer.json`.
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer

from backends.base import Arrival
from backends.messages import Label, Request, Response
from backends.scripted import Scripted
from bench.icm_model import MadeUpModel
from bench.icm_reference import ReferenceSearch
from bench.prefix_cache import PrefixCache
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from tasks.generate import Generator
from tasks.icm.claims import LABEL_TEXTS, Draw, draw, load_claims
from tasks.icm.consistency import Consistency, consistency_keys
from tasks.icm.orders import OrderName, make_order
from tasks.icm.prompts import Prompter
from tasks.icm.search import Search, Step
from tasks.icm.search_settings import SearchSettings

CAPACITIES = (0, 65_536, 262_144)
"""Tokens that the server's cache holds: none, 64K, 256K."""
LIST_PROMPTS = 32
SEED = 27565976
LABELS = tuple(Label(text=text, token_ids=(number,)) for number, text in enumerate(LABEL_TEXTS))


@dataclass(kw_only=True)
class CountingAsk:
    """Asks a generator, and counts rounds: times at which nothing could be sent before something arrived."""

    generator: Generator
    rounds: int = 0
    requests: int = 0
    _under_way: int = 0
    _sent_before: int = 0

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        """Answer requests."""
        if not self._under_way:
            self._sent_before = self.generator.tally.sent
        self._under_way += 1
        try:
            return await self.generator(requests, purpose=purpose)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self.rounds += self.generator.tally.sent > self._sent_before


class Forgetful(Scripted):
    """Does not remember what it was asked, which would be gigabytes."""

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the script's answers, list by list."""
        async for arrival in super().answer(requests):
            self.asked.clear()
            yield arrival


def report(model: MadeUpModel, seconds: float) -> dict[str, object]:
    """Say what a run cost the server, and this process."""
    return {
        "prompts": model.prompts,
        "tokens_sent": model.caches[0].sent,
        "tokens_computed": {str(one.capacity_tokens): one.computed for one in model.caches},
        "host_seconds": seconds - model.seconds,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def searched(
    draw: Draw, model: MadeUpModel, way: OrderName, settings: SearchSettings
) -> dict[str, object]:
    """Search with the answer table, in one order."""
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(Path(folder))
        backend = Forgetful(model, max_prompts=LIST_PROMPTS)
        ask = CountingAsk(generator=Generator(backend=backend, lookup=Lookup(store, CacheMode.USE)))
        prompter = Prompter(
            claims=draw.claims, model="made-up", labels=LABELS, order=make_order(way, len(draw.claims), SEED)
        )
        keys = consistency_keys(draw.claims, Consistency.REFERENCE)
        started = time.perf_counter()
        async with aclosing(Search(draw, keys, prompter, settings, ask).steps()) as running:
            steps = [step async for step in running]
        seconds = time.perf_counter() - started
        store.close()
    return {
        **report(model, seconds),
        "requests": ask.generator.tally.requests,
        "rounds": ask.rounds,
        "decisions": Counter(step.outcome for step in steps),
        "decided_early": sum((step.evaluated or 1) < 1 for step in steps),
        "not_as_in_full": await not_as_in_full(draw, model, prompter, settings, steps),
        "labels": labels_of(steps),
    }


async def not_as_in_full(
    draw: Draw, model: MadeUpModel, prompter: Prompter, settings: SearchSettings, steps: Sequence[Step]
) -> int:
    """Count the decisions that full evaluations of the same states would not have taken."""
    if settings.evaluation == "full":
        return 0
    uncounted = replace(model, caches=())

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Response]:
        del purpose
        return [uncounted(request) for request in requests]

    keys = consistency_keys(draw.claims, Consistency.REFERENCE)
    in_full = Search(draw, keys, prompter, replace(settings, evaluation="full"), ask)
    others = [
        await in_full.decide(before.state, step.iteration, before.flips)
        for before, step in pairwise(steps)
        if step.evaluated is not None
    ]
    mine = [step for step in steps if step.evaluated is not None]
    return sum(
        (one.outcome, one.state.assigned) != (other.outcome, other.state.assigned)
        for one, other in zip(mine, others, strict=True)
    )


def labels_of(steps: Sequence[Step]) -> str:
    """Write the labels that were found, to see that all ways find the same."""
    assigned = steps[-1].state.assigned
    return "".join(str(assigned.get(uid, "-")) for uid in range(max(assigned) + 1))


def as_the_reference(draw: Draw, model: MadeUpModel, settings: SearchSettings) -> dict[str, object]:
    """Search as the reference implementation does: a prompt a request, one after the other, nothing kept."""
    prompter = Prompter(claims=draw.claims, model="made-up", labels=LABELS)
    keys = consistency_keys(draw.claims, Consistency.REFERENCE)
    search = ReferenceSearch(
        draw=draw, keys=keys, prompter=prompter, settings=settings, ask=lambda asked: list(map(model, asked))
    )
    started = time.perf_counter()
    found = search.run()
    seconds = time.perf_counter() - started
    return {
        **report(model, seconds),
        "requests": model.prompts + search.dummies,
        "rounds": None,
        "labels": "".join(str(found.get(uid, "-")) for uid in range(max(found) + 1)),
    }


def main() -> None:
    """Run once and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("way", choices=("as-the-reference", "reference", "tree", "tree-tail"))
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--lookahead", type=int, default=0)
    parser.add_argument("--sequential", action="store_true")
    parser.add_argument("--doubt", type=float, default=0.01)
    options = parser.parse_args()
    drawn = draw(load_claims(options.claims), size=options.size, num_seeds=8, group_size=4, seed=SEED)
    model = MadeUpModel(
        claims=drawn.claims,
        tokenizer=Tokenizer.from_file(str(options.tokenizer)),
        caches=[PrefixCache(capacity_tokens=capacity) for capacity in CAPACITIES],
    )
    settings = SearchSettings(
        iterations=options.iterations,
        lookahead=options.lookahead,
        evaluation="sequential" if options.sequential else "full",
        error_probability=options.doubt,
    )
    if options.way == "as-the-reference":
        result = as_the_reference(drawn, model, settings)
    else:
        result = asyncio.run(searched(drawn, model, options.way, settings))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
