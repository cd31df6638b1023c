"""Extra HTTP headers, whose values are secrets: checked before a library could show them in an error."""

import re
from collections.abc import Mapping

from pydantic import SecretStr

Headers = Mapping[str, SecretStr | str]
"""{name: value}; a value counts as secret even where it is a plain string."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")


def plain_headers(headers: Headers) -> dict[str, str]:
    """Return the headers as they are sent, with the authorization in one spelling, so that there is one."""
    return {
        "Authorization" if name.lower() == "authorization" else name: _text(value)
        for name, value in headers.items()
    }


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
