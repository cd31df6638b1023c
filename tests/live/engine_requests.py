"""What the tests of the direct engine ask, of it and of a server; read by both sides, so without pytest."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.messages import Label, Message, Request, Response, SamplingParams

ENGINE_ARGS: Mapping[str, object] = {
    "max_model_len": 8192,
    "block_size": 32,
    "enforce_eager": True,
    "max_logprobs": 100,
}
"""As configs/vllm/cpu.yaml has them for the server."""

CALLERS = 100
SCHEMA = """{"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
"age": {"type": "integer", "minimum": 0, "maximum": 150}}, "required": ["name", "age"],
"additionalProperties": false}"""


def texts(model: str) -> list[Request]:
    """Return what is written greedily: plain, as a chat, after a stop string, and with a seed of its own."""
    greedy = SamplingParams(max_tokens=12)
    user = Message(role="user", content="Name the capital of France.")
    system = Message(role="system", content="Answer in one short sentence.")
    return [
        Request(model=model, prompt="The capital of France is", sampling=greedy, logprobs=3),
        Request(model=model, prompt="1. Wash the rice.\n2. Boil the water.\n3.", sampling=greedy),
        Request(model=model, messages=(user,), sampling=greedy, logprobs=2),
        Request(model=model, messages=(system, user), sampling=greedy),
        Request(
            model=model,
            prompt="One, two, three, four,",
            sampling=SamplingParams(max_tokens=20, stop=(" six",)),
        ),
        Request(
            model=model,
            prompt="Once upon a time",
            sampling=SamplingParams(
                max_tokens=8, temperature=0.8, top_p=0.9, seed=7, extra_body={"top_k": 20}
            ),
            sample_index=1,
        ),
    ]


def structured(model: str) -> Request:
    """Ask for JSON by a schema."""
    user = Message(role="user", content="Describe a person with a name and an age, as JSON.")
    return Request(model=model, messages=(user,), sampling=SamplingParams(max_tokens=60), json_schema=SCHEMA)


def claims(model: str, labels: Sequence[Label], count: int) -> list[Request]:
    """Ask for label scores."""
    one = SamplingParams(max_tokens=1)
    return [
        Request(
            model=model,
            prompt=f"{number} and {number} are {2 * number}. I think this claim is",
            sampling=one,
            labels=tuple(labels),
        )
        for number in range(count)
    ]


def written(response: Response) -> dict[str, Any]:
    """Write what is compared of a response."""
    return {
        "text": response.text,
        "finish_reason": response.finish_reason,
        "label_logprobs": dict(response.label_logprobs),
        "token_logprobs": [[one.token, one.logprob, dict(one.top)] for one in response.token_logprobs],
    }
