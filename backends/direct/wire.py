"""What a request is for vLLM's own Python interface, and its output as its server would write it.

So one reader (`backends.wire`) reads both, with the same checks. Knows vLLM's field names, imports nothing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from backends.errors import BadRequestError, ContextOverflowError, ServerError
from backends.messages import Request
from backends.wire import TOP_LOGPROBS

SAMPLING_FIELDS = frozenset(
    {"allowed_token_ids", "bad_words", "frequency_penalty", "ignore_eos", "include_stop_str_in_output",
     "logit_bias", "min_p", "min_tokens", "presence_penalty", "repetition_penalty", "skip_special_tokens",
     "spaces_between_special_tokens", "stop_token_ids", "thinking_token_budget", "top_k"}
)  # fmt: skip
"""Fields of an `extra_body` that vLLM's SamplingParams knows under the same name as its server."""

OTHER_FIELDS = frozenset({"structured_outputs", "chat_template_kwargs"})
"""Fields of an `extra_body` that reach the engine in another way."""

LEAST_LOGPROB = -9999.0
"""What the server writes for minus infinity."""


class Logprob(Protocol):
    """What vLLM says of one token in one place."""

    @property
    def logprob(self) -> float:
        """Natural log of its probability."""
        ...

    @property
    def decoded_token(self) -> str | None:
        """Its text."""
        ...


class Completion(Protocol):
    """What one request was answered with; vLLM's `CompletionOutput`."""

    @property
    def text(self) -> str:
        """The generated text."""
        ...

    @property
    def token_ids(self) -> Sequence[int]:
        """Its tokens."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why it ends."""
        ...

    @property
    def logprobs(self) -> Sequence[Mapping[int, Logprob]] | None:
        """For each token, the drawn one first, then the likeliest."""
        ...


class Output(Protocol):
    """What the engine yields at the end of a request; vLLM's `RequestOutput`."""

    @property
    def outputs(self) -> Sequence[Completion]:
        """One, since one is asked for."""
        ...

    @property
    def num_cached_tokens(self) -> int | None:
        """Tokens of the prompt that the prefix cache had."""
        ...


def sampling_fields(request: Request, *, prompt_tokens: int, max_model_len: int) -> dict[str, object]:
    """Write the arguments of SamplingParams as the server makes them of the same request.

    Returns:
        Plain values; `structured_outputs`, if it is there, holds the arguments of StructuredOutputsParams.

    Raises:
        ContextOverflowError: The prompt leaves no room for a token.
        BadRequestError: `extra_body` holds what the engine does not know.
    """
    room = max_model_len - prompt_tokens
    if room < 1:
        raise ContextOverflowError(
            f"the prompt has {prompt_tokens} tokens, and the model's context has room for "
            f"{max_model_len - 1} and an answer",
            estimated_tokens=prompt_tokens,
            limit_tokens=max_model_len - 1,
        )
    _refuse_unknown(request)
    sampling = request.sampling
    extra = {name: value for name, value in sampling.extra_body.items() if name in SAMPLING_FIELDS}
    return {
        "n": 1,
        "max_tokens": min(sampling.max_tokens, room),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed + request.sample_index,
        "stop": list(sampling.stop),
        **extra,
        **_logprobs(request),
        **_structure(request),
    }


def chat_template_kwargs(request: Request) -> dict[str, object]:
    """Return what a request says to the chat template.

    Raises:
        BadRequestError: It is no JSON object.
    """
    given = request.sampling.extra_body.get("chat_template_kwargs", {})
    if not isinstance(given, Mapping):
        raise BadRequestError("chat_template_kwargs in extra_body is no JSON object")
    return dict(cast("Mapping[str, object]", given))


def completion_payload(request: Request, prompt_tokens: int, output: Output, served_by: str) -> object:
    """Write the reply of `/v1/completions`.

    Raises:
        ServerError: The engine failed over this request.
    """
    completion = output.outputs[0]
    _refuse_failed(completion)
    logprobs = None if completion.logprobs is None else _completion_logprobs(request, completion)
    choice = {
        "index": 0,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "logprobs": logprobs,
    }
    return _reply(choice, completion, prompt_tokens, output, served_by)


def chat_payload(request: Request, prompt_tokens: int, output: Output, served_by: str) -> object:
    """Write the reply of `/v1/chat/completions`, of a server without a parser for reasoning.

    Raises:
        ServerError: The engine failed over this request.
    """
    completion = output.outputs[0]
    _refuse_failed(completion)
    wanted = request.logprobs or 0
    content = [
        {**places[0], "top_logprobs": places[1 : wanted + 1]}
        for places in (
            [_alternative(rows[token]), *map(_alternative, rows.values())]
            for token, rows in zip(completion.token_ids, completion.logprobs or (), strict=False)
        )
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": completion.text},
        "finish_reason": completion.finish_reason,
        "logprobs": None if completion.logprobs is None else {"content": content},
    }
    return _reply(choice, completion, prompt_tokens, output, served_by)


def canary_payload(outputs: Sequence[Output]) -> object:
    """Write the reply of `/v1/completions` to one token of several prompts, the likeliest by their ids."""
    rows = [(output.outputs[0].logprobs or ({},))[0] for output in outputs]
    tops = [{f"token_id:{token}": _plain(one) for token, one in row.items()} for row in rows]
    return {"choices": [{"index": i, "logprobs": {"top_logprobs": [top]}} for i, top in enumerate(tops)]}


def _refuse_unknown(request: Request) -> None:
    known = SAMPLING_FIELDS | OTHER_FIELDS
    if unknown := sorted(request.sampling.extra_body.keys() - known):
        raise BadRequestError(
            f"the direct engine does not know {unknown[0]!r} in extra_body; leave it out, or ask over HTTP "
            f"(engine='http'). It knows {', '.join(sorted(known))}"
        )


def _logprobs(request: Request) -> dict[str, object]:
    token_ids = [token_id for label in request.labels for token_id in label.token_ids]
    if token_ids:
        return {"logprob_token_ids": token_ids}
    if request.labels:
        return {"logprobs": TOP_LOGPROBS}
    return {} if request.logprobs is None else {"logprobs": request.logprobs}


def _structure(request: Request) -> dict[str, object]:
    given = request.sampling.extra_body.get("structured_outputs")
    if given is not None and not isinstance(given, Mapping):
        raise BadRequestError("structured_outputs in extra_body is no JSON object")
    options = dict(cast("Mapping[str, object]", given or {}))
    if request.json_schema is not None:
        options["json"] = json.loads(request.json_schema)
    return {"structured_outputs": options} if options else {}


def _refuse_failed(completion: Completion) -> None:
    if completion.finish_reason == "error":
        raise ServerError("the engine failed over this request (finish_reason 'error')")


def _completion_logprobs(request: Request, completion: Completion) -> dict[str, object]:
    by_id = any(label.token_ids for label in request.labels)
    rows = completion.logprobs or ()
    most = None if by_id else (TOP_LOGPROBS if request.labels else request.logprobs or 0) + 1
    tops = [
        {_name(token, one, by_id=by_id): _plain(one) for token, one in list(row.items())[:most]}
        for row in rows
    ]
    drawn = [(token, row[token]) for token, row in zip(completion.token_ids, rows, strict=False)]
    return {
        "tokens": [_name(token, one, by_id=by_id) for token, one in drawn],
        "token_logprobs": [_plain(one) for _, one in drawn],
        "top_logprobs": tops,
    }


def _name(token: int, one: Logprob, *, by_id: bool) -> str:
    return f"token_id:{token}" if by_id else one.decoded_token or ""


def _alternative(one: Logprob) -> dict[str, object]:
    return {"token": one.decoded_token or "", "logprob": _plain(one)}


def _plain(one: Logprob) -> float:
    return LEAST_LOGPROB if one.logprob == -math.inf else max(float(one.logprob), LEAST_LOGPROB)


def _reply(
    choice: Mapping[str, object], completion: Completion, prompt_tokens: int, output: Output, served_by: str
) -> object:
    return {
        "choices": [choice],
        "system_fingerprint": served_by,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(completion.token_ids),
            "prompt_tokens_details": {"cached_tokens": output.num_cached_tokens or 0},
        },
    }
