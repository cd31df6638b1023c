"""A backend that answers from a function: for tests, examples and dry runs; it can be told to fail."""

from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Self

from backends.base import Arrival, Hooks, Outcome
from backends.messages import Label, Request, Response, prompt_text

Script = Callable[[Request], Outcome]
"""What to answer; returning a BackendError makes that request fail."""


def echo(request: Request) -> Outcome:
    """Answer with what was asked: the script of `scripted:NAME`."""
    return Response(text=prompt_text(request), finish_reason="stop")


class Scripted:
    """Answers by calling a function, in lists of `max_prompts`, and remembers what it was asked."""

    def __init__(self, script: Script, *, max_prompts: int = 32) -> None:
        self.hooks = Hooks()
        self._script = script
        self._max_prompts = max_prompts
        self.asked: list[Request] = []
        """Every request that reached this backend, in order."""

    async def __aenter__(self) -> Self:
        """Open nothing."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close nothing."""

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the script's answers, list by list."""
        for start in range(0, len(requests), self._max_prompts):
            listed = requests[start : start + self._max_prompts]
            self.asked.extend(listed)
            outcomes = tuple((start + offset, self._script(request)) for offset, request in enumerate(listed))
            yield Arrival(outcomes=outcomes)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:  # noqa: ARG002
        """Return the labels with made-up token ids, so that they count as exact."""
        return tuple(Label(text=text, token_ids=(number,)) for number, text in enumerate(texts))
