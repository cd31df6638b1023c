import pytest

from tasks.extraction.html_text import html_text
from tasks.extraction.plain_text import UnreadableError


def test_only_what_a_reader_sees_is_text() -> None:
    page = (
        "<html><head><title>T</title><style>b{}</style></head><body><script>var a = 1</script>"
        "caf&eacute; &amp; &sect;<!-- no --> tail<?pi no?> end<noscript>no</noscript><template>no</template>"
        "<p style='Display : none'>no</p><p hidden>no</p> after</body></html>"
    )
    assert html_text(page) == "café & § tail end after"


def test_words_are_not_cut_by_markup() -> None:
    assert html_text("fi<span>r</span>st<i>ly</i> <b>A</b>.") == "firstly A."


def test_a_cell_s_lines_stay_together() -> None:
    page = "<table><tr><td>Acme<br>Corp.<td>Beta<br>Inc.</tr><tr><th>e<td>f</table>"

    assert html_text(page) == "Acme\nCorp. Beta\nInc.\ne f"


def test_a_wide_cell_pads_no_others() -> None:
    rows = "<tr><td>a</td><td>b</td></tr>" * 200

    assert len(html_text(f"<table><tr><td>{'y' * 10_000}</td><td>q</td></tr>{rows}</table>")) < 12_000


def test_a_style_adds_no_lines() -> None:
    assert html_text("<p>a</p><p style='margin-top: 100000em; padding-left: 100000em'>b</p>") == "a\n\nb"


def test_lists_are_not_indented() -> None:
    assert html_text("<ol><li>x<ul><li>y</ul><li>z</ol>").split("\n") == ["1. x", "+ y", "2. z"]


@pytest.mark.parametrize("depth", [300, 800])
def test_deep_nesting_loses_nothing(depth: int) -> None:
    assert html_text("<p>top</p>" + "<div>" * depth + "deep") == "top\n\ndeep"


@pytest.mark.parametrize("depth", [2_000, 60_000])
def test_what_is_too_deep_is_told(depth: int) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        html_text("<p>top</p>" + "<div>" * depth + "deep")


@pytest.mark.parametrize(
    "page", ["<html></html>", "<!-- x -->", "   ", "<script>a</script>", "<p>&nbsp;</p>"]
)
def test_a_page_without_text_is_told(page: str) -> None:
    with pytest.raises(UnreadableError, match="holds no text"):
        html_text(page)


def test_nothing_is_fetched_and_no_file_is_shown() -> None:
    page = (
        "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><p>&x;</p><img src='http://127.0.0.1:9/'>"
    )

    assert "&x;" in html_text(page)
