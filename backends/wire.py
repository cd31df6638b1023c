"""The OpenAI wire format, with vLLM's extensions: requests to a body, a reply to responses. Sends nothing."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Self, cast

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from backends.errors import AbortedError, ContentFilterError, LostLogprobsError, ResponseFormatError
from backends.messages import Label, Request, Response, TokenLogprob, Usage
from backends.replies import MOST_TOKENS, Part, Text, TokenCount, read_part

TOP_LOGPROBS = 20
"""What vLLM gives by default at most (`--max-logprobs`), and what the reference of ICM asks for."""

NO_LOGPROB = -9000.0
"""vLLM writes -9999.0 for minus infinity, and for what its V1 runner has lost (PR 51789)."""

ROUNDING = 1e-3
"""How far above zero a log-probability may come out of arithmetic in single precision."""

MOST_USD = 1e6
"""No answer costs more: what says so has miscounted."""

COMPLETE = frozenset({"stop", "length"})
"""Reasons to finish after which the answer is whole, as far as it was asked for."""

Body = dict[str, object]
Parsed = tuple[list[Response], Usage]


def body_key(request: Request) -> object:
    """Return something hashable that is equal for requests which differ in nothing but prompt or messages."""
    extra = json.dumps(request.sampling.extra_body, sort_keys=True) if request.sampling.extra_body else ""
    return (*_common(request), extra)


def logprob_style(request: Request) -> str | None:
    """Say which kind of log-probabilities a request asks for: "ids", "top", or None.

    vLLM's V1 model runner loses those of "top" while requests for "ids" are in flight (0.32; PR 51789).
    """
    if any(label.token_ids for label in request.labels):
        return "ids"
    return "top" if request.labels or request.logprobs is not None else None


def completion_body(requests: Sequence[Request]) -> Body:
    """Write the body of one `/v1/completions` request for a list of prompts that share everything else."""
    logprobs: Body = {} if requests[0].logprobs is None else {"logprobs": requests[0].logprobs}
    return {
        **_sampling(requests[0]),
        "prompt": [request.prompt for request in requests],
        **_labels(requests[0]),
        **logprobs,
    }


def chat_body(request: Request) -> Body:
    """Write the body of one `/v1/chat/completions` request."""
    return {**_sampling(request), "messages": _conversation(request), **_chat_logprobs(request)}


def batch_chat_body(requests: Sequence[Request]) -> Body:
    """Write the body of one `/v1/chat/completions/batch` request, which only vLLM has."""
    conversations = [_conversation(request) for request in requests]
    return {**_sampling(requests[0]), "messages": conversations, **_chat_logprobs(requests[0])}


def parse_completion(requests: Sequence[Request], payload: object) -> Parsed:
    """Read the reply to `completion_body`, in the order of the requests.

    Raises:
        ResponseFormatError: The reply has not one readable choice for each prompt.
        AbortedError: The server dropped one of the prompts.
    """
    return _parse(requests, payload, _CompletionReply)


def parse_chat(requests: Sequence[Request], payload: object) -> Parsed:
    """Read the reply to `chat_body` or `batch_chat_body`, in the order of the requests.

    Raises:
        ResponseFormatError: The reply has not one readable choice for each conversation.
        AbortedError: The server dropped one of the conversations.
    """
    return _parse(requests, payload, _ChatReply)


# --- what is sent ---------------------------------------------------------------------------------------


def _common(request: Request) -> tuple[object, ...]:
    seed = request.sampling.seed + request.sample_index
    return (
        request.model,
        request.sampling,
        seed,
        request.labels,
        request.logprobs,
        request.json_schema,
        request.prompt is None,
    )


def _sampling(request: Request) -> Body:
    sampling = request.sampling
    body: Body = {
        "model": request.model,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "n": 1,
        "seed": sampling.seed + request.sample_index,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if request.json_schema is not None:
        schema: Body = {"name": "answer", "schema": json.loads(request.json_schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**body, **sampling.extra_body}


def _labels(request: Request) -> Body:
    if not request.labels:
        return {}
    token_ids = [token_id for label in request.labels for token_id in label.token_ids]
    if not token_ids:
        return {"logprobs": TOP_LOGPROBS}
    # As token ids, because two tokens with the same text would share one place in the reply.
    return {"logprobs": 1, "logprob_token_ids": token_ids, "return_tokens_as_token_ids": True}


def _chat_logprobs(request: Request) -> Body:
    return {} if request.logprobs is None else {"logprobs": True, "top_logprobs": request.logprobs}


def _conversation(request: Request) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in request.messages]


# --- what comes back ------------------------------------------------------------------------------------


class _Logprobs(Part):
    top_logprobs: list[dict[Text, float]] = Field(min_length=1)
    tokens: list[Text] = Field(default_factory=list[str])
    token_logprobs: list[float] = Field(default_factory=list[float])

    def of_tokens(self, count: int) -> list[TokenLogprob]:
        rows = zip(self.tokens, self.token_logprobs, self.top_logprobs, strict=True)
        # The token itself comes too, and counts for no place among the likeliest unless it is one.
        return [_token_logprob(token, own, list(top.items()), count) for token, own, top in rows]


class _CompletionChoice(Part):
    index: int
    text: Text
    finish_reason: str
    logprobs: _Logprobs | None = None


class _ChatMessage(Part):
    content: Text | None
    reasoning: Text | None = None
    reasoning_content: Text | None = None
    """What vLLM called it until 2025, and others still do."""
    refusal: Text | None = None
    """OpenAI: the model's words for not answering by the schema."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.thought is None and self.refusal is None:
            raise ValueError("the message has neither content nor reasoning")
        return self

    @property
    def thought(self) -> str | None:
        return self.reasoning if self.reasoning is not None else self.reasoning_content


class _ChatAlternative(Part):
    token: Text
    logprob: float


class _ChatToken(_ChatAlternative):
    top_logprobs: list[_ChatAlternative] = Field(default_factory=list[_ChatAlternative])


class _ChatLogprobs(Part):
    content: list[_ChatToken]

    def of_tokens(self, count: int) -> list[TokenLogprob]:
        return [
            _token_logprob(
                one.token, one.logprob, [(other.token, other.logprob) for other in one.top_logprobs], count
            )
            for one in self.content
        ]


class _ChatChoice(Part):
    index: int
    message: _ChatMessage
    finish_reason: str
    logprobs: _ChatLogprobs | None = None

    @property
    def text(self) -> str:
        return self.message.content or ""


def _told(value: object, most: float) -> int | float | None:
    # Of what is told in passing nothing is worth losing an answer.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= most else None


def _count(value: object) -> int | None:
    told = _told(value, MOST_TOKENS)
    return told if isinstance(told, int) else None


def _cost(value: object) -> int | float | None:
    return _told(value, MOST_USD)


def _object(value: object) -> object:
    return cast("object", value) if isinstance(value, Mapping) else None


class _PromptTokens(Part):
    cached_tokens: Annotated[int | None, BeforeValidator(_count)] = None


class _Tokens(Part):
    prompt_tokens: TokenCount
    completion_tokens: TokenCount = 0
    prompt_tokens_details: Annotated[_PromptTokens | None, BeforeValidator(_object)] = None
    cost: Annotated[float | None, BeforeValidator(_cost)] = None
    """OpenRouter: in its credits, which are US dollars."""

    def usage(self, prompts: int) -> Usage:
        details = self.prompt_tokens_details
        # For a list, vLLM 0.32 tells only the last prompt's.
        cached = details.cached_tokens if details and prompts == 1 else None
        return Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_tokens=cached or 0,
            cost_nano_usd=round((self.cost or 0.0) * 1e9),
        )


class _CompletionReply(Part):
    choices: list[_CompletionChoice]
    usage: _Tokens | None = None
    system_fingerprint: Text | None = None


class _ChatReply(Part):
    choices: list[_ChatChoice]
    usage: _Tokens | None = None
    system_fingerprint: Text | None = None


class _AnyReply(Part):
    usage: _Tokens | None = None


def reported_usage(payload: object, prompts: int) -> Usage:
    """Return what a reply says that it cost, also where the reply is of no use otherwise."""
    try:
        tokens = _AnyReply.model_validate(payload).usage
    except ValidationError:
        return Usage()
    return tokens.usage(prompts) if tokens else Usage()


class _Finish(Part):
    finish_reason: str | None = None


class _Finishes(Part):
    choices: list[_Finish]


def _parse(
    requests: Sequence[Request], payload: object, kind: type[_CompletionReply] | type[_ChatReply]
) -> Parsed:
    _refuse_aborted(payload)
    reply = read_part(kind, payload)
    choices = {choice.index: choice for choice in reply.choices}
    if len(reply.choices) != len(requests) or set(choices) != set(range(len(requests))):
        indices = sorted(choice.index for choice in reply.choices)
        raise ResponseFormatError(f"{len(requests)} prompts were sent, and choices {indices} came back")
    responses = [
        _response(request, choices[index], reply.system_fingerprint) for index, request in enumerate(requests)
    ]
    tokens = reply.usage or _Tokens(prompt_tokens=0)
    return responses, tokens.usage(len(requests))


def _refuse_aborted(payload: object) -> None:
    # First and apart: an aborted choice has no logprobs, and would else be called unreadable.
    try:
        reasons = {choice.finish_reason for choice in _Finishes.model_validate(payload).choices}
    except ValidationError:
        return
    if "abort" in reasons:
        raise AbortedError('the server dropped the request (finish_reason "abort")', status_code=200)


def _response(request: Request, choice: _CompletionChoice | _ChatChoice, fingerprint: str | None) -> Response:
    if choice.finish_reason == "content_filter":
        raise ContentFilterError('the server withheld the answer (finish_reason "content_filter")')
    if isinstance(choice, _ChatChoice) and choice.message.refusal:
        raise ContentFilterError(f"the model refused: {choice.message.refusal[:200]}")
    if choice.finish_reason not in COMPLETE:
        raise ResponseFormatError(f"the server stopped with finish_reason {choice.finish_reason!r}")
    if choice.logprobs is None and (request.labels or request.logprobs is not None):
        raise ResponseFormatError("log-probabilities were asked for, and none came back")
    return Response(
        text=choice.text,
        finish_reason=choice.finish_reason,
        label_logprobs=_label_logprobs(request.labels, choice.logprobs),
        reasoning=choice.message.thought if isinstance(choice, _ChatChoice) else None,
        token_logprobs=_token_logprobs(request, choice.logprobs),
        served_by=fingerprint,
    )


def _token_logprobs(request: Request, logprobs: _Logprobs | _ChatLogprobs | None) -> tuple[TokenLogprob, ...]:
    if request.logprobs is None or logprobs is None:
        return ()
    try:
        tokens = logprobs.of_tokens(request.logprobs)
    except ValueError as error:
        raise ResponseFormatError("the log-probabilities do not fit the tokens") from error
    lost = any(math.isinf(one.logprob) for one in tokens)  # what was drawn, nothing had forbidden
    if request.json_schema is None:  # a grammar forbids tokens, nothing else does
        lost = lost or any(math.isinf(value) for one in tokens for value in one.top.values())
    if lost:
        raise LostLogprobsError("the server returned -9999 in place of a log-probability")
    return tuple(tokens)


def _token_logprob(
    token: str, own: float, likeliest: Sequence[tuple[str, float]], count: int
) -> TokenLogprob:
    ranked = sorted(likeliest, key=lambda pair: -pair[1])[:count]
    return TokenLogprob(
        token=token,
        logprob=_minus_infinity(own),
        top={name: _minus_infinity(value) for name, value in ranked},
    )


def _minus_infinity(logprob: float) -> float:
    return -math.inf if logprob <= NO_LOGPROB else logprob


def _label_logprobs(
    labels: tuple[Label, ...], logprobs: _Logprobs | _ChatLogprobs | None
) -> dict[str, float]:
    if not labels or not isinstance(logprobs, _Logprobs):
        return {}
    top = logprobs.top_logprobs[0]
    if any(value <= NO_LOGPROB for value in top.values()):
        raise LostLogprobsError("the server returned -9999 in place of a log-probability")
    if any(value > ROUNDING for value in top.values()):
        raise ResponseFormatError("the server returned a log-probability above zero")
    if labels[0].token_ids:
        return {label.text: _exact(label, top) for label in labels}
    return top_label_logprobs(top, [label.text for label in labels])


def _exact(label: Label, top: Mapping[str, float]) -> float:
    try:
        return _log_sum([top[f"token_id:{token_id}"] for token_id in label.token_ids])
    except KeyError as error:
        raise ResponseFormatError(f"the server left out the log-probability of {error.args[0]}") from error


def top_label_logprobs(top: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Sum, label by label, the probabilities of the likely tokens whose text contains the label.

    The rule of ICM's reference code: case does not matter, and a token that contains several labels, or
    none, counts for none (so " untrue" counts for "True", and "truefalse" for nothing).

    Args:
        top: {token text: natural log of its probability}, the most likely tokens.
        labels: The labels' texts.

    Returns:
        {label: natural log of the summed probability}, -inf where no token counts for the label.
    """
    found: dict[str, list[float]] = {label: [] for label in labels}
    for text, logprob in top.items():
        contained = [label for label in labels if label.lower() in text.lower()]
        if len(contained) == 1:
            found[contained[0]].append(logprob)
    return {label: _log_sum(logprobs) for label, logprobs in found.items()}


def _log_sum(logprobs: Sequence[float]) -> float:
    return math.log(total) if (total := sum(math.exp(value) for value in logprobs)) > 0 else -math.inf
