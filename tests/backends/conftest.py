"""A fake vLLM server for all tests of backends, as new for each of them."""

from collections.abc import Iterator

import pytest

from tests.fake_vllm import FakeVLLM


@pytest.fixture(scope="session")
def shared_server() -> Iterator[FakeVLLM]:
    with FakeVLLM() as fake:
        yield fake


@pytest.fixture
def server(shared_server: FakeVLLM) -> FakeVLLM:
    shared_server.reset(config=True)
    return shared_server
