"""Names a value: a digest of its canonical bytes, with a domain and a version inside."""

import hashlib
from typing import NewType

from cache.canonical import canonical_bytes

Key = NewType("Key", str)
"""64 lower-case hex digits."""


def make_key(domain: str, version: int, value: object) -> Key:
    """Name `value` in the store.

    Args:
        domain: What kind of thing is named, so that different kinds never share a key.
        version: The version of the scheme; a changed scheme misses cleanly and clears nothing.
        value: Plain data, see `canonical_bytes`.

    Returns:
        The same in every process and on every machine.

    Raises:
        UnencodableError: A part of `value` has no exact form.

    Examples:
        >>> make_key("example", 1, ["ab", "c"]) == make_key("example", 1, ["a", "bc"])
        False
    """
    return Key(hashlib.sha256(canonical_bytes(["vllm-flows", domain, version, value])).hexdigest())


def digest(value: object) -> bytes:
    """Return 32 bytes that stand for `value` inside a key, so that a long text is read once.

    Raises:
        UnencodableError: A part of `value` has no exact form.
    """
    return hashlib.sha256(canonical_bytes(value)).digest()
