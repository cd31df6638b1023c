"""A model of a server's prefix cache: blocks of 16 tokens, whole blocks only, least recently used goes first.

As in vLLM's automatic prefix caching: a block is known by all tokens up to its end, the last token of a
prompt is always computed, and of one prompt the deepest blocks are given up first.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint64]

BLOCK_TOKENS = 16
MAX_TOKENS = 65_536
_WEIGHTS = np.random.default_rng(0).integers(1, 2**64, size=MAX_TOKENS, dtype=np.uint64)


@dataclass(kw_only=True, slots=True)
class PrefixCache:
    """Counts the tokens that a server computes.

    Args:
        capacity_tokens: What it can keep; 0 keeps nothing.
    """

    capacity_tokens: int
    sent: int = 0
    computed: int = 0
    _blocks: OrderedDict[int, None] = field(default_factory=OrderedDict[int, None])

    def ask(self, tokens: Tokens) -> int:
        """Take a prompt, and say how many of its tokens were computed."""
        self.sent += len(tokens)
        if not self.capacity_tokens:
            self.computed += len(tokens)
            return len(tokens)
        blocks = block_ids(tokens)
        known = self._known(blocks, (len(tokens) - 1) // BLOCK_TOKENS)
        kept = self._blocks
        # The deepest first, so that the beginning is what was used last.
        for block in blocks[known:][::-1]:
            kept[block] = None
            kept.move_to_end(block)  # the end of a prompt that was asked before, computed once more
        deque(map(kept.move_to_end, blocks[:known][::-1]), maxlen=0)
        for _ in range(len(kept) - self.capacity_tokens // BLOCK_TOKENS):
            kept.popitem(last=False)
        fresh = len(tokens) - known * BLOCK_TOKENS
        self.computed += fresh
        return fresh

    def _known(self, blocks: Sequence[int], most: int) -> int:
        """Count the blocks at the beginning that are kept; a kept block's beginning is kept, too."""
        low, high = 0, min(most, len(blocks))
        while low < high:
            middle = (low + high + 1) // 2
            if blocks[middle - 1] in self._blocks:
                low = middle
            else:
                high = middle - 1
        return low


def block_ids(tokens: Tokens) -> list[int]:
    """Return a number for each whole block, which stands for all tokens up to its end."""
    sums = np.cumsum((tokens + np.uint64(1)) * _WEIGHTS[: len(tokens)], dtype=np.uint64)
    return sums[BLOCK_TOKENS - 1 :: BLOCK_TOKENS].tolist()
