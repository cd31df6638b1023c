"""Rules for all tests: no settings from outside, stores of their own, real servers only with --live."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

OUTSIDE = ("VLLM_", "OPENAI_", "OPENROUTER_", "ANTHROPIC_")

settings.register_profile("dev", max_examples=60, deadline=None)
settings.register_profile("ci", max_examples=120, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")  # --hypothesis-profile goes before


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="run the tests that ask a real vLLM server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--live"):
        return
    skip = pytest.mark.skip(reason="asks a real vLLM server; run with --live")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def settings_of_its_own(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hide the caller's servers and keys from a test, and keep everything that it stores under tmp_path.

    A live test sees the caller's servers, but never the caller's store.
    """
    node: pytest.Item = request.node
    if node.get_closest_marker("live") is None:
        for name in [name for name in os.environ if name.startswith(OUTSIDE)]:
            monkeypatch.delenv(name)
    for name in ("STORE", "HOME", "RUNS"):
        monkeypatch.setenv(f"VLLM_FLOWS_{name}", str(tmp_path / f"vllm-flows-{name.lower()}"))
