"""The browser of the tests hears what a page does wrong, and leaves no process behind."""

from pathlib import Path

import psutil
import pytest

from tests import chromium

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="needs Debian's package chromium")


def test_requests_and_errors_of_a_page_are_heard_and_no_process_is_left(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><img src='http://127.0.0.1:9/x.png'>"
        "<script>console.error('said'); setTimeout(() => { throw Error('thrown') }); alert('asked')</script>"
    )
    mine = psutil.Process()
    before = {child.pid for child in mine.children(recursive=True)}
    with chromium.running_chromium(tmp_path) as browser:
        tab = browser.new_tab()
        tab.open(page)
        tab.settle()
        started = [child for child in mine.children(recursive=True) if child.pid not in before]
        assert started
        assert tab.requests == [page.as_uri(), "http://127.0.0.1:9/x.png"]
        for wrong in ("said", "thrown", "dialog: asked", "ERR_"):
            assert any(wrong in error for error in tab.errors), wrong
        with pytest.raises(chromium.PageError, match="no such thing"):
            tab.evaluate("(() => { throw Error('no such thing') })()")
        with pytest.raises(chromium.PageError, match="still false: 1 > 2"):
            tab.wait_until("1 > 2", seconds=0.1)
    assert not [child for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
