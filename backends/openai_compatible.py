"""An external API that speaks the OpenAI wire format: OpenAI, OpenRouter, and whatever else does."""

from collections.abc import Mapping, Sequence
from typing import cast

from pydantic import SecretStr

from backends import wire
from backends.addresses import Address, address_of, is_at
from backends.base import Hooks
from backends.errors import BadRequestError
from backends.exchanges import exchange
from backends.external_api import ExternalAPI
from backends.failures import status_error
from backends.guard import GLANCE_SECONDS
from backends.limiting import Limiter, Limits
from backends.messages import Label, Request, Response, Usage
from backends.openai_client import OpenAIClient
from backends.retrying import Retrier

OPENAI_HOST = "api.openai.com"
OPENAI_COMPLETION_MODELS = ("babbage-", "davinci-", "gpt-3.5-turbo-instruct")
"""The only models that OpenAI itself serves under `/v1/completions`, by the start of their names."""


class OpenAICompatible(ExternalAPI):
    """Asks one prompt at a time, within the limits of an account.

    Labels are scored from the 20 most likely tokens, since such APIs give no others. Every parameter of a
    request is sent: an API that does not take one (OpenAI's reasoning models take no `temperature` but 1)
    refuses it in its own words, and nothing is left out behind the back of a key.

    Args:
        base_url: The API's address, with or without the closing `/v1`; an Address where it takes more to
            get in.
        api_key: Read from the environment by whoever makes this; never shown.
        limits: What the account may do.
        timeout_seconds: For one HTTP request.
        retrier: How failures are tried again.
        hooks: What the owner wants to hear of.
    """

    def __init__(
        self,
        base_url: str | Address,
        *,
        api_key: SecretStr | None,
        limits: Limits | Limiter | None = None,
        timeout_seconds: float = 120.0,
        retrier: Retrier | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._client = OpenAIClient(base_url, api_key=api_key, timeout_seconds=timeout_seconds)
        self._is_openai = is_at(address_of(base_url).base_url, OPENAI_HOST)
        super().__init__(self._client.root, limits=limits, retrier=retrier, hooks=hooks)

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:  # noqa: ARG002
        """Return the labels by their text: there are no token ids to be had."""
        return tuple(Label(text=text) for text in texts)

    def _check(self, request: Request) -> None:
        if self._is_openai:
            check_for_openai(request)

    async def _post(self, request: Request) -> tuple[Response, Usage]:
        if request.prompt is not None:
            path, body, parse = "/v1/completions", wire.completion_body([request]), wire.parse_completion
        else:
            path, body, parse = "/v1/chat/completions", wire.chat_body(request), wire.parse_chat
            body = for_openai(body) if self._is_openai else body
        async with exchange(self.hooks, self.root, path, 1) as told:
            reply = await self._client.post(path, body)
            told.usage = wire.reported_usage(reply, 1)  # what is of no use may have cost something, too
            with self._client.mask.errors():
                refuse_error(reply)
                (response,), told.usage = parse([request], reply)
        return response, told.usage

    async def _is_there(self) -> bool:
        return await self._client.reaches("/v1/models", timeout_seconds=GLANCE_SECONDS)

    async def _close(self) -> None:
        await self._client.aclose()


def check_for_openai(request: Request) -> None:
    """Refuse what OpenAI's own API would, before it is sent.

    Raises:
        BadRequestError: A prompt for a model that takes messages only.
    """
    if request.prompt is not None and not request.model.startswith(OPENAI_COMPLETION_MODELS):
        raise BadRequestError(
            f"OpenAI takes only messages for {request.model!r}; give messages, or ask a vLLM server"
        )


def for_openai(body: wire.Body) -> wire.Body:
    """Rename what OpenAI's own API calls otherwise: its reasoning models refuse `max_tokens`."""
    renamed = {"max_tokens": "max_completion_tokens"}
    return {renamed.get(name, name): value for name, value in body.items()}


def refuse_error(reply: object) -> None:
    """Raise the error that a reply with status 200 holds, as OpenRouter's does when a model fails behind it.

    Raises:
        BackendError: By the status that the reply names, 500 if it names none.
    """
    said = _mapping(_mapping(_first_choice(reply) or reply).get("error"))
    if not said:
        return
    code = said.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500  # noqa: PLR2004 - HTTP's range
    words = said.get("message")
    raise status_error(status, words[:500] if words and isinstance(words, str) else "no reason given", {})


def _first_choice(reply: object) -> object:
    choices = _mapping(reply).get("choices")
    return cast("list[object]", choices)[0] if isinstance(choices, list) and choices else None


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
