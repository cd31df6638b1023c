"""The one door to a server: the official openai client, with its errors turned into ours."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import httpx
import openai
from pydantic import SecretStr

from backends.addresses import Address, address_of, sent_headers, without_credentials
from backends.errors import BackendError, BackendTimeoutError, ResponseFormatError
from backends.failures import connection_error, status_error, trust


@dataclass(frozen=True, slots=True)
class Reply:
    """JSON, and the headers that came with it."""

    content: object
    headers: Mapping[str, str]


class OpenAIClient:
    """Posts and gets JSON under a server's address; knows nothing of prompts.

    Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`), as every HTTP client does; redirects
    are refused, since followed they would take the extra headers elsewhere.

    Args:
        base_url: With or without the closing `/v1`; an Address where it takes more to get in.
        api_key: Sent as bearer token where given; never shown.
        timeout_seconds: For one HTTP request, connecting included.

    Raises:
        ValueError: A header cannot be sent, two want to be the `Authorization`, or the file holds no
            certificates.
    """

    def __init__(self, base_url: str | Address, *, api_key: SecretStr | None, timeout_seconds: float) -> None:
        address = address_of(base_url)
        self.root = without_credentials(address.base_url).rstrip("/").removesuffix("/v1")
        self._client = _AsyncClient(
            base_url=f"{self.root}/v1",
            headers=sent_headers(address, api_key),
            timeout_seconds=timeout_seconds,
            verify=address.verify,
        )

    async def __aenter__(self) -> Self:
        """Open nothing yet; connections are made when first used."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections."""
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
                cast_to=httpx.Response,
                body=body,
                options={"headers": dict(headers or {})},
            )
            return Reply(content=response.json(), headers=response.headers)

    async def answers(self, path: str, *, timeout_seconds: float) -> bool:
        """Whether a GET of this path succeeds, whatever it returns."""
        try:
            with self._errors():
                await self._client.get(
                    self.root + path, cast_to=httpx.Response, options={"timeout": timeout_seconds}
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
            response = await self._client.get(self.root + path, cast_to=httpx.Response)
            return response.json()

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except openai.APITimeoutError as error:
            raise BackendTimeoutError(f"{self.root} did not answer in time") from error
        except openai.APIConnectionError as error:
            raise connection_error(self.root, error) from error
        except openai.APIStatusError as error:
            raise _status_error(error) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ResponseFormatError(f"{self.root} answered with something that is not JSON") from error


class _AsyncClient(openai.AsyncOpenAI):
    """Sends the headers it is given, and none that `OPENAI_*` variables ask for: they mean another server."""

    def __init__(
        self, *, base_url: str, headers: Mapping[str, str], timeout_seconds: float, verify: bool | Path
    ) -> None:
        self._given = headers
        super().__init__(
            base_url=base_url,
            api_key="none",  # it insists on one, and would else take OPENAI_API_KEY
            timeout=timeout_seconds,
            max_retries=0,  # retrying is ours, see retrying.py
            http_client=openai.DefaultAsyncHttpxClient(
                verify=trust(verify), timeout=timeout_seconds, follow_redirects=False
            ),
        )

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        json_only = {"Accept": "application/json", "Content-Type": "application/json"}
        return {**json_only, "User-Agent": self.user_agent, **self._given}


def _status_error(error: openai.APIStatusError) -> BackendError:
    return status_error(error.status_code, _server_words(error), error.response.headers)


def _server_words(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, Mapping):
        message = cast("Mapping[str, object]", body).get("message")
        if isinstance(message, str):
            return message
    return (error.response.text or "no reason given")[:500]
