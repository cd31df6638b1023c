"""Results of whole ICM runs without a flow: what the tests of files and of the report are made from."""

from dataclasses import replace
from typing import Any

from backends.scripted import Scripted
from flows.parameters import ICMParameters
from flows.results import ICMResult
from tasks.generate import Generator
from tasks.icm.claims import Claim, draw
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
            **parameters,
        }
    )
    drawn = draw(
        claims or made_claims(6), size=chosen.num_claims, num_seeds=chosen.num_seeds,
        group_size=chosen.claims_per_group, seed=chosen.seed,
    )  # fmt: skip
    generator: Generator = stored(store or MemoryStore(), Scripted(answering(log_odds, mass=mass)))
    prompter = Prompter(claims=drawn.claims, model="made-up", labels=LABELS)
    keys = consistency_keys(drawn.claims, chosen.consistency)
    steps = [
        step async for step in Search(drawn, keys, prompter, chosen.search_settings(), generator).steps()
    ]
    ways = contexts(drawn.claims, steps[-1].state.assigned, chosen.seed) if test else {}
    scores = [
        await score_on_test(prompter, shown, made_claims(8)[24:], generator, method=way)
        for way, shown in ways.items()
    ]
    return ICMResult(
        parameters=chosen, model="made-up", exact_scores=True, claims=drawn.claims, steps=tuple(steps),
        test_scores=tuple(scores), tally=generator.tally, seconds=seconds,
    )  # fmt: skip


def without_gold(claims: list[Claim]) -> list[Claim]:
    return [replace(claim, gold=None) for claim in claims]
