"""The bench of full searches, on a small one: every way finds the same, and costs what it should."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from backends.scripted import Scripted
from bench.icm import AHEAD, SEQUENTIAL, targets
from bench.icm_model import MadeUpModel
from bench.icm_run import LABELS, as_the_reference, not_as_in_full, searched
from bench.prefix_cache import PrefixCache
from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency
from tasks.icm.prompts import Prompter, claim_prompt
from tasks.icm.search import Step
from tasks.icm.search_settings import SearchSettings
from tests.tasks.icm import made_up as searches
from tests.tasks.icm.made_up import PlainAsk, made_draw

SMALL_CACHE = 1024
SETTINGS = SearchSettings(iterations=25, alpha=20.0)


def words(drawn: Draw) -> Tokenizer:
    """Make a tokenizer that knows every word of the claims by a number of its own."""
    text = " ".join(claim_prompt(claim) for claim in drawn.claims) + " True False"
    known = dict.fromkeys(re.findall(r"\w+|[^\w\s]+", text))
    vocabulary = {"[UNK]": 0, **{word: number for number, word in enumerate(known, start=1)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def model_of(drawn: Draw, capacities: Sequence[int] = (0, SMALL_CACHE)) -> MadeUpModel:
    caches = [PrefixCache(capacity_tokens=capacity) for capacity in capacities]
    return MadeUpModel(claims=drawn.claims, tokenizer=words(drawn), caches=caches)


def test_tokens_of_a_prompt_are_those_of_its_pieces() -> None:
    drawn = made_draw(groups=10)
    model = model_of(drawn)
    for request in (
        Prompter(claims=drawn.claims, model="m", labels=LABELS).leave_one_out({3: 1, 5: 0, 9: 1}).values()
    ):
        whole = words(drawn).encode(request.prompt or "", add_special_tokens=False).ids
        assert np.array_equal(model.tokens(request.prompt or ""), np.array(whole))


async def test_all_ways_find_the_same_labels_and_the_tree_computes_least() -> None:
    drawn = made_draw(groups=10)
    models_of = {
        way: model_of(drawn) for way in ("as-the-reference", "reference", "tree", "tree-tail", "ahead")
    }
    found = {"as-the-reference": as_the_reference(drawn, models_of["as-the-reference"], SETTINGS)}
    for way in ("reference", "tree", "tree-tail"):
        found[way] = await searched(drawn, models_of[way], way, SETTINGS)
    ahead = SearchSettings(iterations=25, alpha=20.0, lookahead=3)
    found["ahead"] = await searched(drawn, models_of["ahead"], "tree", ahead)

    assert len({costs["labels"] for costs in found.values()}) == 1
    computed = {way: model.caches[1].computed for way, model in models_of.items()}
    assert computed["tree"] < computed["reference"] < computed["as-the-reference"]
    assert models_of["reference"].prompts == models_of["tree"].prompts < models_of["ahead"].prompts
    assert int(str(found["ahead"]["rounds"])) < int(str(found["tree"]["rounds"]))


def test_targets_are_ratios_of_what_was_counted() -> None:
    def costs(computed: int, rounds: int, requests: int) -> dict[str, object]:
        tokens = {"0": 100 * computed, "65536": computed, "262144": computed // 2}
        return {"tokens_computed": tokens, "rounds": rounds, "requests": requests, "host_seconds": 1.0,
                "peak_megabytes": 100.0}  # fmt: skip

    found = {
        "as-the-reference": costs(1600, 0, 1000),
        "tree": costs(100, 10, 40),
        "tree-tail": costs(90, 10, 40),
        AHEAD: costs(300, 6, 90),
        SEQUENTIAL: {
            **costs(20, 15, 30),
            "decisions": {"accepted": 40, "rejected": 60, "unchanged": 7},
            "not_as_in_full": 2,
        },
    }
    reached = targets(found)
    assert [one.is_met for one in reached] == [True, True, False, False, True, True, False, True, True]
    assert [one.found for one in reached[:7]] == pytest.approx([1 / 16, 1 / 1600, 0.9, 0.6, 0.04, 0.2, 0.02])


async def test_decisions_are_counted_that_a_full_evaluation_would_not_have_taken() -> None:
    drawn = made_draw(groups=10)
    model = model_of(drawn)
    prompter = Prompter(claims=drawn.claims, model="m", labels=LABELS)
    steps = await steps_of(drawn, Consistency.REFERENCE, model)
    settings = replace(SETTINGS, evaluation="sequential")
    asked = model.prompts
    assert await not_as_in_full(drawn, model, prompter, settings, steps) == 0
    assert model.prompts == asked  # what is checked costs nothing
    rejected = next(number for number, step in enumerate(steps) if step.outcome == "rejected")
    wrong = replace(steps[rejected], outcome="accepted")
    steps = [*steps[:rejected], wrong, *steps[rejected + 1 :]]
    assert await not_as_in_full(drawn, model, prompter, settings, steps) == 1
    assert await not_as_in_full(drawn, model, prompter, SETTINGS, steps) == 0  # nothing to compare


async def steps_of(drawn: Draw, consistency: Consistency, model: MadeUpModel) -> list[Step]:
    return await searches.searched(drawn, consistency, PlainAsk(Scripted(model)), iterations=25, alpha=20.0)
