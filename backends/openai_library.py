"""The official openai client, told everything; a module of its own because importing it takes long."""

import ssl
from collections.abc import Mapping

import openai

from backends.addresses import direct_mounts
from backends.failures import CONNECT_SECONDS


class AsyncClient(openai.AsyncOpenAI):
    """Sends the headers it is given, and none that `OPENAI_*` variables ask for: they mean another server."""

    def __init__(
        self,
        *,
        base_url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        verify: bool | ssl.SSLContext,
    ) -> None:
        self._given = headers
        timeout = openai.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS))
        super().__init__(
            base_url=base_url,
            api_key="none",  # it insists on one, and would else take OPENAI_API_KEY
            timeout=timeout,
            max_retries=0,  # retrying is ours, see retrying.py
            http_client=openai.DefaultAsyncHttpxClient(
                verify=verify, timeout=timeout, follow_redirects=False, mounts=direct_mounts(base_url)
            ),
        )

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """Return what goes with every request."""
        json_only = {"Accept": "application/json", "Content-Type": "application/json"}
        return {**json_only, "User-Agent": self.user_agent, **self._given}
