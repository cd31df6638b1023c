"""Turns a value into bytes such that equal values, and only those, have equal bytes.

What is equal: a list and a tuple of the same items; mappings with the same items in any order. What is not:
1 and 1.0 and True, 0.0 and -0.0, "a" and b"a", ("ab", "c") and ("a", "bc"). Everything else is refused.
"""

import math
import struct
from collections.abc import Mapping
from typing import cast

from cache.errors import UnencodableError


def canonical_bytes(value: object) -> bytes:
    """Encode None, bool, int, float, str, bytes, list, tuple and mappings with text keys, nested at will.

    Every part carries its type and its length, so no two values share bytes.

    Raises:
        UnencodableError: A part has no exact form (NaN, infinity, a set, an object, half a surrogate pair);
            the message says where.
    """
    parts: list[bytes] = []
    _encode(value, "value", parts)
    return b"".join(parts)


def _encode(value: object, path: str, parts: list[bytes]) -> None:
    kind = type(value)  # exactly: a subclass (an enum, a bool) means something else than its base
    if value is None:
        parts.append(b"n")
    elif kind is bool:
        parts.append(b"t" if value else b"f")
    elif kind is int:
        _append(b"i", _decimal(cast("int", value), path), parts)
    elif kind is float:
        parts.append(b"d" + struct.pack(">d", _finite(cast("float", value), path)))
    elif kind is str:
        _append(b"s", _utf8(cast("str", value), path), parts)
    elif kind is bytes:
        _append(b"b", cast("bytes", value), parts)
    elif kind is list or kind is tuple:
        items = cast("list[object]", value)
        parts.append(b"l%d:" % len(items))
        for index, item in enumerate(items):
            _encode(item, f"{path}[{index}]", parts)
    elif isinstance(value, Mapping):
        _encode_mapping(cast("Mapping[object, object]", value), path, parts)
    else:
        raise UnencodableError(f"{path} is a {kind.__name__}, which has no exact form; use plain data")


def _encode_mapping(value: Mapping[object, object], path: str, parts: list[bytes]) -> None:
    parts.append(b"m%d:" % len(value))
    for key in value:
        if type(key) is not str:
            raise UnencodableError(f"{path} has the key {key!r}; keys must be text")
    for key, item in sorted(cast("Mapping[str, object]", value).items()):
        _append(b"s", _utf8(key, path), parts)
        _encode(item, f"{path}[{key!r}]", parts)


def _append(tag: bytes, content: bytes, parts: list[bytes]) -> None:
    parts.append(b"%s%d:" % (tag, len(content)))
    parts.append(content)


def _utf8(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnencodableError(f"{path} holds half a surrogate pair and is no valid text") from error


def _decimal(number: int, path: str) -> bytes:
    try:
        return b"%d" % number
    except ValueError as error:  # Python refuses to print more than 4300 digits
        raise UnencodableError(f"{path} is a number of more than 4300 digits") from error


def _finite(number: float, path: str) -> float:
    if not math.isfinite(number):
        raise UnencodableError(f"{path} is {number}, which equals nothing; use a finite number or None")
    return number
