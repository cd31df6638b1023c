"""Where a server is and how one gets in; what is shown, logged or kept of an address has no credentials."""

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from backends.headers import Headers, check_headers, plain_headers

MASK = "***"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server is, and what it takes to get in besides a key."""

    base_url: str = field(repr=False)
    """Also with a path, but without a query. `user:password@` in it is sent as basic authorization and never
    shown."""
    headers: Headers = field(default_factory=dict[str, SecretStr | str], repr=False)
    """Sent with every request; never shown."""
    verify: bool | Path = True
    """Whose certificates are trusted: those of the usual authorities (True), of the authorities in a file,
    or all (False)."""

    def __post_init__(self) -> None:
        """Refuse a base URL with a query.

        Raises:
            ValueError: It has one.
        """
        refuse_query(self.base_url)


def address_of(place: str | Address) -> Address:
    """Return the address, where only its URL is given too."""
    return Address(base_url=place) if isinstance(place, str) else place


def sent_headers(address: Address, api_key: SecretStr | None) -> dict[str, str]:
    """Return what is sent: the extra headers, and the authorization by key or by the address's credentials.

    Raises:
        ValueError: A header cannot be written in HTTP, or there are two for the authorization.
    """
    plain = plain_headers(address.headers)
    claims = ["the header Authorization"] if "Authorization" in plain else []
    if api_key:
        plain["Authorization"] = f"Bearer {api_key.get_secret_value()}"
        claims.append("the API key")
    if credentials := credentials_header(address.base_url):
        plain["Authorization"] = credentials.get_secret_value()
        claims.append("the user and password in the base URL")
    if len(claims) > 1:
        raise ValueError(f"{' and '.join(claims)} all mean the Authorization of a request; give one of them")
    check_headers(plain)
    return plain


def refuse_query(address: str) -> None:
    """Refuse what would be lost, or would end up in the middle, when a path is added to the address.

    Raises:
        ValueError: It has a query or a fragment, which often is a key; the message does not show it.
    """
    if "?" in address or "#" in address:
        raise ValueError("a base URL has no query (? or #); give a key as API key or as header")


def secrets_of(address: Address, api_key: SecretStr | None) -> set[str]:
    """Return what nobody may be shown of the way in: the key, the headers' values, the URL's credentials."""
    # A server may repeat a whole header, what comes after "Bearer", or what that is the Base64 of.
    values = sent_headers(address, api_key).values()
    tokens = {value.rpartition(" ")[2] for value in values}
    pairs = {_decoded(value[6:]) for value in values if value[:6].lower() == "basic "}
    passwords = {pair.partition(":")[2] or pair.partition(":")[0] for pair in pairs}
    return {*values, *tokens, *pairs, *passwords}


def split_addresses(text: str) -> tuple[str, ...]:
    """Take several addresses apart that are written with commas between them."""
    return tuple(re.split(r"\s*,\s*", text))


def without_credentials(address: str) -> str:
    """Return the address without `user:password@`, for sending, showing and keys.

    Examples:
        >>> without_credentials("https://me:secret@host:8443/team/v1")
        'https://host:8443/team/v1'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=_host(parts)))


def masked(address: str) -> str:
    """Return the address as a message may show it: with `***` for `user:password` and for a query.

    What cannot be taken apart is masked up to its last `@`.

    Examples:
        >>> masked("ftp://me:secret@host/x?key=secret")
        'ftp://***@host/x?***'
    """
    head, at, tail = address.rpartition("@")
    tail = re.sub(r"([?#]).*", rf"\1{MASK}", tail, flags=re.DOTALL)
    if not at:
        return tail
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


def is_loopback(base_url: str) -> bool:
    """Whether a server's address says that it runs on this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def direct_mounts(base_url: str) -> dict[str, None]:
    """Return the `mounts` of an httpx client under which this machine is never asked by way of a proxy.

    A proxy of the environment (`HTTP_PROXY`) is another machine, or has a loopback of its own: it would be
    shown prompts and keys that are for nobody but a server here.
    """
    host = urlsplit(base_url).hostname or ""
    pattern = f"all://[{host}]" if ":" in host else f"all://{host}"
    return {pattern: None} if is_loopback(base_url) else {}


def _decoded(base64_text: str) -> str:
    try:
        return base64.b64decode(base64_text).decode()
    except ValueError:
        return ""


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
