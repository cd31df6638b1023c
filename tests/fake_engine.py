"""A fake of vLLM's Python interface: words are tokens, and every request is answered when it is let go."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from backends.direct.engine import DirectEngine
from backends.errors import BackendError, BadRequestError, ConnectionLostError, ServerError
from backends.messages import Request, prompt_text

MAX_MODEL_LEN = 64


@dataclass
class Logprob:
    logprob: float
    decoded_token: str | None = None


@dataclass
class Completion:
    text: str = "yes"
    token_ids: Sequence[int] = (7,)
    finish_reason: str | None = "stop"
    logprobs: Sequence[Mapping[int, Logprob]] | None = None


@dataclass
class Output:
    outputs: Sequence[Completion] = field(default_factory=lambda: [Completion()])
    num_cached_tokens: int | None = None


class DeadError(Exception):
    """What vLLM's EngineDeadError is."""


def say_yes(params: Mapping[str, Any]) -> Output:
    """Answer " yes", with the log-probabilities that were asked for: of token `i`, `-1 - i / 10`."""
    wanted: Sequence[int] = params.get("logprob_token_ids") or range(7, 7 + (params.get("logprobs") or 0))
    rows = {token: Logprob(-1 - token / 10, f"t{token}") for token in dict.fromkeys([7, *wanted])}
    has_any = "logprob_token_ids" in params or "logprobs" in params
    return Output([Completion(logprobs=[rows] if has_any else None)], num_cached_tokens=2)


class FakeEngine:
    """Answers by a script; `gate` holds what was asked back until it is set."""

    def __init__(self, library: "FakeLibrary") -> None:
        self.library = library
        self.errored = False
        self.ended = 0
        self.running = 0
        self.most_running = 0
        self.aborted: list[str] = []

    async def generate(
        self, prompt: Mapping[str, object], sampling_params: object, request_id: str
    ) -> AsyncGenerator[Output, None]:
        params = cast("dict[str, Any]", sampling_params)
        self.library.asked.append((prompt["prompt_token_ids"], params))
        if self.errored:
            raise DeadError
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            while not self.library.gate_is_open:  # noqa: ASYNC110 - opened from another thread
                await asyncio.sleep(0.001)
            if self.errored:
                raise DeadError
            yield self.library.script(params)
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted.append(request_id)
            raise
        finally:
            self.running -= 1


class FakeLibrary:
    """Makes fake engines; the next of `builds` is raised instead."""

    served_by = "fake-direct"

    def __init__(self, script: Callable[[Mapping[str, Any]], Output] = say_yes) -> None:
        self.script = script
        self.builds: list[Exception | None] = []
        self.engines: list[FakeEngine] = []
        self.asked: list[tuple[object, dict[str, Any]]] = []
        self.gate_is_open = True
        self.share: float | None = None

    def build(self, model: str, args: Mapping[str, object]) -> FakeEngine:
        assert asyncio.get_running_loop()
        if error := self.builds.pop(0) if self.builds else None:
            raise error
        self.engines.append(FakeEngine(self))
        del model, args
        return self.engines[-1]

    def memory_share(self, args: Mapping[str, object]) -> float | None:
        del args
        return self.share

    def end(self, engine: object, seconds: float) -> None:
        del seconds
        assert isinstance(engine, FakeEngine)
        engine.ended += 1
        engine.errored = True

    def max_model_len(self, engine: object) -> int:
        del engine
        return MAX_MODEL_LEN

    async def token_ids(self, engine: object, request: Request) -> list[int]:
        del engine
        return [len(word) for word in prompt_text(request).split()]

    def spelling(self, engine: object, text: str) -> list[int]:
        del engine
        return [len(text)]

    def sampling(self, fields: Mapping[str, object]) -> object:
        if fields.get("temperature") == math.inf:
            raise ValueError("temperature must be finite")
        return dict(fields)

    def prompt(self, token_ids: list[int]) -> Mapping[str, object]:
        return {"prompt_token_ids": token_ids}

    def explain(self, error: Exception) -> BackendError | None:
        if isinstance(error, DeadError):
            return ConnectionLostError("the engine in this process died")
        if isinstance(error, ValueError):
            return BadRequestError(str(error))
        return ServerError(str(error)) if isinstance(error, RuntimeError) else None

    def metrics(self) -> str:
        figures = {"prompt_tokens_total": 5.0, "num_requests_waiting": 3.0, "kv_cache_usage_perc": 0.25}
        return "".join(f'vllm:{name}{{engine="0"}} {value}\n' for name, value in figures.items())


def fake_engine(library: FakeLibrary, model: str = "/models/fake-model") -> DirectEngine:
    """Make an engine of this library that nobody watches."""
    return DirectEngine(model, library=library, watch=lambda _: None)
