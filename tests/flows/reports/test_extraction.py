"""The report of an extraction as a file: safe whatever documents say, self-contained, written bit by bit."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.reports.extraction import (
    SLICE,
    DocumentView,
    ExtractionPage,
    FailedRange,
    pieces,
    render,
    write,
)
from flows.reports.inline import HERE
from tasks.extraction.values import Entity
from tests.flows.reports.made_up_extraction import contract, entity, made_up_page, opinion
from tests.flows.reports.reading import (
    Page,
    Vector,
    assert_nothing_else_is_allowed,
    contrast,
    linear,
    themes,
    times,
)

STYLE = (HERE / "extraction.css").read_text()

EVIL = (
    "<script>alert(1)</script></script><!--<img src=http://evil/x onerror=alert(1)>"
    "</script x='<!-- <script /\u2028\u2029&amp;\ud83d]]>"
)


def page_of(*documents: DocumentView) -> ExtractionPage:
    return ExtractionPage(title="t", headline="h", documents=documents)


def findings(view: DocumentView) -> Any:  # noqa: ANN401 - what the page holds
    return json.loads(Page(render(page_of(view))).data["findings-0"])


def spanning(text: str, start: int, end: int) -> DocumentView:
    one = Entity(
        label="a", text=text[start:end], status="exact", start=start, end=end, votes=1, confidence=1.0
    )
    return DocumentView(id="d", text=text, status="complete", entities=[one])


def test_whatever_a_run_says_ends_no_element_and_can_be_written(tmp_path: Path) -> None:
    one = replace(entity(EVIL, EVIL, EVIL), attributes={EVIL: EVIL}, normalized=EVIL)
    view = DocumentView(
        id=EVIL,
        text=EVIL,
        status="partial",
        reason=EVIL,
        entities=[one],
        failed=[FailedRange(start=0, end=3, reason=EVIL)],
    )
    page = replace(
        made_up_page(),
        title=EVIL,
        headline=EVIL,
        warnings=[EVIL],
        facts=[(EVIL, EVIL)],
        labels=[(EVIL, EVIL)],
        documents=[view],
        evaluation=[replace(row, label=EVIL) for row in made_up_page().evaluation],
        evaluation_note=EVIL,
    )
    write(page, tmp_path / "page.html")
    read = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    plain = Page(
        render(replace(made_up_page(), documents=[contract()], labels=[("a", "b")], facts=[("a", "b")]))
    )
    assert read.tags == plain.tags
    assert json.loads(read.data["text-0"]) == EVIL
    [told] = json.loads(read.data["findings-0"])["entities"]
    assert (told["label"], told["text"], told["normalized"], told["attributes"]) == (
        EVIL,
        EVIL,
        EVIL,
        {EVIL: EVIL},
    )
    overview = json.loads(read.data["overview"])
    assert overview["labels"] == [[EVIL, EVIL]]
    assert (overview["documents"][0]["id"], overview["documents"][0]["reason"]) == (EVIL, EVIL)
    assert read.text.count(EVIL.replace("\ud83d", "\ufffd")) == 9 + len(page.evaluation)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    html = render(page_of(DocumentView(id="d", text=text, status="complete")))
    html.encode()
    assert json.loads(Page(html).data["text-0"]) == text


@pytest.mark.parametrize("shift", range(3))
def test_a_text_of_many_slices_comes_back_as_it_was(shift: int) -> None:
    text = (shift * "x" + '\ud83d\ude00\U0001f600</script>"\\' * SLICE)[: 3 * SLICE + 1]
    read = Page(render(page_of(DocumentView(id="d", text=text, status="complete")))).data["text-0"]
    assert json.loads(read) == text.replace("\ud83d\ude00", "\U0001f600")  # JSON has one spelling for both


def test_a_report_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    write(made_up_page(), tmp_path / "page.html")
    before = (tmp_path / "page.html").read_bytes()
    with pytest.raises(ValueError, match="reaches from"):
        write(page_of(contract(), spanning("short", 3, 9)), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@given(st.data())
def test_offsets_are_told_in_the_units_of_the_browser(data: st.DataObject) -> None:
    text = data.draw(st.text(st.sampled_from("ab \U0001f600\U00020b9f\ud83d渡"), min_size=1))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    [told] = findings(spanning(text, start, end))["entities"]
    units = text.encode("utf-16-le", "surrogatepass")
    low, high = told["at"]
    assert units[2 * low : 2 * high] == text[start:end].encode("utf-16-le", "surrogatepass")
    assert told["chars"] == [start, end]


def test_item_without_a_span_has_no_place() -> None:
    told = findings(opinion())["entities"]
    lost = {one["status"] for one in told if one["at"] is None}
    assert lost == {"ungrounded", "leaked"}


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (spanning("short", 3, 9), r"document 'd': a 'rt' reaches from 3 to 9, and the text has 5 characters"),
        (spanning("short", -1, 2), "reaches from -1 to 2"),
        (spanning("short", 3, 2), "reaches from 3 to 2"),
        (
            replace(spanning("short", 0, 2), failed=[FailedRange(start=0, end=6, reason="r")]),
            "document 'd': a failed range reaches from 0 to 6",
        ),
        (
            replace(spanning("short", 0, 2), entities=[replace(entity("ab", "l", "ab"), start=None)]),
            "document 'd': l 'ab' is exact and has no span",
        ),
    ],
)  # fmt: skip
def test_a_place_outside_of_its_document_is_refused(view: DocumentView, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        render(page_of(view))


def test_policy_allows_this_script_and_this_style_and_nothing_else() -> None:
    page = Page(render(made_up_page()))
    assert_nothing_else_is_allowed(page)
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")


def test_documents_are_made_one_after_another_as_the_page_is_written(tmp_path: Path) -> None:
    made: list[int] = []

    def views() -> Iterator[DocumentView]:
        for number in range(5):
            made.append(number)
            yield DocumentView(id=str(number), text=f"text {number}", status="complete")

    written = [(piece, len(made)) for piece in pieces(replace(made_up_page(), documents=views()))]
    [first] = [count for piece, count in written if "text 0" in piece]
    assert first == 1
    page = ExtractionPage(title="t", headline="h", documents=views())
    write(page, tmp_path / "page.html")
    overview = json.loads(Page((tmp_path / "page.html").read_text()).data["overview"])
    assert [one["id"] for one in overview["documents"]] == ["0", "1", "2", "3", "4"]


def test_labels_that_nobody_declared_follow_those_of_the_page() -> None:
    page = replace(made_up_page(), labels=[("court", "a court")])
    names = [name for name, _ in json.loads(Page(render(page)).data["overview"])["labels"]]
    assert names[0] == "court"
    assert set(names) == {one.label for view in made_up_page().documents for one in view.entities}
    assert len(names) == len(set(names))


def test_facts_labels_and_evaluation_are_in_the_page_without_its_script() -> None:
    page = made_up_page()
    text = Page(render(page)).text
    for said in (page.title, page.headline, *page.warnings, page.evaluation_note):
        assert said in text
    for name, value in (*page.facts, *page.labels):
        assert name in text
        assert value in text
    html = render(page)
    row = html[html.index('<th scope="row">amount</th>') :].split("</tr>")[0]
    dash = "\u2013"
    assert re.findall(r'<td class="number">(.*?)</td>', row) == [*6 * dash, "0.500", dash, dash]
    assert 'id="evaluation"' not in render(replace(page, evaluation=()))


def test_which_labels_were_given_to_what_is_a_table_whatever_they_are_called() -> None:
    page = replace(made_up_page(), confusion=[["gold", "gold", "<b>", "(none)"], ["gold", 7, 0, 2]])
    html = render(page)
    [table] = re.findall(r'<table id="confusion">(.*?)</table>', html, re.DOTALL)
    assert re.findall(r"<th [^>]*>(.*?)</th>", table) == ["gold", "gold", "&lt;b&gt;", "(none)", "gold"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", table) == ["7", "", "2"]
    assert 'id="confusion"' not in render(made_up_page())


# Matrices of Machado, Oliveira and Fernandes (2009) for an eye that lacks a kind of cone, on linear RGB;
# distances in Ottosson's OKLab, where 0.02 is about what an eye can just tell apart side by side.
CONES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no middle": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    ),
    "no short": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.3039),
    ),
}
TO_LMS = ((0.41222, 0.53633, 0.05145), (0.2119, 0.6807, 0.1074), (0.0883, 0.28172, 0.62998))
TO_LAB = ((0.21045, 0.79362, -0.00407), (1.978, -2.42859, 0.45059), (0.0259, 0.78277, -0.80868))


def lab(rgb: Vector) -> list[float]:
    return times(
        TO_LAB, [value ** (1 / 3) for value in times(TO_LMS, [min(1, max(0, part)) for part in rgb])]
    )


def mixed(one: str, other: str, share: float) -> str:
    pairs = ((int(one[n : n + 2], 16), int(other[n : n + 2], 16)) for n in (1, 3, 5))
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


@pytest.mark.parametrize("theme", themes(STYLE), ids=["light", "dark"])
def test_colours_of_labels_are_told_apart_by_every_eye(theme: dict[str, str]) -> None:
    colours = [theme[f"c{n}"] for n in range(8)]
    for cones, matrix in CONES.items():
        seen = [lab(times(matrix, linear(colour))) for colour in colours]
        near = min(
            sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5 for x, y in combinations(seen, 2)
        )
        assert near > 0.1, cones


@pytest.mark.parametrize("theme", themes(STYLE), ids=["light", "dark"])
def test_contrast_is_enough_for_stripes_and_for_text_on_every_ground(theme: dict[str, str]) -> None:
    paper, ink = theme["paper"], theme["ink"]
    for n in range(8):
        colour = theme[f"c{n}"]
        assert contrast(colour, paper) >= 3
        for tint in (theme["tint"], theme["tint-chosen"]):
            assert contrast(ink, mixed(colour, paper, int(tint[:-1]) / 100)) >= 4.5, (n, tint)
    for ground in (paper, theme["raised"]):
        for text in ("ink", "faint", "bad", "warn-ink"):
            assert contrast(theme[text], ground) >= 4.5, text
    assert contrast(theme["bad"], theme["bad-paper"]) >= 4.5
    assert contrast(ink, theme["warn-paper"]) >= 4.5
