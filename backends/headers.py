"""Extra HTTP headers, whose values are secrets: checked before a library could show them in an error."""

import re
from collections.abc import Mapping

from pydantic import SecretStr

from backends.addresses import credentials_header

Headers = Mapping[str, SecretStr | str]
"""{name: value}; a value counts as secret even where it is a plain string."""

AUTHORIZATION = "authorization"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")


def plain_headers(base_url: str, api_key: SecretStr | None, headers: Headers) -> dict[str, str]:
    """Return what is sent: the extra headers, and the authorization by key or by the address's credentials.

    Raises:
        ValueError: A header cannot be written in HTTP, or there are two for the authorization.
    """
    # In one spelling, so that none is sent beside another.
    plain = {
        "Authorization" if name.lower() == AUTHORIZATION else name: _text(value)
        for name, value in headers.items()
    }
    claims = ["the header Authorization"] if "Authorization" in plain else []
    if api_key:
        plain["Authorization"] = f"Bearer {api_key.get_secret_value()}"
        claims.append("the API key")
    if credentials := credentials_header(base_url):
        plain["Authorization"] = credentials.get_secret_value()
        claims.append("the user and password in the base URL")
    if len(claims) > 1:
        raise ValueError(f"{' and '.join(claims)} all mean the Authorization of a request; give one of them")
    check_headers(plain)
    return plain


def check_headers(headers: Headers) -> None:
    """Refuse what cannot be sent; the messages name the header and never its value.

    Raises:
        ValueError: A name or a value has characters that a header cannot hold.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an HTTP header")
        if not _VALUE.fullmatch(_text(value)):
            raise ValueError(
                f"the value of the header {name} (not shown) is empty or has a line break, a space at its "
                "end or a letter outside ASCII"
            )


def _text(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
