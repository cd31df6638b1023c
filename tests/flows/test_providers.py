"""From the environment to a backend: keys, limits and addresses arrive, and none of them is shown."""

from pathlib import Path

import pytest
import trustme

from backends.limiting import Limits
from backends.openai_compatible import OpenAICompatible
from flows.providers import connection_to, open_provider
from flows.settings import APISettings, Settings, SettingsError, load_settings

SECRET = "very-secret"  # noqa: S105 - no password of anybody


def test_every_api_has_its_own_limits_else_the_general_ones_else_the_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for provider in ("OPENAI", "OPENROUTER", "ANTHROPIC"):
        monkeypatch.setenv(f"{provider}_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_TOKENS_PER_MINUTE", "5000")
    monkeypatch.setenv("OPENROUTER_REQUESTS_PER_MINUTE", "20")
    monkeypatch.setenv("VLLM_FLOWS_API_REQUESTS_PER_MINUTE", "7")
    settings = Settings()
    assert connection_to("openai", settings).limits == Limits(requests_per_minute=7, tokens_per_minute=5000)
    assert connection_to("openrouter", settings).limits == Limits(requests_per_minute=20)
    monkeypatch.delenv("VLLM_FLOWS_API_REQUESTS_PER_MINUTE")
    assert connection_to("anthropic", Settings()).limits == Limits()


@pytest.mark.parametrize("name", ["openai", "openrouter", "anthropic"])
def test_an_api_without_its_key_is_refused_with_the_variable(name: str) -> None:
    with pytest.raises(
        SettingsError, match=f"a parameter names a model of '{name}', and {name.upper()}_API_KEY"
    ):
        open_provider(name, Settings())


def test_an_api_of_the_user_s_needs_an_address_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="OPENAI_COMPATIBLE_BASE_URL is not set"):
        open_provider("openai-compatible", Settings())
    monkeypatch.setenv("OPENAI_COMPATIBLE_BASE_URL", "http://host/team/v1")
    assert isinstance(open_provider("openai-compatible", Settings()), OpenAICompatible)


def test_an_unknown_provider_is_a_setting_that_is_wrong() -> None:
    with pytest.raises(SettingsError, match="closest is 'openai'"):
        open_provider("opnai", Settings())


def test_an_authority_holds_for_servers_of_one_s_own_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("VLLM_CA_FILE", str(path))
    monkeypatch.setenv("OPENAI_COMPATIBLE_BASE_URL", "https://host")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    settings = Settings()
    assert connection_to("vllm", settings).address.verify == path
    assert connection_to("openai-compatible", settings).address.verify == path
    assert connection_to("openai", settings).address.verify is True
    monkeypatch.setenv("VLLM_TLS_VERIFY", "false")
    assert connection_to("vllm", Settings()).address.verify is False


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("VLLM_CA_FILE", "/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("VLLM_TLS_VERIFY", "perhaps", "perhaps"),
        ("VLLM_HEADERS", f"X-Token: {SECRET}", "JSON object"),
        ("VLLM_HEADERS", f'["{SECRET}"]', "dictionary"),
        ("VLLM_HEADERS", f'{{"X-Token": "{SECRET}\\n"}}', "the value of the header X-Token"),
        ("VLLM_HEADERS", f'{{"X-Token": ["{SECRET}"]}}', "VLLM_HEADERS"),
        ("VLLM_BASE_URL", f"ftp://me:{SECRET}@host", "ftp://***@host"),
        ("OPENAI_HEADERS", f"X-Token: {SECRET}", "JSON object"),
        ("OPENAI_BASE_URL", f"me:{SECRET}@host", "***@host"),
        ("OPENAI_TOKENS_PER_MINUTE", "many", "many"),
        ("VLLM_FLOWS_API_MAX_IN_FLIGHT", "0", "0"),
    ],
)
def test_a_bad_setting_is_named_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, shown: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "nothing.json")
    assert str(caught.value).startswith(variable)
    assert shown in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__cause__}"


def test_no_key_header_or_password_is_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables in ("VLLM_", "OPENAI_", "OPENROUTER_", "ANTHROPIC_"):
        monkeypatch.setenv(f"{variables}BASE_URL", f"https://me:{SECRET}@host/team/v1")
        monkeypatch.setenv(f"{variables}HEADERS", f'{{"X-Token": "{SECRET}"}}')
        monkeypatch.setenv(f"{variables}API_KEY", SECRET)
    settings = Settings()
    shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
    assert not [text for text in shown if SECRET in text]
    assert settings.base_url == "https://host/team/v1"
    assert settings.headers["Authorization"].get_secret_value().startswith("Basic ")
    assert settings.headers["X-Token"].get_secret_value() == SECRET
    with pytest.raises(SettingsError, match="all mean the Authorization") as caught:
        open_provider("vllm", settings)
    assert SECRET not in str(caught.value)


def test_api_settings_are_read_by_their_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_MAX_IN_FLIGHT", "9")
    assert APISettings.read("OPENROUTER_").max_in_flight == 9
    assert APISettings.read("OPENAI_").max_in_flight is None
