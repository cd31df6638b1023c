"""Names the one answer that a request has in the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.messages import Label, Request
from cache.keys import Key, digest, make_key

KEY_DOMAIN = "model-call"
KEY_VERSION = 2
"""Raised when the scheme changes; see the heading "Cache" in CHANGELOG.md."""


def request_digests(request: Request) -> dict[str, bytes]:
    """Digest a request field by field, so that two requests can be compared without their texts.

    Returns:
        {field: 32 bytes} for every field of a Request: all of them reach the server or pin the weights.
        Nothing that only steers this process (address, timeouts, retries, cache mode) is in a Request.

    Raises:
        UnencodableError: A field holds text that is no valid Unicode.
    """
    return {field: digest(value) for field, value in _plain(request).items()}


def request_key(request: Request) -> Key:
    """Name the one answer that a request has in the store.

    Two requests share a key only if the server cannot tell them apart and their revision is the same.

    Returns:
        64 lower-case hex digits, the same in every process and on every machine.

    Raises:
        UnencodableError: A field holds text that is no valid Unicode.

    Examples:
        >>> from backends.messages import Request, SamplingParams
        >>> ask = Request(model="m", prompt="hi", sampling=SamplingParams(max_tokens=1))
        >>> again = Request(model="m", prompt="hi", sampling=SamplingParams(max_tokens=1), sample_index=1)
        >>> request_key(ask) == request_key(again)
        False
    """
    return key_of_digests(request_digests(request))


def key_of_digests(digests: Mapping[str, bytes]) -> Key:
    """Name an answer by the digests of its request's fields."""
    return make_key(KEY_DOMAIN, KEY_VERSION, digests)


@dataclass(frozen=True, slots=True, eq=False)
class KeyedRequest:
    """A request and its name in the store."""

    request: Request
    digests: Mapping[str, bytes]
    key: Key


def key_requests(requests: Sequence[Request]) -> list[KeyedRequest]:
    """Name requests; reads all their text once.

    Raises:
        UnencodableError: A request holds text that is no valid Unicode.
    """
    digests = [request_digests(request) for request in requests]
    return [
        KeyedRequest(request, digest, key_of_digests(digest))
        for request, digest in zip(requests, digests, strict=True)
    ]


def _plain(request: Request) -> dict[str, object]:
    sampling = request.sampling
    return {
        "model": request.model,
        "revision": request.revision,
        "prompt": request.prompt,
        "messages": [[message.role, message.content] for message in request.messages],
        "labels": [_plain_label(label) for label in request.labels],
        "logprobs": request.logprobs,
        "json_schema": request.json_schema,
        "sample_index": request.sample_index,
        "sampling": {
            "max_tokens": sampling.max_tokens,
            "temperature": float(sampling.temperature),  # 0 and 0.0 are written alike on the wire
            "top_p": float(sampling.top_p),
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "extra_body": sampling.extra_body,
        },
    }


def _plain_label(label: Label) -> list[object]:
    return [label.text, list(label.token_ids)]
