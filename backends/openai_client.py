"""The one door to a server: the official openai client, with its errors turned into ours.

The openai library is imported when something is first sent: it takes 0.4 s to import, 0.1 s to open and
0.1 s to take down, which is most of the time of a run whose answers are all stored.
"""

import email.utils
import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from pydantic import SecretStr

from backends.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    RateLimitError,
    ResponseFormatError,
    ServerError,
    ServerUnavailableError,
    UnknownModelError,
)

if TYPE_CHECKING:
    import httpx
    import openai

_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: UnknownModelError,
    429: RateLimitError,
    503: ServerUnavailableError,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """JSON, and the headers that came with it."""

    content: object
    headers: Mapping[str, str]


class OpenAIClient:
    """Posts and gets JSON under a server's address; knows nothing of prompts.

    Args:
        base_url: With or without the closing `/v1`.
        api_key: Sent as bearer token where given; never shown.
        timeout_seconds: For one HTTP request, connecting included.
    """

    def __init__(self, base_url: str, *, api_key: SecretStr | None, timeout_seconds: float) -> None:
        self.root = base_url.rstrip("/").removesuffix("/v1")
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds

    @cached_property
    def _client(self) -> "openai.AsyncOpenAI":
        import openai  # noqa: PLC0415 - see above

        return openai.AsyncOpenAI(
            base_url=f"{self.root}/v1",
            # The client insists on some key; without one of its own it would read OPENAI_API_KEY and send it.
            api_key=self._api_key.get_secret_value() if self._api_key else "none",
            timeout=self._timeout_seconds,
            max_retries=0,  # retrying is ours, see retrying.py
        )

    async def __aenter__(self) -> Self:
        """Open nothing yet; connections are made when first used."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
            return Reply(content=response.json(), headers=response.headers)

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

    async def get(self, path: str) -> object:
        """Return the JSON at a path under the server's root.

        Raises:
            BackendError: Anything but a JSON answer with a status of success.
        """
        with self._errors():
            response = await self._client.get(self.root + path, cast_to=_response_type())
            return response.json()

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

        try:
            yield
        except openai.APITimeoutError as error:
            raise BackendTimeoutError(f"{self.root} did not answer in time") from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            reason = str(cause) or type(cause).__name__
            raise BackendConnectionError(f"no connection to {self.root}: {reason}") from error
        except openai.APIStatusError as error:
            raise _status_error(error) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ResponseFormatError(f"{self.root} answered with something that is not JSON") from error


def _response_type() -> "type[httpx.Response]":
    import httpx  # noqa: PLC0415 - see above

    return httpx.Response  # asked for this, the client hands on what came, unread


def _status_error(error: "openai.APIStatusError") -> BackendError:
    status = error.status_code
    kind = _BY_STATUS.get(status, BadRequestError if status < 500 else ServerError)  # noqa: PLR2004
    retry_after = _retry_after_seconds(error.response.headers.get("retry-after"))
    words = f"the server said (HTTP {status}): {_server_words(error)}"
    return kind(words, status_code=status, retry_after_seconds=retry_after)


def _server_words(error: "openai.APIStatusError") -> str:
    body = error.body
    if isinstance(body, Mapping):
        message = cast("Mapping[str, object]", body).get("message")
        if isinstance(message, str):
            return message
    return (error.response.text or "no reason given")[:500]


def _retry_after_seconds(header: str | None) -> float | None:
    """Read `Retry-After`: a number of seconds or a date (RFC 9110, 10.2.3); None where it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds < float("inf") else None
