"""Responses as JSON, and as the bytes of a store's entry."""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NotRequired, cast

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from backends.messages import Label, Request, Response
from cache.errors import CorruptEntryError


class ResponseJSON(TypedDict):
    """A Response as plain JSON; a log-probability of minus infinity is null."""

    text: str
    finish_reason: str
    label_logprobs: NotRequired[dict[str, float | None]]
    served_by: NotRequired[str]


def response_to_json(response: Response) -> ResponseJSON:
    """Write a response as JSON values, empty fields left out."""
    written = ResponseJSON(text=response.text, finish_reason=response.finish_reason)
    if response.label_logprobs:
        written["label_logprobs"] = {
            label: None if math.isinf(logprob) else logprob
            for label, logprob in response.label_logprobs.items()
        }
    if response.served_by is not None:
        written["served_by"] = response.served_by
    return written


def response_from_json(written: ResponseJSON) -> Response:
    """Read what `response_to_json` wrote."""
    logprobs = written.get("label_logprobs", {})
    return Response(
        text=written["text"],
        finish_reason=written["finish_reason"],
        label_logprobs={
            label: -math.inf if logprob is None else logprob for label, logprob in logprobs.items()
        },
        served_by=written.get("served_by"),
    )


def encode_entry(
    request: Request, digests: Mapping[str, bytes], response: Response, *, keep_text: bool
) -> bytes:
    """Write a store's entry: the response, and what it answers.

    The request is kept as digests of its fields, so that a miss can be explained; with `keep_text` as a
    whole. Label scores are many and their prompts long and alike, so theirs is kept only on request.
    """
    entry: dict[str, object] = {
        "response": response_to_json(response),
        "digests": {field: value[:8].hex() for field, value in digests.items()},
        "model": request.model,
    }
    if keep_text:
        entry["request"] = asdict(request)
    return zlib.compress(_json(entry), level=6)


def decode_entry(entry: bytes) -> Response:
    """Read the response in a store's entry."""
    return response_from_json(read_entry(entry)["response"])


class Entry(TypedDict):
    """A store's entry as JSON values."""

    response: ResponseJSON
    digests: dict[str, str]
    model: NotRequired[str]
    """Missing in entries of earlier versions."""
    request: NotRequired[dict[str, object]]


def read_entry(entry: bytes) -> Entry:
    """Read a whole entry, for people who look into a store.

    Raises:
        CorruptEntryError: The entry is in no format of this version.
    """
    try:
        return cast("Entry", json.loads(zlib.decompress(entry)))
    except (zlib.error, ValueError) as error:
        raise CorruptEntryError(
            "a stored answer is whole but cannot be read: another version wrote it; name an empty folder in "
            "VLLM_FLOWS_STORE"
        ) from error


def encode_labels(labels: Sequence[Label]) -> bytes:
    """Write how labels are scored with a model."""
    return _json([[label.text, list(label.token_ids)] for label in labels])


def decode_labels(written: bytes) -> tuple[Label, ...]:
    """Read what `encode_labels` wrote."""
    pairs = cast("list[tuple[str, list[int]]]", json.loads(written))
    return tuple(Label(text=text, token_ids=tuple(token_ids)) for text, token_ids in pairs)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
