"""The only reader of the environment: where the model server is, and where things are stored."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self, cast

import platformdirs
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backends.addresses import credentials_header, masked, refuse_query, split_addresses, without_credentials
from backends.failures import trust
from backends.headers import check_headers
from backends.limiting import Limits
from backends.registry import PROVIDERS

PROJECT = Path(__file__).resolve().parents[1]
"""The checkout; the project is installed editable."""

SERVICES = PROJECT / ".vllm-flows" / "services.json"
"""What `make up` has started, written by services.py."""

DEFAULT_BASE_URL = "http://127.0.0.1:8000"


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names it and says what to do."""


def _json_object(value: object) -> object:
    # Decoded here, since pydantic-settings would raise an error of another kind.
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('headers are written as a JSON object, as {"X-Team": "blue"}') from None


def _engine_args(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('arguments are written as a JSON object, as {"max_model_len": 32768}') from None


def _sendable(value: dict[str, SecretStr]) -> dict[str, SecretStr]:
    check_headers(value)
    return value


def _http(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("an address starts with http:// or https://")
    refuse_query(value)
    return value


def _all_http(value: str) -> str:
    addresses = split_addresses(value)
    for place, address in enumerate(addresses):
        if not address.startswith(("http://", "https://")):
            which = f"{masked(address)!r}: " if len(addresses) > 1 else ""
            raise ValueError(f"{which}an address starts with http:// or https://")
        refuse_query(address)
        if address in addresses[:place]:
            raise ValueError(f"the address {masked(address)!r} is there twice")
    if len(addresses) > 1 and any(credentials_header(address) for address in addresses):
        raise ValueError("several addresses hold no user and password; give them in VLLM_HEADERS")
    return value


EngineArgs = Annotated[dict[str, object], NoDecode, BeforeValidator(_engine_args)]
SecretHeaders = Annotated[
    dict[str, SecretStr], NoDecode, BeforeValidator(_json_object), AfterValidator(_sendable)
]
HTTPAddress = Annotated[str, AfterValidator(_http)]
HTTPAddresses = Annotated[str, AfterValidator(_all_http)]

GENERAL = "api"
"""VLLM_FLOWS_API_REQUESTS_PER_MINUTE and so on hold for every external API that has none of its own."""

SECRET = frozenset({"api_key", "headers", "VLLM_API_KEY", "VLLM_HEADERS"})
"""Settings whose value no error shows."""


def _part_credentials(settings: "APISettings | Settings") -> None:
    """Move `user:password@` from the address to the headers, so that the address can be shown."""
    if (
        not settings.base_url
        or "," in settings.base_url
        or not (credentials := credentials_header(settings.base_url))
    ):
        return
    headers = {**settings.headers, "Authorization": credentials}
    object.__setattr__(settings, "base_url", without_credentials(settings.base_url))  # frozen from here on
    object.__setattr__(settings, "headers", headers)


class APISettings(BaseSettings):
    """How an external API is reached, and what the account there may do."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, hide_input_in_errors=True, extra="ignore"
    )

    base_url: HTTPAddress | None = None
    api_key: SecretStr | None = None
    headers: SecretHeaders = Field(default_factory=dict[str, SecretStr])
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    max_in_flight: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _credentials_apart(self) -> Self:
        _part_credentials(self)
        return self

    @classmethod
    def read(cls, variables: str) -> Self:
        """Read the variables that begin so.

        Raises:
            SettingsError: One does not hold what it should.
        """
        try:
            return cls(_env_prefix=variables)  # pyright: ignore[reportCallIssue] - pydantic-settings adds it
        except ValidationError as error:
            raise _settings_error(error, variables) from error

    def limits(self, general: "APISettings") -> Limits:
        """Return what the account may do: as said for this API, else for all of them, else as by default."""
        usual = Limits()
        return Limits(
            requests_per_minute=self.requests_per_minute
            or general.requests_per_minute
            or usual.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute or general.tokens_per_minute or usual.tokens_per_minute,
            max_in_flight=self.max_in_flight or general.max_in_flight or usual.max_in_flight,
        )


def _apis() -> dict[str, APISettings]:
    external = {name: provider for name, provider in PROVIDERS.items() if provider.external}
    read = {name: APISettings.read(provider.variables) for name, provider in external.items()}
    return {GENERAL: APISettings.read("VLLM_FLOWS_API_"), **read}


class Settings(BaseSettings):
    """Everything that depends on the machine and on nothing else; none of it is part of a key.

    The environment comes first, then what `make up` has written down, then the defaults.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    base_url: HTTPAddresses = Field(default=DEFAULT_BASE_URL, validation_alias="VLLM_BASE_URL")
    """As given: one address, or several with commas between them."""
    model: str | None = Field(default=None, validation_alias="VLLM_MODEL")
    api_key: SecretStr | None = Field(default=None, validation_alias="VLLM_API_KEY")
    headers: SecretHeaders = Field(default_factory=dict[str, SecretStr], validation_alias="VLLM_HEADERS")
    ca_file: Path | None = Field(default=None, validation_alias="VLLM_CA_FILE")
    """Holds, as the next, for every server of the user's own, and not for the well-known APIs."""
    tls_verify: bool = Field(default=True, validation_alias="VLLM_TLS_VERIFY")
    apis: Mapping[str, APISettings] = Field(default_factory=_apis, validation_alias="VLLM_FLOWS_APIS")
    """{provider: how it is reached}, for those that cost money; read from variables of their own."""
    engine_model: str | None = Field(default=None, validation_alias="VLLM_ENGINE_MODEL")
    """What the engine of engine="direct" is made of: a folder, or a name on the hub; None: what the server at
    VLLM_BASE_URL serves."""
    engine_args: EngineArgs = Field(default_factory=dict[str, object], validation_alias="VLLM_ENGINE_ARGS")
    """Arguments of that engine by their Python names, as {"max_model_len": 32768}."""
    prices: Path | None = Field(default=None, validation_alias="VLLM_FLOWS_PRICES")
    """A file of prices that go before the known ones; see backends/prices.py."""
    store: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("vllm-flows") / "store",
        validation_alias="VLLM_FLOWS_STORE",
    )
    """Answers, and in its folder `results` the results of Prefect tasks."""
    runs: Path = Field(default=PROJECT / "runs", validation_alias="VLLM_FLOWS_RUNS")
    """Reports and label files."""
    watch_seconds: float = Field(
        default=15.0, ge=0, allow_inf_nan=False, validation_alias="VLLM_FLOWS_WATCH_SECONDS"
    )
    """How often a run looks at the memory of its servers and GPUs; 0: never."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of the vLLM servers, which serve the same; most have one."""
        return split_addresses(self.base_url)

    @model_validator(mode="after")
    def _credentials_apart(self) -> Self:
        _part_credentials(self)
        return self

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            trust(value)
        return value

    @field_validator("store", "runs")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return value.expanduser().absolute()


def load_settings(services: Path = SERVICES) -> Settings:
    """Read the environment and what `make up` has written down.

    Raises:
        SettingsError: A variable does not hold what it should.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise _settings_error(error) from error
    if "base_url" in settings.model_fields_set:
        return settings
    started = _started_server(services)
    return settings.model_copy(
        update={**started, **settings.model_dump(include={"model"}, exclude_none=True)}
    )


def _settings_error(error: ValidationError, variables: str = "") -> SettingsError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])
    name = f"{variables}{field.upper()}" if variables else field
    shown = f"={masked(str(first['input']))!r}" if field not in SECRET else ""
    return SettingsError(f"{name}{shown}: {first['msg'].removeprefix('Value error, ')}")


def _started_server(services: Path) -> dict[str, str]:
    """Return base_url and model of the server that `make up` started; empty where there is none."""
    try:
        written: object = json.loads(services.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    server = cast("dict[str, object]", written).get("vllm") if isinstance(written, dict) else None
    if not isinstance(server, dict):
        return {}
    fields = cast("dict[str, object]", server)
    return {name: str(fields[name]) for name in ("base_url", "model") if fields.get(name)}
