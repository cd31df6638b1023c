"""What a vLLM server is and can do, found by asking it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from backends.errors import BadRequestError, ResponseFormatError
from backends.messages import Request
from backends.openai_client import OpenAIClient

CONTACT_TIMEOUT_SECONDS = 5.0
"""For each of the small questions of a first contact: one that is frozen answers none of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a server said of itself."""

    version: str
    roots: Mapping[str, str]
    """{served model name: where its weights came from, a path on the server's machine or a hub id}"""
    scores_token_ids: bool
    """Whether `/v1/completions` knows `logprob_token_ids` (vLLM since 2025; not other servers)."""
    has_batch_chat: bool
    max_model_lens: Mapping[str, int] = field(default_factory=dict[str, int])
    """{served model name: tokens that a prompt and its answer may have together}"""

    def refuse_what_it_cannot(self, request: Request) -> None:
        """Refuse what the server would answer without saying that it did not understand.

        Raises:
            BadRequestError: Its labels want chosen tokens scored.
        """
        if any(label.token_ids for label in request.labels) and not self.scores_token_ids:
            raise BadRequestError(
                f"vLLM {self.version} cannot score chosen tokens (logprob_token_ids); use scoring='top-20'"
            )


async def ask_capabilities(client: OpenAIClient) -> Capabilities:
    """Ask a server what it serves and what it can do.

    Raises:
        BackendError: It does not answer, or is no server of this kind.
    """
    get = partial(client.get, timeout_seconds=CONTACT_TIMEOUT_SECONDS)
    version = at(await get("/version"), "version")
    models = at(await get("/v1/models"), "data")
    openapi = await get("/openapi.json")
    schema = at(openapi, "components", "schemas", "CompletionRequest", "properties")
    if not isinstance(models, list):
        raise ResponseFormatError(f"{client.root}/v1/models answered without a list of models")
    cards = cast("list[object]", models)
    lens = {str(at(card, "id")): at(card, "max_model_len") for card in cards}
    return Capabilities(
        version=str(version),
        roots={str(at(card, "id")): str(at(card, "root")) for card in cards},
        scores_token_ids=at(schema, "logprob_token_ids") is not None,
        has_batch_chat=at(openapi, "paths", "/v1/chat/completions/batch") is not None,
        max_model_lens={model: size for model, size in lens.items() if isinstance(size, int)},
    )


def at(value: object, *path: str) -> object:
    """Follow keys into nested JSON; None where there is nothing."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(key)
    return value
