"""The HTML report of an ACE run: one file that shows its playbook at every step, and fetches nothing.

What models wrote is never HTML here: it travels as JSON, and the page's script puts it into text nodes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from flows.reports.ace_figures import growth_figure, methods_figure
from flows.reports.ace_replay import bullet_counts, playbook_after
from flows.reports.ace_views import AcePage, CostView, EvaluationView, MethodView, Split, StepView
from flows.reports.inline import environment, inlined, safe_json, svg_without_styles
from tasks.ace.deltas import Change
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import to_text
from tasks.ace.votes import HARMFUL, HELPFUL
from tasks.whole_files import replacing

__all__ = [
    "AcePage",
    "CostView",
    "EvaluationView",
    "MethodView",
    "Split",
    "StepView",
    "pieces",
    "render",
    "write",
]

VOTES = {HELPFUL: 1, HARMFUL: -1}


def render(page: AcePage) -> str:
    """Return the report as one string.

    Raises:
        ValueError: A change does not fit the playbook at its step.
    """
    return "".join(pieces(page))


def write(page: AcePage, path: Path) -> None:
    """Write the report to `path` once all of it is there.

    Raises:
        ValueError: A change does not fit the playbook at its step.
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines(pieces(page))


def pieces(page: AcePage) -> Iterator[str]:
    """Yield the report piece by piece; every piece can be encoded as UTF-8.

    Raises:
        ValueError: A change does not fit the playbook at its step.
    """
    bullets = bullet_counts(page.start, page.steps)
    growth = growth_figure(page.steps, page.evaluations, bullets=bullets, best_step=page.best_step)
    compared = methods_figure(page.methods)
    yield from (
        environment()
        .get_template("ace.html.j2")
        .generate(
            page=page,
            own=inlined("ace"),
            tiles=_tiles(page, bullets),
            methods_figure=compared and svg_without_styles(compared),
            growth_figure=svg_without_styles(growth),
            playbooks=_playbooks(page),
            data=_data(page),
        )
    )


def _tiles(page: AcePage, bullets: Sequence[int]) -> list[tuple[str, str, str]]:
    """Return (name, value, more) of what comes first."""
    changes = [change for step in page.steps for change in step.changes]
    refused = sum(change.refused is not None for change in changes)
    rows, epochs = sum(len(step.rows) for step in page.steps), len({step.epoch for step in page.steps})
    tokens = sum(one.input_tokens + one.output_tokens for one in page.costs)
    calls, sent = sum(one.calls for one in page.costs), sum(one.sent for one in page.costs)
    best = f"after the best step, {page.best_step}; first {bullets[0]:,}, last {bullets[-1]:,}"
    if page.best_step is None:
        best = f"after the last step; first {bullets[0]:,}"
    return [
        ("steps", f"{len(page.steps):,}", f"{_plural(rows, 'row')} in {_plural(epochs, 'epoch')}"),
        ("bullets", f"{bullets[_place(page)]:,}", best),
        ("changes", f"{len(changes) - refused:,}", f"applied, {refused:,} refused"),
        ("calls", f"{calls:,}", f"{sent:,} sent, {tokens:,} tokens"),
    ]


def _plural(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _place(page: AcePage) -> int:
    """Return after how many steps the playbook was best; after all of them, where none was chosen."""
    if page.best_step is None:
        return len(page.steps)
    return sum(step.number <= page.best_step for step in page.steps)


def _playbooks(page: AcePage) -> list[tuple[str, str]]:
    """Return (what it is, text) of the playbooks that a reader without the script gets."""
    best, last = _place(page), len(page.steps)
    found = [(f"The best playbook, after step {page.best_step}", _text_after(page, best))]
    if page.best_step is None:
        found = [("The last playbook", _text_after(page, last))]
    if best != last:
        found.append((f"The last playbook, after step {page.steps[-1].number}", _text_after(page, last)))
    return found


def _text_after(page: AcePage, number: int) -> str:
    return to_text(playbook_after(page.start, page.steps, number))


def _data(page: AcePage) -> Markup:
    """Return what the script reads. Rows are named by their place in `rows`: votes name them often."""
    places: dict[str, int] = {}
    steps = [_step(step, places) for step in page.steps]
    return safe_json(
        {
            "best": None if page.best_step is None else _place(page),
            "sections": _sections(page.start),
            "steps": steps,
            "evaluations": [
                (one.step, one.split, one.name, one.right, one.total, one.low, one.high)
                for one in page.evaluations
            ],
            "rows": [(row, page.questions.get(row, "")) for row in places],
        }
    )


def _sections(start: Playbook) -> list[Mapping[str, object]]:
    counts = start.counts
    return [
        {
            "name": section.name,
            "bullets": [
                (one.id, one.text, counts[one.id].helpful, counts[one.id].harmful, counts[one.id].born)
                for one in section.bullets
            ],
        }
        for section in start.sections
    ]


def _step(step: StepView, places: dict[str, int]) -> Mapping[str, object]:
    def place_of(row: str) -> int:
        return places.setdefault(row, len(places))

    return {
        "number": step.number,
        "epoch": step.epoch,
        "rows": [place_of(row) for row in step.rows],
        "first": step.correct_first,
        "last": step.correct_last,
        "tokens": step.tokens,
        "changes": [_change(change) for change in step.changes],
        "votes": [(bullet_id, VOTES.get(tag, 0), place_of(row)) for bullet_id, tag, row in step.votes],
    }


def _change(change: Change) -> Mapping[str, object]:
    """Describe a change; the texts that it replaced are left out, since the script knows them by then."""
    said: Iterable[tuple[str, object]] = (
        ("type", change.type),
        ("id", change.bullet_id),
        ("text", change.text),
        ("section", change.section),
        ("replaced", [name for name, _ in change.replaced]),
        ("refused", change.refused),
        ("by", change.by),
    )
    kept = {"refused", "type", "by"}
    return {name: value for name, value in said if value or (name in kept and value is not None)}
