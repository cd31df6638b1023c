"""The report of an ACE run as a file: replayed playbooks, safe whatever models say, self-contained."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.reports.ace import AcePage, StepView, pieces, render, write
from flows.reports.ace_replay import Replay, bullet_counts, playbook_after
from flows.reports.inline import HERE
from tasks.ace.deltas import Change, apply, removal
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse, to_text
from tests.flows.reports.ace_pages import MadeUp, hostile_run, made_up_run
from tests.flows.reports.reading import Page, assert_nothing_else_is_allowed, contrast, themes
from tests.tasks.ace.playbooks import operations, playbooks

EVIL = (
    "<script>alert(1)</script></script></noscript><!--<img src=http://evil/x onerror=alert(1)>"
    "</script x='<!-- <script /\u2028\u2029&amp;\ud83d]]>\u202eabc </pre>\""
)
STYLE = (HERE / "ace.css").read_text()


def step_of(
    number: int = 1, changes: Sequence[Change] = (), votes: Sequence[tuple[str, str]] = ()
) -> StepView:
    return StepView(
        number=number, epoch=1, rows=("r",), correct_first=0, correct_last=1, tokens=1,
        changes=tuple(changes), votes=tuple((bullet_id, tag, "r") for bullet_id, tag in votes),
    )  # fmt: skip


def replayed(run: MadeUp) -> list[Playbook]:
    replay = Replay(run.page.start)
    found = [replay.playbook()]
    for step in run.page.steps:
        replay.take(step)
        found.append(replay.playbook())
    return found


@pytest.mark.parametrize("seed", range(5))
def test_votes_and_changes_give_back_every_playbook(seed: int) -> None:
    run = made_up_run(40, seed=seed)
    changes = [change for step in run.page.steps for change in step.changes]
    assert {change.type for change in changes if not change.refused} == {"ADD", "UPDATE", "MERGE", "REMOVE"}
    assert any(change.by == "harmful" for change in changes)
    assert any(change.refused for change in changes)
    assert replayed(run) == list(run.playbooks)
    assert bullet_counts(run.page.start, run.page.steps) == [len(one) for one in run.playbooks]
    assert playbook_after(run.page.start, run.page.steps, 17) == run.playbooks[17]


REMARKED = """# intro
## OTHERS
[misc-00003] helpful=1 harmful=0 :: three
a remark
[misc-00001] helpful=0 harmful=4 :: one

## others

[plain] helpful=2 harmful=0 :: without a number"""
NO_OTHERS = "## RULES\n[misc-00001] helpful=2 harmful=0 :: Be careful with units."


@given(
    st.one_of(playbooks(), st.sampled_from([parse(text).playbook for text in (REMARKED, NO_OTHERS)])),
    st.lists(
        st.tuples(
            st.lists(operations(), max_size=5),
            st.lists(
                st.tuples(
                    st.sampled_from([*(f"misc-{n:05d}" for n in range(1, 9)), "plain"]),
                    st.sampled_from(["helpful", "harmful", "neutral"]),
                ),
                max_size=4,
            ),
        ),
        max_size=5,
    ),
)
def test_whatever_edits_make_is_made_again(
    start: Playbook, told: list[tuple[list[dict[str, object]], list[tuple[str, str]]]]
) -> None:
    real, replay = start, Replay(start)
    for number, (edits, votes) in enumerate(told, 1):
        real, changes = apply(real.tagged(votes, step=number), edits, step=number)
        replay.take(step_of(number, changes, votes))
        # The number after the last bullet's is not told by changes where that bullet is gone, and not shown.
        assert replace(replay.playbook(), next_number=real.next_number) == real


def test_others_is_made_where_a_playbook_has_none() -> None:
    run = made_up_run(3, start=parse(NO_OTHERS).playbook)
    assert [one.name for one in run.playbooks[0].sections] == ["RULES"]
    assert [one.name for one in run.playbooks[1].sections] == ["RULES", "OTHERS"]
    assert replayed(run) == list(run.playbooks)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(type="REMOVE", bullet_id="x-00009", text="t"), "step 4: REMOVE 'x-00009' does not fit"),
        (Change(type="UPDATE", bullet_id="x-00009", text="t"), r"\[x-00009\] is not there;"),
        (Change(type="ADD", bullet_id="sai-00001", text="t", section="OTHERS"), "it is there already;"),
        (Change(type="ADD", bullet_id="x-00009", text="t", section="NONE"), "there is no section 'NONE'"),
        (Change(type="REWRITE", text="t"), "there is no such operation"),
        (
            Change(type="UPDATE", bullet_id="sai-00001", text="t", replaced=(("sai-00001", "not its text"),)),
            "has another text; give all changes, in the order in which they were applied",
        ),
        (
            Change(type="MERGE", bullet_id="sai-00001", text="t", replaced=(("x-00009", "u"),)),
            r"\[x-00009\] is not there, or",
        ),
    ],
)
def test_a_change_that_does_not_fit_is_told(change: Change, said: str, tmp_path: Path) -> None:
    page = replace(made_up_run(3).page, steps=[step_of(4, [change])])
    with pytest.raises(ValueError, match=said):
        write(page, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
    refused = replace(page, steps=[step_of(4, [replace(change, refused="no")])])
    assert "no" in render(refused)


def test_whatever_a_run_says_ends_no_element_and_can_be_written(tmp_path: Path) -> None:
    write(hostile_run(EVIL).page, tmp_path / "page.html")
    read = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    plain = Page(render(hostile_run("plain").page))
    assert read.tags == plain.tags
    assert "img" not in read.tags
    run = json.loads(read.data["run"])
    name = hostile_run(EVIL).page.start.sections[0].name
    assert [one["name"] for one in run["sections"]] == [name]
    assert run["rows"] == [[EVIL, EVIL]]
    [step] = run["steps"]
    assert step["votes"] == [[EVIL, 1, 0]]
    assert [one["text"] for one in step["changes"]] == [EVIL, EVIL, EVIL + "?"]
    refused = step["changes"][1]
    assert [refused[name] for name in ("type", "id", "section", "refused", "by")] == [EVIL] * 5
    # title twice, headline, warning, method and its note, evaluation, stop, role, model, fact and its name;
    # in the playbook: a heading, a bullet, and the beginning of another
    assert read.text.count(EVIL.replace("\ud83d", "\ufffd")) == 15


def test_playbooks_that_replays_know_are_those_of_the_hostile_run() -> None:
    run = hostile_run(EVIL)
    assert [to_text(one) for one in replayed(run)] == [to_text(one) for one in run.playbooks]


def test_policy_allows_this_script_and_this_style_and_nothing_else() -> None:
    page = Page(render(made_up_run().page))
    assert_nothing_else_is_allowed(page)
    assert all(value.startswith("#") for name, value in page.attributes if name.endswith("href"))
    assert page.tags.count("style") == 1


def test_what_stands_in_the_page_without_its_script() -> None:
    run = made_up_run()
    page, html = run.page, render(run.page)
    read = Page(html)
    for said in (page.title, page.headline, *page.warnings, *(part for fact in page.facts for part in fact)):
        assert said in read.text
    outside = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    hidden = "".join(re.findall(r"<noscript>(.*?)</noscript>", outside, re.DOTALL))
    assert "is switched off in this browser" in hidden
    for number in (page.best_step or 0, len(page.steps)):
        assert to_text(run.playbooks[number]) in read.text
    assert hidden.count("<pre") == 2
    assert render(replace(page, best_step=24)).count("<pre") == 1


def cells(html: str, table: str) -> list[list[str]]:
    [body] = re.findall(rf'<table id="{table}".*?<tbody>(.*?)</table>', html, re.DOTALL)
    plain = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in plain]


def test_tables_say_what_was_given() -> None:
    page = made_up_run().page
    nothing = replace(page.methods[0], name="nothing asked", right=0, total=0, low=0.0, high=1.0)
    html = render(replace(page, methods=[*page.methods, nothing]))
    methods = cells(html, "methods")
    assert methods[3] == [
        "ACE, best playbook the playbook after the best step", "90.0 %", "79.9 % to 95.3 %", "54 of 60",
        "660", "1,204,000", "133,777",
    ]  # fmt: skip
    assert methods[4][1:4] == ["–", "–", "0 of 0"]  # noqa: RUF001 - a dash, as shown
    assert cells(html, "evaluations")[-1] == [
        "21", "test", "best", "90.0 %", "79.9 % to 95.3 %", "54 of 60", "59",
    ]  # fmt: skip
    assert cells(html, "stops")[0] == ["first correct answer", "61", "61.6 %"]
    costs = cells(html, "costs")
    assert costs[1] == ["generator", "1", "made-up/model-8b", "131", "131", "122,400", "11,127", "131", "88",
        "44", "22",
    ]  # fmt: skip
    assert costs[-1] == ["all", "", "", "1,198", "958", "1,133,400", "103,035", "131", "88", "44", "22",
    ]  # fmt: skip


def test_tiles_say_how_much_it_was() -> None:
    page = made_up_run().page
    tiles = re.findall(r'<div class="tile">(.*?)<b>(.*?)</b>(.*?)</div>', render(page))
    changes = [change for step in page.steps for change in step.changes]
    refused = sum(change.refused is not None for change in changes)
    counts = bullet_counts(page.start, page.steps)
    best = f"after the best step, 21; first 2, last {counts[-1]}"
    assert tiles == [
        ("steps", "24", "120 rows in 2 epochs"),
        ("bullets", str(counts[21]), best),
        ("changes", str(len(changes) - refused), f"applied, {refused} refused"),
        ("calls", "1,198", "958 sent, 1,236,435 tokens"),
    ]


def test_a_run_of_nothing_is_a_page() -> None:
    html = render(AcePage(title="t", headline="h"))
    assert "Methods compared" not in html
    assert "no step yet" in html
    for table in ("methods", "evaluations", "stops", "costs"):
        assert f'id="{table}"' not in html
    assert html.count("<pre") == 1


def test_where_no_playbook_was_chosen_the_last_one_is_shown_and_none_is_called_best() -> None:
    run = made_up_run(4)
    html = render(replace(run.page, best_step=None))
    assert "The best playbook" not in html
    assert "Best playbook: after" not in html
    assert "Best playbook: after" in render(run.page)
    assert html.count("<pre") == 1
    assert to_text(run.playbooks[4]) in Page(html).text
    assert json.loads(Page(html).data["run"])["best"] is None


def test_rows_are_told_once_and_texts_that_the_script_knows_not_at_all() -> None:
    page = made_up_run().page
    run = json.loads(Page(render(page)).data["run"])
    assert len(run["rows"]) == len({row for step in page.steps for row in step.rows})
    assert all(text == page.questions[row] for row, text in run["rows"])
    start = page.start
    gone = removal(start, "sai-00001", by="budget")
    [step] = json.loads(Page(render(replace(page, steps=[step_of(1, [gone])]))).data["run"])["steps"]
    [change] = step["changes"]
    assert change["replaced"] == ["sai-00001"]
    assert change["by"] == "budget"
    assert "refused" not in change


def test_equal_pages_are_equal_bytes() -> None:
    assert list(pieces(made_up_run().page)) == list(pieces(made_up_run().page))


def test_every_colour_of_the_figures_follows_the_page() -> None:
    """A mark that is used again is a copy without parents in the browser: a rule may not name any."""
    html = render(made_up_run().page)
    figures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    colours = set(re.findall(r' (fill|stroke)="(#[^"]*)"', figures))
    assert len(colours) > 4
    rules = re.findall(r'(?:^|[},]) *\[(fill|stroke)="(#[^"]*)"\](?=[ ,])', STYLE, re.MULTILINE)
    assert colours <= set(rules)


@pytest.mark.parametrize("theme", themes(STYLE), ids=["light", "dark"])
def test_contrast_is_enough_for_text_on_every_ground(theme: dict[str, str]) -> None:
    assert len(themes(STYLE)) == 2
    for ground in ("paper", "raised", "chosen"):
        for text in ("ink", "faint", "accent", "added", "removed"):
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
    for kind in ("added", "changed", "merged", "removed"):
        for text in ("ink", "faint", "added", "removed", kind):
            assert contrast(theme[text], theme[f"{kind}-paper"]) >= 4.5, (text, kind)
    assert contrast(theme["ink"], theme["warn-paper"]) >= 4.5
