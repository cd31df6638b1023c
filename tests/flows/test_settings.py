"""Where settings come from, and what is said about a bad one."""

import json
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.settings import DEFAULT_BASE_URL, PROJECT, Settings, SettingsError, load_settings

STARTED = {"vllm": {"base_url": "http://127.0.0.1:8123", "model": "tiny", "pid": 7}}


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """Write what `make up` writes."""
    path = tmp_path / "services.json"
    path.write_text(json.dumps(STARTED), encoding="utf-8")
    return path


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    return tmp_path / "nowhere.json"


def test_environment_goes_before_services(services: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "https://elsewhere:9/v1")
    monkeypatch.setenv("VLLM_MODEL", "huge")
    settings = load_settings(services)
    assert (settings.base_url, settings.model) == ("https://elsewhere:9/v1", "huge")


def test_services_go_before_defaults(services: Path) -> None:
    settings = load_settings(services)
    assert (settings.base_url, settings.model) == ("http://127.0.0.1:8123", "tiny")


def test_defaults_are_what_remains(nothing: Path) -> None:
    settings = load_settings(nothing)
    assert (settings.base_url, settings.model, settings.api_key) == (DEFAULT_BASE_URL, None, None)


def test_model_of_the_environment_goes_with_the_server_of_services(
    services: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_MODEL", "huge")
    settings = load_settings(services)
    assert (settings.base_url, settings.model) == ("http://127.0.0.1:8123", "huge")


def test_model_of_services_is_not_asked_of_another_server(
    services: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "http://elsewhere:9")
    assert load_settings(services).model is None


def test_empty_variables_are_ignored(services: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_BASE_URL", "VLLM_MODEL", "VLLM_API_KEY", "VLLM_FLOWS_STORE", "VLLM_FLOWS_RUNS"):
        monkeypatch.setenv(name, "")
    settings = load_settings(services)
    assert (settings.base_url, settings.model, settings.api_key) == ("http://127.0.0.1:8123", "tiny", None)
    assert settings.store.name == "store"
    assert settings.runs == PROJECT / "runs"


@pytest.mark.parametrize("text", ["", "{", '{"vllm": {}}', "{}", '{"prefect": {"base_url": "http://x"}}'])
def test_services_that_tell_nothing_are_ignored(nothing: Path, text: str) -> None:
    nothing.write_text(text, encoding="utf-8")
    assert load_settings(nothing).base_url == DEFAULT_BASE_URL


@pytest.mark.parametrize("text", ["[]", "null", '{"vllm": null}', '{"vllm": "http://x"}'])
def test_services_of_another_shape_are_ignored_or_a_settings_error(nothing: Path, text: str) -> None:
    nothing.write_text(text, encoding="utf-8")
    try:
        assert load_settings(nothing).base_url == DEFAULT_BASE_URL
    except SettingsError as error:
        assert str(nothing) in str(error)  # noqa: PT017 - either is fine


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "8000", " http://host"])
def test_bad_address_names_the_variable_and_shows_it(
    nothing: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", address)
    with pytest.raises(SettingsError) as caught:
        load_settings(nothing)
    assert f"VLLM_BASE_URL={address!r}" in str(caught.value)
    assert "an address starts with http:// or https://" in str(caught.value)
    assert "Value error" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["VLLM_BASE_URL", "OPENAI_BASE_URL"])
@pytest.mark.parametrize("address", ["http://host/v1?key=very-secret", "ftp://host?key=very-secret"])
def test_an_address_with_a_query_is_refused_without_showing_it(
    nothing: Path, monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    monkeypatch.setenv(variable, address)
    with pytest.raises(SettingsError) as caught:
        load_settings(nothing)
    assert variable in str(caught.value)
    assert "very-secret" not in "".join(traceback.format_exception(caught.value))


def test_several_addresses_are_several_servers(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(nothing).base_urls == (DEFAULT_BASE_URL,)
    monkeypatch.setenv("VLLM_BASE_URL", "http://a:8000,http://b:8000/v1 , https://c")
    assert load_settings(nothing).base_urls == ("http://a:8000", "http://b:8000/v1", "https://c")


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ("http://a,b:8000", "'b:8000': an address starts with http:// or https://"),
        ("http://a,", "'': an address starts with http:// or https://"),
        ("http://a,http://b,http://a", "the address 'http://a' is there twice"),
    ],
)
def test_a_bad_address_among_several_is_named(
    nothing: Path, monkeypatch: pytest.MonkeyPatch, addresses: str, message: str
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", addresses)
    with pytest.raises(SettingsError) as caught:
        load_settings(nothing)
    assert message in str(caught.value)


def test_api_key_is_never_shown(services: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-very-secret"  # noqa: S105 - no password of anybody
    monkeypatch.setenv("VLLM_API_KEY", secret)
    settings = load_settings(services)
    shown = [
        repr(settings),
        str(settings),
        f"{settings}",
        settings.model_dump_json(),
        str(settings.model_dump()),
    ]
    assert all(secret not in text for text in shown)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == secret
    monkeypatch.setenv("VLLM_BASE_URL", "nowhere")
    with pytest.raises(SettingsError) as caught:
        load_settings(services)
    assert secret not in f"{caught.value!r} {caught.value.__cause__}"


def test_folders_are_absolute_and_know_home(
    nothing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VLLM_FLOWS_STORE", "~/answers")
    monkeypatch.setenv("VLLM_FLOWS_RUNS", "some/runs")
    settings = load_settings(nothing)
    assert settings.store == tmp_path / "answers"
    assert settings.runs == Path.cwd() / "some" / "runs"


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.model = "other"
