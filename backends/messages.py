"""The values that travel between a workflow and whatever answers: frozen, without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One of the answers whose probability is asked for, and how a server is to find it.

    With `token_ids`, the server is asked for the exact log-probabilities of these tokens. Without, the
    tokens among the 20 most likely whose text contains the label are taken, as the reference of ICM does.
    """

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question to one model: everything that determines the answer and nothing else.

    Exactly one of `prompt` (sent as it is) and `messages` (rendered by the model's chat template) is set.
    With `labels`, the probability of each label as the next token is asked for instead of a text.
    """

    model: str
    sampling: SamplingParams
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    labels: tuple[Label, ...] = ()
    revision: str | None = None
    """Which weights, where the served name alone does not say it."""
    sample_index: int = 0
    """Which draw of a sampled request this is, from 0."""

    def __post_init__(self) -> None:
        """Refuse a request that no server could answer.

        Raises:
            ValueError: Neither or both of `prompt` and `messages` are given, labels are asked of a chat, or
                some labels have token ids and others have none.
        """
        if (self.prompt is None) == (not self.messages):
            raise ValueError("a Request has either a prompt or messages, and not both")
        if self.labels and self.prompt is None:
            raise ValueError("labels are scored as the next token of a prompt; give prompt, not messages")
        if len({bool(label.token_ids) for label in self.labels}) > 1:
            raise ValueError("either all labels have token ids, or none has")


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one or several answers."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Add up two usages."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What a model answered to one request."""

    text: str
    """The generated text; for label scores the one token that the model would have written."""
    finish_reason: str
    label_logprobs: Mapping[str, float] = field(default_factory=dict[str, float])
    """{label: natural log of its probability, over all its tokens}; -inf where no token was seen."""
    served_by: str | None = None
    """The server's own fingerprint of itself, for provenance."""
