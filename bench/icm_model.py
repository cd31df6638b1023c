"""A made-up model behind a made-up server: answers ICM's prompts at once, and counts what they would cost.

The log-odds of a claim depend on which claims are shown with which labels, and not on their order, so that
searches with different orders take the same way and their costs can be compared. Nothing that comes out says
anything about labels.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from backends.messages import Request, Response
from bench.prefix_cache import PrefixCache, Tokens
from tasks.icm.claims import LABEL_TEXTS, Claim
from tasks.icm.prompts import claim_prompt

BETWEEN = "\n\n"

STRENGTH = 0.6
"""Log-odds of the gold label in doubt, and how much more where all that is shown is right."""
GAIN = 2.4
NOISE = 1.6
"""Standard deviation of what the shown labels add by chance, and of what a claim is by itself."""


@dataclass(kw_only=True)
class MadeUpModel:
    """Answers requests about the claims of one run; a Script for a Scripted backend.

    Args:
        claims: Of the run; each has a gold label.
        tokenizer: Counts tokens.
        caches: The server's, as large as is to be tried; each sees every prompt.
        seed: Of the made-up opinions.
    """

    claims: Sequence[Claim]
    tokenizer: Tokenizer
    caches: Sequence[PrefixCache]
    seed: int = 0
    prompts: int = 0
    seconds: float = 0.0
    """Spent in here, which is the server's time and not the client's."""
    _pieces: dict[str, "_Piece"] = field(default_factory=dict[str, "_Piece"])

    def __post_init__(self) -> None:
        """Make up opinions, and read every text that a prompt can be made of."""
        number = len(self.claims)
        rng = np.random.default_rng(self.seed)
        self._truth = np.array([1.0 if claim.gold else -1.0 for claim in self.claims])
        self._opinions = rng.normal(size=(number, number))
        self._leanings = rng.normal(size=number) * NOISE
        for uid, claim in enumerate(self.claims):
            question = claim_prompt(claim)
            for label, text in enumerate(LABEL_TEXTS):
                self._add(question + text, uid, 1.0 if label else -1.0)
            self._add(question, uid, 0.0)
            self._add(question.rstrip(" "), uid, 0.0)

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        started = time.perf_counter()
        pieces = [self._pieces[text] for text in (request.prompt or "").split(BETWEEN)]
        tokens = np.concatenate([pieces[0].first, *(piece.later for piece in pieces[1:])])
        for cache in self.caches:
            cache.ask(tokens)
        log_odds = self._log_odds(pieces)
        self.prompts += 1
        self.seconds += time.perf_counter() - started
        true = 1 / (1 + math.exp(-log_odds))
        logprobs = {"False": math.log(0.9 * (1 - true)), "True": math.log(0.9 * true)}
        return Response(text=" True", finish_reason="length", label_logprobs=logprobs)

    def tokens(self, prompt: str) -> Tokens:
        """Return the tokens of a prompt, put together from those of its pieces."""
        pieces = [self._pieces[text] for text in prompt.split(BETWEEN)]
        return np.concatenate([pieces[0].first, *(piece.later for piece in pieces[1:])])

    def _log_odds(self, pieces: "Sequence[_Piece]") -> float:
        target = pieces[-1].uid
        if len(pieces) == 1:
            return float(STRENGTH * self._truth[target] + self._leanings[target])
        shown = np.array([piece.uid for piece in pieces[:-1]])
        signs = np.array([piece.sign for piece in pieces[:-1]])
        right = float(np.mean(self._truth[shown] * signs))
        chance = float(self._opinions[target, shown] @ signs) / math.sqrt(len(shown)) * NOISE
        return float((STRENGTH + GAIN * right) * self._truth[target] + chance + self._leanings[target])

    def _add(self, text: str, uid: int, sign: float) -> None:
        self._pieces[text] = _Piece(
            uid=uid, sign=sign, first=self._encoded(text), later=self._encoded(BETWEEN + text)
        )

    def _encoded(self, text: str) -> Tokens:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint64)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """One demonstration, or the claim that is asked about."""

    uid: int
    sign: float
    """Of its label; 0 where it is asked about."""
    first: Tokens
    later: Tokens
    """After another piece, with the blank line between them."""
