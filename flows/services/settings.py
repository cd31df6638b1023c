"""ServiceSettings: what the environment says about the services that `up` starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import SecretStr, TypeAdapter, ValidationError

from backends.addresses import Address, masked, split_addresses, without_credentials
from flows.services.state import ServiceFile, ServicesError

PROJECT = Path(__file__).resolve().parents[2]
LARGEST_PORT = 65535
DEFAULT_VLLM_PORT = 8000
DEFAULT_PREFECT_PORT = 4200


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """What the environment says about the services."""

    project: Path
    """The checkout; its `.vllm-flows` holds the state."""

    home: Path
    """Where what checkouts share is kept: vLLM environments and models."""

    vllm_base_url: str | None = None
    """A server that runs already; then none is started. Without credentials, since it is shown and kept."""

    vllm_address: Address | None = None
    """The same, with all that it takes to get in."""

    vllm_api_key: str | None = field(default=None, repr=False)
    vllm_port: int = DEFAULT_VLLM_PORT
    vllm_config: str | None = None
    """The name of a file in `configs/vllm`, or a path; by default the demonstration on what the machine
    has."""

    prefect_port: int = DEFAULT_PREFECT_PORT

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, project: Path = PROJECT) -> Self:
        """Read the settings.

        Raises:
            ServicesError: A variable has a value that it cannot have.
        """
        cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
        base_url = environ.get("VLLM_BASE_URL") or None
        for address in split_addresses(base_url) if base_url else ():
            if not address.startswith(("http://", "https://")):
                raise ServicesError(
                    f"VLLM_BASE_URL={masked(address)!r} is no address; it starts with http:// or https://."
                )
        return cls(
            project=project,
            home=Path(environ.get("VLLM_FLOWS_HOME") or f"{cache}/vllm-flows").expanduser().absolute(),
            vllm_base_url=base_url and ",".join(map(without_credentials, split_addresses(base_url))),
            vllm_address=_address(base_url, environ) if base_url else None,
            vllm_api_key=environ.get("VLLM_API_KEY") or None,
            vllm_port=_port(environ, "VLLM_PORT", DEFAULT_VLLM_PORT),
            vllm_config=environ.get("VLLM_CONFIG") or None,
            prefect_port=_port(environ, "PREFECT_PORT", DEFAULT_PREFECT_PORT),
        )

    @property
    def state(self) -> Path:
        """The folder with everything that `up` leaves behind."""
        return self.project / ".vllm-flows"

    @property
    def logs(self) -> Path:
        """The folder with one log for each service."""
        return self.state / "logs"

    @property
    def models(self) -> Path:
        """The folder of local models."""
        return self.home / "models"

    @property
    def services(self) -> ServiceFile:
        """What was started."""
        return ServiceFile(self.state / "services.json")

    @property
    def prefect_url(self) -> str:
        """The address of Prefect's UI."""
        return f"http://127.0.0.1:{self.prefect_port}"


def _address(base_url: str, environ: Mapping[str, str]) -> Address:
    try:
        given = TypeAdapter(dict[str, SecretStr]).validate_json(environ.get("VLLM_HEADERS") or "{}")
    except ValidationError:  # it would show them
        raise ServicesError('VLLM_HEADERS is no JSON object; write it as {"X-Team": "blue"}.') from None
    ca_file = environ.get("VLLM_CA_FILE")
    unsafe = (environ.get("VLLM_TLS_VERIFY") or "true").lower() in {"false", "0", "no", "off", "f", "n"}
    verify = False if unsafe else Path(ca_file) if ca_file else True
    return Address(base_url=base_url, headers=given, verify=verify)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= LARGEST_PORT:
        raise ServicesError(f"{name}={text!r} is no port; give a number from 1 to {LARGEST_PORT}.")
    return int(text)
