"""The one door to a server: the official openai client, with its errors turned into ours.

The openai library is imported when something is first sent: it takes 0.4 s to import, 0.1 s to open and
0.1 s to take down, which is most of the time of a run whose answers are all stored.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self, cast

from pydantic import SecretStr

from backends.addresses import Address, address_of, secrets_of, sent_headers, without_credentials
from backends.errors import AWAY, BackendError, BackendTimeoutError
from backends.failures import connection_error, status_error, timeout_error, trust
from backends.masking import Mask
from backends.replies import read_json

if TYPE_CHECKING:
    import httpx2
    import openai


NO_CREDIT = 402
TOO_LONG = frozenset({"input_tokens", "input_text"})
"""What vLLM calls a prompt that is longer than the model's context, counted in tokens or in characters."""
CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"


@dataclass(frozen=True, slots=True)
class Reply:
    """JSON, and the headers that came with it."""

    content: object
    headers: Mapping[str, str]


class OpenAIClient:
    """Posts and gets JSON under a server's address; knows nothing of prompts.

    Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`), as every HTTP client does, but for a
    server on this machine; redirects are refused, since followed they would take the extra headers elsewhere.

    Args:
        base_url: With or without the closing `/v1`; an Address where it takes more to get in.
        api_key: Sent as bearer token where given; never shown.
        timeout_seconds: For one HTTP request; connecting may take CONNECT_SECONDS of it.

    Raises:
        ValueError: A header cannot be sent, two want to be the `Authorization`, or the file holds no
            certificates.
    """

    def __init__(self, base_url: str | Address, *, api_key: SecretStr | None, timeout_seconds: float) -> None:
        self._address = address_of(base_url)
        self.root = without_credentials(self._address.base_url).rstrip("/").removesuffix("/v1")
        self.mask = Mask(secrets_of(self._address, api_key))  # before anything waits for an answer
        self._trust = trust(self._address.verify)
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds

    @cached_property
    def _client(self) -> "openai.AsyncOpenAI":
        from backends.openai_library import AsyncClient  # noqa: PLC0415 - see above

        return AsyncClient(
            base_url=f"{self.root}/v1",
            headers=sent_headers(self._address, self._api_key),
            timeout_seconds=self._timeout_seconds,
            verify=self._trust,
        )

    async def __aenter__(self) -> Self:
        """Open nothing yet; connections are made when first used."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        if "_client" in vars(self):
            await self._client.close()

    async def post(self, path: str, body: dict[str, object]) -> object:
        """Send JSON to a path under the server's root and return the JSON that it answers.

        Raises:
            BackendError: Anything but a JSON answer with a status of success.
        """
        return (await self.exchange(path, body)).content

    async def exchange(
        self, path: str, body: dict[str, object], headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send JSON to a path under the server's root and return what it answers, with its headers.

        Raises:
            BackendError: Anything but a JSON answer with a status of success.
        """
        with self._errors():
            response = await self._client.post(
                self.root + path,
                cast_to=_response_type(),
                body=body,
                options={"headers": dict(headers or {})},
            )
        return Reply(content=read_json(response.content, self.root), headers=response.headers)

    async def answers(self, path: str, *, timeout_seconds: float) -> bool:
        """Whether a GET of this path succeeds, whatever it returns."""
        try:
            with self._errors():
                await self._client.get(
                    self.root + path, cast_to=_response_type(), options={"timeout": timeout_seconds}
                )
        except BackendError:
            return False
        return True

    async def get(self, path: str, *, timeout_seconds: float | None = None) -> object:
        """Return the JSON at a path under the server's root; None waits as long as for any request.

        Raises:
            BackendError: Anything but a JSON answer with a status of success.
        """
        with self._errors():
            response = await self._client.get(
                self.root + path,
                cast_to=_response_type(),
                options={"timeout": timeout_seconds or self._timeout_seconds},
            )
        return read_json(response.content, self.root)

    async def reaches(self, path: str, *, timeout_seconds: float) -> bool:
        """Whether somebody is there who answers a GET of this path, with whatever status but 503."""
        try:
            await self.text(path, timeout_seconds=timeout_seconds)
        except BackendError as error:
            return not isinstance(error, (*AWAY, BackendTimeoutError))
        return True

    async def text(self, path: str, *, timeout_seconds: float) -> str:
        """Return the text at a path under the server's root.

        Raises:
            BackendError: Anything but an answer with a status of success.
        """
        with self._errors():
            response = await self._client.get(
                self.root + path, cast_to=_response_type(), options={"timeout": timeout_seconds}
            )
            return response.text

    @contextmanager
    def _errors(self) -> Generator[None]:
        import openai  # noqa: PLC0415 - see above

        with self.mask.errors():
            try:
                yield
            except openai.APITimeoutError as error:
                raise timeout_error(self.root, error) from error
            except openai.APIConnectionError as error:
                raise connection_error(self.root, error) from error
            except openai.APIStatusError as error:
                raise _status_error(error) from error


def _response_type() -> "type[httpx2.Response]":
    import httpx2  # noqa: PLC0415 - see above; the one that openai has imported

    return httpx2.Response  # asked for this, the client hands on what came, unread


def _status_error(error: "openai.APIStatusError") -> BackendError:
    # An account without credit is refused as one that asks too often, and no waiting helps it.
    status = NO_CREDIT if error.code == "insufficient_quota" else error.status_code
    words = _server_words(error)
    made = status_error(status, words, error.response.headers)
    made.overflows = _is_overflow(error.param, error.code, words)
    return made


def _is_overflow(param: str | None, code: str | None, words: str) -> bool:
    """Whether a server says that a prompt does not fit into the model's context.

    vLLM names what is too long, and of a prompt that leaves no room for a single token it says that no token
    may be generated; OpenAI has a code of its own for it, which others have taken over.
    """
    leaves_no_room = param == "max_tokens" and words.startswith("max_tokens must be at least 1, got 0.")
    return param in TOO_LONG or code == CONTEXT_LENGTH_EXCEEDED or leaves_no_room


def _server_words(error: "openai.APIStatusError") -> str:
    body = error.body
    if isinstance(body, Mapping):
        message = cast("Mapping[str, object]", body).get("message")
        if isinstance(message, str):
            return message
    return (error.response.text or "no reason given")[:500]
