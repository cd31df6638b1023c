"""A server that speaks vLLM 0.32's HTTP dialect, answers by a function of the prompt, and fails on demand.

It runs no model and does not stream. Shapes and messages were recorded from vLLM 0.32.0 (CPU build,
SmolLM2-135M) on 2026-11-21. Run it in a thread (`FakeVLLM`), in a process of its own (`FakeVLLMProcess`),
or by hand: `python -m tests.fake_vllm --port 8000`.
"""

import argparse
import asyncio
import contextlib
import functools
import hashlib
import http.client
import itertools
import json
import math
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast, get_args

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

JsonObject: TypeAlias = dict[str, Any]
Scorer: TypeAlias = Callable[[str], float]
"""From a prompt to the log-odds of the first label against the second."""
Writer: TypeAlias = Callable[[str, Mapping[str, Any], int], str]
"""From a prompt, the request's body and the draw (0 to n-1) to a generated text."""

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
BATCH_CHAT = "/v1/chat/completions/batch"
MAX_PROMPTS_IN_A_LIST = 1024  # VLLM_MAX_COMPLETION_PROMPTS
MAX_LOGPROB_TOKEN_IDS = 128
NO_LOGPROB = -9999.0  # what vLLM writes for minus infinity
SHUTDOWN_SECONDS = 10.0
POLL_SECONDS = 0.02


def unit(*parts: str) -> float:
    """Return a number in [0, 1) that depends on the parts alone, the same in every process."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def prompt_digest(prompt: str) -> str:
    """Name a prompt as `/fake/stats` does; chat prompts are named by their `render_chat` form."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def render_chat(messages: Sequence[Mapping[str, Any]]) -> str:
    """Apply the fake's chat template (ChatML, no default system message)."""
    turns = "".join(f"<|im_start|>{m.get('role', '')}\n{m.get('content', '')}<|im_end|>\n" for m in messages)
    return turns + "<|im_start|>assistant\n"


# --- Tokens ---------------------------------------------------------------------------------------------
#
# The vocabulary is a table of whole words and, for all other text, the numbers of its UTF-8 pieces of one to
# three bytes. So every id can be turned back into text without having seen it before.

WORDS = ("True", "False", "Yes", "No", "Correct", "Incorrect", "Good", "Bad", "Positive", "Negative")
FILLERS = (
    " a", " an", " not", " the", " based", " likely", " very", " quite", " only", " just", " wrong", " right",
    " more", " less", " well", " also", " flawed", " valid", " hard", " truth", " both", " unclear", " so",
)  # fmt: skip
FIRST_WORD_ID = 1000
ONE_BYTE, TWO_BYTES, THREE_BYTES = 1 << 14, 1 << 16, 1 << 24
VOCAB_SIZE = 1 << 25
PIECES = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+| ?_+|\s+(?!\S)|\s")
LINE_ENDS = re.compile(r"(?<=\S\n)(?=\S)")
"""Where a single newline stands between letters or signs: it is a piece of its own there, in any text."""


def spellings(word: str) -> tuple[str, ...]:
    """List how a label may be spelt as one token, the most likely first.

    An upper-case word after a space (" TRUE") is two tokens, as it is for SmolLM2's tokenizer.
    """
    every = (f" {word}", f" {word.lower()}", word, word.lower(), word.upper())
    return tuple(dict.fromkeys(every))


_TABLE = (*(spelling for word in WORDS for spelling in spellings(word)), *FILLERS)
_IDS = {text: FIRST_WORD_ID + position for position, text in enumerate(_TABLE)}
_TEXTS = {token: text.encode() for text, token in _IDS.items()}


def encode(text: str) -> list[int]:
    """Turn text into token ids; `decode` gives the same text back."""
    # Line by line, where that makes no difference: prompts of one run have most of their lines in common, and
    # a server that counts a playbook anew for each of them would be what a bench measures.
    return [token for line in LINE_ENDS.split(text) for token in encode_line(line)]


@functools.lru_cache(maxsize=50_000)
def encode_line(text: str) -> tuple[int, ...]:
    """Turn text into token ids, and remember them."""
    ids: list[int] = []
    for piece in PIECES.findall(text):
        known = _IDS.get(piece)
        if known is not None:
            ids.append(known)
            continue
        data = piece.encode()
        ids.extend(_piece_id(data[start : start + 3]) for start in range(0, len(data), 3))
    return tuple(ids)


def decode(ids: Iterable[int]) -> str:
    """Turn token ids into text; ids outside the vocabulary count as nothing."""
    return b"".join(_piece_bytes(token) for token in ids).decode(errors="replace")


def _piece_id(data: bytes) -> int:
    return (ONE_BYTE, TWO_BYTES, THREE_BYTES)[len(data) - 1] + int.from_bytes(data, "big")


def _piece_bytes(token: int) -> bytes:
    if token in _TEXTS:
        return _TEXTS[token]
    for length, start in ((3, THREE_BYTES), (2, TWO_BYTES), (1, ONE_BYTE)):
        if start <= token < start + 256**length:
            return (token - start).to_bytes(length, "big")
    return b""


# --- What the fake believes -----------------------------------------------------------------------------

_DEMONSTRATION = re.compile(r"(.*\s)(true|false)\s*", re.IGNORECASE | re.DOTALL)
_TEMPLATE = re.compile(r"<\|im_start\|>\w*|<\|im_end\|>")


def latent_truth(claim: str) -> bool:
    """Say whether the fake holds a claim for true; white space does not matter.

    A claim is everything a demonstration says before its label, or everything a target says.
    """
    return unit("truth", " ".join(claim.split())) < 0.5


def split_demonstrations(prompt: str) -> tuple[list[tuple[str, bool]], str]:
    """Read an ICM-style prompt: labelled claims, each closed by a blank line, then the target claim.

    A paragraph that ends in True or False closes a demonstration; other paragraphs belong to the claim that
    follows.
    """
    demonstrations: list[tuple[str, bool]] = []
    pending: list[str] = []
    *closed, target = _TEMPLATE.sub("", prompt).split("\n\n")
    for paragraph in closed:
        match = _DEMONSTRATION.fullmatch(paragraph)
        if match is None:
            pending.append(paragraph)
            continue
        demonstrations.append(("\n\n".join([*pending, match[1]]), match[2].lower() == "true"))
        pending = []
    return demonstrations, "\n\n".join([*pending, target])


def synthetic_scorer(prompt: str) -> float:
    """Return log-odds of True that make a search accept some labels and refuse others.

    They lean to the target's latent truth and are pulled further that way by demonstrations that agree with
    their own latent truths, or the other way by demonstrations that contradict them. How clear a claim is
    differs from claim to claim, and every prompt adds a little noise of its own.
    """
    demonstrations, target = split_demonstrations(prompt)
    agreement = sum(1 if label == latent_truth(claim) else -1 for claim, label in demonstrations)
    pull = agreement / (len(demonstrations) + 3)
    claim = " ".join(target.split())
    clarity = 0.2 + 1.8 * unit("clarity", claim)
    noise = 0.6 * (unit("noise", prompt) - 0.5)
    return (1 if latent_truth(claim) else -1) * clarity * (0.5 + 1.5 * pull) + noise


def synthetic_writer(prompt: str, body: Mapping[str, Any], draw: int) -> str:
    """Write 4 to 15 words that depend on the prompt, the temperature, and (if it is not 0) seed and draw.

    With `structured_outputs: {"choice": [...]}` the text is one of the choices, and with a JSON Schema in
    `response_format` it is an object with the properties of the schema.
    """
    temperature = float(body.get("temperature") or 0.0)
    salt = ("text", prompt, repr(temperature), repr(body.get("seed") if temperature else None), str(draw))
    structured = cast("JsonObject", body.get("structured_outputs") or {})
    if choices := structured.get("choice"):
        return str(choices[int(unit(*salt) * len(choices))])
    wanted = cast("JsonObject", body.get("response_format") or {})
    if wanted.get("type") == "json_schema":
        return json.dumps(_instance(cast("JsonObject", wanted["json_schema"]["schema"]), salt))
    count = 4 + int(12 * unit(*salt))
    words = [FILLERS[int(unit(*salt, str(place)) * len(FILLERS))] for place in range(count)]
    return "".join(words)


def _instance(schema: Mapping[str, Any], salt: Sequence[str]) -> object:
    """Return a value by a simple schema: objects of texts, numbers, truths and choices."""
    if choices := schema.get("enum"):
        return choices[int(unit(*salt) * len(choices))]
    match schema.get("type"):
        case "object":
            properties = cast("Mapping[str, JsonObject]", schema.get("properties", {}))
            return {name: _instance(each, (*salt, name)) for name, each in properties.items()}
        case "integer":
            return int(100 * unit(*salt))
        case "number":
            return round(100 * unit(*salt), 2)
        case "boolean":
            return unit(*salt) < 0.5
        case _:
            return FILLERS[int(unit(*salt) * len(FILLERS))].strip()


# --- Settings, faults, counters -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How the server behaves when nothing is wrong; `POST /fake/config` changes any of it."""

    models: tuple[str, ...] = ("fake-model",)
    model_root: str = "/models/fake-model"
    adapters: Mapping[str, str] = field(default_factory=dict[str, str])
    """{served name of a LoRA adapter: its root}; the names are served beside `models`."""
    weight_noise: float = 0.0
    """Other weights: log-probabilities of a next token fall by up to so many nat, always alike."""
    max_model_len: int = 8192
    max_logprobs: int = 20
    api_key: str | None = None
    latency_seconds: float = 0.0
    slots: int | None = None
    """How many prompts are computed at the same time, each for `latency_seconds`; the others wait in turn."""
    reports_load: bool = True
    """Send `endpoint-load-metrics` to those who ask for it."""
    others_waiting: int = 0
    """Prompts of other clients that wait, for that header."""
    kv_use: float = 0.0
    process_start: float | None = None
    """Told by `/metrics`, in seconds since 1970."""
    preemptions: int | None = None
    """Told by `/metrics`, with the waiting and the use of the cache; None: nothing of these is told there."""
    v1_runner: bool = False
    """Lose plain log-probabilities while requests with `logprob_token_ids` are in flight (PR 51789)."""
    supports_logprob_token_ids: bool = True
    """False: the field is ignored, as an old vLLM does, and absent from /openapi.json."""
    supports_batch_chat: bool = True
    has_chat_template: bool = True
    """False: as a base model, whose conversations are refused, to be tokenized or to be answered."""
    labels: tuple[str, ...] = ("True", "False")
    """The scorer gives the log-odds of the first against the second; further labels get shares by hash."""
    label_mass: float = 0.9
    """Probability of all spellings of all labels together."""
    version: str = "0.32.0"
    system_fingerprint: str = "vllm-0.32.0-fa4e0001"
    healthy: bool = True

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """Return a copy with some fields replaced.

        Raises:
            ValueError: A name is not a setting.
        """
        unknown = set(changes) - {each.name for each in fields(self)}
        if unknown:
            raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
        frozen = {name: _frozen(value) for name, value in changes.items()}
        return replace(self, **frozen)


def _frozen(value: object) -> object:
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


FaultKind: TypeAlias = Literal[
    "ok", "status", "reset", "hang", "truncated", "not_json", "html", "too_few_choices", "reordered_choices",
    "bad_index", "missing_logprobs", "minus_9999", "abort", "empty_choices",
]  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Fault:
    """One way to misbehave, used up by the next model request that it applies to.

    `ok` answers properly and is used up too, so that a script can say "the third request fails".
    """

    kind: FaultKind
    times: int = 1
    """How many requests it hits; -1 means every one."""
    match: str | None = None
    """Only requests with a prompt that contains this. Faults of a choice then hit only those choices."""
    status: int = 500
    message: str | None = None
    retry_after: str | float | None = None
    """For `status`: the Retry-After header. vLLM sends none; proxies in front of it do."""
    seconds: float = 1.0
    """For `hang`."""
    hard: bool = False
    """For `reset`: send a TCP RST. Otherwise the connection is closed in order, without a byte."""
    declared: Literal["full", "cut"] = "full"
    """For `truncated`: the content-length tells the length of the whole body, or of the half that is sent."""
    index: int | None = None
    """For `bad_index`: what the choice says. The default is one beyond the last valid index."""

    def __post_init__(self) -> None:
        """Refuse kinds that do not exist."""
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"no such fault: {self.kind!r}; there are {', '.join(get_args(FaultKind))}")

    def applies(self, prompts: Sequence[str]) -> bool:
        """Say whether a request with these prompts is hit."""
        return self.times != 0 and (self.match is None or any(self.match in prompt for prompt in prompts))

    def hits(self, prompt: str) -> bool:
        """Say whether the choices of this prompt are hit."""
        return self.match is None or self.match in prompt


@dataclass(slots=True)
class Counts:
    """What has happened since the start or the last `POST /fake/reset`."""

    requests: int = 0
    """POSTs on /v1/*, whatever became of them."""
    all_requests: int = 0
    """Everything but /fake/*."""
    prompts: int = 0
    """Prompts and conversations received in readable model requests."""
    answered: int = 0
    """Prompts whose good answer left the server whole; the sum over `prompt_digests`."""
    spoiled: int = 0
    """Prompts whose answer left with status 200, made unusable by a fault."""
    abandoned: int = 0
    """Model requests whose client had gone before the answer was sent."""
    mixed: int = 0
    """Requests for plain log-probabilities that were in flight together with one for chosen ids."""
    max_list: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_path: Counter[str] = field(default_factory=Counter[str])
    by_status: Counter[str] = field(default_factory=Counter[str])
    """Model requests by status of the answer that was sent in full."""
    prompt_digests: Counter[str] = field(default_factory=Counter[str])
    """{sha256 of the prompt in hex: times answered well}."""


class Witness:
    """Sees every readable model request; a subclass keeps books, or has faults of its own."""

    def arrived(self, client: str, prompts: Sequence[str]) -> Fault | None:
        """Hear of a request from the owner of this API key, before it is answered; say what befalls it."""
        del client, prompts

    def delivered(self, client: str, prompts: Sequence[str]) -> None:
        """Hear of the prompts whose good answer has left whole."""


@dataclass(slots=True)
class Styles:
    """Which kinds of log-probabilities are asked for by the requests in flight."""

    chosen: set[int] = field(default_factory=set[int])
    """Requests with `logprob_token_ids`, by number."""
    plain: dict[int, bool] = field(default_factory=dict[int, bool])
    """{request for plain ones: whether it has met a request of the other kind}."""

    def enter(self, body: JsonObject, number: int) -> None:
        """Count a request as being in flight."""
        if body.get("logprob_token_ids"):
            self.chosen.add(number)
            self.plain = dict.fromkeys(self.plain, True)
        elif body.get("logprobs") not in (None, False):
            self.plain[number] = bool(self.chosen)

    def leave(self, number: int) -> None:
        """Count it no more."""
        self.chosen.discard(number)
        self.plain.pop(number, None)


@dataclass(slots=True)
class State:
    """All that the server knows."""

    settings: Settings
    initial: Settings
    scorer: Scorer
    writer: Writer
    counts: Counts = field(default_factory=Counts)
    faults: list[Fault] = field(default_factory=list[Fault])
    witness: Witness = field(default_factory=Witness)
    styles: Styles = field(default_factory=Styles)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """Names for requests in flight."""
    slots: asyncio.Semaphore | None = None
    """The free ones, made when `Settings.slots` is set."""
    waiting: int = 0
    """Prompts that wait for a slot."""
    stopping: Callable[[], bool] = bool
    started: int = field(default_factory=lambda: int(time.time()))

    def take_fault(self, prompts: Sequence[str]) -> Fault | None:
        """Use up the first fault in the script that applies to a request."""
        for fault in self.faults:
            if fault.applies(prompts):
                fault.times -= fault.times > 0
                return fault
        return None


# --- Requests -------------------------------------------------------------------------------------------


class RequestError(Exception):
    """A request that vLLM would refuse, with the answer it would give."""

    def __init__(
        self, message: str, *, param: str | None = None, status: int = 400, kind: str = "BadRequestError"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: JsonObject = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def parameter_error(message: str, name: str, value: object = None) -> RequestError:
    """Build what vLLM says about a value it understands but does not accept."""
    shown = "" if value is None else f", value={value}"
    return RequestError(f"{message} (parameter={name}{shown})", param=name)


def validation_error(
    kind: str, place: str, message: str, value: object, context: Mapping[str, object] | None = None
) -> RequestError:
    """Build what vLLM says about a body that does not fit the schema."""
    shown = value
    if isinstance(value, list | dict):
        sized = cast("list[object] | dict[str, object]", value)
        shown = f"<{type(sized).__name__} of {len(sized)} items>"
    detail: JsonObject = {"type": kind, "loc": place, "msg": message, "input": shown}
    if context is not None:
        detail["ctx"] = context
    return RequestError(f"1 validation error:\n  {detail}", param=place, kind="Bad Request")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, as text and as tokens."""

    text: str
    ids: tuple[int, ...]
    given_as_ids: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a request wants its tokens drawn and reported."""

    max_tokens: int | None
    n: int
    temperature: float
    seed: int | None
    top: int | None
    """How many of the likeliest tokens to report at each place; None reports nothing."""
    wanted: tuple[int, ...]
    """Tokens to report in place of the likeliest ones."""
    allowed: tuple[int, ...]
    stop: tuple[str, ...]
    ids_as_names: bool
    return_ids: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRequest:
    """A request that can be answered."""

    path: str
    model: str
    body: JsonObject
    prompts: tuple[Prompt, ...]

    @property
    def texts(self) -> list[str]:
        """The prompts as text."""
        return [prompt.text for prompt in self.prompts]


def read_body(raw: bytes, content_type: str) -> JsonObject:
    """Parse a request's body."""
    if not content_type.startswith("application/json"):
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise RequestError(message, kind="Bad Request")
    try:
        body = json.loads(raw)
    except ValueError as error:
        place = f"body.{getattr(error, 'pos', 0)}"
        context = {"error": getattr(error, "msg", str(error))}
        raise validation_error("json_invalid", place, "JSON decode error", {}, context) from error
    if not isinstance(body, dict):
        raise validation_error("model_attributes_type", "body", "Input should be a valid dictionary", body)
    return cast("JsonObject", body)


def read_request(path: str, body: JsonObject, settings: Settings) -> ModelRequest:
    """Find the model and the prompts of a request, or say what vLLM would say."""
    if path == COMPLETIONS:
        prompts = read_prompts(body.get("prompt"))
    elif path == BATCH_CHAT:
        prompts = [read_conversation(each, f".{place}") for place, each in enumerate(read_batch(body))]
    else:
        prompts = [read_conversation(_required(body, "messages"))]
    model = check_model(body.get("model"), settings)
    if path != COMPLETIONS:
        check_chat_template(settings)
    return ModelRequest(path=path, model=model, body=body, prompts=tuple(prompts))


def check_model(name: object, settings: Settings) -> str:
    """Return the served name; without a name, the first one."""
    if name is None:
        return settings.models[0]
    served = (*settings.models, *settings.adapters)
    if name not in served:
        message = f"The model `{name}` does not exist. Valid aliases: {', '.join(served)}."
        raise RequestError(message, param="model", status=404, kind="NotFoundError")
    return str(name)


def check_chat_template(settings: Settings) -> None:
    """Refuse conversations, in vLLM's words, where the model has no template for them."""
    if not settings.has_chat_template:
        raise RequestError(
            "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
            "chat template if the tokenizer does not define one."
        )


def read_prompts(value: object) -> list[Prompt]:
    """Read `prompt` of /v1/completions in its four forms."""
    if value is None or value == "":
        raise parameter_error("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    if isinstance(value, str):
        return [_text_prompt(value)]
    if not isinstance(value, list):
        raise validation_error("list_type", "body.prompt", "Input should be a valid list", value)
    items = cast("list[object]", value)
    if not items:
        raise RequestError("You must pass at least one prompt")
    if all(isinstance(item, int) for item in items):
        return [_ids_prompt(items)]
    if len(items) > MAX_PROMPTS_IN_A_LIST:
        message = (
            f"prompt list length {len(items)} exceeds the maximum allowed count of {MAX_PROMPTS_IN_A_LIST}. "
            "To increase this limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable."
        )
        raise parameter_error(message, "prompt")
    if all(isinstance(item, str) for item in items):
        return [_text_prompt(str(item)) for item in items]
    if all(isinstance(item, list) for item in items):
        return [_ids_prompt(cast("list[object]", item)) for item in items]
    raise validation_error("list_type", "body.prompt.0", "Input should be a valid list", items[0])


def _text_prompt(text: str) -> Prompt:
    if not text:
        raise RequestError("The decoder prompt cannot be empty")
    return Prompt(text, tuple(encode(text)))


def _ids_prompt(items: Sequence[object]) -> Prompt:
    if not items:
        raise RequestError("The decoder prompt cannot be empty")
    ids: list[int] = []
    for item in items:
        if not isinstance(item, int) or item < 0:
            raise validation_error("greater_than_equal", "body.prompt.0", "Input should be a valid id", item)
        if item >= VOCAB_SIZE:
            raise RequestError(f"Token id {item} is out of vocabulary")
        ids.append(item)
    return Prompt(decode(ids), tuple(ids), given_as_ids=True)


def _required(body: JsonObject, name: str) -> object:
    if name not in body:
        raise validation_error("missing", f"body.{name}", "Field required", body)
    return body[name]


def read_batch(body: JsonObject) -> list[object]:
    """Read `messages` of the batch endpoint: at least one conversation, each with at least one message."""
    value = _required(body, "messages")
    if not isinstance(value, list):
        raise validation_error("list_type", "body.messages", "Input should be a valid list", value)
    conversations = cast("list[object]", value)
    places = {f"body.messages.{index}": each for index, each in enumerate(conversations)}
    for place, value in {"body.messages": conversations, **places}.items():
        if value == []:
            short = "List should have at least 1 item after validation, not 0"
            context = {"field_type": "List", "min_length": 1, "actual_length": 0}
            raise validation_error("too_short", place, short, [], context)
    n = body.get("n")
    if isinstance(n, int) and n > 1:
        message = "Batch chat completions do not support `n > 1`. Please set `n` to 1."
        raise parameter_error(message, "n", n)
    return conversations


def read_conversation(value: object, place: str = "") -> Prompt:
    """Render one conversation to a prompt."""
    if not isinstance(value, list):
        raise validation_error("list_type", f"body.messages{place}", "Input should be a valid list", value)
    messages = cast("list[object]", value)
    if not messages:
        raise RequestError(
            "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    for message in messages:
        if not isinstance(message, dict):
            raise validation_error(
                "dict_type", f"body.messages{place}.0", "Input should be a valid dictionary", message
            )
    text = render_chat(cast("list[JsonObject]", messages))
    return Prompt(text, tuple(encode(text)))


def read_sampling(request: ModelRequest, settings: Settings) -> Sampling:
    """Read and check how tokens are to be drawn."""
    body, chat = request.body, request.path != COMPLETIONS
    _refuse_what_the_fake_cannot_do(body)
    max_tokens = _number(body, "max_completion_tokens") if chat else None
    max_tokens = _number(body, "max_tokens", None if chat else 16) if max_tokens is None else max_tokens
    temperature, top_p = _number(body, "temperature", 1.0), _number(body, "top_p", 1.0)
    n = int(_number(body, "n", 1) or 0)
    wanted = tuple(cast("list[int]", body.get("logprob_token_ids") or []))
    sampling = Sampling(
        max_tokens=None if max_tokens is None else int(max_tokens),
        n=n,
        temperature=0.0 if temperature is None else temperature,
        seed=cast("int | None", body.get("seed")),
        top=_top(body, chat=chat, settings=settings),
        wanted=wanted if settings.supports_logprob_token_ids else (),
        allowed=tuple(cast("list[int]", body.get("allowed_token_ids") or [])),
        stop=_stop(body.get("stop")),
        ids_as_names=bool(body.get("return_tokens_as_token_ids")),
        return_ids=bool(body.get("return_token_ids")),
    )
    _check_sampling(sampling, top_p, settings)
    return sampling


def _refuse_what_the_fake_cannot_do(body: JsonObject) -> None:
    for name in ("stream", "echo", "prompt_logprobs", "prompt_embeds"):
        if body.get(name):
            raise parameter_error("tests.fake_vllm does not do this.", name, body[name])


def _number(body: JsonObject, name: str, default: float | None = None) -> float | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind, noun = ("float", "number") if name in {"temperature", "top_p"} else ("int", "integer")
        message = (
            f"Input should be a valid {noun}, unable to parse string as {'an' if kind == 'int' else 'a'}"
        )
        raise validation_error(f"{kind}_parsing", f"body.{name}", f"{message} {noun}", value)
    return value


def _stop(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(cast("list[str]", value))


def _top(body: JsonObject, *, chat: bool, settings: Settings) -> int | None:
    """Return how many alternatives to report; -1 stands for all."""
    name = "top_logprobs" if chat else "logprobs"
    top = _number(body, name)
    if chat and not body.get("logprobs"):
        if top:
            raise parameter_error("when using `top_logprobs`, `logprobs` must be set to true.", name)
        return None
    if top is None and chat:
        return 0
    if top is None:
        if body.get("logprob_token_ids") and settings.supports_logprob_token_ids:
            message = "when using `logprob_token_ids`, `logprobs` must be set."
            raise parameter_error(message, "logprob_token_ids")
        return None
    if top < -1:
        raise parameter_error(f"`{name}` must be a positive value or -1.", name, top)
    if top > settings.max_logprobs:
        message = (
            f"Requested sample logprobs of {top}, which is greater than max allowed: {settings.max_logprobs}"
        )
        raise parameter_error(message, "logprobs", top)
    return VOCAB_SIZE if top == -1 else int(top)


def _check_sampling(sampling: Sampling, top_p: float | None, settings: Settings) -> None:
    if sampling.n < 1:
        raise RequestError(f"n must be at least 1, got {sampling.n}.")
    if sampling.temperature < 0:
        value = float(sampling.temperature)
        raise parameter_error(f"temperature must be non-negative, got {value}.", "temperature", value)
    if top_p is not None and not 0 < top_p <= 1:
        raise parameter_error(f"top_p must be in (0, 1], got {float(top_p)}.", "top_p", float(top_p))
    if sampling.temperature == 0 and sampling.n > 1:
        raise RequestError(f"n must be 1 when using greedy sampling, got {sampling.n}.")
    _check_max_tokens(sampling.max_tokens, settings)
    _check_wanted(sampling.wanted)


def _check_max_tokens(value: int | None, settings: Settings) -> None:
    if value is None:
        return
    if value < 1:
        raise parameter_error(f"max_tokens must be at least 1, got {value}.", "max_tokens", value)
    if value > settings.max_model_len:
        message = (
            f"max_tokens={value} cannot be greater than max_model_len={settings.max_model_len}. "
            "Please request fewer output tokens."
        )
        raise parameter_error(message, "max_tokens", value)


def _check_wanted(wanted: tuple[int, ...]) -> None:
    name = "logprob_token_ids"
    if len(wanted) > MAX_LOGPROB_TOKEN_IDS:
        message = (
            f"Requested {name} of length {len(wanted)}, "
            f"which is greater than max allowed: {MAX_LOGPROB_TOKEN_IDS}"
        )
        raise parameter_error(message, name, len(wanted))
    strange = [token for token in wanted if not 0 <= token < VOCAB_SIZE]
    if strange:
        message = (
            f"token_id(s) {strange} in {name} contain out-of-vocab token ids. Vocabulary size: {VOCAB_SIZE}"
        )
        raise parameter_error(message, name, strange)


def check_lengths(prompts: Sequence[Prompt], settings: Settings) -> None:
    """Refuse the whole request if one prompt leaves no room for a token; the index is not told."""
    limit = settings.max_model_len
    for prompt in prompts:
        length = len(prompt.ids)
        if length == limit:
            raise parameter_error("max_tokens must be at least 1, got 0.", "max_tokens", 0)
        if length > limit:
            value = length if prompt.given_as_ids else limit + 1
            message = (
                f"This model's maximum context length is {limit} tokens. However, your prompt contains "
                f"{'' if prompt.given_as_ids else 'at least '}{value} input tokens, which exceeds this limit "
                "even without any output tokens. Please reduce the length of the input prompt."
            )
            raise parameter_error(message, "input_tokens", value)


# --- Answers --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NextToken:
    """A distribution over the token that follows a context."""

    context: str
    table: Mapping[int, float]
    """{token: log-probability}; what is not in it lies in a thin tail."""

    def logprob(self, token: int) -> float:
        """Return the log-probability of any token, rounded to what a 32-bit float holds."""
        value = self.table.get(token)
        if value is None:
            value = -12.0 - 8.0 * unit("tail", self.context, str(token))
        if value == -math.inf:
            return NO_LOGPROB
        return float(struct.unpack("f", struct.pack("f", value))[0])

    def ranked(self) -> list[int]:
        """List the tokens of the table, the likeliest first."""
        return sorted(self.table, key=lambda token: (-self.table[token], token))

    def draw(self, sampling: Sampling, salt: Sequence[str]) -> int:
        """Draw a token: the likeliest at temperature 0, else one chosen by hash."""
        tokens = list(sampling.allowed) or self.ranked()
        if sampling.temperature == 0:
            return max(tokens, key=self.logprob)
        best = max(self.logprob(token) for token in tokens)
        weights = [math.exp((self.logprob(token) - best) / sampling.temperature) for token in tokens]
        left = unit("draw", self.context, *salt) * sum(weights)
        for token, weight in zip(tokens, weights, strict=True):
            left -= weight
            if left < 0:
                return token
        return tokens[-1]


SPELLING_SHARES = (0.7, 0.12, 0.1, 0.05, 0.03)  # of the five `spellings`
SPELLING_SHARES_AFTER_SPACE = (0.1, 0.05, 0.7, 0.12, 0.03)


def label_distribution(prompt: str, state: State) -> NextToken:
    """Build the answer to a scoring prompt: labels in their spellings, some fillers, a thin tail.

    Every label has the same shares of spellings, so the log-odds of two labels' sums are the scorer's.
    """
    settings = state.settings
    table: dict[int, float] = {}
    shares = SPELLING_SHARES_AFTER_SPACE if prompt.endswith(" ") else SPELLING_SHARES
    for label, logprob in _label_logprobs(prompt, state).items():
        for spelling, share in zip(spellings(label), shares, strict=False):
            token = encode(spelling)[0]
            table[token] = _add(table.get(token, -math.inf), logprob + math.log(share))
    rest = math.log(max(1.0 - settings.label_mass, 1e-9))
    for token, logprob in _fillers(prompt).items():
        table[token] = _add(table.get(token, -math.inf), rest + logprob)
    if noise := settings.weight_noise:
        table = {
            token: logprob - noise * unit("weights", prompt, str(token)) for token, logprob in table.items()
        }
    return NextToken(prompt, table)


def _label_logprobs(prompt: str, state: State) -> dict[str, float]:
    """Return {label: log-probability of all its spellings}."""
    first, second, *others = state.settings.labels
    odds = state.scorer(prompt)
    scores = {first: odds / 2, second: -odds / 2}
    scores |= {label: 2 * unit("label", label, prompt) - 1 for label in others}
    if math.isinf(odds):
        scores = {first: 0.0, second: -math.inf} if odds > 0 else {first: -math.inf, second: 0.0}
    total = -math.inf
    for score in scores.values():
        total = _add(total, score)
    mass = math.log(max(state.settings.label_mass, 1e-12))
    return {label: mass + score - total for label, score in scores.items()}


def _fillers(context: str) -> dict[int, float]:
    """Return {token: log-probability} of the fillers, in an order that depends on the context."""
    order = sorted(FILLERS, key=lambda word: unit("filler", word, context[-200:]))
    weights = [0.8**place for place in range(len(order))]
    return {encode(w)[0]: math.log(x / sum(weights)) for w, x in zip(order, weights, strict=True)}


def _add(left: float, right: float) -> float:
    """Return log(exp(left) + exp(right))."""
    low, high = sorted((left, right))
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


@dataclass(frozen=True, slots=True)
class Place:
    """One generated token with what is reported about it."""

    token: int
    logprob: float
    reported: tuple[tuple[int, float], ...]
    """((token, log-probability), ...), the generated one first."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One answer before it is written as JSON."""

    prompt: Prompt
    text: str
    places: tuple[Place, ...]
    finish_reason: str
    stop_reason: str | None = None


def draft(prompt: Prompt, request: ModelRequest, sampling: Sampling, draw: int, state: State) -> Draft:
    """Answer one prompt once: one token means a score, more tokens mean a text."""
    if sampling.max_tokens == 1:
        seed = repr(sampling.seed), repr(sampling.temperature), str(draw)
        spread = label_distribution(prompt.text, state)
        token = spread.draw(sampling, seed)
        return Draft(prompt, decode([token]), (_place(spread, token, sampling),), "length")
    room = state.settings.max_model_len - len(prompt.ids)
    text, stop_reason = _cut(state.writer(prompt.text, request.body, draw), sampling.stop)
    ids = encode(text)
    kept = ids[: min(room, sampling.max_tokens or room)]
    reason = "stop" if len(kept) == len(ids) else "length"
    places = _places(prompt.text, kept, sampling)
    return Draft(prompt, decode(kept), places, reason, stop_reason if reason == "stop" else None)


def _cut(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    found = [(text.index(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    position, stop = min(found)
    return text[:position], stop


def _places(prompt: str, tokens: Sequence[int], sampling: Sampling) -> tuple[Place, ...]:
    """Report on a generated text: each token was likely, fillers were the alternatives."""
    places: list[Place] = []
    for position, token in enumerate(tokens):
        if sampling.top is None:
            places.append(Place(token, 0.0, ()))
            continue
        context = f"{prompt}\x1f{position}"
        table = {other: math.log(0.3) + value for other, value in _fillers(context).items()}
        places.append(_place(NextToken(context, table | {token: math.log(0.7)}), token, sampling))
    return tuple(places)


def _place(spread: NextToken, token: int, sampling: Sampling) -> Place:
    others = sampling.wanted or spread.ranked()[: sampling.top or 0]
    reported = tuple((each, spread.logprob(each)) for each in dict.fromkeys((token, *others)))
    return Place(token, spread.logprob(token), () if sampling.top is None else reported)


def _spoil(each: Draft, fault: Fault | None, sampling: Sampling) -> Draft:
    """Apply the faults that change an answer's content."""
    if fault is None or not fault.hits(each.prompt.text):
        return each
    if fault.kind == "abort":
        return Draft(each.prompt, "", (), "abort")
    if fault.kind == "minus_9999":
        places = tuple(
            replace(place, reported=(place.reported[:1] + _lost(place.reported[1:], sampling)))
            for place in each.places
        )
        return replace(each, places=places)
    return each


def _lost(others: Sequence[tuple[int, float]], sampling: Sampling) -> tuple[tuple[int, float], ...]:
    """Write -9999.0 as vLLM's V1 sampler does: asked-for ids keep their names, a top-k collapses to id 0."""
    if sampling.wanted:
        return tuple((token, NO_LOGPROB) for token, _ in others)
    return ((0, NO_LOGPROB),)


def _name(token: int, sampling: Sampling) -> str:
    return f"token_id:{token}" if sampling.ids_as_names else decode([token])


def completion_choice(each: Draft, index: int, sampling: Sampling) -> JsonObject:
    """Write one choice of /v1/completions."""
    names = [_name(place.token, sampling) for place in each.places]
    offsets = [sum(len(name) for name in names[:position]) for position in range(len(names))]
    logprobs: JsonObject = {
        "text_offset": offsets,
        "token_logprobs": [place.logprob for place in each.places],
        "tokens": names,
        "top_logprobs": [
            {_name(token, sampling): value for token, value in place.reported} for place in each.places
        ],
    }
    return {
        "index": index,
        "text": each.text,
        "logprobs": None if sampling.top is None else logprobs,
        "finish_reason": each.finish_reason,
        "stop_reason": each.stop_reason,
        "token_ids": [place.token for place in each.places] if sampling.return_ids else None,
        "prompt_logprobs": None,
        "prompt_token_ids": list(each.prompt.ids) if sampling.return_ids else None,
        "routed_experts": None,
    }


def chat_choice(each: Draft, index: int, sampling: Sampling) -> JsonObject:
    """Write one choice of the chat endpoints."""
    message: JsonObject = {"role": "assistant", "content": each.text}
    message |= dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    logprobs = {"content": [_chat_place(place, sampling) for place in each.places]}
    return {
        "index": index,
        "message": message,
        "logprobs": None if sampling.top is None else logprobs,
        "finish_reason": each.finish_reason,
        "stop_reason": each.stop_reason,
        "token_ids": [place.token for place in each.places] if sampling.return_ids else None,
        "routed_experts": None,
    }


def _chat_place(place: Place, sampling: Sampling) -> JsonObject:
    """Write one token; `bytes` of an alternative are those of its name, even if that is `token_id:7`."""
    shown = place.reported if sampling.wanted else place.reported[: sampling.top or 0]
    named = [(_name(token, sampling), value) for token, value in shown]
    return {
        "token": _name(place.token, sampling),
        "logprob": place.logprob,
        "bytes": list(decode([place.token]).encode()),
        "top_logprobs": [
            {"token": name, "logprob": value, "bytes": list(name.encode())} for name, value in named
        ],
    }


def usage(request: ModelRequest, drafts: Sequence[Draft]) -> JsonObject:
    """Add up the tokens of the whole request, each prompt once whatever n is."""
    prompt_tokens = sum(len(prompt.ids) for prompt in request.prompts)
    completion_tokens = sum(len(each.places) for each in drafts)
    created = 0 if request.path == CHAT else None
    details = {"cached_tokens": 0, "created_cache_tokens": created, "multimodal_tokens": None}
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": None if request.path == BATCH_CHAT else details,
        "completion_tokens_details": None,
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """A body ready to send, and which prompts a client can use it for."""

    body: JsonObject
    good: tuple[str, ...]
    spoiled: int


def answer(request: ModelRequest, state: State, fault: Fault | None) -> Answer:
    """Answer every prompt of a request, spoilt as the fault says."""
    settings = state.settings
    sampling = read_sampling(request, settings)
    check_lengths(request.prompts, settings)
    drafts = [
        _spoil(draft(prompt, request, sampling, draw, state), fault, sampling)
        for prompt in request.prompts
        for draw in range(sampling.n)
    ]
    write = completion_choice if request.path == COMPLETIONS else chat_choice
    choices = [write(each, index, sampling) for index, each in enumerate(drafts)]
    tokens = usage(request, drafts)
    body = _envelope(request, _misplace(choices, drafts, fault), tokens, state)
    if request.path == CHAT and sampling.return_ids:
        body["prompt_token_ids"] = list(request.prompts[0].ids)
    good = tuple(text for text in request.texts if not _is_spoilt(text, fault))
    return Answer(body, good, len(request.prompts) - len(good))


def _is_spoilt(text: str, fault: Fault | None) -> bool:
    """Say whether a client must ask for this prompt again; an honest reordering spoils nothing."""
    harmless = {"ok", "hang", "reordered_choices", "truncated"}
    return fault is not None and fault.kind not in harmless and fault.hits(text)


def _misplace(choices: list[JsonObject], drafts: Sequence[Draft], fault: Fault | None) -> list[JsonObject]:
    """Apply the faults that change the list of choices."""
    if fault is None:
        return choices
    hit = [place for place, each in enumerate(drafts) if fault.hits(each.prompt.text)]
    match fault.kind:
        case "too_few_choices":
            return [choice for choice in choices if choice["index"] != hit[-1]]
        case "reordered_choices":
            return choices[::-1]
        case "empty_choices":
            return []
        case "bad_index":
            choices[hit[-1]]["index"] = len(choices) if fault.index is None else fault.index
        case "missing_logprobs":
            for place in hit:
                choices[place]["logprobs"] = None
        case _:
            pass
    return choices


def _envelope(
    request: ModelRequest, choices: list[JsonObject], tokens: JsonObject, state: State
) -> JsonObject:
    chat = request.path != COMPLETIONS
    number = prompt_digest(f"{state.started}:{state.counts.requests}")[:16]
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{number}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": state.settings.system_fingerprint,
        "usage": tokens,
        **(dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text")) if chat else {}),
        **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics")),
    }


# --- HTTP -----------------------------------------------------------------------------------------------


def bearer(scope: Scope) -> str:
    """Return the API key that a request came with, or nothing."""
    headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return given if scheme.lower() == "bearer" else ""


class Delivery(Response):
    """A response that is counted when the socket has its last byte, or that breaks on purpose."""

    def __init__(
        self,
        content: bytes,
        *,
        state: State,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        fault: Fault | None = None,
        answered: Answer | None = None,
    ) -> None:
        sent_as = {"content-type": "application/json", **(headers or {})}
        super().__init__(content, status_code=status, headers=sent_as)
        self.state = state
        self.fault = fault
        self.answered = answered
        self.full = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response and count it, unless the client has gone."""
        transport = cast("asyncio.Transport", scope["state"]["transport"])
        kind = self.fault.kind if self.fault else "ok"
        if kind == "reset":
            _break(transport, hard=self.fault is not None and self.fault.hard)
        elif kind == "truncated":
            await self._send_half(transport, send)
        if transport.is_closing():
            self.state.counts.abandoned += kind not in {"reset", "truncated"}
            await _wait_for_disconnect(receive)
            return
        await super().__call__(scope, receive, send)
        if kind != "truncated":
            self._count(bearer(scope))

    def _count(self, client: str) -> None:
        counts = self.state.counts
        counts.by_status[str(self.status_code)] += 1
        if self.answered is not None:
            counts.answered += len(self.answered.good)
            counts.spoiled += self.answered.spoiled
            counts.prompt_digests.update(prompt_digest(text) for text in self.answered.good)
            self.state.witness.delivered(client, self.answered.good)

    async def _send_half(self, transport: asyncio.Transport, send: Send) -> None:
        """Send half of the body: under the full length and then close, or as if the half were all."""
        half = self.full[: len(self.full) // 2]
        if self.fault is not None and self.fault.declared == "cut":
            self.body = half
            self.headers["content-length"] = str(len(half))
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport.close()


def _break(transport: asyncio.Transport, *, hard: bool) -> None:
    if hard and not transport.is_closing():
        raw = cast("socket.socket", transport.get_extra_info("socket"))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _wait_for_disconnect(receive: Receive) -> None:
    """Let uvicorn notice the closed connection, so that it does not report an unfinished response."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pause(seconds: float, request: Request, state: State) -> None:
    """Wait, but no longer than the client is there and the server runs."""
    transport = cast("asyncio.Transport", request.scope["state"]["transport"])
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if state.stopping():
            transport.abort()
        if transport.is_closing():
            return
        await asyncio.sleep(min(left, POLL_SECONDS))


async def _compute(prompts: int, request: Request, state: State) -> None:
    """Take as long as the prompts need, one slot each where there are not slots for all."""
    settings = state.settings
    if settings.slots is None:
        await _pause(settings.latency_seconds, request, state)
        return
    slots = state.slots = state.slots or asyncio.Semaphore(settings.slots)

    async def one() -> None:
        state.waiting += 1
        try:
            await slots.acquire()
        finally:
            state.waiting -= 1
        try:
            await _pause(settings.latency_seconds, request, state)
        finally:
            slots.release()

    await asyncio.gather(*(one() for _ in range(prompts)))


def _load(request: Request, state: State) -> dict[str, str]:
    """Write the header that tells the load, for a client that asks for it."""
    settings = state.settings
    if not settings.reports_load or request.headers.get("endpoint-load-metrics-format") != "JSON":
        return {}
    waiting = float(state.waiting + settings.others_waiting)
    metrics = {"num_requests_waiting": waiting, "kv_cache_usage_perc": settings.kv_use}
    return {"endpoint-load-metrics": f"JSON {json.dumps({'named_metrics': metrics})}"}


BUSY = (
    "The engine is currently busy and cannot accept new requests. "
    "Please try again later or on a different instance."
)
STATUS_BODIES: Mapping[int, tuple[str, str]] = {
    400: ("The fake refuses this request.", "BadRequestError"),
    429: ("Too Many Requests", "Too Many Requests"),
    500: ("Internal server error", "InternalServerError"),
    503: (BUSY, "Service Unavailable"),
}
"""{status: (message, type)} of the `status` fault; 429 is not vLLM's but a proxy's."""
HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>\r\n</html>\r\n"


def _as_bytes(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _refusal(error: RequestError, state: State) -> Delivery:
    return Delivery(_as_bytes(error.body), state=state, status=error.status)


def _stand_in(fault: Fault, state: State, prompts: int) -> Delivery | None:
    """Build the response of a fault that has nothing to do with the question."""
    spoiled = Answer({}, (), prompts)
    match fault.kind:
        case "status":
            message, kind = STATUS_BODIES.get(fault.status, (HTTPStatus(fault.status).phrase,) * 2)
            error = RequestError(fault.message or message, status=fault.status, kind=kind)
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            return Delivery(_as_bytes(error.body), state=state, status=fault.status, headers=headers)
        case "reset":
            return Delivery(b"", state=state, fault=fault)
        case "not_json":
            return Delivery(b'{"id": "cmpl-', state=state, answered=spoiled)
        case "html":
            headers = {"content-type": "text/html; charset=utf-8"}
            return Delivery(HTML, state=state, headers=headers, answered=spoiled)
        case _:
            return None


async def serve_model(request: Request) -> Response:
    """Answer a completion or chat request."""
    state = cast("State", request.app.state.fake)
    state.counts.in_flight += 1
    state.counts.max_in_flight = max(state.counts.max_in_flight, state.counts.in_flight)
    try:
        return await _serve_model(request, state)
    except RequestError as error:
        return _refusal(error, state)
    except ClientDisconnect:  # killed in the middle of its request
        state.counts.abandoned += 1
        return Response(status_code=400)  # to nobody
    finally:
        state.counts.in_flight -= 1  # not a local: a reset may have replaced the counts


async def _serve_model(request: Request, state: State) -> Response:
    settings, path = state.settings, request.url.path
    if path == BATCH_CHAT and not settings.supports_batch_chat:
        raise HTTPException(404)
    body = read_body(await request.body(), request.headers.get("content-type", ""))
    asked = read_request(path, body, settings)
    state.counts.prompts += len(asked.prompts)
    state.counts.max_list = max(state.counts.max_list, len(asked.prompts))
    number = next(state.numbers)
    state.styles.enter(body, number)
    try:
        return await _answer(asked, request, state, number)
    finally:
        state.styles.leave(number)


async def _answer(asked: ModelRequest, request: Request, state: State, number: int) -> Response:
    """Answer a readable request, in the time and with the faults that are set."""
    fault = state.witness.arrived(bearer(request.scope), asked.texts) or state.take_fault(asked.texts)
    await _compute(len(asked.prompts), request, state)
    if state.styles.plain.get(number):
        state.counts.mixed += 1
        if state.settings.v1_runner:
            fault = fault or Fault(kind="minus_9999")
    if fault is not None:
        if fault.kind == "hang":
            await _pause(fault.seconds, request, state)
        if stand_in := _stand_in(fault, state, len(asked.prompts)):
            return stand_in
    answered = answer(asked, state, fault)
    if fault is not None and fault.kind == "truncated":
        answered = replace(answered, good=(), spoiled=len(asked.prompts))
    body, headers = _as_bytes(answered.body), _load(request, state)
    return Delivery(body, state=state, headers=headers, fault=fault, answered=answered)


async def serve_tokenize(request: Request) -> Response:
    """Answer POST /tokenize."""
    state = cast("State", request.app.state.fake)
    try:
        body = read_body(await request.body(), request.headers.get("content-type", ""))
        check_model(body.get("model"), state.settings)
        ids = _tokenized(body, state.settings)
    except RequestError as error:
        return JSONResponse(error.body, error.status)
    texts = [decode([token]) for token in ids] if body.get("return_token_strs") else None
    limit = state.settings.max_model_len
    return JSONResponse({"count": len(ids), "max_model_len": limit, "tokens": ids, "token_strs": texts})


def _tokenized(body: JsonObject, settings: Settings) -> list[int]:
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return encode(prompt)
    if "messages" in body:
        check_chat_template(settings)
        return list(read_conversation(body["messages"]).ids)
    if prompt is None:
        raise validation_error("missing", "body.prompt", "Field required", body)
    raise validation_error("string_type", "body.prompt", "Input should be a valid string", prompt)


async def serve_health(request: Request) -> Response:
    """Answer GET /health: 200 or 503, with no body."""
    return Response(status_code=200 if cast("State", request.app.state.fake).settings.healthy else 503)


async def serve_version(request: Request) -> Response:
    """Answer GET /version."""
    return JSONResponse({"version": cast("State", request.app.state.fake).settings.version})


async def serve_metrics(request: Request) -> Response:
    """Answer GET /metrics with the one counter that the fake keeps, and more where it is set to tell more."""
    state = cast("State", request.app.state.fake)
    labels = 'engine="0",finished_reason="stop",model_name="fake-model"'
    page = f"vllm:request_success_total{{{labels}}} {float(state.counts.answered)}\n"
    if state.settings.process_start is not None:
        page += f"process_start_time_seconds {state.settings.process_start}\n"
    if state.settings.preemptions is not None:
        labels = 'engine="0",model_name="fake-model"'
        waiting = float(state.waiting + state.settings.others_waiting)
        page += f"vllm:num_requests_waiting{{{labels}}} {waiting}\n"
        page += f"vllm:num_requests_running{{{labels}}} 1.0\n"
        page += f"vllm:kv_cache_usage_perc{{{labels}}} {state.settings.kv_use}\n"
        page += f"vllm:num_preemptions_total{{{labels}}} {float(state.settings.preemptions)}\n"
    return Response(page)


async def serve_models(request: Request) -> Response:
    """Answer GET /v1/models."""
    state = cast("State", request.app.state.fake)
    models, adapters = state.settings.models, state.settings.adapters
    cards = [_model_card(name, state.settings.model_root, state) for name in models]
    for name, root in adapters.items():
        cards.append(_model_card(name, root, state) | {"parent": models[0]})
    return JSONResponse({"object": "list", "data": cards})


def _model_card(name: str, root: str, state: State) -> JsonObject:
    number, created = prompt_digest(name)[:16], state.started
    permission: JsonObject = {
        "id": f"modelperm-{number}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": root,
        "parent": None,
        "max_model_len": state.settings.max_model_len,
        "permission": [permission],
    }


SAMPLING_FIELDS = (
    "model", "n", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "logprob_token_ids",
    "allowed_token_ids", "structured_outputs", "return_tokens_as_token_ids", "return_token_ids",
)  # fmt: skip
SCHEMAS: Mapping[str, tuple[str, ...]] = {
    "CompletionRequest": ("prompt", *SAMPLING_FIELDS),
    "ChatCompletionRequest": ("messages", "max_completion_tokens", "top_logprobs", *SAMPLING_FIELDS),
    "BatchChatCompletionRequest": ("messages", "max_completion_tokens", "top_logprobs", *SAMPLING_FIELDS),
    "TokenizeCompletionRequest": ("model", "prompt", "add_special_tokens", "return_token_strs"),
}
BODIES: Mapping[str, str] = {
    COMPLETIONS: "CompletionRequest",
    CHAT: "ChatCompletionRequest",
    BATCH_CHAT: "BatchChatCompletionRequest",
    "/tokenize": "TokenizeCompletionRequest",
}


async def serve_openapi(request: Request) -> Response:
    """Answer GET /openapi.json with what a client probes: paths and the names of the fields."""
    settings = cast("State", request.app.state.fake).settings
    hidden_path = None if settings.supports_batch_chat else BATCH_CHAT
    hidden_field = None if settings.supports_logprob_token_ids else "logprob_token_ids"
    paths: JsonObject = {path: {"get": {}} for path in ("/health", "/version", "/v1/models")}
    for path, name in BODIES.items():
        reference = {"schema": {"$ref": f"#/components/schemas/{name}"}}
        body = {"content": {"application/json": reference}, "required": True}
        paths[path] = {"post": {"requestBody": body}}
    paths.pop(hidden_path or "", None)
    schemas = {
        name: {
            "properties": {each: {"title": each} for each in names if each != hidden_field},
            "additionalProperties": True,
            "type": "object",
            "title": name,
        }
        for name, names in SCHEMAS.items()
    }
    info = {"title": "FastAPI", "version": "0.1.0"}
    return JSONResponse(
        {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
    )


async def serve_stats(request: Request) -> Response:
    """Answer GET /fake/stats."""
    state = cast("State", request.app.state.fake)
    counts = {each.name: getattr(state.counts, each.name) for each in fields(state.counts)}
    left = [asdict(fault) for fault in state.faults if fault.times]
    return JSONResponse(counts | {"faults_left": left})


async def serve_reset(request: Request) -> Response:
    """Answer POST /fake/reset: forget counts and faults; `{"config": true}` forgets changed settings, too."""
    state = cast("State", request.app.state.fake)
    body = json.loads(await request.body() or b"{}")
    now = state.counts.in_flight
    state.counts = Counts(in_flight=now, max_in_flight=now)
    state.faults.clear()
    if body.get("config"):
        state.settings, state.slots = state.initial, None
    return JSONResponse({})


async def serve_faults(request: Request) -> Response:
    """Answer POST /fake/faults: a list of faults replaces the script."""
    state = cast("State", request.app.state.fake)
    try:
        state.faults[:] = [Fault(**each) for each in json.loads(await request.body())]
    except (TypeError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"faults": len(state.faults)})


async def serve_config(request: Request) -> Response:
    """Answer POST /fake/config: change some settings; the answer shows all."""
    state = cast("State", request.app.state.fake)
    try:
        state.settings, state.slots = state.settings.changed(json.loads(await request.body())), None
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse(asdict(state.settings))


async def serve_http_error(_: Request, error: Exception) -> Response:
    """Answer for unknown paths and methods as FastAPI does."""
    return JSONResponse(
        {"detail": cast("HTTPException", error).detail}, cast("HTTPException", error).status_code
    )


class FrontDoor:
    """The outermost layer: counts every request and asks for the key."""

    def __init__(self, app: Starlette, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer 401."""
        path, counts = cast("str", scope["path"]), self.state.counts
        if path.startswith("/fake/"):
            await self.app(scope, receive, send)
            return
        counts.all_requests += 1
        counts.by_path[path] += 1
        counts.requests += path.startswith("/v1/") and scope["method"] == "POST"
        if path.startswith("/v1") and not self._knows(scope):
            refusal = Delivery(_as_bytes({"error": "Unauthorized"}), state=self.state, status=401)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        key = self.state.settings.api_key
        return key is None or bearer(scope) == key


def build_app(state: State) -> FrontDoor:
    """Put the routes together."""
    routes = [
        Route("/health", serve_health),
        Route("/version", serve_version),
        Route("/metrics", serve_metrics),
        Route("/openapi.json", serve_openapi),
        Route("/v1/models", serve_models),
        Route("/tokenize", serve_tokenize, methods=["POST"]),
        *(Route(path, serve_model, methods=["POST"]) for path in (COMPLETIONS, CHAT, BATCH_CHAT)),
        Route("/fake/stats", serve_stats),
        Route("/fake/reset", serve_reset, methods=["POST"]),
        Route("/fake/faults", serve_faults, methods=["POST"]),
        Route("/fake/config", serve_config, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: serve_http_error})
    app.state.fake = state
    return FrontDoor(app, state)


# --- Running it -----------------------------------------------------------------------------------------


class Wire(H11Protocol):
    """HTTP/1.1 that hands every request its transport, so that a response can be broken off."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Remember the transport."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def build_server(state: State) -> uvicorn.Server:
    """Build a quiet uvicorn server; it stops without waiting for hanging answers."""
    config = uvicorn.Config(
        build_app(state),
        http=Wire,
        loop="asyncio",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,  # the rest of a request may never come, from one who waits for the end
    )
    server = uvicorn.Server(config)
    state.stopping = lambda: server.should_exit
    return server


def listen(port: int = 0) -> socket.socket:
    """Open a listening socket on the loopback interface; connections queue until the server runs."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    return sock


class FakeClient:
    """The `/fake/*` endpoints of a running fake as methods. They block, for a few milliseconds."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def base_url(self) -> str:
        """The server's root, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def v1_url(self) -> str:
        """What an OpenAI client calls its base URL."""
        return f"{self.base_url}/v1"

    def stats(self) -> JsonObject:
        """Return the fields of `Counts`, and `faults_left`."""
        return self.call("GET", "/fake/stats")

    def reset(self, *, config: bool = False) -> None:
        """Forget counts and faults, and with `config` the changes of settings."""
        self.call("POST", "/fake/reset", {"config": config})

    def faults(self, script: Sequence[Mapping[str, Any]]) -> None:
        """Replace the script of faults; each is the fields of a `Fault`."""
        self.call("POST", "/fake/faults", list(script))

    def config(self, **changes: object) -> JsonObject:
        """Change fields of `Settings` and return all of them."""
        return self.call("POST", "/fake/config", changes)

    def call(self, method: str, path: str, body: object = None) -> JsonObject:
        """Send one request on a connection of its own.

        Raises:
            ValueError: The fake refused what was asked of it.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != HTTPStatus.OK:
            raise ValueError(f"{method} {path}: {answer}")
        return answer


class FakeVLLM(FakeClient):
    """The fake in a thread of this process, on the port given or a free one.

    Examples:
        >>> with FakeVLLM(models=["tiny"]) as server:
        ...     server.faults([{"kind": "status", "status": 503}])
        ...     server.stats()["requests"]
        0
    """

    def __init__(
        self,
        *,
        scorer: Scorer | None = None,
        writer: Writer | None = None,
        port: int = 0,
        **settings: object,
    ) -> None:
        super().__init__(port)
        chosen = Settings().changed(settings)
        self.state = State(chosen, chosen, scorer or synthetic_scorer, writer or synthetic_writer)
        self.server: uvicorn.Server | None = None
        self.thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start serving; requests are accepted when this returns."""
        sock = listen(self.port)
        self.port = cast("tuple[str, int]", sock.getsockname())[1]
        self.server = build_server(self.state)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [sock]}, name="fake-vllm", daemon=True
        )
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving; answers that still wait are broken off.

        Raises:
            RuntimeError: The server did not stop.
        """
        if self.server is None or self.thread is None:
            return
        self.server.should_exit = True
        self.thread.join(SHUTDOWN_SECONDS)
        if self.thread.is_alive():
            raise RuntimeError("the fake vLLM server did not stop")


class FakeVLLMProcess(FakeClient):
    """The fake in a process of its own, which outlives a client that is killed, and can be killed itself."""

    def __init__(
        self, *, port: int = 0, program: Sequence[str] = ("-m", "tests.fake_vllm"), **settings: object
    ) -> None:
        super().__init__(port)
        self.settings = settings
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def start(self) -> None:
        """Start the process and wait for its port.

        Raises:
            RuntimeError: It ended, or told no port in time.
        """
        with tempfile.TemporaryDirectory() as folder:
            port_file = Path(folder) / "port"
            place = ["--port", str(self.port), "--port-file", str(port_file)]
            self.process = subprocess.Popen(
                [sys.executable, *self.program, *place, "--config", json.dumps(self.settings)],
                cwd=Path(__file__).parents[1],
            )
            end = time.monotonic() + SHUTDOWN_SECONDS
            while not port_file.exists():
                if self.process.poll() is not None or time.monotonic() > end:
                    self.__exit__()
                    raise RuntimeError(f"the fake vLLM process did not start: {self.process.returncode}")
                time.sleep(POLL_SECONDS)
            self.port = int(port_file.read_text())

    def kill(self) -> None:
        """End the process at once; its connections are reset, and its port refuses."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __exit__(self, *_: object) -> None:
        """End the process."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    serve(build_parser().parse_args(arguments))


def build_parser() -> argparse.ArgumentParser:
    """Say what the command line knows."""
    parser = argparse.ArgumentParser(prog="python -m tests.fake_vllm", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--port-file", type=Path, help="where to write the port once connections are accepted"
    )
    parser.add_argument("--config", type=json.loads, default={}, help="JSON object: fields of Settings")
    parser.add_argument("--faults", type=json.loads, default=[], help="JSON list: a script of faults")
    return parser


def serve(
    options: argparse.Namespace, witness: Witness | None = None, writer: Writer = synthetic_writer
) -> None:
    """Serve as the command line says until SIGTERM or SIGINT."""
    settings = Settings().changed(options.config)
    state = State(settings, settings, synthetic_scorer, writer, witness=witness or Witness())
    state.faults = [Fault(**each) for each in options.faults]
    sock = listen(options.port)
    port = cast("tuple[str, int]", sock.getsockname())[1]
    server = build_server(state)
    if options.port_file:
        half = options.port_file.with_suffix(".tmp")
        half.write_text(str(port))
        half.replace(options.port_file)
    else:
        sys.stdout.write(f"http://127.0.0.1:{port}\n")
        sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[sock])


if __name__ == "__main__":
    main()
