"""What a user can set for any run, whatever the workflow; rendered as a form in the Prefect UI."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backends.registry import OWN, parse_model
from cache.lookup import CacheMode

SHOWN_CHARACTERS = 60
"""Values that are longer are not repeated in what is said of them."""

STEERING = (
    "cache_mode",
    "keep_prompts",
    "estimate",
    "max_requests",
    "max_tokens",
    "max_cost_usd",
    "max_wait_seconds",
    "fallback",
    "engine",
)
"""Parameters that say how a run goes and not what it asks; runs that differ only here are one experiment."""

M = TypeVar("M", bound=BaseModel)


class ParametersError(ValueError):
    """A run's parameters are wrong; the message names each that is, and says what would be right."""


def checked(kind: type[M], given: object) -> M:
    """Make parameters of what a caller gave: a dict, or parameters as they are.

    Raises:
        ParametersError: In one sentence, what pydantic would say in many lines.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(_wrong(one["loc"], one["msg"], one["input"]) for one in error.errors())
        raise ParametersError(wrong) from error


def _wrong(place: tuple[int | str, ...], message: str, given: object) -> str:
    message = message.removeprefix("Value error, ")
    if not place:
        return message
    name, shown = ".".join(map(str, place)), repr(given)
    return f"{name}={shown}: {message}" if len(shown) <= SHOWN_CHARACTERS else f"{name}: {message}"


class RunParameters(BaseModel):
    """Who is asked, what may be read from the store, and what the run may cost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str | None = Field(
        default=None,
        description="Served model name, or provider:model for one that costs money, as openai:NAME, "
        "openrouter:VENDOR/NAME, anthropic:NAME; transformers:FOLDER to run it in the process of the run; "
        "empty: the one that is served",
    )
    revision: str | None = Field(default=None, description="What you call these weights; part of the keys")
    cache_mode: CacheMode = Field(default=CacheMode.USE, description="use, refresh, replay or off")
    keep_prompts: bool = Field(default=False, description="Store the text of prompts, not their digest only")
    estimate: bool = Field(default=False, description="Send nothing; say what the run would cost")
    max_requests: int | None = Field(
        default=None, ge=0, description="Questions to send at most; then the run stops and can be run again"
    )
    max_tokens: int | None = Field(default=None, ge=0, description="Tokens in and out at most; likewise")
    max_cost_usd: float | None = Field(default=None, ge=0, description="US dollars at most; likewise")
    max_wait_seconds: float = Field(
        default=600.0, ge=0, description="How long a server that went away is waited for"
    )
    fallback: str | None = Field(
        default=None,
        description="Who answers when the vLLM server stays away, as openai:NAME; empty: the run stops",
    )
    engine: Literal["http", "direct"] = Field(
        default="http",
        description="http asks the vLLM server; direct runs vLLM in the process of the run, and asks the "
        "server where that cannot be had",
    )

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, given: object) -> object:
        for name in cast("dict[str, object]", given) if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                close = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0)[0]
                raise ValueError(f"there is no parameter {name!r}; the closest is {close!r}")
        return cast("object", given)

    @field_validator("model", "fallback")
    @classmethod
    def _names_a_provider(cls, value: str | None) -> str | None:
        if value is not None:
            parse_model(value)
        return value

    @classmethod
    def left_of(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what still holds of a deployment's values where a run gives some of its own."""
        del given
        return dict(defaults)

    @property
    def provider(self) -> str:
        """Who answers: the user's own server, or an API."""
        return parse_model(self.model).provider if self.model else OWN

    @property
    def other_models(self) -> tuple[str, ...]:
        """Models besides `model` that the run asks, as they are named."""
        return ()

    @property
    def model_name(self) -> str | None:
        """The model's name there."""
        return parse_model(self.model).name if self.model else None
