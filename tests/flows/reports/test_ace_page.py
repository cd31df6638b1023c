"""The report of an ACE run in a real browser: its playbook at every step, its bullets, and no request."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from flows.reports.ace import AcePage, StepView, write
from tasks.ace.deltas import apply
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse
from tests.chromium import Tab, program
from tests.flows.reports.ace_pages import hostile_run, made_up_run
from tests.flows.reports.reading import text_of

pytestmark = pytest.mark.skipif(program() is None, reason="needs Debian's package chromium")

LEFT, RIGHT, UP, DOWN, HOME, END = 37, 39, 38, 40, 36, 35
"""Key codes."""

READ = """[...document.querySelectorAll('#playbook h3')].flatMap(title => {
  const name = title.querySelector('bdi').textContent;
  return [...title.nextElementSibling.querySelectorAll('.bullet')].map(one => ({
    section: name, id: one.dataset.id, text: one.querySelector('.text').textContent,
    badge: one.querySelector('.badge')?.textContent ?? '', head: one.querySelector('.head').textContent,
  }));
})"""

EVIL = (
    "<script>alert(1)</script></script></noscript><!--<img src=http://evil/x onerror=alert(1)>"
    "</script x='<!-- <script /\u2028&amp;\u202eabc \"__proto__"
)


@pytest.fixture
def show(show_written: Callable[[Callable[[Path], None]], Tab]) -> Callable[[AcePage], Tab]:
    return lambda page: show_written(lambda path: write(page, path))


def style(tab: Tab, selector: str, name: str) -> str:
    return tab.evaluate(f"getComputedStyle(document.querySelector({json.dumps(selector)})).{name}")


def change(tab: Tab, control: str, value: str) -> None:
    tab.evaluate(f"Object.assign(document.getElementById('{control}'), {{ value: '{value}' }}).id")
    for event in ("input", "change"):
        tab.evaluate(f"document.getElementById('{control}').dispatchEvent(new Event('{event}'))")
    tab.settle()


def go_to(tab: Tab, place: int) -> None:
    change(tab, "slider", str(place))
    tab.wait_until(f"document.getElementById('slider').value === '{place}'")


def place_of(tab: Tab) -> str:
    [said] = text_of(tab, "#where")
    assert tab.evaluate("document.getElementById('slider').getAttribute('aria-valuetext')") == said
    return said.split(" · ")[0]


def click_bullet(tab: Tab, bullet_id: str) -> None:
    tab.click(f".bullet[data-id={json.dumps(bullet_id)}]")


def shown_bullets(tab: Tab) -> list[dict[str, str]]:
    return tab.evaluate(READ)


def real_bullets(playbook: Playbook) -> list[tuple[str, str, str, int, int]]:
    return [
        (section.name, one.id, one.text, playbook.counts[one.id].helpful, playbook.counts[one.id].harmful)
        for section in playbook.sections
        for one in section.bullets
    ]


def counted(head: str, name: str) -> int:
    found = re.search(rf"{name} ([\d,]+)", head)
    assert found
    return int(found[1].replace(",", ""))


def live(bullets: Sequence[dict[str, str]]) -> list[tuple[str, str, str, int, int]]:
    return [
        (
            one["section"],
            one["id"],
            one["text"],
            counted(one["head"], "helpful"),
            counted(one["head"], "harmful"),
        )
        for one in bullets
        if "removed" not in one["badge"]
    ]


def badges(step: StepView, before: Playbook, after: Playbook) -> dict[str, str]:
    """Return {id: badge} of what a step did, found by comparing playbooks."""
    merged = {one.bullet_id for one in step.changes if one.type == "MERGE" and not one.refused}
    found: dict[str, str] = {}
    for bullet_id in [*before.bullets, *after.bullets]:
        if bullet_id not in after.bullets:
            found[bullet_id] = "− removed"  # noqa: RUF001 - as shown
        elif bullet_id in merged:
            found[bullet_id] = "⇒ merged"
        elif bullet_id not in before.bullets:
            found[bullet_id] = "+ added"
        elif before.bullets[bullet_id].text != after.bullets[bullet_id].text:
            found[bullet_id] = "~ changed"
    return found


@pytest.mark.parametrize(
    "start", [None, parse("## RULES\n[rul-00001] helpful=2 harmful=0 :: Count.").playbook]
)
def test_every_step_shows_its_playbook_and_what_it_changed(
    show: Callable[[AcePage], Tab], start: Playbook | None
) -> None:
    run = made_up_run(start=start)
    tab = show(run.page)
    assert place_of(tab) == "after step 24 of 24"
    kinds: set[str] = set()
    for place in [24, 3, *range(25)]:
        go_to(tab, place)
        bullets = shown_bullets(tab)
        assert live(bullets) == real_bullets(run.playbooks[place])
        marked = {one["id"]: one["badge"] for one in bullets if one["badge"]}
        expected: dict[str, str] = {}
        if place:
            expected = badges(run.page.steps[place - 1], run.playbooks[place - 1], run.playbooks[place])
        assert marked == expected
        kinds |= set(marked.values())
    assert kinds == {"+ added", "~ changed", "⇒ merged", "− removed"}  # noqa: RUF001 - as shown


def test_keys_and_buttons_go_from_step_to_step(show: Callable[[AcePage], Tab]) -> None:
    tab = show(made_up_run().page)
    tab.evaluate("document.getElementById('slider').focus()")
    for key, code, place in (
        ("Home", HOME, "before the first step"),
        ("ArrowLeft", LEFT, "before the first step"),
        ("ArrowRight", RIGHT, "after step 1 of 24"),
        ("ArrowRight", RIGHT, "after step 2 of 24"),
        ("ArrowLeft", LEFT, "after step 1 of 24"),
        ("End", END, "after step 24 of 24"),
        ("ArrowRight", RIGHT, "after step 24 of 24"),
    ):
        tab.press(key, code)
        tab.settle()
        assert place_of(tab) == place
    assert tab.evaluate("document.getElementById('after').disabled")
    tab.click("#best")
    assert place_of(tab) == "after step 21 of 24"
    assert "the best playbook" in text_of(tab, "#where")[0]
    tab.click("#before")
    tab.click("#before")
    assert place_of(tab) == "after step 19 of 24"
    tab.click("#after")
    assert place_of(tab) == "after step 20 of 24"
    tab.click("#last")
    assert place_of(tab) == "after step 24 of 24"
    tab.click(".bullet")
    tab.press("ArrowLeft", LEFT)
    assert place_of(tab) == "after step 23 of 24"
    tab.evaluate("document.getElementById('search').focus()")
    tab.press("ArrowLeft", LEFT)
    assert place_of(tab) == "after step 23 of 24"


def test_where_no_playbook_was_chosen_there_is_none_to_go_to(show: Callable[[AcePage], Tab]) -> None:
    tab = show(replace(made_up_run(4).page, best_step=None))
    assert place_of(tab) == "after step 4 of 4"
    assert tab.evaluate("document.getElementById('best').offsetParent === null")
    assert "the best playbook" not in str(tab.evaluate("document.body.innerText"))


def test_arrows_go_from_bullet_to_bullet_and_the_focus_stays_on_the_way(
    show: Callable[[AcePage], Tab],
) -> None:
    tab = show(made_up_run().page)
    ids = [one["id"] for one in shown_bullets(tab)]
    here = "document.activeElement.dataset.id"
    stops = "document.querySelectorAll('.bullet[tabindex=\"0\"]').length"
    assert tab.evaluate(stops) == 1
    click_bullet(tab, ids[0])
    for key, code, expected in (
        ("ArrowDown", DOWN, 1),
        ("ArrowDown", DOWN, 2),
        ("ArrowUp", UP, 1),
        ("End", END, -1),
        ("ArrowDown", DOWN, -1),
        ("Home", HOME, 0),
    ):
        tab.press(key, code)
        assert tab.evaluate(here) == ids[expected]
    assert tab.evaluate(stops) == 1
    tab.press("ArrowLeft", LEFT)
    assert place_of(tab) == "after step 23 of 24"
    assert tab.evaluate(here) == ids[0]


def test_a_step_keeps_the_place_in_the_list_and_the_focus_near(show: Callable[[AcePage], Tab]) -> None:
    tab = show(made_up_run().page)
    tab.evaluate("document.getElementById('playbook').scrollTop = 300")
    go_to(tab, 23)
    assert tab.evaluate("document.getElementById('playbook').scrollTop") == 300
    click_bullet(tab, shown_bullets(tab)[0]["id"])
    tab.evaluate("document.querySelector('#bullet .link[data-step]').focus()")
    tab.evaluate("document.activeElement.click()")
    tab.settle()
    assert place_of(tab) != "after step 23 of 24"
    assert tab.evaluate("document.activeElement.id") == "bullet-heading"


def test_changes_of_a_step_are_shown_as_differences(show: Callable[[AcePage], Tab]) -> None:
    start, _ = apply(Playbook(), [{"type": "ADD", "content": f"{one} is worth two."} for one in "abcd"])
    after, changes = apply(
        start,
        [
            {"type": "UPDATE", "id": "misc-00001", "content": "a is worth three."},
            {"type": "MERGE", "ids": ["misc-00002", "misc-00003"], "content": "b is worth two, as is c."},
            {"type": "REMOVE", "id": "misc-00004"},
            {"type": "ADD", "section": "OTHERS", "content": "new"},
            {"type": "UPDATE", "id": "misc-00001", "content": "a is worth three."},
        ],
        step=1,
    )
    assert len(after) == 3
    step = StepView(
        number=1, epoch=1, rows=("r1", "r2"), correct_first=1, correct_last=2, tokens=33,
        changes=tuple(changes), votes=(("misc-00001", "helpful", "r2"),),
    )  # fmt: skip
    tab = show(AcePage(title="t", headline="h", start=start, steps=[step], questions={"r2": "What is a?"}))
    cards = "#step .card"
    assert text_of(tab, f"{cards} del") == ["two", "c is worth two.", "d is worth two."]
    assert text_of(tab, f"{cards} ins") == ["three", ", as is c", "new"]
    assert text_of(tab, f"{cards}.refused .why") == ["[misc-00001] says that already"]
    assert text_of(tab, "#step h4") == ["Applied changes (4)", "Refused changes (1)", "Rows (2)"]
    assert "1 of 2 rows right at first, 2 in the end; 33 tokens after it." in text_of(tab, "#step p")
    [_, row] = text_of(tab, "#step > ul:last-of-type li")
    assert row == "r2What is a?helped by misc-00001"
    removed = tab.evaluate(
        "getComputedStyle(document.querySelector('.bullet.removed .text')).textDecorationLine"
    )
    assert removed == "line-through"
    notes = {one["id"]: one["head"].split("harmful 0")[1] for one in shown_bullets(tab)}
    assert notes == {
        "misc-00001": "",
        "misc-00002": "with misc-00003",
        "misc-00003": "merged into misc-00002",
        "misc-00004": "by curator",
        "misc-00005": "",
    }
    assert text_of(tab, "#refused .why") == ["[misc-00001] says that already"]


def voted_run() -> AcePage:
    """Two bullets that helped and harmed become one, which is then changed in vain, and removed."""
    playbook = Playbook()
    steps: list[StepView] = []
    questions = {f"r{n}": f"Question {n}? " + n * 100 * "long " for n in range(1, 5)}
    for number, (votes, operations) in enumerate(
        [
            ([], [{"type": "ADD", "content": "one"}, {"type": "ADD", "content": "two"}]),
            ([("misc-00001", "helpful", "r1"), ("misc-00002", "harmful", "r2")], []),
            (
                [("misc-00001", "helpful", "r1"), ("misc-00002", "helpful", "r3")],
                [{"type": "MERGE", "ids": ["misc-00001", "misc-00002"], "content": "one and two"}],
            ),
            (
                [("misc-00001", "harmful", "r4"), ("misc-00002", "harmful", "r4")],
                [{"type": "UPDATE", "id": "misc-00001", "content": ""}],
            ),
            ([("misc-00001", "neutral", "r4")], [{"type": "REMOVE", "id": "misc-00001"}]),
        ],
        1,
    ):  # fmt: skip
        playbook = playbook.tagged([vote[:2] for vote in votes], step=number)
        playbook, changes = apply(playbook, operations, step=number)
        steps.append(
            StepView(
                number=number, epoch=1, rows=tuple(vote[2] for vote in votes), correct_first=0,
                correct_last=0, tokens=1, changes=tuple(changes), votes=tuple(votes),
            )
        )  # fmt: skip
    return AcePage(title="t", headline="h", steps=steps, questions=questions)


def test_a_bullet_tells_its_history_and_the_rows_that_it_helped_and_harmed(
    show: Callable[[AcePage], Tab],
) -> None:
    tab = show(voted_run())
    go_to(tab, 4)
    click_bullet(tab, "misc-00001")
    assert "misc-00001helpful 3harmful 2OTHERS" in text_of(tab, "#bullet > .row")
    titles = text_of(tab, "#bullet h4")
    assert titles == [
        "History",
        "Rows that it helped (3)",
        "Rows that it harmed (2)",
        "Rows that it was used in, neither good nor bad (1)",
    ]
    said = [one.split("misc-00001")[0] for one in text_of(tab, "#bullet .card > .row")]
    assert said == ["step 1ADD", "step 3MERGE", "step 4UPDATE", "step 5REMOVE"]
    assert text_of(tab, "#bullet .why") == ["it is empty"]
    assert text_of(tab, "#bullet .card ins") == ["one", " and two"]
    helped = text_of(tab, "#bullet h4:nth-of-type(2) + ul > li")
    assert helped[0].startswith("r1")
    assert helped[0].endswith("in step 2 step 3")
    assert "Question 1?" in helped[0]
    assert helped[1].startswith("r3")
    assert helped[1].endswith("in step 3 as misc-00002")
    harmed = text_of(tab, "#bullet h4:nth-of-type(3) + ul > li")
    assert [one[:2] for one in harmed] == ["r2", "r4"]
    tab.click("#bullet [data-step='5']")
    assert place_of(tab) == "after step 5 of 5"
    assert "is not in the playbook after this step" in text_of(tab, "#bullet > .row")[0]
    tab.click("#bullet .card [data-bullet='misc-00002']")
    assert text_of(tab, "#bullet > .row .id") == ["misc-00002"]
    assert text_of(tab, "#bullet h4")[1:] == ["Rows that it helped (1)", "Rows that it harmed (1)"]


def test_bullets_are_sorted_by_net_help_and_found_by_words(show: Callable[[AcePage], Tab]) -> None:
    run = made_up_run()
    tab = show(run.page)
    last = run.playbooks[-1]
    for order, sign in (("best", -1), ("worst", 1)):
        change(tab, "sort", order)
        ids = tab.evaluate("[...document.querySelectorAll('.bullet:not(.removed)')].map(b => b.dataset.id)")
        nets = [last.counts[one].net for one in ids]
        assert nets == sorted(nets, key=lambda net: sign * net)
        assert len(nets) == len(last)
    change(tab, "sort", "order")
    change(tab, "search", "TARIFF")
    found = {one["id"] for one in shown_bullets(tab)}
    assert {one for one in found if one in last.bullets} == {
        one.id for one in last.bullets.values() if "tariff" in one.text
    }
    assert 0 < len(found) < len(last)
    assert text_of(tab, "#matching")[0].endswith(f" of {len(last)} bullets")
    change(tab, "search", "no such words")
    assert text_of(tab, "#playbook") == ["No bullet has that."]
    change(tab, "search", "")
    tab.click("#changed")
    marked = shown_bullets(tab)
    assert marked
    assert all(one["badge"] for one in marked)
    go_to(tab, 0)
    assert text_of(tab, "#playbook") == ["This step changed no bullet."]


def test_all_refused_changes_are_listed_with_their_reasons(show: Callable[[AcePage], Tab]) -> None:
    page = made_up_run(60).page
    refused = [one for step in page.steps for one in step.changes if one.refused]
    assert len(refused) > 20
    tab = show(page)
    tab.evaluate("document.querySelectorAll('#refused details').forEach(one => one.open = true)")
    tab.settle()
    while tab.evaluate("document.querySelectorAll('#refused .more').length"):
        tab.evaluate("document.querySelector('#refused .more').click()")
    assert sorted(text_of(tab, "#refused .why")) == sorted(one.refused or "" for one in refused)
    sizes = [int(text.split(" ")[0]) for text in text_of(tab, "#refused summary")]
    assert sum(sizes) == len(refused)
    assert sizes == sorted(sizes, reverse=True)
    number = tab.evaluate("Number(document.querySelector('#refused [data-step]').dataset.step)")
    tab.click("#refused [data-step]")
    assert place_of(tab) == f"after step {number} of 60"
    assert "Refused changes (0)" not in text_of(tab, "#step h4")
    nothing = replace(page, steps=[replace(step, changes=()) for step in page.steps])
    tab = show(nothing)
    assert tab.evaluate("document.getElementById('refused-section').hidden")


def test_whatever_a_run_says_stays_text(show: Callable[[AcePage], Tab]) -> None:
    run = hostile_run(EVIL)
    tab = show(run.page)
    assert live(shown_bullets(tab)) == real_bullets(run.playbooks[-1])
    go_to(tab, 0)
    assert live(shown_bullets(tab)) == real_bullets(run.playbooks[0])
    tab.evaluate("document.querySelector('.bullet').click()")
    assert text_of(tab, "#bullet > .row .id") == [EVIL]
    assert text_of(tab, "#bullet > .verbatim") == [EVIL]
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    tab.settle()
    tab.evaluate("document.querySelectorAll('main button').forEach(one => one.click())")
    tab.settle()
    assert EVIL in text_of(tab, "#refused .why")
    assert tab.evaluate("document.querySelectorAll('img, main script').length") == 0
    assert tab.evaluate("document.scripts.length") == 2


def test_halves_of_characters_come_through(show: Callable[[AcePage], Tab]) -> None:
    tab = show(hostile_run("half \ud83d of one").page)
    ends = tab.evaluate(
        "[...document.querySelectorAll('.bullet .text')].map(one => one.textContent.charCodeAt(5))"
    )
    assert ends[-1] == 0xD83D


def test_a_large_run_is_usable(show: Callable[[AcePage], Tab]) -> None:
    run = made_up_run(500, rows=5, adds=5, votes=3)
    assert len(run.playbooks[-1]) > 2_000
    tab = show(run.page)
    assert tab.evaluate("document.getElementById('run').textContent.length") > 1_000_000
    for place in (500, 1, 250, 499):
        go_to(tab, place)
        assert live(shown_bullets(tab)) == real_bullets(run.playbooks[place])
    # A drag asks for many steps at once, and the last one is drawn.
    tab.evaluate(
        """[...Array(400).keys()].forEach(n => {
          const slider = document.getElementById('slider');
          slider.value = n;
          slider.dispatchEvent(new Event('input'));
        })"""
    )
    tab.settle()
    assert place_of(tab) == "after step 399 of 500"
    change(tab, "sort", "best")
    tab.click(".bullet")
    assert len(text_of(tab, "#bullet .card")) >= 1


def test_a_run_without_steps_or_bullets(show: Callable[[AcePage], Tab]) -> None:
    tab = show(AcePage(title="t", headline="h"))
    assert text_of(tab, "#playbook") == ["The playbook is empty."]
    assert place_of(tab) == "before the first step"
    assert tab.evaluate("document.getElementById('slider').disabled")
    tab.press("ArrowRight", RIGHT)
    assert place_of(tab) == "before the first step"


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (1300, "dark"), (420, "light")])
def test_nothing_stands_beyond_the_edge_and_figures_follow_the_scheme(
    show: Callable[[AcePage], Tab], width: int, scheme: str
) -> None:
    tab = show(made_up_run().page)
    tab.look(width=width, height=900, scheme=scheme)
    tab.settle()
    tab.evaluate("document.querySelector('.bullet').click()")
    tab.settle()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert style(tab, ".figure text", "fill") == style(tab, "body", "color")
    ground = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
    assert style(tab, "body", "backgroundColor") == ground
    assert style(tab, '.figure [fill="#ffffff"]', "fill") == ground


def test_words_without_end_are_broken(show: Callable[[AcePage], Tab]) -> None:
    tab = show(hostile_run("w" * 500).page)
    tab.look(width=420)
    tab.evaluate("document.querySelector('.bullet').click()")
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    tab.settle()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 420
    found = tab.evaluate(
        """[...document.querySelectorAll('#playbook, #bullet, #step, #refused')]
          .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.id)"""
    )
    assert found == []


def test_a_reader_is_told_the_name_and_value_of_the_slider(show: Callable[[AcePage], Tab]) -> None:
    tab = show(made_up_run().page)
    [slider] = [node for node in tab.tree() if node.get("role", {}).get("value") == "slider"]
    assert slider["name"]["value"] == "Step"
    names = {node["name"]["value"] for node in tab.tree() if node.get("role", {}).get("value") == "image"}
    for title in ("Playbook and accuracy over the steps", "Accuracy of the methods"):
        assert any(name.startswith(title) for name in names)
