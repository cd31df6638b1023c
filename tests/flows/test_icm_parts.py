"""What the parts of a run ask for, without a flow around them."""

from types import SimpleNamespace
from typing import cast

from flows.icm_parts import Batch, Parts
from flows.icm_progress import Progress
from flows.ledger import Ledger
from flows.run import Run
from tasks.icm.evaluation import contexts
from tasks.icm.prompts import Prompter
from tasks.icm.search_settings import SearchSettings
from tests.tasks.icm.made_up import LABELS, asking, made_claims, made_draw, read_prompt


async def untold() -> int | None:
    return None


async def test_random_labels_of_the_tests_are_drawn_with_the_seed_of_the_run() -> None:
    for seed in (0, 7):
        drawn, ask = made_draw(seed=seed), asking()
        batch = Batch(
            number=0,
            draw=drawn,
            keys=None,
            prompter=Prompter(claims=drawn.claims, model="made-up", labels=LABELS),
            settings=SearchSettings(seed=seed),
        )
        run = cast("Run", SimpleNamespace(ask=lambda ask=ask: ask))
        progress = Progress(batches=[drawn.claims], iterations=1)
        parts = Parts(run=run, progress=progress, ledger=Ledger(None, untold))
        found = dict.fromkeys(range(24), 1)
        await parts.test(batch, found, None, made_claims(1)[:1])
        wanted = contexts(drawn.claims, found, seed)["random labels"]
        shown, _ = read_prompt(ask.prompts[1])
        assert shown == [(drawn.claims[uid].choice, label) for uid, label in wanted.items()]
