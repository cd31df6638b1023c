"""Runs a model with torch and transformers: rows of prompts together, each with its own way of drawing.

For debugging and for machines without vLLM: right before fast. The only module that imports torch. The
weights are taken as float32 on a CPU, so that what stands beside a prompt does not change its answer.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from backends.direct.wire import Output, chat_template_kwargs
from backends.messages import Request

NEEDS = ("torch", "transformers")
DEFAULT_MAX_MODEL_LEN = 2048
"""Where a model's config names no limit."""


class LocalModel(Protocol):
    """A loaded model; every call blocks. In tests, a fake."""

    @property
    def max_model_len(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        ...

    def token_ids(self, request: Request) -> list[int]:
        """Tokenise a prompt, or a conversation in the model's chat template."""
        ...

    def spelling(self, text: str) -> list[int]:
        """Tokenise a text with nothing before or after it."""
        ...

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        fields: Sequence[Mapping[str, object]],
        is_cancelled: Callable[[], bool],
    ) -> list[Output]:
        """Answer rows together; stops between two tokens when nobody waits any more."""
        ...


def missing() -> str | None:
    """Return the first package that is needed and not there."""
    return next((name for name in NEEDS if importlib.util.find_spec(name) is None), None)


def load(path: str) -> LocalModel:
    """Load a model from a folder, or by its name on the Hugging Face hub; raises anything."""
    return TorchModel(path)


@dataclass(frozen=True, slots=True)
class _Logprob:
    logprob: float
    decoded_token: str | None


@dataclass(slots=True)
class _Row:
    """One prompt's answer while it grows; reads as vLLM's CompletionOutput."""

    fields: Mapping[str, Any]
    generator: Any
    text: str = ""
    token_ids: list[int] = field(default_factory=list[int])
    finish_reason: str | None = None
    logprobs: list[dict[int, _Logprob]] | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    outputs: Sequence[_Row]
    num_cached_tokens: int | None = None


class TorchModel:
    """A causal model on the GPU if there is one, else on the CPU."""

    def __init__(self, path: str) -> None:
        self._torch = cast("Any", importlib.import_module("torch"))
        library = cast("Any", importlib.import_module("transformers"))
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        dtype = "auto" if self._device == "cuda" else self._torch.float32
        self._tokenizer = library.AutoTokenizer.from_pretrained(path)
        model = library.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        self._model = model.to(self._device).eval()
        self._ends = self._end_tokens()

    @property
    def max_model_len(self) -> int:
        """The limit that the model's config names."""
        return getattr(self._model.config, "max_position_embeddings", None) or DEFAULT_MAX_MODEL_LEN

    def token_ids(self, request: Request) -> list[int]:
        """Tokenise; see `LocalModel`."""
        if request.prompt is not None:
            return list(self._tokenizer.encode(request.prompt))
        conversation = [{"role": one.role, "content": one.content} for one in request.messages]
        text = self._tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=True, **chat_template_kwargs(request)
        )
        return self.spelling(text)

    def spelling(self, text: str) -> list[int]:
        """Tokenise without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        fields: Sequence[Mapping[str, object]],
        is_cancelled: Callable[[], bool],
    ) -> list[Output]:
        """Answer rows together: one forward pass for each token, padded on the left."""
        rows = [self._row(one) for one in fields]
        ids, mask = self._padded(prompts)
        past: object = None
        with self._torch.inference_mode():
            while not is_cancelled():
                positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
                said = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=past,
                    use_cache=True,
                    logits_to_keep=1,
                )
                past = said.past_key_values
                drawn = [
                    self._next(row, logits) for row, logits in zip(rows, said.logits[:, -1], strict=True)
                ]
                if all(row.finish_reason for row in rows):
                    break
                ids = self._torch.tensor(drawn, device=self._device).unsqueeze(1)
                mask = self._torch.cat([mask, self._torch.ones_like(ids)], dim=1)
        return [_Answer([row]) for row in rows]

    def _row(self, fields: Mapping[str, object]) -> _Row:
        seed = cast("int", fields["seed"])
        generator = self._torch.Generator(device=self._device).manual_seed(seed % 2**63)
        wanted = "logprobs" in fields or "logprob_token_ids" in fields
        return _Row(fields, generator, logprobs=[] if wanted else None)

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        length = max(map(len, prompts))
        ids = [[0] * (length - len(one)) + list(one) for one in prompts]
        mask = [[0] * (length - len(one)) + [1] * len(one) for one in prompts]
        make = self._torch.tensor
        return make(ids, device=self._device), make(mask, device=self._device)

    def _next(self, row: _Row, logits: Any) -> int:  # noqa: ANN401 - a tensor
        """Draw a row's next token, and note whether that was the last; a row that has ended goes along."""
        if row.finish_reason:
            return 0
        logits = logits.float()
        token = self._draw(row, logits)
        row.token_ids.append(token)
        if row.logprobs is not None:
            row.logprobs.append(self._likeliest(row.fields, logits.log_softmax(dim=-1), token))
        self._note_the_end(row, token)
        return token

    def _draw(self, row: _Row, logits: Any) -> int:  # noqa: ANN401 - a tensor
        temperature = row.fields["temperature"]
        if not temperature:
            return int(logits.argmax())
        ranked, order = (logits / temperature).sort(descending=True)
        if top_k := row.fields.get("top_k"):
            ranked[max(0, top_k) or len(ranked) :] = -float("inf")
        chances = ranked.softmax(dim=-1)
        chances[(chances.cumsum(dim=-1) - chances) >= row.fields["top_p"]] = 0.0
        place = self._torch.multinomial(chances, 1, generator=row.generator)
        return int(order[place])

    def _likeliest(
        self,
        fields: Mapping[str, Any],
        logprobs: Any,  # noqa: ANN401 - a tensor
        token: int,
    ) -> dict[int, _Logprob]:
        wanted = fields.get("logprob_token_ids")
        if wanted is None:
            wanted = logprobs.topk(min(fields["logprobs"], len(logprobs))).indices.tolist()
        tokens = dict.fromkeys([token, *wanted])
        return {one: _Logprob(float(logprobs[one]), self._tokenizer.decode([one])) for one in tokens}

    def _note_the_end(self, row: _Row, token: int) -> None:
        has_ended = token in self._ends
        row.text = self._tokenizer.decode(row.token_ids, skip_special_tokens=True)
        places = [place for stop in row.fields["stop"] if (place := row.text.find(stop)) >= 0]
        if places:
            row.text = row.text[: min(places)]
        if has_ended or places:
            row.finish_reason = "stop"
        elif len(row.token_ids) >= row.fields["max_tokens"]:
            row.finish_reason = "length"

    def _end_tokens(self) -> frozenset[int]:
        named = self._model.generation_config.eos_token_id
        several = list(cast("list[int]", named)) if isinstance(named, list) else [named]
        return frozenset(one for one in (*several, self._tokenizer.eos_token_id) if one is not None)
