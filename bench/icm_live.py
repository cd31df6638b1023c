"""Contexts in published order and as a tree, on the vLLM server that runs, by its own counters.

    VLLM_BASE_URL=http://127.0.0.1:8000 python -m bench.icm_live CLAIMS        (or `make bench-icm-live`)

First one evaluation of the same labels, cold: what the orders alone differ in. Then a search in each, and one
as the reference implementation works: a prompt a request, nothing kept, and pools evaluated again after a
fix. All searches decide by made-up answers, which no order changes (icm_model.py), so that all take the same
way and their costs can be compared: the server computes every prompt, and what it says is put aside. With
`--own-ways` what it says decides; then every search goes elsewhere, and some evaluate many times as much.

Each has a store of its own, and by a cache salt a part of the server's prefix cache of its own, so none
profits from another. Nobody else may ask the server meanwhile: it counts for all.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from backends.batching import ListBounds
from backends.errors import BackendError
from backends.messages import Request, Response
from backends.vllm_server import VLLMServer
from bench.icm_model import MadeUpModel
from bench.icm_reference import ReferenceSearch
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from flows.settings import Settings, load_settings
from tasks.ask import Ask
from tasks.generate import Generator
from tasks.icm.claims import LABEL_TEXTS, Draw, draw, load_claims
from tasks.icm.consistency import Consistency, consistency_keys
from tasks.icm.orders import OrderName, make_order
from tasks.icm.prompts import Prompter
from tasks.icm.search import Search
from tasks.icm.search_settings import SearchSettings

RESULT = Path(__file__).parent / "results" / "icm_live.json"
ORDERS: tuple[OrderName, ...] = ("reference", "tree", "tree-tail")
AS_THE_REFERENCE = "as-the-reference"
SEED = 27565976


@dataclass(frozen=True, kw_only=True, slots=True)
class SaltedAsk:
    """Asks with a salt, which parts the server's prefix cache and changes no answer."""

    generator: Generator
    salt: str
    answers: Callable[[Request], Response] | None = None
    """Whose answers are handed on in place of the server's."""

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        """Answer requests."""
        salted = [
            replace(one, sampling=replace(one.sampling, extra_body={"cache_salt": self.salt}))
            for one in requests
        ]
        responses = await self.generator(salted, purpose=purpose)
        return [self.answers(one) for one in requests] if self.answers else responses


def made_up(drawn: Draw) -> MadeUpModel:
    """Make what decides a search; it counts no tokens, so any tokenizer does."""
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))  # noqa: S106 - no password
    return MadeUpModel(claims=drawn.claims, tokenizer=tokenizer, caches=[])


async def evaluation(ask: Ask, prompter: Prompter, drawn: Draw) -> dict[str, Any]:
    """Ask about every claim with all others as context, labelled as in the file."""
    labels = {uid: claim.gold or 0 for uid, claim in enumerate(drawn.claims)}
    await ask(list(prompter.leave_one_out(labels).values()), purpose="evaluate")
    return {}


def consistency_of(drawn: Draw) -> Consistency:
    """Return what makes claims contradict each other, in all searches: without answers, gold labels."""
    has_answers = all(claim.answer is not None for claim in drawn.claims)
    return Consistency.ANSWER if has_answers else Consistency.REFERENCE


async def search(ask: Ask, prompter: Prompter, drawn: Draw, *, iterations: int) -> dict[str, Any]:
    """Search once."""
    settings = SearchSettings(iterations=iterations)
    keys = consistency_keys(drawn.claims, consistency_of(drawn))
    async with aclosing(Search(drawn, keys, prompter, settings, ask).steps()) as running:
        steps = [step async for step in running]
    decisions = Counter(step.outcome for step in steps)
    return {
        "decisions": decisions,
        "changes": decisions["accepted"] + decisions["rejected"],
        "labels": written(steps[-1].state.assigned),
    }


async def search_as_the_reference(
    ask: Ask, prompter: Prompter, drawn: Draw, *, iterations: int
) -> dict[str, Any]:
    """Search once with the reference's loop, in a thread, since it waits for every answer."""
    loop = asyncio.get_running_loop()

    def answered(requests: Sequence[Request]) -> Sequence[Response]:
        asked = ask(requests, purpose=AS_THE_REFERENCE)
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    searching = ReferenceSearch(
        draw=drawn,
        keys=consistency_keys(drawn.claims, consistency_of(drawn)),
        prompter=prompter,
        settings=SearchSettings(iterations=iterations),
        ask=answered,
    )
    labels = await asyncio.to_thread(searching.run)
    return {
        "decisions": {
            "accepted": searching.accepted,
            "rejected": searching.changes - searching.accepted,
            "unchanged": iterations - searching.changes,
        },
        "changes": searching.changes,
        "evaluations": searching.evaluations,
        "dummy_requests_not_sent": searching.dummies,
        "labels": written(labels),
    }


def written(labels: Mapping[int, int]) -> str:
    """Write labels as a text, to see whether two ways found the same."""
    return "".join(str(labels.get(uid, "-")) for uid in range(max(labels) + 1))


Work = Callable[[SaltedAsk, Prompter, Draw], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What some work is done with."""

    server: VLLMServer
    model: str
    drawn: Draw
    mode: CacheMode = CacheMode.USE
    answers: Callable[[Request], Response] | None = None
    """Whose answers decide in place of the server's."""


async def cost_of(work: Work, order: OrderName, setup: Setup) -> dict[str, Any]:
    """Do some work in one order, with a store and a salt of its own, and say what the server counted."""
    server = setup.server
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(Path(folder))
        generator = Generator(backend=server, lookup=Lookup(store, setup.mode))
        prompter = await prompter_of(generator, setup.drawn, order, setup.model)
        ask = SaltedAsk(generator=generator, salt=f"{order}-{time.time_ns()}", answers=setup.answers)
        before, started = await server.counters(), time.perf_counter()
        found = await work(ask, prompter, setup.drawn)
        seconds, after = time.perf_counter() - started, await server.counters()
        store.close()
    tally = generator.tally
    counted = after.since(before) if after else {}
    costs = {"seconds": seconds, "prompts": tally.sent, "requests": tally.requests, **found, **counted}
    return {**costs, **shares(costs)}


def shares(costs: Mapping[str, Any]) -> dict[str, float]:
    """Return the tokens computed for one prompt, and for one evaluated change."""
    computed = costs["prompt_tokens_computed"]
    found = {"computed_for_a_prompt": computed / costs["prompts"]}
    if costs.get("changes"):
        found["computed_for_a_change"] = computed / costs["changes"]
    return found


def ratios(costs: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, float]:
    """Say how many times as much as the tree's another search took."""
    names = (
        "prompts", "requests", "prompt_tokens", "prompt_tokens_computed", "computed_for_a_prompt",
        "computed_for_a_change", "seconds",
    )  # fmt: skip
    return {name: costs[name] / tree[name] for name in names if name in costs and name in tree}


async def prompter_of(generator: Generator, drawn: Draw, order: OrderName, model: str) -> Prompter:
    """Make what writes the prompts of one order."""
    return Prompter(
        claims=drawn.claims,
        model=model,
        labels=await generator.find_labels(model, LABEL_TEXTS),
        trailing_space=False,
        order=make_order(order, len(drawn.claims), SEED),
    )


async def compare(
    settings: Settings, pool: Draw, drawn: Draw, iterations: int, *, own_ways: bool
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Evaluate one draw and search another in every way: (model, and {way: cost} twice)."""
    evaluated: dict[str, Any] = {}
    searched: dict[str, Any] = {}
    answers = None if own_ways else made_up(drawn)
    async with VLLMServer(settings.base_url, api_key=settings.api_key) as server:
        model = settings.model or next(iter((await server.capabilities()).roots))
        for order in ORDERS[:2]:  # cold, "tree-tail" is the tree
            setup = Setup(server=server, model=model, drawn=pool)
            evaluated[order] = await cost_of(evaluation, order, setup)
            print(line(order, evaluated[order]), flush=True)
        for order in ORDERS:
            setup = Setup(server=server, model=model, drawn=drawn, answers=answers)
            searched[order] = await cost_of(partial(search, iterations=iterations), order, setup)
            print(line(order, searched[order]), flush=True)
    singly = ListBounds(max_prompts=1)
    async with VLLMServer(settings.base_url, api_key=settings.api_key, bounds=singly) as server:
        setup = Setup(server=server, model=model, drawn=drawn, mode=CacheMode.OFF, answers=answers)
        work = partial(search_as_the_reference, iterations=iterations)
        searched[AS_THE_REFERENCE] = await cost_of(work, "reference", setup)
        print(line(AS_THE_REFERENCE, searched[AS_THE_REFERENCE]), flush=True)
    return model, evaluated, searched


def line(way: str, costs: dict[str, Any]) -> str:
    """Say what one way cost."""
    return (
        f"{way:16} {costs['prompts']:8,} {costs['requests']:9,} {costs['prompt_tokens']:12,} "
        f"{costs['prompt_tokens_computed']:12,} {costs['computed_for_a_prompt']:8.0f} "
        f"{costs.get('computed_for_a_change', 0):8.0f} {costs['seconds']:9.1f}  "
        f"{dict(costs['decisions']) if 'decisions' in costs else 'one evaluation, cold'}"
    )


def main() -> None:
    """Compare, print, and write bench/results/icm_live.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", type=Path)
    parser.add_argument("--pool", type=int, default=64, help="claims of the one evaluation")
    parser.add_argument("--size", type=int, default=32, help="claims of the search")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--own-ways", action="store_true", help="let the model's answers decide")
    options = parser.parse_args()
    claims = load_claims(options.claims)
    pool, drawn = (
        draw(claims, size=size, num_seeds=8, group_size=4, seed=SEED) for size in (options.pool, options.size)
    )
    print(
        f"{'way':16} {'prompts':>8} {'requests':>9} {'tokens sent':>12} {'computed':>12} {'a prompt':>8} "
        f"{'a change':>8} {'seconds':>9}"
    )
    try:
        work = compare(load_settings(), pool, drawn, options.iterations, own_ways=options.own_ways)
        model, evaluated, searched = asyncio.run(work)
    except BackendError as error:
        sys.exit(f"{error}; start a server with `make up`, or name one in VLLM_BASE_URL")
    computed = {order: costs["prompt_tokens_computed"] for order, costs in evaluated.items()}
    ratio = computed["reference"] / computed["tree"]
    print(f"tokens computed in one evaluation of {options.pool} claims, reference by tree: {ratio:.2f}")
    by_tree = {way: ratios(searched[way], searched["tree"]) for way in (AS_THE_REFERENCE, "reference")}
    for way, found in by_tree.items():
        print(f"a search, {way} by tree: {', '.join(f'{name} {one:.2f}' for name, one in found.items())}")
    result = {
        "about": "evaluations and searches in each order of contexts, by a real vLLM server's own counters",
        "command": "make bench-icm-live",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_after": os.getloadavg()[0],
        "model": model,
        "size": options.size,
        "iterations": options.iterations,
        "pool": options.pool,
        "consistency": consistency_of(drawn),
        "decided_by": "the model's answers" if options.own_ways else "made-up answers, alike in every way",
        "computed_reference_by_tree": ratio,
        "searches_by_tree": by_tree,
        "evaluations": evaluated,
        "same_labels": len({costs["labels"] for costs in searched.values()}) == 1,
        "searches": searched,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
