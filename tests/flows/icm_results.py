"""Results of whole ICM runs without a flow: what the tests of files and of the report are made from."""

from dataclasses import replace
from typing import Any

from backends.scripted import Scripted
from flows.parameters import ICMParameters
from flows.results import ICMResult, SearchedBatch
from tasks.generate import Generator
from tasks.icm.bootstrapping import bootstrap
from tasks.icm.claims import Claim, batch_seed, draw_batches
from tasks.icm.consistency import consistency_keys
from tasks.icm.evaluation import contexts, score_on_test
from tasks.icm.prompts import Prompter
from tasks.icm.search import Search
from tests.tasks.icm.made_up import LABELS, LogOdds, MemoryStore, answering, doubtful, made_claims, stored


async def found(
    *,
    claims: list[Claim] | None = None,
    log_odds: LogOdds = doubtful,
    mass: float = 0.9,
    store: MemoryStore | None = None,
    seconds: float = 12.0,
    test: bool = True,
    **parameters: Any,  # noqa: ANN401 - of the run
) -> ICMResult:
    """Run a search and an evaluation with a scripted model."""
    chosen = ICMParameters.model_validate(
        {
            "dataset": "file",
            "train_path": "x",
            "num_claims": 16,
            "iterations": 40,
            "alpha": 10.0,
            "bootstrap_rounds": 0,
            **parameters,
        }
    )
    drawn = draw_batches(
        claims or made_claims(6), size=chosen.num_claims, batches=chosen.batches, num_seeds=chosen.num_seeds,
        group_size=chosen.claims_per_group, seed=chosen.seed,
    )  # fmt: skip
    generator: Generator = stored(store or MemoryStore(), Scripted(answering(log_odds, mass=mass)))
    prompters = [Prompter(claims=one.claims, model="made-up", labels=LABELS) for one in drawn]
    batches: list[SearchedBatch] = []
    for number, (one, prompter) in enumerate(zip(drawn, prompters, strict=True)):
        keys = consistency_keys(one.claims, chosen.consistency)
        settings = replace(chosen.search_settings(), seed=batch_seed(chosen.seed, number))
        steps = [step async for step in Search(one, keys, prompter, settings, generator).steps()]
        rounds = chosen.bootstrap_rounds
        other = await bootstrap(one, keys, prompter, generator, rounds=rounds) if rounds else None
        batches.append(SearchedBatch(claims=one.claims, steps=tuple(steps), bootstrapped=other))
    first = batches[0]
    bootstrapped = first.bootstrapped.labels if first.bootstrapped else None
    found = first.final.assigned
    ways = contexts(first.claims, found, chosen.seed, bootstrapped=bootstrapped) if test else {}
    scores = [
        await score_on_test(prompters[0], shown, made_claims(8)[24:], generator, method=way)
        for way, shown in ways.items()
    ]
    return ICMResult(
        parameters=chosen, model="made-up", exact_scores=True, batches=tuple(batches),
        test_scores=tuple(scores), tally=generator.tally, seconds=seconds,
    )  # fmt: skip


def without_gold(claims: list[Claim]) -> list[Claim]:
    return [replace(claim, gold=None) for claim in claims]
