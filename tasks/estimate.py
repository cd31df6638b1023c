"""What a run would cost, found by running it with made-up answers to what is not stored."""

import hashlib
import math
import statistics
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from backends.base import Arrival, Backend
from backends.errors import BackendError
from backends.messages import Label, Request, Response, Usage, prompt_text

CHARACTERS_PER_TOKEN = 4.0
"""Of English with common tokenizers, where no tokenizer is at hand."""

TOKENS_PER_MESSAGE = 4.0
"""About what a chat template adds to each, where no tokenizer is at hand."""

SAMPLE_PROMPTS = 50
"""Prompts that are counted exactly where a tokenizer is at hand; the rest is taken to be like them."""

BLOCK_TOKENS = 16
"""A server shares whole blocks of a prompt; vLLM's own size on GPUs."""


@dataclass(kw_only=True)
class Estimator:
    """A backend that sends nothing: it makes answers up and counts what real ones would take.

    Label scores are made up from a hash of the prompt, so an algorithm that looks at answers goes some way
    of its own; generations are empty, and counted with all the tokens that they might have.

    Args:
        asked: Finds labels, which sends no prompt.
        make_up: Makes answers up, where an algorithm needs some that it can read.
        count_tokens: The model's tokenizer, its chat template included, where it is at hand.
    """

    asked: Backend
    make_up: Callable[[Request], Response] = field(default_factory=lambda: made_up)
    count_tokens: Callable[[Request], Awaitable[int]] | None = None
    usage: Usage = field(default_factory=Usage)
    computed_tokens: int = 0
    """Prompt tokens left to compute if a server keeps the prefixes of each list that is asked together."""
    _samples: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(characters, tokens) of prompts that were counted."""

    async def __aenter__(self) -> Self:
        """Open nothing."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close nothing."""

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield made-up answers at once."""
        await self._sample(requests)
        usage = Usage()
        before = ""
        for text, request in sorted(((prompt_text(one), one) for one in requests), key=lambda pair: pair[0]):
            tokens = self._tokens(text, len(request.messages))
            usage += Usage(input_tokens=tokens, output_tokens=request.sampling.max_tokens)
            shared = tokens * common_prefix(before, text) / len(text) if text else 0.0
            self.computed_tokens += tokens - int(shared // BLOCK_TOKENS) * BLOCK_TOKENS
            before = text
        self.usage += usage
        outcomes = tuple((place, self.make_up(request)) for place, request in enumerate(requests))
        yield Arrival(outcomes=outcomes, usage=usage, requests_sent=0)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Ask the real backend."""
        return await self.asked.find_labels(model, texts)

    async def _sample(self, requests: Sequence[Request]) -> None:
        """Count some prompts exactly, evenly spread, until there are enough."""
        wanted = SAMPLE_PROMPTS - len(self._samples)
        step = max(1, len(requests) // max(1, wanted))
        for request in requests[::step][: max(0, wanted)]:
            if self.count_tokens is None:
                return
            try:
                self._samples.append((len(prompt_text(request)), await self.count_tokens(request)))
            except BackendError:  # no server, or none that counts: the rule of thumb has to do
                self.count_tokens = None

    def _tokens(self, text: str, messages: int) -> int:
        lengths = {characters for characters, _ in self._samples}
        if not lengths:
            return math.ceil(len(text) / CHARACTERS_PER_TOKEN + messages * TOKENS_PER_MESSAGE)
        if len(lengths) == 1:
            return round(statistics.fmean(tokens for _, tokens in self._samples) * _share(len(text), lengths))
        slope, template = statistics.linear_regression(*zip(*self._samples, strict=True))
        return max(1, round(template + slope * len(text)))


def _share(characters: int, lengths: set[int]) -> float:
    """Say how a text compares with samples that all have one length."""
    (length,) = lengths
    return characters / length if length else 1.0


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
