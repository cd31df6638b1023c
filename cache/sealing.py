"""The seal before every entry: a digest of key and value, without which no bytes are an answer."""

import hashlib
import re

from cache.keys import Key

SEAL_BYTES = 16

_KEY = re.compile("[0-9a-f]{64}")


def is_key(text: object) -> bool:
    """Say whether something read from a file can be the name of an entry."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def seal(key: Key, value: bytes) -> bytes:
    """Return the bytes to store: a 16-byte BLAKE2b digest of key and value, then the value."""
    return _digest(key, value) + value


def unseal(key: Key, sealed: object) -> bytes | None:
    """Return the value, or None where the bytes are not what was sealed under this key."""
    if not isinstance(sealed, bytes):
        return None
    value = sealed[SEAL_BYTES:]
    return value if sealed[:SEAL_BYTES] == _digest(key, value) else None


def _digest(key: Key, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=SEAL_BYTES, key=bytes.fromhex(key)).digest()
