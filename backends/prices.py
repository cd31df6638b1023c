"""What external models cost: a short list with dates, a file of the user's over it; asks nobody."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backends.messages import Usage
from backends.registry import PROVIDERS, ModelName

_MILLION = 1_000_000
_DATED = re.compile(r"-\d{4}(-?\d{2}-?\d{2})?")
"""A snapshot of a model has its name and a date: gpt-4.1-2025-04-14, claude-haiku-4-5-20251001."""


class PricesError(ValueError):
    """The user's file of prices cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Of prompt tokens that the provider had computed before; None: as the others."""
    as_of: str | None = None
    """The day on which it was read, YYYY-MM-DD."""
    source: str | None = None


FREE = Price(input=0.0, output=0.0)
"""One's own servers: their electricity is not counted."""

_OPENAI = "https://developers.openai.com/api/docs/pricing"
_ANTHROPIC = "https://platform.claude.com/docs/en/about-claude/pricing"


def _openai(given: float, cached: float, output: float, as_of: str) -> Price:
    return Price(input=given, cached_input=cached, output=output, as_of=as_of, source=_OPENAI)


def _anthropic(given: float, cached: float, output: float) -> Price:
    return Price(input=given, cached_input=cached, output=output, as_of="2026-10-24", source=_ANTHROPIC)


# Standard tier, short prompts (OpenAI charges more above 272,000 tokens); writing to a cache is not counted.
KNOWN: Mapping[str, Price] = {
    "openai:gpt-6-sol": _openai(2.0, 0.2, 10.0, "2026-09-22"),
    "openai:gpt-6-luna": _openai(0.1, 0.01, 0.5, "2026-09-22"),
    "openai:gpt-5.6-terra": _openai(2.0, 0.2, 12.0, "2026-08-01"),
    "openai:gpt-5.6-luna": _openai(0.2, 0.02, 1.2, "2026-08-01"),
    "anthropic:claude-opus-5-5": _anthropic(4.0, 0.2, 20.0),
    "anthropic:claude-opus-5": _anthropic(5.0, 0.5, 25.0),
    "anthropic:claude-sonnet-5-5": _anthropic(2.0, 0.1, 10.0),
    "anthropic:claude-sonnet-5": _anthropic(2.0, 0.2, 10.0),
    "anthropic:claude-haiku-4-5": _anthropic(1.0, 0.1, 5.0),
}
"""{model: price}. Each also stands for the dated snapshots of the model, and for no other name."""


def price_of(model: ModelName, own: Mapping[str, Price] | None = None) -> Price | None:
    """Return what a model costs; None where that is not known, which is not the same as nothing.

    Args:
        model: Who answers.
        own: The user's prices, by the model's name with its provider. A name that ends in `*` stands for
            all that begin so; the longest that fits counts.
    """
    name = str(model)
    if (found := _in_own(name, own or {})) is not None:
        return found
    if not PROVIDERS[model.provider].external:
        return FREE
    if model.provider == "openrouter" and name.endswith(":free"):
        return FREE
    return next((price for known, price in KNOWN.items() if _is_snapshot(name, known)), None)


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """Return what an amount of tokens costs; what the server itself says goes before the list.

    Returns:
        US dollars; None where neither the server nor the list has a price.
    """
    if usage.cost_nano_usd:
        return usage.cost_nano_usd / 1e9
    if price is None:
        return None
    cached = price.input if price.cached_input is None else price.cached_input
    fresh_tokens = usage.input_tokens - usage.cached_tokens
    dollars = fresh_tokens * price.input + usage.cached_tokens * cached + usage.output_tokens * price.output
    return dollars / _MILLION


def read_prices(path: Path) -> dict[str, Price]:
    """Read a user's prices: {"provider:model": {"input": 2, "cached_input": 0.2, "output": 10}}.

    JSON where the file's name ends so, else YAML.

    Raises:
        PricesError: The file cannot be read, or does not hold that.
    """
    try:
        text = path.read_text(encoding="utf-8")
        given: object = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        rows = _ROWS.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PricesError(f"{path}: {place}: {first['msg']}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PricesError(f"{path} holds no prices: {' '.join(str(error).split())}") from error
    return {name: Price(**row.model_dump()) for name, row in rows.items()}


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    as_of: str | None = None
    source: str | None = None


_ROWS = TypeAdapter(dict[str, _Row])


def _in_own(name: str, own: Mapping[str, Price]) -> Price | None:
    if name in own:
        return own[name]
    fits = [one for one in own if one.endswith("*") and name.startswith(one[:-1])]
    return own[max(fits, key=len)] if fits else None


def _is_snapshot(name: str, known: str) -> bool:
    return name == known or (name.startswith(known) and _DATED.fullmatch(name[len(known) :]) is not None)
