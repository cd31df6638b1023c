"""The report of an extraction in a real browser: what it highlights, lists, filters, and never fetches."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.reports.extraction import DocumentView, ExtractionPage, FailedRange, write
from tasks.extraction.values import GROUNDED, Entity
from tests.chromium import Tab, program
from tests.flows.reports.made_up_extraction import (
    LABELS,
    contract,
    entity,
    large,
    lost,
    made_up_page,
    many,
    opinion,
)
from tests.flows.reports.reading import text_of

pytestmark = pytest.mark.skipif(program() is None, reason="needs Debian's package chromium")

ALL_MARKS = """(async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const units = text => {
    const all = [];
    for (let at = 0; at < text.length; at++) all.push(text.charCodeAt(at));
    return all;
  };
  const box = document.getElementById("text");
  const found = {};
  let at = 0, text = [];
  for (const block of box.querySelectorAll(".block")) {
    block.scrollIntoView();
    for (let drawn = 0; drawn < 3; drawn++) await frame(); // the observer speaks after a frame
    for (const node of block.childNodes) {
      const here = units(node.textContent);
      for (const id of node.dataset?.entities?.split(" ") ?? []) {
        found[id] ??= { start: at, text: [] };
        found[id].text.push(...here);
      }
      at += here.length;
      text = text.concat(here);
    }
  }
  return { found, text };
})()"""
"""The text of the page and of every entity in it, in UTF-16 units, so that half characters come through."""


def units(text: str) -> list[int]:
    raw = text.encode("utf-16-le", "surrogatepass")
    return [raw[at] + 256 * raw[at + 1] for at in range(0, len(raw), 2)]


@pytest.fixture
def show(show_written: Callable[[Callable[[Path], None]], Tab]) -> Callable[[ExtractionPage], Tab]:
    return lambda page: show_written(lambda path: write(page, path))


def page_of(*documents: DocumentView) -> ExtractionPage:
    return ExtractionPage(title="t", headline="h", labels=LABELS, documents=documents)


def choose_document(tab: Tab, number: int) -> None:
    tab.evaluate(f"document.querySelectorAll('#documents button')[{number}].click()")
    tab.settle()


def marks(tab: Tab) -> list[tuple[str, list[int]]]:
    """Return (text, numbers of its entities) of every mark that is drawn."""
    got = tab.evaluate(
        "[...document.querySelectorAll('#text mark')].map(m => [m.textContent, m.dataset.entities])"
    )
    return [(text, [int(number) for number in numbers.split()]) for text, numbers in got]


def chosen(tab: Tab) -> str:
    return "".join(text_of(tab, "#text mark.chosen"))


def check_highlights(tab: Tab, view: DocumentView) -> None:
    got = tab.evaluate(ALL_MARKS)
    assert got["text"] == units(view.text)
    expected = {
        str(number): {
            "start": len(units(view.text[: one.start])),
            "text": units(view.text[one.start : one.end]),
        }
        for number, one in enumerate(view.entities)
        if one.status in GROUNDED
    }
    assert got["found"] == expected


def nasty(seed: int) -> DocumentView:
    """Return a text of all kinds of characters and lines, with spans that nest, cross and touch anywhere."""
    draw = random.Random(seed)
    alphabet = [
        "a",
        "b ",
        "\n",
        "\r\n",
        "\U0001f6a2",
        "\U00020b9f",
        "渡",
        "e\u0301",
        "\ud83d",
        "\u202e",
        "\0",
        "<b>&amp;",
    ]
    size = draw.choice((5, 40, 400, 9000))
    text = "".join(draw.choices([*alphabet, "word "], k=size))
    starts = [draw.randrange(len(text)) for _ in range(min(size // 4, 60))]
    spans = [(start, min(len(text), start + draw.choice((1, 2, 7, 30, 500)))) for start in starts]
    found = [
        Entity(
            label=draw.choice(LABELS)[0],
            text=text[start:end],
            status=draw.choice(("exact", "normalized", "fuzzy")),
            start=start,
            end=end,
            votes=1,
            confidence=draw.random(),
        )
        for start, end in spans
    ]
    return DocumentView(id=f"nasty {seed}", text=text, status="complete", entities=found)


def test_every_highlight_stands_at_its_place(show: Callable[[ExtractionPage], Tab]) -> None:
    page = made_up_page()
    tab = show(page)
    for number, view in enumerate(page.documents):
        choose_document(tab, number)
        check_highlights(tab, view)


def test_every_highlight_stands_at_its_place_in_nasty_texts(show: Callable[[ExtractionPage], Tab]) -> None:
    views = [nasty(seed) for seed in range(16)]
    assert any(len(view.text) > 10_000 for view in views)  # more than one block
    tab = show(page_of(*views))
    for number, view in enumerate(views):
        choose_document(tab, number)
        check_highlights(tab, view)


def test_a_line_that_never_ends_is_cut_between_characters(show: Callable[[ExtractionPage], Tab]) -> None:
    text = "a" + 30_000 * "\U0001f6a2"
    one = Entity(label="date", text=text, status="exact", start=1, end=len(text), votes=1, confidence=1.0)
    view = DocumentView(id="d", text=text, status="complete", entities=[one])
    tab = show(page_of(view))
    check_highlights(tab, view)
    ends = tab.evaluate("[...document.querySelectorAll('.block')].map(b => b.textContent.isWellFormed())")
    assert len(ends) > 1
    assert all(ends)


EVIL = (
    "<script>alert(1)</script></script><!--<img src=http://evil/x onerror=alert(1)>"
    "</script x='<!-- <script /\u2028&amp;\ud83d\0"
)


def test_whatever_a_run_says_stays_text(show: Callable[[ExtractionPage], Tab]) -> None:
    one = replace(entity(EVIL, EVIL, EVIL), attributes={EVIL: EVIL}, normalized=EVIL)
    view = DocumentView(
        id=EVIL,
        text=EVIL,
        status="partial",
        reason=EVIL,
        entities=[one, lost(EVIL, EVIL, "ungrounded")],
        failed=[FailedRange(start=0, end=3, reason=EVIL)],
    )
    page = replace(made_up_page(), title=EVIL, labels=[(EVIL, EVIL)], facts=[(EVIL, EVIL)], documents=[view])
    tab = show(page)
    check_highlights(tab, view)
    tab.press("j")
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.settle()
    tab.evaluate("document.querySelectorAll('.items button').forEach(b => b.click())")
    assert (
        tab.evaluate(
            "document.querySelectorAll('img, #text script, body > :not(script):not(div) script').length"
        )
        == 0
    )
    assert tab.evaluate("document.scripts.length") == 4  # text, findings, overview, and the one that runs
    assert text_of(tab, "#chosen .verbatim") != []


def test_policy_refuses_what_a_text_could_have_brought(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(made_up_page())
    refused = tab.evaluate(
        """(async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation", e => refused.push(e.effectiveDirective));
          const add = (tag, more) => document.body.append(Object.assign(document.createElement(tag), more));
          add("img", { src: "http://127.0.0.1:9/x" });
          add("style", { textContent: "body { color: red }" });
          document.body.setAttribute("style", "color: red");
          try { document.body.innerHTML = "<b>"; } catch (error) { refused.push(error.name); }
          await fetch("http://127.0.0.1:9/x").catch(() => 0);
          await new Promise(done => setTimeout(done, 100));
          return refused;
        })()"""
    )
    assert {"img-src", "style-src-elem", "style-src-attr", "TypeError", "connect-src"} <= set(refused)
    tab.errors.clear()  # the refusals, which were the point
    tab.requests = tab.requests[:1]


def test_labels_are_filtered(show: Callable[[ExtractionPage], Tab]) -> None:
    view = opinion()
    tab = show(page_of(view))
    before = marks(tab)
    tab.click("input[data-label='party']")
    parties = {number for number, one in enumerate(view.entities) if one.label == "party"}
    after = marks(tab)
    assert parties & {number for _, ids in before for number in ids}
    assert not parties & {number for _, ids in after for number in ids}
    assert {number for _, ids in after for number in ids} == {
        number for _, ids in before for number in ids if number not in parties
    }
    assert text_of(tab, "#place") == [f"{20 - len(parties)} entities"]
    tab.click("input[data-label='party']")
    assert marks(tab) == before
    tab.evaluate(
        "[...document.querySelectorAll('#legend button')].find(b => b.textContent === 'none').click()"
    )
    tab.settle()
    assert marks(tab) == []
    assert tab.evaluate("document.getElementById('next').disabled")
    tab.click("#lost [data-group='ungrounded'] button")
    tab.press("j")  # to nowhere
    assert text_of(tab, "#chosen .verbatim") == ["Hargreaves"]
    choose_document(tab, 0)
    assert marks(tab) == []  # another document is filtered too


def test_the_unsure_are_filtered_and_never_chosen(show: Callable[[ExtractionPage], Tab]) -> None:
    view = opinion()
    tab = show(page_of(view))
    change(tab, "confidence", "0.7")
    sure = {n for n, one in enumerate(view.entities) if one.status in GROUNDED and one.confidence >= 0.7}
    assert {number for _, ids in marks(tab) for number in ids} == sure
    visited: list[str] = []
    for _ in sure:
        tab.press("j")
        visited.append(chosen(tab))
    assert sorted(visited) == sorted(view.entities[number].text for number in sure)


def change(tab: Tab, control: str, value: str) -> None:
    tab.evaluate(f"Object.assign(document.getElementById('{control}'), {{ value: '{value}' }}).id")
    for event in ("input", "change"):
        tab.evaluate(f"document.getElementById('{control}').dispatchEvent(new Event('{event}'))")
    tab.settle()


def in_order(entities: Sequence[Entity]) -> list[str]:
    spans = [one for one in entities if one.status in GROUNDED]
    return [one.text for one in sorted(spans, key=lambda one: (one.start or 0, -(one.end or 0)))]


def test_keys_and_buttons_go_from_entity_to_entity(show: Callable[[ExtractionPage], Tab]) -> None:
    view = contract()
    tab = show(page_of(view))
    expected = in_order(view.entities)
    for place, key in enumerate("jnjnjnjnjnj"):
        tab.press(key)
        assert chosen(tab) == expected[place]
        assert text_of(tab, "#place") == [f"{place + 1} of 11"]
        assert text_of(tab, "#chosen .verbatim") == [expected[place]]
    tab.press("j")
    assert chosen(tab) == expected[0]  # around the end
    for key, place in (("k", -1), ("p", -2)):
        tab.press(key)
        assert chosen(tab) == expected[place]
    tab.click("#next")
    assert chosen(tab) == expected[-1]
    tab.click("#previous")
    assert chosen(tab) == expected[-2]
    assert tab.evaluate("document.getElementById('text').contains(document.activeElement)")
    tab.evaluate("document.getElementById('search').focus()")
    tab.press("j")
    assert chosen(tab) == expected[-2]
    assert tab.evaluate("document.getElementById('search').value") == "j"


def test_nested_and_crossing_spans_are_drawn_and_chosen(show: Callable[[ExtractionPage], Tab]) -> None:
    text = "The Court of Appeals of Leith sat in Leith Hall today."
    view = DocumentView(
        id="d",
        text=text,
        status="complete",
        entities=[
            entity(text, "court", "Court of Appeals of Leith"),
            entity(text, "party", "Leith"),
            entity(text, "date", "Leith sat"),
            entity(text, "judge", "Court"),
        ],
    )
    tab = show(page_of(view))
    assert marks(tab) == [("Court", [3, 0]), (" of Appeals of ", [0]), ("Leith", [1, 2, 0]), (" sat", [2])]
    drawn = tab.evaluate(
        "[...document.querySelectorAll('mark')].map(m => getComputedStyle(m).backgroundImage)"
    )
    assert [stripes.count("gradient") for stripes in drawn] == [2, 1, 3, 1]
    below = tab.evaluate("[...document.querySelectorAll('mark')].map(m => getComputedStyle(m).paddingBottom)")
    assert below == ["12px", "12px", "12px", "8px"]  # the longest has the lowest of three lanes
    for expected in ("Leith", "Leith sat", "Court of Appeals of Leith", "Leith"):
        tab.click("#text mark[data-entities='1 2 0']")
        assert chosen(tab) == expected
    for expected in ("Leith sat", "Court of Appeals of Leith", "Court"):  # outwards, and then inwards again
        tab.press("o")
        assert chosen(tab) == expected
    assert text_of(tab, "#chosen .card > button") == ["court Court of Appeals of Leith"]
    tab.click("#chosen .card > button")
    assert chosen(tab) == "Court of Appeals of Leith"
    edges = tab.evaluate(
        "[...document.querySelectorAll('mark.chosen')].map(m => [m.matches('.from'), m.matches('.to')])"
    )
    assert edges == [[True, False], [False, False], [False, True]]


def test_details_of_an_entity_are_told(show: Callable[[ExtractionPage], Tab]) -> None:
    view = contract()
    tab = show(page_of(view))
    tab.press("j")
    tab.press("j")
    seller = view.entities[1]
    names, values = text_of(tab, "#chosen dt"), text_of(tab, "#chosen dd")
    assert dict(zip(names, values, strict=True)) == {
        "status": "exact",
        "characters": f"{seller.start}\N{EN DASH}{seller.end}",
        "confidence": "1.00 (3 votes)",
        "role": "seller",
        "seat": "Leith",
        "from": "pass 0, chunk 0, item 0; pass 1, chunk 0, item 1; pass 2, chunk 0, item 2",
    }
    tab.press("k")
    assert (
        dict(zip(text_of(tab, "#chosen dt"), text_of(tab, "#chosen dd"), strict=True))["value"]
        == "2024-03-03"
    )


def test_labels_are_told_without_colours(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(page_of(opinion()))
    first = "#text mark[data-entities='2 1']"
    tab.click(first)
    assert text_of(tab, "#tip div") == ["party · exact · 1.00", "case citation · exact · 0.67"]
    assert tab.evaluate(f"document.querySelector({json.dumps(first)}).getAttribute('aria-description')") == (
        "party, in case citation"
    )
    tab.press("Escape", 27)
    assert tab.evaluate("document.getElementById('tip').hidden")
    before = text_of(tab, "#text")
    tab.click("#tags")
    shown = tab.evaluate(f"getComputedStyle(document.querySelector({json.dumps(first)}), '::after').content")
    assert shown == '"party"'
    assert text_of(tab, "#text") == before
    many_labels = [(f"label {number}", "") for number in range(20)]
    tab = show(replace(page_of(opinion()), labels=[*many_labels, *LABELS]))
    kinds = tab.evaluate("[...document.querySelectorAll('#legend .swatch')].map(s => s.className)")
    assert [kinds[number].split()[1] for number in (0, 7, 8, 15, 16, 23, 24)] == [
        "solid", "solid", "dashed", "dashed", "dotted", "dotted", "solid",
    ]  # fmt: skip


def test_what_is_not_highlighted_is_listed_with_its_document(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(made_up_page())
    assert text_of(tab, "#lost [data-group='ungrounded'] .what") == ["High Court of Edinburgh"]
    assert text_of(tab, "#lost [data-group='leaked'] .what") == ["Acme Corporation"]
    assert text_of(tab, "#lost [data-group='duplicate'] .what") == ["Oriel Mills GmbH"]
    assert text_of(tab, "#lost summary b") == ["1", "1", "1"]
    assert text_of(tab, "#everywhere summary b") == ["1", "2", "2", "1", "1"]
    assert text_of(tab, "#everywhere .what") == []  # not before it is opened
    tab.click("#everywhere [data-group='ungrounded'] summary")
    tab.wait_until("document.querySelectorAll('#everywhere .what').length")
    assert text_of(tab, "#everywhere .what") == ["High Court of Edinburgh", "Hargreaves"]
    assert text_of(tab, "#everywhere .where") == [
        " contracts/supply-agreement.txt",
        " opinions/marlow-v-bright.txt",
    ]
    tab.click("#everywhere [data-group='ungrounded'] li:nth-child(2) button")
    assert text_of(tab, "#name") == ["opinions/marlow-v-bright.txt"]
    assert text_of(tab, "#chosen .verbatim") == ["Hargreaves"]
    assert chosen(tab) == ""
    assert text_of(tab, "#lost summary b") == ["1", "1", "1"]
    choose_document(tab, 2)
    assert text_of(tab, "#lost") == ["Nothing."]


def test_long_lists_of_what_is_not_highlighted_come_in_parts(show: Callable[[ExtractionPage], Tab]) -> None:
    items = [lost("party", f"nobody {number}", "ungrounded") for number in range(450)]
    tab = show(page_of(DocumentView(id="d", text="text", status="complete", entities=items)))
    tab.click("#everywhere [data-group='ungrounded'] summary")
    tab.wait_until("document.querySelectorAll('#everywhere .what').length")
    for length, more in ((200, "… 250 more"), (400, "… 50 more")):
        assert len(text_of(tab, "#everywhere .what")) == length
        assert text_of(tab, "#everywhere .items li:last-child") == [more]
        tab.click("#everywhere .items li:last-child button")
    assert text_of(tab, "#everywhere .what") == [one.text for one in items]


def test_failed_parts_are_marked_and_can_be_gone_to(show: Callable[[ExtractionPage], Tab]) -> None:
    text = "".join(f"Line {number} of the text.\n" for number in range(3000))
    start, end = text.index("Line 2000 "), text.index("Line 2100 ")
    inside = text.index("2050")
    one = Entity(
        label="date", text="2050", status="exact", start=inside, end=inside + 4, votes=1, confidence=1.0
    )
    view = DocumentView(
        id="d",
        text=text,
        status="partial",
        coverage=0.95,
        entities=[one],
        failed=[FailedRange(start=start, end=end, reason="timed out")],
    )
    tab = show(page_of(view))
    assert text_of(tab, ".lost-part") == []
    tab.click("#lost [data-group='failed'] button")
    tab.settle()
    assert "".join(text_of(tab, ".lost-part")) == text[start:end]
    assert text_of(tab, "mark.lost-part") == ["2050"]
    reasons = tab.evaluate("[...document.querySelectorAll('.lost-part')].map(e => e.dataset.reason ?? null)")
    assert [reason for reason in reasons if reason] == ["timed out"]
    assert in_view(tab, "[data-reason]")


def in_view(tab: Tab, selector: str) -> bool:
    return tab.evaluate(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)}).getClientRects()[0];"
        " const b = document.getElementById('text').getBoundingClientRect();"
        " return e.top >= b.top && e.bottom <= b.bottom && e.top >= 0 && e.bottom <= innerHeight; })()"
    )


def test_documents_are_listed_searched_and_sorted(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(replace(made_up_page(), documents=many(200)))
    assert len(text_of(tab, "#documents button")) == 200
    assert (
        text_of(tab, "#documents .badge").count("failed")
        + text_of(tab, "#documents .badge").count("unreadable")
        == 10
    )
    tab.evaluate("document.getElementById('search').focus()")
    for key in "R/03":
        tab.press(key)
    assert text_of(tab, "#documents bdi") == [f"folder/03{digit}.txt" for digit in range(10)]
    assert text_of(tab, "#matching") == ["10 of 200 documents"]
    change(tab, "sort", "status")
    first, second = text_of(tab, "#documents bdi")[:2]
    assert (first, second) == ("folder/039.txt", "folder/030.txt")
    choose_document(tab, 0)
    assert text_of(tab, "#name") == ["folder/039.txt"]
    assert tab.evaluate(
        "[...document.querySelectorAll('[aria-current=true]')].map(e => e.querySelector('bdi').textContent)"
    ) == ["folder/039.txt"]
    assert text_of(tab, "#text .bad")[0].startswith(("no chunk has an answer", "it is no text"))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("order", "bcad"),
        ("id", "abcd"),
        ("status", "dcab"),
        ("coverage", "dacb"),
        ("entities", "abcd"),
        ("lost", "cbad"),
    ],
)
def test_documents_are_sorted(show: Callable[[ExtractionPage], Tab], order: str, expected: str) -> None:
    text = "one two"
    found = [entity(text, "date", "one"), entity(text, "date", "two")]
    missing = lost("date", "three", "leaked")
    tab = show(
        page_of(
            DocumentView(id="b", text=text, status="complete", coverage=1.0, entities=found[:1]),
            DocumentView(id="c", text=text, status="failed", coverage=0.9, entities=[missing]),
            DocumentView(id="a", text=text, status="partial", coverage=0.5, entities=found),
            DocumentView(id="d", text="", status="unreadable"),
        )
    )
    change(tab, "sort", order)
    assert "".join(text_of(tab, "#documents bdi")) == expected


def test_the_list_of_documents_is_one_stop_of_the_tab_key(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(replace(made_up_page(), documents=many(30)))
    assert tab.evaluate("document.querySelectorAll('#documents [tabindex=\"0\"]').length") == 1
    tab.evaluate("document.querySelector('#documents button').focus()")
    for key, code, expected in (("ArrowDown", 40, 1), ("End", 35, 29), ("ArrowUp", 38, 28), ("Home", 36, 0)):
        tab.press(key, code)
        assert (
            tab.evaluate("document.activeElement.querySelector('bdi').textContent")
            == f"folder/{expected:03}.txt"
        )


def test_everything_that_can_be_used_has_a_name(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(made_up_page())
    tab.press("j")
    nodes: list[dict[str, Any]] = tab.tree()
    used = {"button", "checkbox", "slider", "searchbox", "combobox", "link", "region", "group"}
    found = {node["role"]["value"] for node in nodes if not node.get("ignored")}
    assert used - {"group"} <= found
    for node in nodes:
        if not node.get("ignored") and node["role"]["value"] in used - {"group"}:
            assert node["name"]["value"].strip(), node


def test_nothing_moves_for_those_who_asked_for_that(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(made_up_page())
    for motion, seconds in ((True, "0.12s"), (False, "0s")):
        tab.look(motion=motion)
        moving = tab.evaluate(
            "[...document.querySelectorAll('mark, button')].map(e => getComputedStyle(e).transitionDuration)"
        )
        assert {part.strip() for one in moving for part in one.split(",")} == {seconds}


def test_dark_is_dark(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(made_up_page())
    grounds: list[str] = []
    for scheme in ("light", "dark"):
        tab.look(scheme=scheme)
        grounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]


@pytest.mark.parametrize("width", [1400, 1100, 600, 360])
def test_nothing_is_wider_than_the_window(show: Callable[[ExtractionPage], Tab], width: int) -> None:
    tab = show(made_up_page(list(many(5))))
    tab.look(width=width)
    tab.settle()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_large_document_opens_and_is_drawn_in_parts(show: Callable[[ExtractionPage], Tab]) -> None:
    view = large(1_000_000, 5_000)
    tab = show(page_of(view))
    assert text_of(tab, "#place") == ["5,000 entities"]
    assert 0 < len({number for _, ids in marks(tab) for number in ids}) < 500
    tab.press("k")
    expected = in_order(view.entities)
    assert chosen(tab) == expected[-1]
    assert in_view(tab, "mark.chosen")
    tab.press("k")
    assert chosen(tab) == expected[-2]
    tab.press("j")
    tab.press("j")
    assert chosen(tab) == expected[0]
    assert in_view(tab, "mark.chosen")
    assert tab.evaluate(
        "[...document.querySelectorAll('.block')].map(b => b.textContent).join('').length"
    ) == len(units(view.text))


def test_the_last_entity_is_brought_into_sight_where_lines_are_much_wider_than_guessed(
    show: Callable[[ExtractionPage], Tab],
) -> None:
    text = "".join(f"{'WWWW ' * (40 + number % 300)}{number:05}\n" for number in range(600))
    numbers = [f"{number:05}" for number in range(0, 600, 7)]
    found = [entity(text, "date", number) for number in numbers]
    tab = show(page_of(DocumentView(id="d", text=text, status="complete", entities=found)))
    tab.press("k")
    assert chosen(tab) == numbers[-1]
    assert in_view(tab, "mark.chosen")


def test_no_document_at_all(show: Callable[[ExtractionPage], Tab]) -> None:
    tab = show(page_of())
    assert text_of(tab, "#name") == ["No documents"]
    assert text_of(tab, "#matching") == ["0 documents"]
    tab.press("j")
