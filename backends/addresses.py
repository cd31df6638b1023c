"""Server addresses: credentials taken out of them, so that what is shown, logged or kept has none."""

import base64
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pydantic import SecretStr

MASK = "***"


def without_credentials(address: str) -> str:
    """Return the address without `user:password@`, for sending, showing and keys.

    Examples:
        >>> without_credentials("https://me:secret@host:8443/team/v1")
        'https://host:8443/team/v1'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=_host(parts)))


def masked(address: str) -> str:
    """Return the address as a message may show it: with `***` for `user:password`.

    What cannot be taken apart is masked up to its last `@`.

    Examples:
        >>> masked("ftp://me:secret@host/x")
        'ftp://***@host/x'
    """
    head, at, tail = address.rpartition("@")
    if not at:
        return address
    scheme, separator, _ = head.partition("://")
    return f"{scheme}://{MASK}@{tail}" if separator else f"{MASK}@{tail}"


def credentials_header(address: str) -> SecretStr | None:
    """Return the value of the `Authorization` header that an address with `user:password@` asks for."""
    parts = urlsplit(address)
    if parts.username is None and parts.password is None:
        return None
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return SecretStr("Basic " + base64.b64encode(pair.encode()).decode("ascii"))


def is_at(address: str, host: str) -> bool:
    """Whether the address names this host."""
    return urlsplit(address).hostname == host


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
