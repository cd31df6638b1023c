"""What went wrong on the way to a server, in our names; the words that say so show no secret."""

import email.utils
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    CertificateError,
    ConnectionLostError,
    ContextOverflowError,
    GatewayError,
    RateLimitError,
    ServerError,
    ServerUnavailableError,
    UnknownModelError,
)

_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: AuthenticationError,
    402: AuthenticationError,  # no credit left, at OpenRouter and Anthropic
    403: AuthenticationError,
    404: UnknownModelError,
    408: BackendTimeoutError,
    429: RateLimitError,
    502: GatewayError,
    503: ServerUnavailableError,
    504: GatewayError,
    529: ServerUnavailableError,  # Anthropic: overloaded
}
_REDIRECTS = range(300, 400)
_BAD_REQUEST = 400
_FIRST_SERVER_ERROR = 500
_LIMIT = re.compile(r"maximum context length is (\d{1,15}) tokens")
_TOKENS = re.compile(r"(?:contains|resulted in|requested) (?:at least )?(\d{1,15}) (?:input )?tokens")
_BROKEN = frozenset({"ReadError", "WriteError", "RemoteProtocolError"})
"""What is raised on a connection that was made; by name, since openai may bring an httpx of its own."""


CONNECT_SECONDS = 15.0
"""How long making a connection may take: an address behind which nothing is may never answer at all."""


def timeout_error(address: str, error: BaseException) -> BackendError:
    """Make the error of an answer, or a connection, that did not come in time.

    Args:
        address: As it may be shown.
        error: What the HTTP library raised.
    """
    if any(type(cause).__name__ == "ConnectTimeout" for cause in _causes(error)):
        return BackendConnectionError(f"no connection to {address}: nothing answers there")
    return BackendTimeoutError(f"{address} did not answer in time")


def status_error(status: int, words: str, headers: Mapping[str, str]) -> BackendError:
    """Make the error of an HTTP status, with the server's own words."""
    if status in _REDIRECTS:
        # Followed, it would carry the extra headers to whatever host it names.
        return BadRequestError(
            f"the server sends elsewhere (HTTP {status}), which is not followed; give the address that it "
            "means as base URL",
            status_code=status,
        )
    if status == _BAD_REQUEST and (overflow := overflow_error(words, status)):
        return overflow
    kind = _BY_STATUS.get(status, BadRequestError if status < _FIRST_SERVER_ERROR else ServerError)
    return kind(
        f"the server said (HTTP {status}): {words}",
        status_code=status,
        retry_after_seconds=retry_after_seconds(headers.get("retry-after")),
    )


def overflow_error(words: str, status: int | None = None) -> ContextOverflowError | None:
    """Make the error of a prompt that is too long; None where a refusal does not speak of that."""
    limit, tokens = _LIMIT.search(words), _TOKENS.search(words)
    if limit is None:
        return None
    return ContextOverflowError(
        words if status is None else f"the server said (HTTP {status}): {words}",
        estimated_tokens=int(tokens[1]) if tokens else None,
        limit_tokens=int(limit[1]),
        status_code=status,
    )


def connection_error(address: str, error: BaseException) -> BackendConnectionError:
    """Make the error of a connection that was not made or not kept.

    Args:
        address: As it may be shown.
        error: What the HTTP library raised; its causes say more.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateError(
                f"{address} shows a certificate that cannot be trusted ({cause.verify_message}); give the "
                "file of its authority: VLLM_CA_FILE for a server of your own, SSL_CERT_FILE for all"
            )
    reason = next((str(cause) for cause in causes if str(cause)), type(causes[-1]).__name__)
    if any(type(cause).__name__ in _BROKEN for cause in causes):
        return ConnectionLostError(f"the connection to {address} broke: {reason}")
    return BackendConnectionError(f"no connection to {address}: {reason}")


def trust(verify: bool | Path) -> bool | ssl.SSLContext:  # noqa: FBT001 - httpx calls it so
    """Turn a choice of trust into what an HTTP client takes.

    Args:
        verify: True trusts the usual authorities, False anybody, and a file the authorities in it.

    Raises:
        ValueError: The file is not there or holds no certificates.
    """
    if isinstance(verify, bool):
        return verify
    try:
        return ssl.create_default_context(cafile=str(verify))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise ValueError(f"{verify} cannot be read as certificates in PEM format ({reason})") from error


def retry_after_seconds(header: str | None) -> float | None:
    """Read `Retry-After`: a number of seconds or a date (RFC 9110, 10.2.3); None where it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):  # the year 99999999999
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an exception was raised from, and itself last unless it has no cause."""
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
    yield error
