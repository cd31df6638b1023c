"""Anthropic's Messages API, through its own library: the only part that knows how its wire differs."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import anthropic
import httpx2
from pydantic import SecretStr

from backends.addresses import (
    Address,
    address_of,
    direct_mounts,
    secrets_of,
    sent_headers,
    without_credentials,
)
from backends.base import Hooks
from backends.errors import (
    AWAY,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    ContentFilterError,
    ResponseFormatError,
)
from backends.exchanges import exchange
from backends.external_api import ExternalAPI
from backends.failures import CONNECT_SECONDS, connection_error, status_error, timeout_error, trust
from backends.guard import GLANCE_SECONDS
from backends.limiting import Limiter, Limits
from backends.masking import Mask
from backends.messages import Label, Message, Request, Response, Usage
from backends.replies import Part, Text, TokenCount, read_json, read_part
from backends.retrying import Retrier

ADDRESS = "https://api.anthropic.com"
PATH = "/v1/messages"

VERSION = "2026-10-21"
VERSION_WITH_SAMPLING = "2023-06-01"
"""The API's version 2026-10-21 refuses `temperature`, `top_p` and `top_k`, the one before takes them from
the models that still know them (platform.claude.com/docs/en/api/versioning)."""

HIGHEST_TEMPERATURE = 1.0
SAMPLING = frozenset({"temperature", "top_p", "top_k"})

Body = dict[str, object]


class AnthropicAPI(ExternalAPI):
    """Asks Anthropic's models, one conversation a request, within the limits of an account.

    The API has no seed: the draws of a request differ by chance alone. It gives no log-probabilities, and
    takes no prompts without turns.

    Args:
        api_key: Read from the environment by whoever makes this; never shown.
        base_url: The API's address; an Address where it takes more to get in.
        limits: What the account may do.
        timeout_seconds: For one HTTP request.
        retrier: How failures are tried again.
        hooks: What the owner wants to hear of.
    """

    def __init__(
        self,
        base_url: str | Address = ADDRESS,
        *,
        api_key: SecretStr | None,
        limits: Limits | Limiter | None = None,
        timeout_seconds: float = 600.0,
        retrier: Retrier | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        address = address_of(base_url)
        root = without_credentials(address.base_url).rstrip("/").removesuffix("/v1")
        self._mask = Mask(secrets_of(address, api_key))
        self._client = _AsyncClient(
            base_url=root,
            headers=sent_headers(address, api_key),
            timeout_seconds=timeout_seconds,
            verify=address.verify,
        )
        super().__init__(root, limits=limits, retrier=retrier, hooks=hooks)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Refuse: label scores are log-probabilities.

        Raises:
            BadRequestError: Always.
        """
        raise BadRequestError(
            f"Anthropic gives no log-probabilities, so {model!r} cannot score {', '.join(texts)}; use a vLLM "
            "server for that"
        )

    def _check(self, request: Request) -> None:
        body_of(request)

    async def _post(self, request: Request) -> tuple[Response, Usage]:
        body = body_of(request)
        version = VERSION_WITH_SAMPLING if SAMPLING & body.keys() else VERSION
        async with exchange(self.hooks, self.root, PATH, 1) as told:
            with self._errors(sampled=version == VERSION_WITH_SAMPLING):
                reply = await self._client.post(
                    PATH,
                    cast_to=httpx2.Response,  # what came, unread
                    body=body,
                    options={"headers": {"anthropic-version": version}},
                )
            with self._mask.errors():
                response, told.usage = parse(read_json(reply.content, self.root))
        return response, told.usage

    async def _is_there(self) -> bool:
        try:
            with self._errors(sampled=False):
                await self._client.get(
                    "/v1/models", cast_to=httpx2.Response, options={"timeout": GLANCE_SECONDS}
                )
        except BackendError as error:
            return not isinstance(error, (*AWAY, BackendTimeoutError))
        return True

    async def _close(self) -> None:
        await self._client.close()

    @contextmanager
    def _errors(self, *, sampled: bool) -> Generator[None]:
        with self._mask.errors():
            try:
                yield
            except anthropic.APITimeoutError as error:
                raise timeout_error(self.root, error) from error
            except anthropic.APIConnectionError as error:
                raise connection_error(self.root, error) from error
            except anthropic.APIStatusError as error:
                words = self._mask(_server_words(error))  # before more is said after a cut
                if sampled and any(name in words for name in SAMPLING):
                    words += "; to this model's own sampling, temperature=1 and top_p=1, it answers"
                raise status_error(error.status_code, words, error.response.headers) from error


class _AsyncClient(anthropic.AsyncAnthropic):
    """Sends the headers it is given, and none that `ANTHROPIC_*` variables ask for."""

    def __init__(
        self, *, base_url: str, headers: Mapping[str, str], timeout_seconds: float, verify: bool | Path
    ) -> None:
        timeout = anthropic.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS))
        super().__init__(
            base_url=base_url,
            api_key="none",  # without one it would look for credentials by itself
            timeout=timeout,
            max_retries=0,  # retrying is ours, see retrying.py
            http_client=anthropic.DefaultAsyncHttpxClient(
                verify=trust(verify),
                timeout=timeout,
                follow_redirects=False,
                mounts=direct_mounts(base_url),
            ),
        )
        self._custom_headers = headers  # in place of those of ANTHROPIC_CUSTOM_HEADERS


# --- what is sent ---------------------------------------------------------------------------------------


def body_of(request: Request) -> Body:
    """Write the body of one request.

    A temperature and a top_p of 1 are what the API does anyway, and the only ones that all models take, so
    they are left to it; other values are sent, and refused by models that do not take them.

    Raises:
        BadRequestError: The API has nothing for what is asked.
    """
    _refuse_what_it_has_not(request)
    system, turns = _apart(request.messages)
    sampling = request.sampling
    body: Body = {
        "model": request.model,
        "max_tokens": sampling.max_tokens,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
    }
    if system:
        body["system"] = system
    if sampling.temperature != HIGHEST_TEMPERATURE:
        body["temperature"] = sampling.temperature
    if sampling.top_p != 1.0:
        body["top_p"] = sampling.top_p
    if sampling.stop:
        body["stop_sequences"] = list(sampling.stop)
    return _with_extras(body, request)


def _with_extras(body: Body, request: Request) -> Body:
    extra = dict(request.sampling.extra_body)
    if request.json_schema is not None:
        own: Body = {"format": {"type": "json_schema", "schema": json.loads(request.json_schema)}}
        given = extra.pop("output_config", {})  # {"effort": "low"}
        extra["output_config"] = {**cast("Mapping[str, object]", given), **own}
    if twice := sorted(body.keys() & extra.keys()):
        raise BadRequestError(f"extra_body holds {twice[0]!r}, which a Request says itself")
    return {**body, **extra}


def _refuse_what_it_has_not(request: Request) -> None:
    if request.prompt is not None:
        raise BadRequestError(f"Anthropic takes only messages for {request.model!r}; give messages")
    if request.labels or request.logprobs is not None:
        raise BadRequestError("Anthropic gives no log-probabilities; ask a vLLM server for them")
    if not 0.0 <= request.sampling.temperature <= HIGHEST_TEMPERATURE:
        raise BadRequestError(
            f"temperature is {request.sampling.temperature:g}; Anthropic takes 0 to {HIGHEST_TEMPERATURE:g}"
        )


def _apart(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """Part the system's text from the turns, and join neighbours of one role, since roles must alternate."""
    system: list[str] = []
    turns: list[Message] = []
    for message in messages:
        if message.role == "system":
            if turns:
                raise BadRequestError(
                    "a system message comes after a turn; Anthropic takes them at the start"
                )
            system.append(message.content)
        elif turns and turns[-1].role == message.role:
            turns[-1] = Message(role=message.role, content=f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(message)
    if not turns or turns[0].role != "user":
        raise BadRequestError("the first turn is not the user's; Anthropic wants it to be")
    return "\n\n".join(system), turns


# --- what comes back ------------------------------------------------------------------------------------


class _Block(Part):
    type: str
    text: Text | None = None
    thinking: Text | None = None


class _Tokens(Part):
    input_tokens: TokenCount
    output_tokens: TokenCount
    cache_read_input_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None

    def usage(self) -> Usage:
        cached = self.cache_read_input_tokens or 0
        return Usage(
            # Here `input_tokens` are those alone that the cache neither gave nor took.
            input_tokens=self.input_tokens + cached + (self.cache_creation_input_tokens or 0),
            output_tokens=self.output_tokens,
            cached_tokens=cached,
        )


class _Reply(Part):
    type: Literal["message"]
    model: Text
    content: list[_Block]
    stop_reason: str
    usage: _Tokens


FINISH_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}
"""{what Anthropic calls it: what OpenAI does}; others are no whole answers."""


def parse(payload: object) -> tuple[Response, Usage]:
    """Read the reply to `body_of`.

    Raises:
        ResponseFormatError: It is no message, or one that stopped for a reason that leaves it unfinished.
        ContentFilterError: The answer was withheld.
    """
    reply = read_part(_Reply, payload)
    if reply.stop_reason == "refusal":
        raise ContentFilterError('Anthropic withheld the answer (stop_reason "refusal")')
    if reply.stop_reason not in FINISH_REASONS:
        raise ResponseFormatError(f"the server stopped with stop_reason {reply.stop_reason!r}")
    thoughts = [block.thinking for block in reply.content if block.type == "thinking" and block.thinking]
    response = Response(
        text="".join(block.text or "" for block in reply.content if block.type == "text"),
        finish_reason=FINISH_REASONS[reply.stop_reason],
        reasoning="\n\n".join(thoughts) if thoughts else None,
        served_by=reply.model,
    )
    return response, reply.usage.usage()


def _server_words(error: anthropic.APIStatusError) -> str:
    body = error.body
    said = cast("Mapping[str, object]", body).get("error") if isinstance(body, Mapping) else None
    message = cast("Mapping[str, object]", said).get("message") if isinstance(said, Mapping) else None
    return message if isinstance(message, str) else (error.response.text or "no reason given")[:500]
