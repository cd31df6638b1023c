"""What a user can set for any run, whatever the workflow; rendered as a form in the Prefect UI."""

import difflib
from typing import Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cache.lookup import CacheMode

STEERING = (
    "cache_mode",
    "keep_prompts",
    "estimate",
    "max_requests",
    "max_tokens",
    "max_cost_usd",
    "max_wait_seconds",
    "fallback",
)
"""Parameters that say how a run goes and not what it asks; runs that differ only here are one experiment."""


class RunParameters(BaseModel):
    """Who is asked, what may be read from the store, and what the run may cost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    backend: Literal["vllm", "openai", "openrouter", "openai-compatible", "anthropic"] = Field(
        default="vllm",
        description="vllm: your server; openai-compatible: the API at OPENAI_COMPATIBLE_BASE_URL; the others "
        "by their names, for money",
    )
    model: str | None = Field(default=None, description="Served model name; empty: the one that is served")
    revision: str | None = Field(default=None, description="Which weights, where the name does not say it")
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

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, given: object) -> object:
        for name in cast("dict[str, object]", given) if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                close = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0)[0]
                raise ValueError(f"there is no parameter {name!r}; the closest is {close!r}")
        return cast("object", given)

    @model_validator(mode="after")
    def _names_whom_it_asks(self) -> Self:
        if self.backend != "vllm" and not self.model:
            raise ValueError(f"backend is {self.backend!r}; name the model")
        return self
