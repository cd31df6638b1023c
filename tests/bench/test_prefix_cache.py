"""The bench's model of a server's cache, against one that is written down naively."""

import random

import numpy as np
import pytest

from bench.prefix_cache import BLOCK_TOKENS, PrefixCache, Tokens


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
