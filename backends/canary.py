"""Eight fixed prompts whose likeliest next tokens tell one model's weights from another's.

Nothing here knows a server: what is sent, what is read, and how far two answers are apart.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backends.errors import BadRequestError, ResponseFormatError, UnknownModelError
from backends.wire import NO_LOGPROB

VERSION = 1
"""Raised when the prompts change: answers to other prompts cannot be compared."""

PROMPTS = (
    "The library opens at nine, and the first thing the new librarian does every morning is",
    "Le chat dort sur la",
    "Dear colleagues,\n\nThank you for your patience while we",
    "1. Wash the rice.\n2. Boil the water.\n3.",
    (
        "The committee met on Tuesday to discuss the budget. The treasurer said that the costs of the new "
        "roof had been estimated too low, and the chair asked whether the work could wait until spring. "
        "After an hour of discussion, the members"
    ),
    (
        "A river begins high in the mountains as melting snow. It runs over stones and through a narrow "
        "valley, gathers smaller streams, turns a mill, passes three villages and a town with a bridge, "
        "grows slow and wide, and in the end"
    ),
    "Is the following claim true or false?\nClaim: Sound travels faster in water than in air.\nAnswer:",
    "The",
)
"""All leave the next token open, since a certain answer hardly moves when weights do."""

TOLERANCE = 0.10
"""In nat, see `distance`: twice the rounding noise between implementations, see decision 0005."""

TOP_LOGPROBS = (20, 5)
"""How many alternatives are asked for; fewer where a server was started with a low `--max-logprobs`."""

ATTEMPTS = 12
PAUSE_SECONDS = 1.0

Logprobs = Mapping[int, float]
"""{token id: natural log of its probability} of the likeliest next tokens."""

Canary = tuple[Logprobs, ...]
"""The answer to each of PROMPTS."""

Post = Callable[[dict[str, object]], Awaitable[object]]
"""Sends a body to `/v1/completions` and returns the JSON that comes back; raises a BackendError."""


async def ask_canary(model: str, post: Post, sleep: Callable[[float], Awaitable[None]]) -> Canary | None:
    """Ask all prompts in one list; None where the server gives no log-probabilities.

    While label scores are in flight, vLLM's V1 runner loses top-k answers (PR 51789): those prompts are asked
    again.

    Raises:
        BackendError: The server gives no answer.
        ResponseFormatError: It lost the log-probabilities of a prompt in each of many attempts.
    """
    for top in TOP_LOGPROBS:
        try:
            return await _ask(model, top, post, sleep)
        except UnknownModelError:
            raise
        except BadRequestError:
            continue
    return None


def distance(first: Canary, second: Canary) -> float:
    """Say how far two answers are apart: 0 for the same weights on the same machine.

    Returns:
        The mean over the prompts of the mean absolute difference of log-probabilities, in nat, each token
        weighted by its probability. A token that only one side lists counts as if the other had it just below
        the end of its list, which is the least that it can differ.
    """
    return math.fsum(map(_apart, first, second)) / len(PROMPTS)


async def _ask(model: str, top: int, post: Post, sleep: Callable[[float], Awaitable[None]]) -> Canary:
    found: dict[str, Logprobs] = {}
    for attempt in range(ATTEMPTS):
        missing = [prompt for prompt in PROMPTS if prompt not in found]
        if not missing:
            break
        if attempt:
            await sleep(PAUSE_SECONDS)
        found |= _parse(missing, await post(_body(model, missing, top)))
    if len(found) < len(PROMPTS):
        raise ResponseFormatError(
            f"the server lost the log-probabilities of {len(PROMPTS) - len(found)} short prompts in "
            f"{ATTEMPTS} attempts, as vLLM does while it scores labels for another run; wait for that run"
        )
    return tuple(found[prompt] for prompt in PROMPTS)


def _body(model: str, prompts: Sequence[str], top: int) -> dict[str, object]:
    return {
        "model": model,
        "prompt": list(prompts),
        "max_tokens": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "n": 1,
        "seed": 0,
        "logprobs": top,
        "return_tokens_as_token_ids": True,
    }


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Logprobs(_Wire):
    top_logprobs: Annotated[list[dict[str, float]], Field(min_length=1)]


class _Choice(_Wire):
    index: int
    logprobs: _Logprobs


class _Reply(_Wire):
    choices: list[_Choice]


_REPLY = TypeAdapter(_Reply)


def _parse(prompts: Sequence[str], payload: object) -> dict[str, Logprobs]:
    """Read the answers that are whole."""
    try:
        reply = _REPLY.validate_python(payload)
    except ValidationError:
        return {}
    tops = {choice.index: choice.logprobs.top_logprobs[0] for choice in reply.choices}
    read = {prompt: _by_token(tops.get(index, {})) for index, prompt in enumerate(prompts)}
    return {prompt: logprobs for prompt, logprobs in read.items() if logprobs}


def _by_token(top: Mapping[str, float]) -> Logprobs:
    if any(value <= NO_LOGPROB for value in top.values()):
        return {}
    return {int(name.removeprefix("token_id:")): value for name, value in top.items() if name[9:].isdecimal()}


def _apart(first: Logprobs, second: Logprobs) -> float:
    length = min(len(first), len(second))
    one, other = _likeliest(first, length), _likeliest(second, length)
    ends = min(one.values()), min(other.values())
    weighted = total = 0.0
    highest = max(*one.values(), *other.values())
    for token in one.keys() | other.keys():
        here = one.get(token, min(ends[0], other.get(token, math.inf)))
        there = other.get(token, min(ends[1], one.get(token, math.inf)))
        weight = math.exp(here - highest) + math.exp(there - highest)
        weighted += weight * abs(here - there)
        total += weight
    return weighted / total


def _likeliest(logprobs: Logprobs, length: int) -> Logprobs:
    tokens = sorted(logprobs, key=lambda token: (-logprobs[token], token))[:length]
    return {token: logprobs[token] for token in tokens}
