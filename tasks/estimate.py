"""What a run would cost, found by running it with made-up answers to what is not stored."""

import hashlib
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from backends.base import Arrival, Backend
from backends.messages import Label, Request, Response, Usage, prompt_text

CHARACTERS_PER_TOKEN = 4.0
"""Of English with common tokenizers, where no tokenizer is at hand."""

SAMPLE_PROMPTS = 50
"""Prompts that are counted exactly where a tokenizer is at hand; the rest is taken to be like them."""


@dataclass(kw_only=True)
class Estimator:
    """A backend that sends nothing: it makes answers up and counts what real ones would take.

    Label scores are made up from a hash of the prompt, so an algorithm that looks at answers goes some way
    of its own; generations are empty, and counted with all the tokens that they might have.

    Args:
        asked: Finds labels, which sends no prompt.
        count_tokens: The model's tokenizer, where it is at hand.
    """

    asked: Backend
    count_tokens: Callable[[str], int] | None = None
    usage: Usage = field(default_factory=Usage)
    computed_tokens: int = 0
    """Prompt tokens left to compute if a server keeps the prefixes of each list that is asked together."""
    _sampled_characters: int = 0
    _sampled_tokens: int = 0
    _samples: int = 0

    async def __aenter__(self) -> Self:
        """Open nothing."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close nothing."""

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield made-up answers at once."""
        usage = Usage()
        before = ""
        for text, request in sorted(((prompt_text(one), one) for one in requests), key=lambda pair: pair[0]):
            tokens = self._tokens(text)
            usage += Usage(input_tokens=tokens, output_tokens=request.sampling.max_tokens)
            new = 1 - common_prefix(before, text) / len(text) if text else 1.0
            self.computed_tokens += math.ceil(tokens * new)
            before = text
        self.usage += usage
        outcomes = tuple((place, made_up(request)) for place, request in enumerate(requests))
        yield Arrival(outcomes=outcomes, usage=usage, requests_sent=0)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Ask the real backend."""
        return await self.asked.find_labels(model, texts)

    def _tokens(self, text: str) -> int:
        if self.count_tokens and self._samples < SAMPLE_PROMPTS:
            self._samples += 1
            self._sampled_characters += len(text)
            self._sampled_tokens += (exactly := self.count_tokens(text))
            return exactly
        if self._sampled_tokens:
            return math.ceil(len(text) * self._sampled_tokens / self._sampled_characters)
        return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def made_up(request: Request) -> Response:
    """Answer with what depends on the prompt alone and says nothing."""
    dice = int.from_bytes(hashlib.sha256(prompt_text(request).encode()).digest()[:8], "big") / 2**64
    share = 0.1 + 0.8 * dice
    rest = (1 - share) / max(1, len(request.labels) - 1)
    logprobs = {label.text: math.log(rest if place else share) for place, label in enumerate(request.labels)}
    return Response(text="", finish_reason="length", label_logprobs=logprobs)


def common_prefix(left: str, right: str) -> int:
    """Return how many characters two texts begin with alike; by halving, since texts are long."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
