"""The bench's model of a server's cache, against one that is written down naively."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from bench.icm_model import MadeUpModel
from bench.icm_run import LABELS
from bench.prefix_cache import BLOCK_TOKENS, PrefixCache, Tokens
from tasks.icm.claims import Draw, draw
from tasks.icm.orders import OrderName, make_order
from tasks.icm.prompts import Prompter
from tests.bench.test_icm_bench import words
from tests.tasks.icm.made_up import truthfulqa_train

MODEL = os.environ.get("VLLM_TEST_MODEL")
"""A folder with a tokenizer, as `make test` names it; read here since tests do not see the environment."""


def tokens(*numbers: int) -> Tokens:
    return np.array(numbers, dtype=np.uint64)


def run_of(length: int, *, start: int = 0) -> Tokens:
    return np.arange(start, start + length, dtype=np.uint64)


class Naive:
    """A list of beginnings, the least recently used first."""

    def __init__(self, capacity_tokens: int) -> None:
        self.blocks = capacity_tokens // BLOCK_TOKENS
        self.kept: list[tuple[int, ...]] = []

    def ask(self, prompt: tuple[int, ...]) -> int:
        ends = range(BLOCK_TOKENS, len(prompt) + 1, BLOCK_TOKENS)
        beginnings = [prompt[:end] for end in ends]
        hits = 0
        for beginning in beginnings:
            if beginning not in self.kept or len(beginning) >= len(prompt):
                break
            hits += 1
        for beginning in reversed(beginnings):
            if beginning in self.kept:
                self.kept.remove(beginning)
            self.kept.append(beginning)
        self.kept = self.kept[max(0, len(self.kept) - self.blocks) :]
        return len(prompt) - hits * BLOCK_TOKENS


@pytest.mark.parametrize("capacity", [16, 64, 160, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_cache_computes_what_a_naive_one_does(capacity: int, seed: int) -> None:
    rng = random.Random(seed)
    stems = [tuple(rng.choices(range(9), k=rng.randrange(1, 90))) for _ in range(6)]
    cache, naive = PrefixCache(capacity_tokens=capacity), Naive(capacity)
    for _ in range(150):
        stem = rng.choice(stems)
        prompt = stem[: rng.randrange(1, len(stem) + 1)] + tuple(rng.choices(range(3), k=rng.randrange(20)))
        assert cache.ask(tokens(*prompt)) == naive.ask(prompt)
    assert cache.sent > cache.computed or capacity == 16


def test_whole_blocks_are_shared_and_the_last_token_is_always_computed() -> None:
    cache = PrefixCache(capacity_tokens=1024)
    assert cache.ask(run_of(40)) == 40
    assert cache.ask(run_of(40)) == 8  # two whole blocks
    assert cache.ask(run_of(32)) == 16  # not both: something has to be computed
    assert cache.ask(run_of(33)) == 1
    assert cache.ask(run_of(40, start=1)) == 40
    assert (cache.sent, cache.computed) == (185, 105)


def test_without_room_everything_is_computed() -> None:
    cache = PrefixCache(capacity_tokens=0)
    assert [cache.ask(run_of(40)), cache.ask(run_of(40))] == [40, 40]


# --- one evaluation of real claims ----------------------------------------------------------------------

TIMES_OF_FACT_17 = {64: 68_992 / 13_600, 128: 264_976 / 31_472, 256: 1_182_448 / 77_168}
"""{claims: how many times the tree's tokens the reference's order computes}, with another tokenizer."""


def drawn(size: int) -> Draw:
    """Draw real claims; skips the test where they are not there."""
    return draw(truthfulqa_train(), size=size, num_seeds=8, group_size=4, seed=0)


def computed(claims: Draw, tokenizer: Tokenizer, order: OrderName) -> int:
    """Count what one cold evaluation of all claims computes, in a cache that gives nothing up."""
    model = MadeUpModel(claims=claims.claims, tokenizer=tokenizer, caches=[])
    arranged = make_order(order, len(claims.claims), 0)
    prompter = Prompter(claims=claims.claims, model="m", labels=LABELS, order=arranged)
    cache = PrefixCache(capacity_tokens=2**22)
    labels = {uid: claim.gold or 0 for uid, claim in enumerate(claims.claims)}
    for request in prompter.leave_one_out(labels).values():
        cache.ask(model.tokens(request.prompt or ""))
    return cache.computed


def check_fact_17(size: int, found: tuple[int, int], expected: tuple[int, int]) -> None:
    assert found == expected
    assert found[0] / found[1] == pytest.approx(TIMES_OF_FACT_17[size], rel=0.05)


@pytest.mark.parametrize(
    ("size", "expected"), [(64, (66_816, 13_776)), (128, (253_408, 31_328)), (256, (1_121_168, 76_384))]
)
def test_fact_17_a_cold_evaluation_computes_so_much_in_words(size: int, expected: tuple[int, int]) -> None:
    """A word is a token, so that it needs no model; the fact's own numbers are of a GPT tokenizer."""
    claims = drawn(size)
    tokenizer = words(claims)
    found = computed(claims, tokenizer, "reference"), computed(claims, tokenizer, "tree")
    check_fact_17(size, found, expected)


@pytest.mark.skipif(
    not Path(MODEL or "").name.startswith("smollm2"),
    reason="needs the small model's tokenizer; `make test` names its folder",
)
@pytest.mark.parametrize(
    ("size", "expected"), [(64, (77_392, 15_968)), (128, (299_552, 36_992)), (256, (1_324_000, 89_792))]
)
def test_fact_17_a_cold_evaluation_computes_so_much_for_the_small_model(
    size: int, expected: tuple[int, int]
) -> None:
    claims = drawn(size)
    tokenizer = Tokenizer.from_file(str(Path(MODEL or "") / "tokenizer.json"))
    found = computed(claims, tokenizer, "reference"), computed(claims, tokenizer, "tree")
    check_fact_17(size, found, expected)
