"""The only reader of the environment: where the model server is, and where things are stored."""

import json
import re
from pathlib import Path
from typing import cast

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parents[1]
"""The checkout; the project is installed editable."""

SERVICES = PROJECT / ".vllm-flows" / "services.json"
"""What `make up` has started, written by services.py."""

DEFAULT_BASE_URL = "http://127.0.0.1:8000"


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names it and says what to do."""


class Settings(BaseSettings):
    """Everything that depends on the machine and on nothing else; none of it is part of a key.

    The environment comes first, then what `make up` has written down, then the defaults.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    base_url: str = Field(default=DEFAULT_BASE_URL, validation_alias="VLLM_BASE_URL")
    """As given: one address, or several with commas between them."""
    model: str | None = Field(default=None, validation_alias="VLLM_MODEL")
    api_key: SecretStr | None = Field(default=None, validation_alias="VLLM_API_KEY")
    openai_base_url: str = Field(default="https://api.openai.com", validation_alias="OPENAI_BASE_URL")
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_requests_per_minute: int = Field(default=100, ge=1, validation_alias="OPENAI_REQUESTS_PER_MINUTE")
    openai_max_in_flight: int = Field(default=2, ge=1, validation_alias="OPENAI_MAX_IN_FLIGHT")
    store: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("vllm-flows") / "store",
        validation_alias="VLLM_FLOWS_STORE",
    )
    """Answers, and in its folder `results` the results of Prefect tasks."""
    runs: Path = Field(default=PROJECT / "runs", validation_alias="VLLM_FLOWS_RUNS")
    """Reports and label files."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of the vLLM servers, which serve the same; most have one."""
        return split_addresses(self.base_url)

    @field_validator("base_url")
    @classmethod
    def _are_http(cls, value: str) -> str:
        addresses = split_addresses(value)
        for place, address in enumerate(addresses):
            if not address.startswith(("http://", "https://")):
                which = f"{address!r}: " if len(addresses) > 1 else ""
                raise ValueError(f"{which}an address starts with http:// or https://")
            if address in addresses[:place]:
                raise ValueError(f"the address {address!r} is there twice")
        return value

    @field_validator("openai_base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("an address starts with http:// or https://")
        return value

    @field_validator("store", "runs")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return value.expanduser().absolute()


def split_addresses(value: str) -> tuple[str, ...]:
    """Split what VLLM_BASE_URL holds."""
    return tuple(re.split(r"\s*,\s*", value))


def load_settings(services: Path = SERVICES) -> Settings:
    """Read the environment and what `make up` has written down.

    Raises:
        SettingsError: A variable does not hold what it should.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(f"{first['loc'][0]}={first['input']!r}: {first['msg']}") from error
    if "base_url" in settings.model_fields_set:
        return settings
    started = _started_server(services)
    return settings.model_copy(
        update={**started, **settings.model_dump(include={"model"}, exclude_none=True)}
    )


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
