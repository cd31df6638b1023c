"""The values that travel between a workflow and whatever answers: frozen, without behaviour."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, cast

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How to draw an answer; every field is sent, so that no server default can change a result.

    vLLM takes defaults that a request leaves open from the model's own `generation_config.json`.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    """Seed of draw 0; draw `i` of a request is sent with `seed + i`."""
    stop: tuple[str, ...] = ()
    extra_body: Mapping[str, object] = field(default_factory=dict[str, object], hash=False)
    """Anything else that the server knows, as `{"top_k": 5}`: plain JSON, sent as it is, and in the key."""

    def __post_init__(self) -> None:
        """Refuse what would be said twice.

        Raises:
            ValueError: `extra_body` names a field that is sent anyway.
            TypeError: `stop` is neither a tuple nor a list.
        """
        _freeze(self, "stop")
        if twice := sorted(SENT_ANYWAY & self.extra_body.keys()):
            raise ValueError(f"extra_body holds {twice[0]!r}, which a Request says itself")


SENT_ANYWAY = frozenset(
    {"model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n",
     "seed", "stop", "logprobs", "top_logprobs", "logprob_token_ids", "return_tokens_as_token_ids",
     "response_format", "stream"}
)  # fmt: skip
"""What a body holds that is made from other fields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One of the answers whose probability is asked for, and how a server is to find it.

    With `token_ids`, the server is asked for the exact log-probabilities of these tokens. Without, the
    tokens among the 20 most likely whose text contains the label are taken, as the reference of ICM does.
    """

    text: str
    token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Take a list of token ids for a tuple.

        Raises:
            TypeError: They are neither.
        """
        _freeze(self, "token_ids")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question to one model: everything that determines the answer, and nothing else but `group`.

    Exactly one of `prompt` (sent as it is) and `messages` (rendered by the model's chat template) is set.
    With `labels`, the probability of each label as the next token is asked for instead of a text.
    """

    model: str
    sampling: SamplingParams
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    labels: tuple[Label, ...] = ()
    logprobs: int | None = None
    """Log-probabilities of the generated tokens: each token's own and this many of the likeliest."""
    json_schema: str | None = None
    """A JSON Schema, as JSON text, that the answer has to follow."""
    revision: str | None = None
    """Which weights, where the served name alone does not say it."""
    sample_index: int = 0
    """Which draw of a sampled request this is, from 0."""
    group: str | None = field(default=None, compare=False)
    """What to put to one server where there are several, since it begins alike; else its beginning says it.
    No part of the question: neither sent nor in the key."""

    def __post_init__(self) -> None:
        """Refuse a request that no server could answer.

        Raises:
            ValueError: Neither or both of `prompt` and `messages` are given, labels are asked of a chat or
                together with logprobs, some labels have token ids and others have none, or `json_schema` is
                no JSON.
            TypeError: `messages` or `labels` are neither a tuple nor a list.
        """
        _freeze(self, "messages", "labels")
        if (self.prompt is None) == (not self.messages):
            raise ValueError("a Request has either a prompt or messages, and not both")
        if self.labels and self.prompt is None:
            raise ValueError("labels are scored as the next token of a prompt; give prompt, not messages")
        if len({bool(label.token_ids) for label in self.labels}) > 1:
            raise ValueError("either all labels have token ids, or none has")
        if self.labels and self.logprobs is not None:
            raise ValueError("labels are scores of their own; ask for logprobs in another request")
        if self.json_schema is not None:
            json.loads(self.json_schema)


def _freeze(value: object, *names: str) -> None:
    """Make tuples of fields that came as lists, as OpenAI writes them: only what has a hash can be queued."""
    for name in names:
        given: object = getattr(value, name)
        if isinstance(given, list):
            object.__setattr__(value, name, tuple(cast("list[object]", given)))
        elif not isinstance(given, tuple):  # of a text, each letter would be taken for an item
            raise TypeError(f"{name} is a {type(given).__name__}; give a tuple or a list")


def prompt_text(request: Request) -> str:
    """Return what a request asks as one text: its prompt, or the contents of its messages."""
    return "\n".join(one.content for one in request.messages) if request.prompt is None else request.prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one or several answers."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Those of `input_tokens` that the server had computed before, where it says so."""
    cost_nano_usd: int = 0
    """What the server itself says that it cost, in 1e-9 US dollars; 0 where it says nothing."""

    def __add__(self, other: "Usage") -> "Usage":
        """Add up two usages."""
        return Usage(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    def split(self, weights: Sequence[int]) -> list["Usage"]:
        """Share out in proportion to weights; the parts add up to the whole, token by token."""
        parts: dict[str, list[int]] = {}
        for one in fields(self):
            total, whole = getattr(self, one.name), sum(weights) or 1
            ends = [total * sum(weights[: place + 1]) // whole for place in range(len(weights))]
            parts[one.name] = [end - start for start, end in itertools.pairwise([0, *ends])]
        return [Usage(**{name: shares[i] for name, shares in parts.items()}) for i in range(len(weights))]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """One generated token and what else was likely in its place."""

    token: str
    logprob: float
    """Natural log; -inf where the server's grammar forbade the token."""
    top: Mapping[str, float] = field(default_factory=dict[str, float])
    """{token: logprob} of the likeliest, as many as were asked for; two tokens of one text count as one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What a model answered to one request."""

    text: str
    """The generated text; for label scores the one token that the model would have written."""
    finish_reason: str
    label_logprobs: Mapping[str, float] = field(default_factory=dict[str, float])
    """{label: natural log of its probability, over all its tokens}; -inf where no token was seen."""
    reasoning: str | None = None
    """What a reasoning model thought before the text, where the server tells it apart."""
    token_logprobs: tuple[TokenLogprob, ...] = ()
    """One for each generated token, where `logprobs` was asked for."""
    served_by: str | None = None
    """The server's own fingerprint of itself, for provenance."""
    stand_in: str | None = None
    """`provider:model` that answered in place of the model that was asked; never stored."""
