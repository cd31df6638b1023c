"""A server that speaks the wire format of Anthropic's Messages API, as far as it is used here, with faults.

Shapes after the API reference (platform.claude.com/docs/en/api/messages), versions 2023-06-01 and 2026-10-21.
"""

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.serving import Served

JsonObject = dict[str, Any]
NEWEST_VERSION = "2026-10-21"
VERSIONS = ("2023-06-01", NEWEST_VERSION)
SAMPLING = ("temperature", "top_p", "top_k")
KNOWN = {
    "model", "max_tokens", "messages", "system", "stop_sequences", "thinking", "output_config", "metadata"
}  # fmt: skip
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(kw_only=True)
class Fault:
    """What happens to one request in place of an answer, or to every request that holds `match`."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cut: bool = False
    """Break the connection in the middle of the body."""
    text: str | None = None
    """Answer 200 with this."""
    match: str | None = None
    seconds: float = 0.0
    """Wait before answering."""


@dataclass(kw_only=True)
class Seen:
    """One request as it came."""

    headers: Mapping[str, str]
    body: JsonObject


class FakeAnthropic(Served):
    """The fake in a thread, on a free port; answers `to <last turn>` unless told otherwise."""

    def __init__(self) -> None:
        super().__init__(Starlette(routes=[Route("/v1/messages", self._serve, methods=["POST"])]))
        self.reset()

    def reset(self) -> None:
        """Be as new."""
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        """Those without `match` are used up, first one first."""
        self.reply: JsonObject = {}
        """Fields that replace those of the usual reply."""
        self.api_key: str | None = None

    @property
    def base_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, request: Request) -> Response:
        body = cast("JsonObject", json.loads(await request.body()))
        self.seen.append(Seen(headers=dict(request.headers), body=body))
        if fault := self._fault(body):
            await asyncio.sleep(fault.seconds)
            if fault.cut:
                return Cut()
            if fault.status:
                return refusal(fault.status, "as told", fault.headers)
            if fault.text is not None:
                return Response(fault.text, media_type="application/json")
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return refusal(401, "invalid API key")
        if words := complaint(body, request.headers.get("anthropic-version")):
            return refusal(400, words)
        return JSONResponse({**usual_reply(body), **self.reply})

    def _fault(self, body: JsonObject) -> Fault | None:
        text = json.dumps(body)
        for fault in self.faults:
            if fault.match is not None and fault.match in text:
                return fault
        for fault in self.faults:
            if fault.match is None:
                self.faults.remove(fault)
                return fault
        return None


class Cut(Response):
    """A reply that promises more than comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half a body, then nothing: uvicorn breaks the connection."""
        del scope, receive
        head = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b'{"type": ', "more_body": True})
        raise ConnectionAbortedError("cut, as told")


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Write an error as the API does."""
    error = {"type": ERROR_TYPES.get(status, "api_error"), "message": message}
    return JSONResponse({"type": "error", "error": error}, status_code=status, headers=dict(headers or {}))


def complaint(body: JsonObject, version: str | None) -> str | None:
    """Say what the API would not take."""
    if version not in VERSIONS:
        return "anthropic-version: header is required"
    known = KNOWN if version == NEWEST_VERSION else KNOWN | set(SAMPLING)
    if unknown := sorted(body.keys() - known):
        return f"{unknown[0]}: Extra inputs are not permitted"
    if "max_tokens" not in body:
        return "max_tokens: Field required"
    if body["model"] == "claude-new" and any(name in body for name in SAMPLING):
        return "`temperature` is deprecated for this model."
    roles = [message["role"] for message in cast("Sequence[JsonObject]", body["messages"])]
    if roles[:1] != ["user"] or any(pair[0] == pair[1] for pair in itertools.pairwise(roles)):
        return "messages: roles must alternate between user and assistant"
    return None


def usual_reply(body: JsonObject) -> JsonObject:
    """Answer the last turn."""
    last = str(body["messages"][-1]["content"])
    return {
        "id": "msg_01", "type": "message", "role": "assistant", "model": f"{body['model']}-20260101",
        "content": [{"type": "text", "text": f"to {last}", "citations": None}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": len(last), "output_tokens": 3, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }  # fmt: skip
