"""One browser for all tests of pages of a file, with the same demands on each page."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.chromium import Chromium, Tab, running_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    with running_chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def only_tab(browser: Chromium) -> Tab:
    return browser.new_tab()


@pytest.fixture
def show_written(only_tab: Tab, tmp_path: Path) -> Generator[Callable[[Callable[[Path], None]], Tab]]:
    """Opens a report; whatever the test did in it, nothing was requested and nothing went wrong."""
    path = tmp_path / "report.html"

    def shown(write: Callable[[Path], None]) -> Tab:
        write(path)
        only_tab.look()
        only_tab.open(path)
        only_tab.settle()
        return only_tab

    yield shown
    only_tab.settle()
    assert only_tab.requests == [path.as_uri()]
    assert only_tab.errors == []
