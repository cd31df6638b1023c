"""`transformers:DIR_OR_HUB_ID`: a model in this process without vLLM, for debugging and for small machines.

One list at a time, in a thread. It answers what a vLLM server would up to rounding, but for JSON schemas.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio.to_thread

from backends.base import Arrival, Hooks, Indexed, Outcome
from backends.canary import Canary, ask_canary
from backends.direct.wire import (
    Output,
    canary_payload,
    chat_payload,
    completion_payload,
    sampling_fields,
)
from backends.errors import BackendError, BadRequestError, ModelNotLoadedError, ServerError, UnknownModelError
from backends.exchanges import exchange
from backends.labels import labels_from_spellings, labels_from_tokenizer, tokenizer_file
from backends.local.model import LocalModel, load, missing
from backends.messages import Label, Request, SamplingParams, Usage
from backends.registry import NotInstalledError
from backends.server_counters import ServerCounters
from backends.shared_call import SharedCall
from backends.weights import ModelCard, pinned_weights
from backends.wire import parse_chat, parse_completion

T = TypeVar("T")

INSTALL = ".venv/bin/pip install -r requirements/transformers.txt"
MAX_ROWS = 8
"""Prompts that are answered together."""
KNOWN_FIELDS = frozenset({"top_k", "chat_template_kwargs"})
"""Of an `extra_body`."""
SERVED_BY = "transformers"


class TransformersLocal:
    """Loads the model that the first request names, and answers lists of requests one after the other.

    Args:
        hooks: What the owner wants to hear of.
        load_model: Loads a model from a folder or a hub's name; another one in tests.

    Raises:
        NotInstalledError: torch or transformers is not there.
    """

    def __init__(
        self, *, hooks: Hooks | None = None, load_model: Callable[[str], LocalModel] | None = None
    ) -> None:
        if load_model is None and (package := missing()):
            raise NotInstalledError(
                f"transformers needs the package {package!r}, which is not installed; type `{INSTALL}`"
            )
        self.hooks = hooks or Hooks()
        self._load = load_model or load
        self._name: str | None = None
        self._loading = SharedCall(self._loaded)
        self._introduction = SharedCall(self._introduce)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close nothing: the model goes with this object."""

    @property
    def root(self) -> str:
        """Who answers, for messages and the journal."""
        return f"transformers:{self._name or ''}"

    async def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, a few together."""
        indexed = list(enumerate(requests))
        for start in range(0, len(indexed), MAX_ROWS):
            yield await self._answer_list(indexed[start : start + MAX_ROWS])

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Find the token ids of each label, in the model's own tokenizer.

        Raises:
            BackendError: The model cannot be loaded, or a label is no single token.
        """
        if file := await anyio.to_thread.run_sync(tokenizer_file, model):
            return await anyio.to_thread.run_sync(labels_from_tokenizer, file, texts)
        local = await self._model(model)

        async def spelling(text: str) -> list[int]:
            return local.spelling(text)

        return await labels_from_spellings(spelling, texts)

    # --- whose weights ----------------------------------------------------------------------------------

    async def weights(self, model: str, *, max_attempts: int = 1) -> str | None:
        """Say what pins the weights; not the same as a server's, since other arithmetic answers."""
        del max_attempts
        return await anyio.to_thread.run_sync(_pinned, model)

    async def canary(self, model: str) -> Canary | None:
        """Ask the canary's prompts; see `ask_canary`.

        Raises:
            BackendError: The model cannot be loaded.
        """
        return await ask_canary(model, partial(self._post_completion, model), asyncio.sleep)

    async def counters(self) -> ServerCounters | None:
        """Return None: nothing is counted."""
        return None

    # --- lists ------------------------------------------------------------------------------------------

    async def _answer_list(self, indexed: Sequence[Indexed]) -> Arrival:
        outcomes: list[tuple[int, Outcome]] = []
        ready: list[tuple[int, Request, list[int], dict[str, object]]] = []
        try:
            local = await self._model(indexed[0][1].model)
            await self._introduction()
        except BackendError as error:
            return Arrival(outcomes=tuple((index, error) for index, _ in indexed), requests_sent=0)
        for index, request in indexed:
            try:
                self._refuse_what_it_cannot(request)
                token_ids = local.token_ids(request)
                fields = sampling_fields(
                    request, prompt_tokens=len(token_ids), max_model_len=local.max_model_len
                )
                ready.append((index, request, token_ids, fields))
            except BackendError as error:
                outcomes.append((index, error))
        if not ready:
            return Arrival(outcomes=tuple(outcomes), requests_sent=0)
        total = Usage()
        try:
            async with exchange(self.hooks, self.root, "generate", len(ready)) as told:
                work = partial(local.complete, [one[2] for one in ready], [one[3] for one in ready])
                for (index, request, token_ids, _), output in zip(ready, await self._run(work), strict=True):
                    outcome, usage = _read(request, len(token_ids), output)
                    outcomes.append((index, outcome))
                    total += usage
                told.usage = total
        except BackendError as error:
            outcomes.extend((index, error) for index, *_ in ready)
        return Arrival(outcomes=tuple(outcomes), usage=total)

    async def _run(self, work: Callable[[Callable[[], bool]], T]) -> T:
        """Run in a thread, one list at a time; whoever is cancelled here is waited for until the next token.

        Raises:
            ServerError: torch failed, most likely for want of memory.
        """
        cancelled = threading.Event()
        async with self._turn:
            running = asyncio.ensure_future(asyncio.to_thread(work, cancelled.is_set))
            try:
                return await asyncio.shield(running)
            except RuntimeError as error:
                raise ServerError(f"the model failed: {error}") from error
            except asyncio.CancelledError:
                cancelled.set()
                await asyncio.wait([running])
                raise

    async def _post_completion(self, model: str, body: dict[str, object]) -> object:
        local = await self._model(model)
        prompts, top = cast("list[str]", body["prompt"]), cast("int", body["logprobs"])
        sampling = SamplingParams(max_tokens=1)
        requests = [Request(model=model, prompt=one, sampling=sampling, logprobs=top) for one in prompts]
        token_ids = [local.token_ids(one) for one in requests]
        fields = [
            sampling_fields(request, prompt_tokens=len(ids), max_model_len=local.max_model_len)
            for request, ids in zip(requests, token_ids, strict=True)
        ]
        return canary_payload(await self._run(partial(local.complete, token_ids, fields)))

    # --- the model --------------------------------------------------------------------------------------

    async def _model(self, name: str) -> LocalModel:
        if self._name is None:
            self._name = name
        if name != self._name:
            raise UnknownModelError(
                f"{self._name!r} is loaded, and {name!r} was asked; there can be one only"
            )
        return await self._loading()

    async def _loaded(self) -> LocalModel:
        name = self._name or ""
        try:
            return await asyncio.to_thread(self._load, name)
        except Exception as error:
            raise ModelNotLoadedError(f"{name} could not be loaded: {error}") from error

    async def _introduce(self) -> None:
        await self.hooks.on_contact()

    def _refuse_what_it_cannot(self, request: Request) -> None:
        if request.model != self._name:
            raise UnknownModelError(
                f"{self._name!r} is loaded, and {request.model!r} was asked; there can be one only"
            )
        if request.json_schema is not None:
            raise BadRequestError("transformers follows no JSON schema; ask a vLLM server")
        if unknown := sorted(request.sampling.extra_body.keys() - KNOWN_FIELDS):
            raise BadRequestError(
                f"transformers does not know {unknown[0]!r} in extra_body; it knows "
                f"{', '.join(sorted(KNOWN_FIELDS))}"
            )


def _pinned(model: str) -> str | None:
    root = str(Path(model).absolute()) if Path(model).exists() else model
    pinned = pinned_weights(model, {model: ModelCard(name=model, root=root)}, on_this_machine=True)
    return None if pinned is None else f"transformers+{pinned}"


def _read(request: Request, prompt_tokens: int, output: Output) -> tuple[Outcome, Usage]:
    write, read = (chat_payload, parse_chat) if request.messages else (completion_payload, parse_completion)
    try:
        (response,), usage = read([request], write(request, prompt_tokens, output, SERVED_BY))
    except BackendError as error:
        return error, Usage()
    return response, usage
