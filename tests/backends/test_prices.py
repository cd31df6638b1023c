"""What is not known to cost nothing is not said to cost nothing."""

import datetime as dt
import json
from pathlib import Path

import pytest

from backends.messages import Usage
from backends.prices import FREE, KNOWN, Price, PricesError, cost_usd, price_of, read_prices
from backends.registry import PROVIDERS, parse_model

PRICE = Price(input=2.0, cached_input=0.2, output=10.0)


def test_cost_is_tokens_by_the_million() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=100_000)
    assert cost_usd(usage, PRICE) == pytest.approx(0.5 * 2.0 + 0.5 * 0.2 + 0.1 * 10.0)


def test_cached_tokens_cost_as_the_others_where_no_price_is_given_for_them() -> None:
    usage = Usage(input_tokens=1_000_000, cached_tokens=500_000)
    assert cost_usd(usage, Price(input=2.0, output=10.0)) == 2.0


def test_what_is_not_known_is_none_and_not_nothing() -> None:
    usage = Usage(input_tokens=5, output_tokens=5)
    assert cost_usd(usage, None) is None
    assert cost_usd(usage, FREE) == 0.0


def test_what_the_server_says_goes_before_the_list() -> None:
    assert cost_usd(Usage(input_tokens=5, cost_nano_usd=1_500_000), PRICE) == 0.0015
    assert cost_usd(Usage(cost_nano_usd=1), None) == 1e-9


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("openai:gpt-5.6-luna", "openai:gpt-5.6-luna"),
        ("openai:gpt-5.6-luna-2026-07-09", "openai:gpt-5.6-luna"),
        ("anthropic:claude-opus-5-20260724", "anthropic:claude-opus-5"),
        ("anthropic:claude-opus-5-5", "anthropic:claude-opus-5-5"),
        ("openai:gpt-5.6-luna-pro", None),
        ("anthropic:claude-opus-5-6", None),
        ("openrouter:openai/gpt-5.6-luna", None),
        ("openai-compatible:gpt-5.6-luna", None),
    ],
)
def test_a_price_holds_for_the_model_and_its_dated_snapshots_only(model: str, known: str | None) -> None:
    assert price_of(parse_model(model)) == (KNOWN[known] if known else None)


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "vllm:gpt-4.1", "scripted:echo", "openrouter:a/b:free"])
def test_one_s_own_servers_and_free_models_cost_nothing(model: str) -> None:
    assert price_of(parse_model(model)) == FREE


def test_a_user_s_price_goes_first_and_the_longest_name_counts() -> None:
    own = {"openai:*": PRICE, "openai:gpt-4*": FREE, "openai:gpt-4.1": Price(input=1, output=1)}
    assert price_of(parse_model("openai:gpt-4.1"), own) == own["openai:gpt-4.1"]
    assert price_of(parse_model("openai:gpt-4.1-mini"), own) == FREE
    assert price_of(parse_model("openai:other"), own) == PRICE
    assert price_of(parse_model("vllm:mine"), {"vllm:mine": PRICE}) == PRICE  # rented by the hour


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_prices_are_read_from_json_and_yaml(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prices.{suffix}"
    path.write_text(json.dumps({"openai:x": {"input": 2, "cached_input": 0.2, "output": 10}}))
    assert read_prices(path) == {"openai:x": PRICE}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "holds no prices"),
        ("[]", "the file"),
        ('{"openai:x": {"input": 2}}', "openai:x.output"),
        ('{"openai:x": {"input": -2, "output": 1}}', "openai:x.input"),
        ('{"openai:x": {"input": 2, "output": 1, "reasoning": 3}}', "openai:x.reasoning"),
        (None, "holds no prices"),
    ],
)
def test_a_file_that_is_no_list_of_prices_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "prices.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PricesError) as caught:
        read_prices(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_price_has_a_day_and_a_source(name: str) -> None:
    price = KNOWN[name]
    assert dt.date.fromisoformat(price.as_of or "") <= dt.date(2026, 11, 21)
    assert (price.source or "").startswith("https://")
    assert PROVIDERS[parse_model(name).provider].external
    assert price.cached_input is not None
    assert 0 < price.cached_input < price.input < price.output
