"""A vLLM server: many prompts in one request, exact label scores, and what it can do found by asking."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import anyio.to_thread
from pydantic import SecretStr

from backends import wire
from backends.addresses import Address
from backends.base import Arrival, Indexed
from backends.batching import as_they_arrive, into_lists
from backends.errors import BackendError, BadRequestError, ResponseFormatError
from backends.labels import labels_from_spellings, labels_from_tokenizer, tokenizer_file
from backends.messages import Label, Request, Response, Usage
from backends.openai_client import OpenAIClient
from backends.retrying import Retrier

FIRST_CONTACT_ATTEMPTS = 4
FIRST_CONTACT_MAX_SECONDS = 2.0
"""A server that was never there is most likely a wrong address: say so within seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a server said of itself."""

    version: str
    roots: Mapping[str, str]
    """{served model name: where its weights came from, a path on the server's machine or a hub id}"""
    scores_token_ids: bool
    """Whether `/v1/completions` knows `logprob_token_ids` (vLLM since 2025; not other servers)."""
    has_batch_chat: bool


class VLLMServer:
    """Asks a vLLM server. No rate limit: the server queues by itself, and idles if it is not fed.

    Args:
        base_url: The server's address, with or without the closing `/v1`; an Address where it takes more to
            get in.
        api_key: Where the server was started with one; never shown.
        max_prompts: Prompts in one HTTP request. Lists of 16 to 64 are 1.3 to 2.4 times faster than single
            requests where prompts are short, and no slower where they are long (facts measured on a CPU).
        max_in_flight: HTTP requests open at once.
        timeout_seconds: For one HTTP request; a list on a busy CPU takes minutes.
        retrier: How failures are tried again.
    """

    def __init__(
        self,
        base_url: str | Address,
        *,
        api_key: SecretStr | None = None,
        max_prompts: int = 32,
        max_in_flight: int = 8,
        timeout_seconds: float = 600.0,
        retrier: Retrier | None = None,
    ) -> None:
        self._client = OpenAIClient(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._max_prompts = max_prompts
        self._open = asyncio.Semaphore(max_in_flight)
        self._retrier = retrier or Retrier()
        self._probe = asyncio.Lock()
        self._capabilities: Capabilities | None = None
        self._refusal: tuple[float, BackendError] | None = None

    async def __aenter__(self) -> Self:
        """Open nothing yet: a run whose answers are all stored needs no server."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close connections."""
        await self._client.__aexit__(kind, error, traceback)

    async def capabilities(self) -> Capabilities:
        """Ask the server once what it serves and what it can do.

        Raises:
            BackendError: It does not answer, or is no server of this kind.
        """
        asked_at = time.monotonic()
        async with self._probe:
            if self._capabilities is None:
                if self._refusal and self._refusal[0] >= asked_at:  # it failed while this one waited
                    raise self._refusal[1]
                self._capabilities = await self._first_contact()
            return self._capabilities

    async def _first_contact(self) -> Capabilities:
        retrier = self._retrier.limited(FIRST_CONTACT_ATTEMPTS, FIRST_CONTACT_MAX_SECONDS)
        try:
            return await retrier.call(self._ask_capabilities)
        except BackendError as error:
            self._refusal = (time.monotonic(), error)
            raise

    def answer(self, requests: Sequence[Request]) -> AsyncGenerator[Arrival, None]:
        """Yield the outcome of every request exactly once, as they arrive."""
        return as_they_arrive(into_lists(requests, max_prompts=self._max_prompts), self._answer_list)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        """Find the token ids of each label: in the model's tokenizer, else by the server's `/tokenize`.

        For a server that cannot score chosen tokens the labels come back without ids.

        Raises:
            BackendError: The server cannot be asked, or a label is no single token.
        """
        can = await self.capabilities()
        if not can.scores_token_ids:
            return tuple(Label(text=text) for text in texts)
        root = can.roots.get(model)
        file = await anyio.to_thread.run_sync(tokenizer_file, root) if root else None
        if file:
            return await anyio.to_thread.run_sync(labels_from_tokenizer, file, texts)
        return await labels_from_spellings(lambda text: self._tokenize(model, text), texts)

    async def _answer_list(self, indexed: Sequence[Indexed]) -> Arrival:
        try:
            can = await self.capabilities()
        except BackendError as error:
            return Arrival(outcomes=tuple((index, error) for index, _ in indexed), requests_sent=0)
        if any(label.token_ids for label in indexed[0][1].labels) and not can.scores_token_ids:
            refusal = BadRequestError(
                f"vLLM {can.version} cannot score chosen tokens (logprob_token_ids); use scoring='top-20'"
            )
            return Arrival(outcomes=tuple((index, refusal) for index, _ in indexed), requests_sent=0)
        if indexed[0][1].messages and not can.has_batch_chat and len(indexed) > 1:
            return Arrival(outcomes=(), requests_sent=0, halves=tuple([one] for one in indexed))
        return await self._retrier.answer(indexed, self._send)

    async def _send(self, requests: Sequence[Request]) -> tuple[list[Response], Usage]:
        async with self._open:
            if requests[0].prompt is not None:
                reply = await self._client.post("/v1/completions", wire.completion_body(requests))
                return wire.parse_completion(requests, reply)
            if len(requests) == 1:
                reply = await self._client.post("/v1/chat/completions", wire.chat_body(requests[0]))
            else:
                reply = await self._client.post("/v1/chat/completions/batch", wire.batch_chat_body(requests))
            return wire.parse_chat(requests, reply)

    async def _tokenize(self, model: str, text: str) -> Sequence[int]:
        body: dict[str, object] = {"model": model, "prompt": text, "add_special_tokens": False}
        reply = await self._retrier.call(lambda: self._client.post("/tokenize", body))
        tokens = _at(reply, "tokens")
        if not isinstance(tokens, list):
            raise ResponseFormatError("/tokenize answered without a list of tokens")
        return [token for token in cast("list[object]", tokens) if isinstance(token, int)]

    async def _ask_capabilities(self) -> Capabilities:
        version = _at(await self._client.get("/version"), "version")
        models = _at(await self._client.get("/v1/models"), "data")
        openapi = await self._client.get("/openapi.json")
        schema = _at(openapi, "components", "schemas", "CompletionRequest", "properties")
        if not isinstance(models, list):
            raise ResponseFormatError(f"{self._client.root}/v1/models answered without a list of models")
        cards = cast("list[object]", models)
        return Capabilities(
            version=str(version),
            roots={str(_at(card, "id")): str(_at(card, "root")) for card in cards},
            scores_token_ids=_at(schema, "logprob_token_ids") is not None,
            has_batch_chat=_at(openapi, "paths", "/v1/chat/completions/batch") is not None,
        )


def _at(value: object, *path: str) -> object:
    """Follow keys into nested JSON; None where there is nothing."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(key)
    return value
