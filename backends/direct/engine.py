"""The one engine of this process: made when first asked, shared by all who ask, made anew when it died."""

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import threading
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import aclosing
from multiprocessing import util
from pathlib import Path
from typing import Protocol, cast

from backends.canary import Canary, ask_canary
from backends.direct import watchdog
from backends.direct.library import VLLM, Engine, Library
from backends.direct.thread import LoopThread
from backends.direct.wire import (
    Output,
    canary_payload,
    chat_payload,
    completion_payload,
    sampling_fields,
)
from backends.errors import BackendError, ModelNotLoadedError, ServerError
from backends.gpu import GPUMonitor
from backends.messages import Request, Response, SamplingParams, Usage
from backends.one_style import OneStyle
from backends.shared_call import SharedCall
from backends.wire import logprob_style, parse_chat, parse_completion

SHUTDOWN_SECONDS = 20.0
"""After which what still runs is killed; an idle engine on a CPU took 11 s."""
MEMORY_SECONDS = 60.0
"""How long is waited for a GPU's memory, which whoever had it last may still be giving back."""
CORE_NAME = "EngineCore"
"""How the names of the processes begin that vLLM's front end starts."""


class Watcher(Protocol):
    """The process that outlives this one for a moment."""

    def terminate(self) -> None:
        """End it."""
        ...

    def wait(self) -> object:
        """Wait for its end."""
        ...


Watch = Callable[[int], Watcher | None]
WaitForMemory = Callable[[float], Awaitable[object]]


async def wait_for_memory(share: float) -> None:
    """Wait until a GPU of this machine has such a share of its memory free; without a GPU, not at all.

    Raises:
        GPUMemoryError: None has, for longer than a process that ends takes to give it back.
    """
    async with GPUMonitor() as monitor:
        await monitor.wait_for_memory(fraction=share, timeout_seconds=MEMORY_SECONDS)


class DirectEngine:
    """An engine on a thread and loop of its own; may be asked from any thread and loop.

    Args:
        model: A folder on this machine, or a name on the Hugging Face hub.
        args: Arguments of vLLM's engine, by their Python names.
        library: vLLM, or a fake.
        watch: Starts what ends the engine's processes if this process dies without a word.
        wait: Waits for the memory that the engine needs.
    """

    def __init__(
        self,
        model: str,
        args: Mapping[str, object] | None = None,
        *,
        library: Library | None = None,
        watch: Watch = watchdog.start,
        wait: WaitForMemory = wait_for_memory,
    ) -> None:
        self.model = model
        self.args = dict(args or {})
        self.library: Library = library or VLLM()
        self._watch = watch
        self._wait = wait
        self._watcher: Watcher | None = None
        self._thread = LoopThread("vllm-engine")
        self._styles = OneStyle()
        self._engine: Engine | None = None
        self._making = SharedCall(self._make)
        self._failure: BackendError | None = None
        self.times_made = 0
        """How often an engine was made; more than once where it died."""
        self._owner = os.getpid()

    @property
    def is_there(self) -> bool:
        """Whether the engine was made and lives."""
        return self._engine is not None and not self._engine.errored

    @property
    def max_model_len(self) -> int | None:
        """How many tokens a prompt and its answer may have together; None before there is an engine."""
        return None if self._engine is None else self.library.max_model_len(self._engine)

    async def revive(self) -> None:
        """Make the engine if it never was, and make it anew if it died.

        Raises:
            ModelNotLoadedError: It cannot be made; the same at once every time, until `ready` tries again.
        """
        await self._thread.run(self._revived())

    async def ready(self) -> None:
        """Make the engine unless it is there; tries again where that failed before.

        Raises:
            ModelNotLoadedError: It cannot be made.
        """
        await self._thread.run(self._tried_again())

    async def complete(self, request: Request) -> tuple[Response, Usage]:
        """Answer one request; cancelling this aborts it in the engine.

        Raises:
            ModelNotLoadedError: The engine cannot be made.
            ConnectionLostError: It died, over this or before; `revive` makes another.
            BackendError: It refuses the request, or failed over it.
        """
        return await self._thread.run(self._complete(request))

    async def token_ids(self, request: Request) -> list[int]:
        """Tokenise a prompt, or a conversation in the model's chat template.

        Raises:
            BackendError: The engine cannot be made, or refuses the request.
        """
        return await self._thread.run(self._token_ids(request))

    async def spelling(self, text: str) -> list[int]:
        """Tokenise a bare text.

        Raises:
            BackendError: The engine cannot be made.
        """
        return await self._thread.run(self._spelling(text))

    async def canary(self, model: str) -> Canary | None:
        """Ask the canary's prompts; see `ask_canary`.

        Raises:
            BackendError: The engine gives no answer.
        """
        return await self._thread.run(ask_canary(model, self._post_completion, asyncio.sleep))

    def close(self) -> None:
        """End the engine and its processes; called at the exit of the process, and harmless when repeated."""
        if self._owner != os.getpid():  # a forked child must not end its parent's engine
            return
        engine, self._engine = self._engine, None
        if engine is not None:
            self.library.end(engine, SHUTDOWN_SECONDS)
        for child in multiprocessing.active_children():  # where the exit came while it was being made
            if child.name.startswith(CORE_NAME):
                child.terminate()
        self._thread.stop()
        if self._watcher is not None:
            self._watcher.terminate()
            self._watcher.wait()
            self._watcher = None

    # --- on the engine's loop ---------------------------------------------------------------------------

    async def _tried_again(self) -> Engine:
        if self._failure is not None:
            self._failure = None
            self._making.forget()
        return await self._revived()

    async def _revived(self) -> Engine:
        if self._engine is not None and self._engine.errored:
            dead, self._engine = self._engine, None
            self._making.forget()
            with contextlib.suppress(Exception):
                self.library.end(dead, SHUTDOWN_SECONDS)
        return await self._living()

    async def _living(self) -> Engine:
        if self._failure is not None:
            raise self._failure
        return self._engine or await self._making()

    async def _make(self) -> Engine:
        if self._watcher is None:
            self._watcher = self._watch(self._owner)
        try:
            if (share := self.library.memory_share(self.args)) is not None:
                await self._wait(share)
            # Blocks this loop, on which nothing else could go on before there is an engine.
            self._engine = self.library.build(self.model, self.args)
        except Exception as error:
            reason = str(error) or type(error).__name__
            self._failure = ModelNotLoadedError(f"vLLM could not make an engine of {self.model}: {reason}")
            raise self._failure from error
        self.times_made += 1
        # At exit, before what vLLM itself has registered: handlers run in reverse.
        atexit.register(self.close)
        return self._engine

    async def _token_ids(self, request: Request) -> list[int]:
        engine = await self._living()
        with self._our_errors():
            return await self.library.token_ids(engine, request)

    async def _spelling(self, text: str) -> list[int]:
        return self.library.spelling(await self._living(), text)

    async def _complete(self, request: Request) -> tuple[Response, Usage]:
        output, prompt_tokens = await self._output(request)
        write, read = (
            (chat_payload, parse_chat) if request.messages else (completion_payload, parse_completion)
        )
        (response,), usage = read([request], write(request, prompt_tokens, output, self.library.served_by))
        return response, usage

    async def _output(self, request: Request) -> tuple[Output, int]:
        engine = await self._living()
        with self._our_errors():
            token_ids = await self.library.token_ids(engine, request)
            room = self.library.max_model_len(engine)
            fields = sampling_fields(request, prompt_tokens=len(token_ids), max_model_len=room)
            async with self._styles.only(logprob_style(request)):
                return await self._generate(engine, token_ids, fields), len(token_ids)

    async def _generate(self, engine: Engine, token_ids: list[int], fields: Mapping[str, object]) -> Output:
        prompt, params = self.library.prompt(token_ids), self.library.sampling(fields)
        last: Output | None = None
        async with aclosing(engine.generate(prompt, params, uuid.uuid4().hex)) as outputs:
            async for output in outputs:
                last = output
        if last is None:
            raise ServerError("the engine ended a request without an answer")
        return last

    async def _post_completion(self, body: dict[str, object]) -> object:
        """Answer the canary's body as `/v1/completions` does."""
        prompts, top = cast("list[str]", body["prompt"]), cast("int", body["logprobs"])
        return canary_payload(await asyncio.gather(*(self._likeliest(prompt, top) for prompt in prompts)))

    async def _likeliest(self, prompt: str, top: int) -> Output:
        sampling = SamplingParams(max_tokens=1)
        request = Request(model=self.model, prompt=prompt, sampling=sampling, logprobs=top)
        return (await self._output(request))[0]

    @contextlib.contextmanager
    def _our_errors(self) -> Generator[None]:
        try:
            yield
        except BackendError:
            raise
        except Exception as error:
            explained = self.library.explain(error)
            if explained is None:
                raise
            raise explained from error


_LOCK = threading.Lock()
_SHARED: dict[int, DirectEngine] = {}
"""{process id: its engine}, so that a forked child does not take its parent's for its own."""


def engine_of_process(model: str, args: Mapping[str, object] | None = None) -> DirectEngine:
    """Return the engine of this process: the same for all who want the same model with the same arguments.

    Args:
        model: A folder on this machine, or a name on the Hugging Face hub.
        args: See `DirectEngine`.

    Raises:
        ValueError: This process has an engine of another model, or with other arguments.
    """
    model = str(Path(model).absolute()) if Path(model).is_dir() else model
    with _LOCK:
        there = _SHARED.get(os.getpid())
        if there is None:
            there = _SHARED[os.getpid()] = DirectEngine(model, args)
            # At exit multiprocessing waits for all children; what is registered with it comes before that.
            util.Finalize(None, there.close, exitpriority=100)
        elif (there.model, there.args) != (model, dict(args or {})):
            other = there.model if there.model != model else "other VLLM_ENGINE_ARGS"
            raise ValueError(
                f"this process has an engine with {other} already, and there can be one only; ask for "
                f"{model} in a process of its own"
            )
        return there
