"""One real Prefect server for all tests of flows, and one warm process that runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.running import ICMProcess, PrefectServer, running_prefect


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with running_prefect(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="session")
def new_process(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], ICMProcess]]:
    """Starts processes that run the flow; all are gone at the end."""
    started: list[ICMProcess] = []

    def start() -> ICMProcess:
        started.append(ICMProcess(prefect_server.environment, tmp_path_factory.mktemp("process")))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def process(new_process: Callable[[], ICMProcess]) -> ICMProcess:
    """For runs that nobody kills; Prefect takes seconds to import."""
    return new_process()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes empty folders."""
    return lambda: tmp_path_factory.mktemp("place")
