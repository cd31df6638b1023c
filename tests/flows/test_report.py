"""The HTML report: complete, self-contained, and safe whatever the claims say."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from flows.reports.icm import render
from tasks.icm.evaluation import TestScore
from tests.flows.icm_results import found, without_gold
from tests.tasks.icm.made_up import made_claims

LOADS = {
    "src",
    "srcset",
    "href",
    "xlink:href",
    "data",
    "poster",
    "action",
    "formaction",
    "background",
    "ping",
}
"""Attributes that make a browser go and fetch something, or a click leave the page."""


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.classes: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        """The cells of every row of a table."""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.classes += [value or "" for name, value in attrs if name == "class"]
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"style", "metadata"} & set(self._open):
            self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


async def test_report_is_self_contained() -> None:
    """No script, nothing fetched, no address of anything elsewhere but the names of XML vocabularies."""
    html = render(await found(consistency="answer"))
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "img", "form", "audio", "video"} & set(
        page.tags
    )
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    loaded = [value for name, value in page.attributes if name in LOADS]
    assert all(value.startswith("#") for value in loaded), loaded
    assert all(
        not re.search(r"url\((?!#)|@import|expression\(", value)
        for value in [
            *re.findall(r"<style.*?</style>", html, re.DOTALL),
            *(v for n, v in page.attributes if n == "style"),
        ]
    )
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", re.sub(r"<!DOCTYPE[^>]*>", "", html)))
    vocabularies = {
        value for name, value in page.attributes if name.startswith("xmlns") or name == "rdf:resource"
    }
    assert addresses <= vocabularies | {"https://matplotlib.org/"}, addresses
    assert not any("refresh" in value.lower() for name, value in page.attributes if name == "http-equiv")


async def test_text_with_html_is_escaped_everywhere() -> None:
    """In claims, questions, answers, the model's name and the parameters."""
    evil = "</td><script>alert('x')</script><img src=http://evil/x onerror=alert(1)>&amp; \"q\""
    claims = [replace(claim, question=evil, choice=f"{evil} {claim.choice}") for claim in made_claims(6)]
    result = await found(claims=made_claims(6), iterations=60)
    evil_by_id = {claim.id: claim for claim in claims}
    [batch] = result.batches
    result = replace(
        result,
        batches=(replace(batch, claims=tuple(evil_by_id[claim.id] for claim in batch.claims)),),
        model=evil,
        parameters=result.parameters.model_copy(update={"train_path": evil}),
    )
    assert batch.accepted
    html = render(result)
    page = Page(html)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count(evil) == 2 * 16 + len(result.batches[0].accepted) + 2
    assert page.tags.count("svg") == 3


async def test_report_holds_figure_tables_and_every_claim() -> None:
    result = await found(iterations=60)
    page = Page(render(result))
    assert page.tags.count("svg") == 3  # ways, search, labels; none of tokens, which nobody counted
    for claim in result.batches[0].claims:
        assert claim.choice in page.text
    for score in result.test_scores:
        assert f"{score.correct} of {score.total}" in page.text
    assert f"{result.labelled} of 16" in page.text
    assert f"{len(result.batches[0].accepted)} accepted" in page.text
    for name in result.parameters.model_dump(exclude_none=True):
        assert name in page.text


async def test_ways_are_compared_by_accuracy_with_intervals_and_by_cost() -> None:
    result = await found(bootstrap_rounds=3)
    chat = TestScore.of("zero-shot chat", [1, None], made_claims(1)[:2], demonstrations=0, label_mass=None)
    lines = [
        {"part": "search", "batch": 1, "iteration": 0, "prompts": 8, "sent": 8, "requests": 2,
         "input_tokens": 5000, "tokens_computed": 3000, "counted_by": "server"},
        {"part": "test found labels", "batch": None, "iteration": None, "prompts": 8, "sent": 8,
         "requests": 1, "input_tokens": 70000, "tokens_computed": 1234, "counted_by": "server"},
        {"part": "bootstrapping", "batch": None, "iteration": None, "prompts": 48, "sent": 48,
         "requests": 4, "input_tokens": 9000, "tokens_computed": 8765, "counted_by": "server"},
    ]  # fmt: skip
    result = replace(
        result,
        test_scores=(*result.test_scores, chat),
        ledger=lines,
        put={"search": 999, "test found labels": 8, "bootstrapping": 48},
    )
    page = Page(render(result))
    methods = [score.method for score in result.test_scores]
    ways = [cells for cells in page.rows if cells and cells[0] in methods]
    assert [cells[0] for cells in ways] == [*methods, *methods]
    row, costs = [
        {cells[0]: cells[1:] for cells in table} for table in (ways[: len(methods)], ways[len(methods) :])
    ]
    assert costs["found labels"] == ["1,007", "16", "3", "75,000", "4,234"]
    assert costs["bootstrapped labels"] == ["48", "48", "4", "9,000", "8,765"]
    [batch] = result.batches
    assert batch.bootstrapped
    right = sum(batch.bootstrapped.labels[uid] == claim.gold for uid, claim in enumerate(batch.claims))
    assert row["bootstrapped labels"][0].startswith(f"{100 * right / 16:.1f} % [")
    score = next(one for one in result.test_scores if one.method == "golden labels")
    assert f"[{100 * score.low:.1f} %, {100 * score.high:.1f} %]" in row["golden labels"][2]
    assert row["zero-shot chat"][3] == "1 of 2 (1 unreadable)"
    assert page.tags.count("svg") == 4  # now that tokens are known


async def test_without_a_test_the_ways_of_labelling_are_compared() -> None:
    result = await found(bootstrap_rounds=2)
    tested, untested = Page(render(result)), Page(render(replace(result, test_scores=())))
    assert "On the test split" in tested.text
    assert "Ways of labelling, compared" not in tested.text
    assert "Ways of labelling, compared" in untested.text
    assert not any(word in untested.text for word in ("On the test split", "est accuracy", "label mass"))
    headings = [row for row in untested.rows if row[0] == "way"]
    assert headings[0] == ["way", "label accuracy"]
    assert len(headings) == 2
    assert [len(row) for row in untested.rows if row[0] == "bootstrapped labels"] == [2, 6]


async def test_what_costs_are_counted_over_is_said() -> None:
    text = Page(render(await found(iterations=1))).text
    for told in ("servers' own counts", "what others asked of the same server", "refreshes included",
                 "killed outright"):  # fmt: skip
        assert told in text


async def test_sequential_decisions_are_told_with_their_bound_even_if_none_was_early() -> None:
    plain, none = [await found(iterations=20, evaluation=name) for name in ("full", "sequential")]
    [batch] = none.batches
    early = [replace(step, evaluated=0.25) if step.outcome == "rejected" else step for step in batch.steps]
    some = replace(none, batches=(replace(batch, steps=tuple(early)),))
    outcomes = none.outcomes()
    assert outcomes["rejected"]
    for result, number in ((none, 0), (some, outcomes["rejected"])):
        text = Page(render(result)).text
        decisions = outcomes["rejected"] + outcomes["accepted"]
        assert f"sequential: {number} of {decisions} changes were rejected on a part of the pool" in text
        assert "As a check 0 others were evaluated in full: 0 of them" in text
        assert "at most 0.01, if differences between claims are about normal" in text
        assert "Energies of what was rejected on a part are estimates." in text
    assert not any("sequential" in warning for warning in plain.warnings())
    checked = [replace(step, audit="wrong" if step.outcome == "accepted" else "right") for step in early]
    audited = replace(none, batches=(replace(batch, steps=tuple(checked)),))
    wrong = outcomes["accepted"]
    assert audited.audits() == {"right": len(checked) - wrong, "wrong": wrong}
    said = f"As a check {len(checked)} others were evaluated in full: {wrong} of them"
    assert said in Page(render(audited)).text


async def test_warnings_are_shown() -> None:
    result = replace(await found(consistency="reference", mass=0.05, iterations=3), exact_scores=False)
    page = Page(render(result))
    warnings = result.warnings()
    assert len(warnings) >= 4
    assert page.classes.count("warning") == len(warnings)
    assert all(warning in page.text for warning in warnings)


async def test_report_does_not_call_a_partly_supervised_search_unsupervised() -> None:
    plain, supervised = [
        " ".join(Page(render(await found(consistency=name, iterations=1))).text.split())
        for name in ("none", "reference")
    ]
    assert "without looking at gold labels." in plain
    assert "without looking at gold labels, but for the published consistency rule" in supervised


async def test_report_without_gold_labels_and_without_test() -> None:
    result = await found(claims=without_gold(made_claims(6)), test=False)
    html = render(result)
    assert "no gold labels" in html
    page = Page(html)
    assert "No test split was given." in page.text
    assert "wrong" not in page.classes
    assert "None" not in page.text


async def test_labels_come_with_the_least_certain_first_and_unlabelled_last() -> None:
    result = await found(iterations=4)
    page = Page(render(result))
    shown = page.text[page.text.index("the least certain first") :]
    margins = {
        result.batches[0].claims[uid].choice: result.batches[0].final.scores[uid] * (1 if label else -1)
        for uid, label in result.batches[0].final.assigned.items()
    }
    order = sorted((claim.choice for claim in result.batches[0].claims), key=shown.index)
    labelled = order[: len(margins)]
    assert set(labelled) == set(margins)
    assert labelled == sorted(labelled, key=lambda choice: margins[choice])


async def test_labels_unlike_gold_are_shaded() -> None:
    result = await found()
    gold = [claim.gold for claim in result.batches[0].claims]
    wrong = sum(label != gold[uid] for uid, label in result.batches[0].final.assigned.items())
    assert wrong > 0
    assert Page(render(result)).classes.count("wrong") == wrong


async def test_report_of_a_search_that_did_nothing() -> None:
    page = Page(render(await found(iterations=0)))
    assert "svg" in page.tags
    assert "8 of 16 claims were never given a label." in page.text


async def test_report_of_several_batches_draws_a_line_for_each_and_shows_every_claim() -> None:
    one, three = [await found(claims=made_claims(12), batches=n, iterations=20) for n in (1, 3)]
    page = Page(render(three))
    for claim in made_claims(12):
        assert claim.choice in page.text
    assert "in 3 batches" in page.text
    assert [row[0] for row in page.rows if len(row) == 7 and row[0].isdigit()][:3] == ["1", "2", "3"]
    assert "batch" not in {cell for row in Page(render(one)).rows for cell in row}
