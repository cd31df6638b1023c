"""A vLLM engine in this process: no server, no HTTP, and what is asked from anywhere is batched together.

The engine is made when it is first asked (a minute or more), is shared by all runs of the process, and ends
with it. A server survives a run that is killed: so HTTP is the default, and this is asked for.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio.to_thread

from backends.base import Arrival, Hooks
from backends.canary import Canary
from backends.capabilities import Capabilities, at
from backends.direct.engine import DirectEngine, engine_of_process
from backends.direct.library import is_installed
from backends.errors import UnknownModelError
from backends.exchanges import exchange
from backends.labels import labels_from_spellings, labels_from_tokenizer, tokenizer_file
from backends.load import Load, load_from_metrics
from backends.messages import Label, Request, Response, SamplingParams, Usage
from backends.registry import NotInstalledError
from backends.retrying import Retrier
from backends.server_counters import ServerCounters, read_counters
from backends.shared_call import SharedCall
from backends.weights import ModelCard, pinned_weights

INSTALL = "uv pip install --override requirements/direct.txt -e '.[direct]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineModel:
    """What an engine is made of, and the name under which it is asked."""

    path: str
    """A folder on this machine, or a name on the Hugging Face hub."""
    served_name: str | None = None
    """None: the folder's, or the last part of the hub's name."""
    args: Mapping[str, object] | None = None
    """Arguments of vLLM's engine, by their Python names, as {"max_model_len": 32768}."""

    @property
    def name(self) -> str:
        """The name in requests, which is in their keys."""
        return self.served_name or Path(self.path).name

    def context(self) -> int | None:
        """Return how long its context will be, as far as that can be known before there is an engine."""
        given = (self.args or {}).get("max_model_len")
        if isinstance(given, int):
            return given
        try:
            config: object = json.loads((Path(self.path) / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        length = at(config, "max_position_embeddings") or at(config, "text_config", "max_position_embeddings")
        return length if isinstance(length, int) else None


class VLLMEngine:
    """Asks the engine of this process; each request on its own, since the engine makes the batches.

    Args:
        model: What the engine is made of.
        retrier: How failures are tried again; an engine that died is made anew for the next try.
        hooks: What the owner wants to hear of.
        engine: Another engine than that of the process; for tests.

    Raises:
        NotInstalledError: vLLM is not in this environment.
        ValueError: The process has an engine of another model.
    """

    def __init__(
        self,
        model: EngineModel,
        *,
        retrier: Retrier | None = None,
        hooks: Hooks | None = None,
        engine: DirectEngine | None = None,
    ) -> None:
        if engine is None and not is_installed():
            raise NotInstalledError(
                f"the direct engine needs vLLM in the environment of the flows; type `{INSTALL}`, or ask a "
                "server (engine='http')"
            )
        self.hooks = hooks or Hooks()
        self.engine = engine or engine_of_process(model.path, model.args)
        self.model = model
        self._retrier = retrier or Retrier()
        self._introduction = SharedCall(self.hooks.on_contact)
        self._met = 0
        """Which of the engines that were made here one after the other was introduced."""

    async def __aenter__(self) -> Self:
        """Open nothing yet: a run whose answers are all stored needs no engine."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close nothing: the engine serves the next run of this process, and ends with it."""

    @property
    def root(self) -> str:
        """Who answers, for messages and the journal."""
        return f"direct:{self.engine.model}"

    @property
    def is_away(self) -> bool:
        """Whether there is no engine now."""
        return not self.engine.is_there

    async def ready(self) -> None:
        """Make the engine unless it lives, and introduce it.

        Raises:
            BackendError: It cannot be made, or is refused.
        """
        await self.engine.ready()
        await self._introduced()

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive."""
        tasks = {asyncio.create_task(self._answer(index, one)) for index, one in enumerate(requests)}
        try:
            for next_one in asyncio.as_completed(tasks):
                yield await next_one
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def capabilities(self) -> Capabilities:
        """Say what is served; how long its context is, where there is no engine yet, by the model's files."""
        length = self.engine.max_model_len or await anyio.to_thread.run_sync(self.model.context)
        return Capabilities(
            version=self.engine.library.served_by,
            roots={self.model.name: self.engine.model},
            scores_token_ids=True,
            has_batch_chat=False,
            max_model_lens={} if length is None else {self.model.name: length},
        )

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Find the token ids of each label: in the model's own tokenizer file, else by asking the engine.

        Raises:
            BackendError: The engine cannot be made, or a label is no single token.
        """
        self._refuse_others(model)
        if file := await anyio.to_thread.run_sync(tokenizer_file, self.engine.model):
            return await anyio.to_thread.run_sync(labels_from_tokenizer, file, texts)
        return await labels_from_spellings(self.engine.spelling, texts)

    async def count_tokens(self, request: Request) -> int:
        """Count the tokens of a prompt, or of a conversation in the model's chat template; computes nothing.

        Raises:
            BackendError: The engine cannot be made.
        """
        self._refuse_others(request.model)
        return len(await self.engine.token_ids(request))

    async def count_text(self, model: str, text: str) -> int:
        """Count the tokens of a text as a prompt, with those that a tokenizer puts before one.

        Raises:
            BackendError: The engine cannot be made.
        """
        request = Request(model=model, prompt=text, sampling=SamplingParams(max_tokens=1))
        return await self.count_tokens(request)

    # --- whose weights, and what was counted ------------------------------------------------------------

    async def weights(self, model: str, *, max_attempts: int = 1) -> str | None:
        """Say what pins the weights, as for a server on this machine that serves the same folder."""
        del max_attempts
        cards = {model: ModelCard(name=model, root=self.engine.model)}
        pin = partial(pinned_weights, model, cards, on_this_machine=True)
        return await anyio.to_thread.run_sync(pin) if model == self.model.name else None

    async def canary(self, model: str) -> Canary | None:
        """Ask the canary's prompts; see `ask_canary`.

        Raises:
            BackendError: The engine gives no answer.
        """
        return await self.engine.canary(model)

    async def counters(self) -> ServerCounters | None:
        """Return what the engine has counted since it was made; None before."""
        return read_counters(self.engine.library.metrics()) if self.engine.is_there else None

    async def load(self) -> Load | None:
        """Return how busy the engine is; None where there is none."""
        return load_from_metrics(self.engine.library.metrics()) if self.engine.is_there else None

    # --- one request ------------------------------------------------------------------------------------

    async def _answer(self, index: int, request: Request) -> Arrival:
        async def send(listed: Sequence[Request]) -> tuple[list[Response], Usage]:
            self._refuse_others(request.model)
            await self._introduced()
            async with exchange(self.hooks, self.root, "generate", 1) as told:
                response, told.usage = await self.engine.complete(listed[0])
            return [response], told.usage

        return await self._retrier.answer([(index, request)], send)

    async def _introduced(self) -> None:
        """Have an engine, and have it looked at first if it is another than the last one."""
        await self.engine.revive()
        if self._met != self.engine.times_made:
            self._met = self.engine.times_made
            self._introduction = SharedCall(self.hooks.on_contact)
        await self._introduction()

    def _refuse_others(self, model: str) -> None:
        if model != self.model.name:
            raise UnknownModelError(f"the direct engine has {self.model.name!r}, and {model!r} was asked")
