"""How a question was asked, without its text: what an entry keeps so that a miss is explained in values."""

from collections.abc import Mapping
from typing import cast

from backends.messages import Request

_REQUEST_FIELDS: Mapping[str, object] = {"revision": None, "logprobs": None, "sample_index": 0}
_SAMPLING_FIELDS: Mapping[str, object] = {
    "max_tokens": None,
    "temperature": 0.0,
    "top_p": 1.0,
    "seed": 0,
    "stop": [],
    "extra_body": {},
}
"""{field: what it is where nothing is written}. Not read from the classes: entries outlive their defaults."""


def short_fields(request: Request) -> dict[str, object]:
    """Return the short fields of a request that are not at their default, as plain JSON, flat."""
    sampling = request.sampling
    values: dict[str, object] = {name: getattr(request, name) for name in _REQUEST_FIELDS}
    values |= {name: getattr(sampling, name) for name in _SAMPLING_FIELDS}
    values["stop"] = list(sampling.stop)
    values["extra_body"] = dict(sampling.extra_body)
    return {name: value for name, value in values.items() if value != _default(name)}


def fields_asked(kept: Mapping[str, object]) -> dict[str, object]:
    """Return the short fields, with defaults, of what an entry keeps: a whole request or short fields."""
    flat = {**kept, **cast("Mapping[str, object]", kept.get("sampling") or {})}
    return {name: flat.get(name, _default(name)) for name in (*_REQUEST_FIELDS, *_SAMPLING_FIELDS)}


def is_of_sampling(field: str) -> bool:
    """Whether a short field belongs to the request's sampling, which has one digest."""
    return field in _SAMPLING_FIELDS


def _default(name: str) -> object:
    return _SAMPLING_FIELDS[name] if name in _SAMPLING_FIELDS else _REQUEST_FIELDS[name]
