"""Responses as JSON, and as the bytes of a store's entry."""

import json
import math
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, NotRequired, cast

from pydantic import Strict
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from backends.messages import Label, Request, Response, TokenLogprob
from cache.errors import CorruptEntryError
from tasks.short_fields import short_fields

Logprob = Annotated[float, Strict()] | None  # strict for who checks an entry: neither text nor a truth value


class ResponseJSON(TypedDict):
    """A Response as plain JSON; a log-probability of minus infinity is null."""

    text: str
    finish_reason: str
    label_logprobs: NotRequired[dict[str, Logprob]]
    reasoning: NotRequired[str]
    token_logprobs: NotRequired[list[tuple[str, Logprob, dict[str, Logprob]]]]
    """Token, its log-probability, and the likeliest in its place."""
    served_by: NotRequired[str]


def response_to_json(response: Response) -> ResponseJSON:
    """Write a response as JSON values, empty fields left out."""
    written = ResponseJSON(text=response.text, finish_reason=response.finish_reason)
    if response.label_logprobs:
        written["label_logprobs"] = _finite(response.label_logprobs)
    if response.reasoning is not None:
        written["reasoning"] = response.reasoning
    if response.token_logprobs:
        written["token_logprobs"] = [
            (one.token, None if math.isinf(one.logprob) else one.logprob, _finite(one.top))
            for one in response.token_logprobs
        ]
    if response.served_by is not None:
        written["served_by"] = response.served_by
    return written


def response_from_json(written: ResponseJSON) -> Response:
    """Read what `response_to_json` wrote."""
    return Response(
        text=written["text"],
        finish_reason=written["finish_reason"],
        label_logprobs=_infinite(written.get("label_logprobs", {})),
        reasoning=written.get("reasoning"),
        token_logprobs=tuple(
            TokenLogprob(token=token, logprob=-math.inf if logprob is None else logprob, top=_infinite(top))
            for token, logprob, top in written.get("token_logprobs", [])
        ),
        served_by=written.get("served_by"),
    )


def _finite(logprobs: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isinf(logprob) else logprob for name, logprob in logprobs.items()}


def _infinite(logprobs: Mapping[str, float | None]) -> dict[str, float]:
    return {name: -math.inf if logprob is None else logprob for name, logprob in logprobs.items()}


def encode_entry(
    request: Request, digests: Mapping[str, bytes], response: Response, *, keep_text: bool
) -> bytes:
    """Write a store's entry: the response, and what it answers.

    The request is kept as digests of its fields, so that a miss can be explained; with `keep_text` as a
    whole. Label scores are many and their prompts long and alike, so theirs is kept only on request, and
    otherwise how they were asked.
    """
    entry: dict[str, object] = {
        "response": response_to_json(response),
        "digests": {field: value[:8].hex() for field, value in digests.items()},
        "model": request.model,
    }
    if keep_text:
        entry["request"] = {name: value for name, value in asdict(request).items() if name != "group"}
    else:
        entry["asked_with"] = short_fields(request)
    return zlib.compress(_json(entry), level=6)


def decode_entry(entry: bytes) -> Response:
    """Read the response in a store's entry.

    Raises:
        CorruptEntryError: The entry is no answer.
    """
    with of_its_kind("answer"):
        return response_from_json(read_entry(entry)["response"])


class Entry(TypedDict):
    """A store's entry as JSON values."""

    response: ResponseJSON
    digests: dict[str, str]
    model: NotRequired[str]
    """Missing in entries of earlier versions."""
    request: NotRequired[dict[str, object]]
    asked_with: NotRequired[dict[str, object]]
    """In place of the request: its short fields that are not at their default."""


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
    """Read what `encode_labels` wrote.

    Raises:
        CorruptEntryError: It is something else.
    """
    with of_its_kind("list of labels"):
        pairs = cast("list[tuple[str, list[int]]]", json.loads(written))
        return tuple(Label(text=text, token_ids=tuple(token_ids)) for text, token_ids in pairs)


class Note(TypedDict):
    """What the program remembers for itself, as JSON values."""

    note: str
    """What kind of thing it is."""
    content: object


def encode_note(kind: str, content: object) -> bytes:
    """Write a note."""
    return _json(Note(note=kind, content=content))


def decode_note(written: bytes, kind: str) -> object:
    """Read the content of what `encode_note` wrote.

    Raises:
        CorruptEntryError: It is something else, or a note of another kind.
    """
    with of_its_kind(f"note of {kind}"):
        note = cast("Note", json.loads(written))
        if note["note"] != kind:
            raise ValueError(note["note"])
        return note["content"]


@contextmanager
def of_its_kind(kind: str) -> Generator[None]:
    """Refuse what is intact and of another kind: whoever wrote an imported file chose its keys too.

    Raises:
        CorruptEntryError: What is done inside shows that the entry has another form.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CorruptEntryError(f"a stored entry is whole but no {kind}") from error


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
