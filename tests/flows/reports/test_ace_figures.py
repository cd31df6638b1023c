"""The figures of an ACE report: what they hold, that equal runs give equal ones, that they can be read."""

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from flows.reports.ace import AcePage, StepView
from flows.reports.ace_figures import growth_figure, methods_figure, running_share
from flows.reports.ace_replay import bullet_counts
from tests.flows.reports.ace_pages import evaluation, made_up_run

SVG = "{http://www.w3.org/2000/svg}"


def growth(page: AcePage, best_step: int | None = 21) -> str:
    bullets = bullet_counts(page.start, page.steps)
    return growth_figure(page.steps, page.evaluations, bullets=bullets, best_step=best_step)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


def step(number: int, rows: int, first: int = 0) -> StepView:
    ids = tuple(map(str, range(rows)))
    return StepView(number=number, epoch=1, rows=ids, correct_first=first, correct_last=first, tokens=5)


FIGURES: dict[str, Callable[[], str]] = {
    "growth": lambda: growth(made_up_run().page),
    "growth of nothing": lambda: growth_figure([], [], bullets=[0]),
    "growth of one step": lambda: growth_figure([step(1, 1)], [], bullets=[0, 1], best_step=0),
    "methods": lambda: methods_figure(made_up_run().page.methods) or "",
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_equal_runs_give_equal_bytes_that_load_nothing(
    draw: Callable[[], str],
) -> None:
    svg = draw()
    assert svg == draw()
    title, description = list(ET.fromstring(svg))[:2]  # noqa: S314 - our own
    assert title.text
    assert description.text
    assert "<script" not in svg
    assert not re.search(r'href="(?!#)|url\((?!#)|@import', svg)


def test_growth_is_told_in_words_and_in_its_legend() -> None:
    page = made_up_run().page
    svg = growth(page)
    last = len(made_up_run().playbooks[-1])
    told = f"24 steps. Bullets: 2 to {last}. Tokens: {page.steps[-1].tokens:,} at the end."
    assert f"{told} Validation: 42.5% after step 0, 97.5% after step 24." in svg
    assert "Test: 41.7% after step 0, 90.0% after step 21. Best playbook: after step 21." in svg
    named = {
        "validation, with 95 % interval",
        "test, with 95 % interval",
        "train rows, first answer (last 20 rows or more)",
        "train rows, last answer (last 20 rows or more)",
        "a new epoch",
        "best playbook",
    }
    assert named <= set(texts(svg))
    online = replace(page, evaluations=[evaluation(n, "window", "w", 5, 10) for n in (0, 3)])
    shown = set(texts(growth(online, None)))
    assert "window, with 95 % interval" in shown
    assert not shown & {"best playbook", "validation, with 95 % interval"}


def test_a_run_that_has_not_begun_says_so() -> None:
    shown = texts(growth_figure([], [], bullets=[0]))
    assert "nothing was answered yet" in shown
    assert shown.count("no step yet") == 1
    asked = evaluation(0, "validation", "v", 5, 10)
    alone = growth_figure([], [asked, replace(asked, split="test", total=0)], bullets=[3])
    assert "validation, with 95 % interval" in texts(alone)
    assert "test, with 95 % interval" not in texts(alone)
    begun = growth_figure([step(1, 1)], [replace(asked, split="test", total=0)], bullets=[3, 4])
    assert "Bullets: 3 to 4. Tokens: 5 at the end.<" in begun


def test_shares_of_train_rows_are_taken_over_enough_rows() -> None:
    single = [step(n, 1, n % 2) for n in range(1, 41)]
    shares = running_share(single, [one.correct_first for one in single])
    assert shares[0] == (1, 1.0)
    assert shares[1] == (2, 0.5)
    assert shares[-1] == (40, 0.5)
    turned = [step(n, 1, int(n > 20)) for n in range(1, 41)]
    assert running_share(turned, [one.correct_first for one in turned])[-1] == (40, 1.0)
    wide = [step(1, 40, 10), step(2, 40, 30)]
    assert running_share(wide, [10, 30]) == [(1, 0.25), (2, 0.75)]
    assert running_share([step(1, 0)], [0]) == []


def test_names_from_users_are_text_in_any_script() -> None:
    [one, *_] = made_up_run().page.methods
    evil = '<b onclick="x">$\\frac$\ud83d\n渡船\u202e'
    svg = methods_figure([replace(one, name=evil), replace(one, name="n" * 99)]) or ""
    svg.encode()
    assert "<b " not in svg
    assert '<b onclick="x">$\\frac$\ufffd 渡船\ufffd' in texts(svg)
    assert "n" * 39 + "…" in texts(svg)


def test_methods_that_nobody_asked_are_left_out() -> None:
    [one, *_] = made_up_run().page.methods
    nothing = replace(one, name="nothing", total=0, right=0)
    assert methods_figure([]) is None
    assert methods_figure([nothing]) is None
    assert "nothing" not in texts(methods_figure([one, nothing]) or "")
    assert "41.7%  (30.1% to 54.3%)" in texts(methods_figure([one]) or "")
