"""Totals, warnings, the failed share and the report of a batch."""

import re
from pathlib import Path

import pytest

from backends.messages import Message, Response, SamplingParams
from backends.readings import Readings, ServerReading
from flows.batch_parameters import BatchParameters
from flows.batch_results import BatchResult, TooManyFailedError, Totals, batch_directory
from flows.reports.batch import length_figure, render
from tasks.batch.questions import Answer, Questions
from tasks.batch.rows import Row
from tasks.tally import Tally
from tests.flows.test_report import LOADS, Page

HARM = "<script>alert('x')</script>"


def answer(
    number: int, *, text: str = "fine", finish_reason: str = "stop", failure: str | None = None
) -> Answer:
    return Answer(
        row=Row(number=number, place="", messages=(Message(role="user", content=f"{HARM} {number}"),)),
        sample=0,
        response=None if failure else Response(text=text, finish_reason=finish_reason),
        failure=failure,
        error=failure and f"{failure}: {HARM}",
    )


def result(answers: list[Answer], **parameters: object) -> BatchResult:
    totals = Totals()
    for one in answers:
        totals.add(one)
    return BatchResult(
        parameters=BatchParameters.model_validate({"input_path": f"{HARM}.jsonl", **parameters}),
        model="m", output=Path("answers.jsonl"), totals=totals, tally=Tally(prompts=7, sent=7), seconds=3.0,
    )  # fmt: skip


def test_a_failed_share_is_borne_up_to_the_limit() -> None:
    answers = [answer(1), answer(2, failure="E"), answer(3), answer(4)]
    result(answers, max_failed_fraction=0.25).require_few_failures()
    with pytest.raises(TooManyFailedError, match=r"1 of 4 answers failed, most often E \(1\)"):
        result(answers, max_failed_fraction=0.24).require_few_failures()
    result([answer(1)]).require_few_failures()


def test_what_a_reader_must_know_is_said() -> None:
    assert result([answer(1)]).warnings() == []
    [drawn] = result([answer(1)], n=2).warnings()
    assert "n is 2 and temperature 0" in drawn
    assert result([answer(1)], n=2, temperature=1).warnings() == []
    [cut] = result([answer(1, finish_reason="length")]).warnings()
    assert "1 of 1 answers were cut off at 256 tokens" in cut
    [empty] = result([answer(1, text=" ")]).warnings()
    assert "1 of 1 answers are empty" in empty
    [bad] = result([answer(1, failure="bad row")]).warnings()
    assert "1 rows could not be asked" in bad


def test_the_headline_counts_answers_and_failures() -> None:
    found = result([answer(1), answer(2, failure="E")]).headline()
    assert found == (
        "1 of 2 answers to 2 rows (1 failed: 1 E); 7 prompts sent, 0 answered from the store, 3 s"
    )


def test_the_report_is_self_contained_and_safe_whatever_rows_say() -> None:
    many = [answer(n, text=f"{HARM}{n}" * (n % 5 + 1)) for n in range(1, 60)]
    costs: list[dict[str, object]] = [
        {"time": f"t{n}", "prompts_sent": n, "from_the_store": 0, "input_tokens": 1, "output_tokens": 2,
         "seconds": 3} for n in range(2)
    ]  # fmt: skip
    html = render(result([*many, answer(60, failure="E")]), costs)
    page = Page(html)
    assert not {"script", "link", "iframe", "img", "form", "object", "embed"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in LOADS and not value.startswith("#")]
    for said in ("59 of 60", "E: <script>", f"{HARM} 20", "t1", "characters of an answer", "input_path"):
        assert said in page.text or said in html, said
    assert f"{HARM} 21" not in page.text


def test_answers_of_one_length_are_drawn_over_that_length() -> None:
    lengths = re.findall("<!-- (.*?) -->", length_figure([33] * 8).partition("characters of")[0])
    assert lengths == ["33"]


def test_one_request_is_one_request() -> None:
    one = result([answer(1, text="a")])
    one.tally.sent, one.tally.requests = 8, 1
    assert "8 prompts in 1 request," in Page(render(one)).text
    one.tally.sent, one.tally.requests = 1, 2
    assert "1 prompt in 2 requests," in Page(render(one)).text


def test_a_report_of_failures_only_can_be_read() -> None:
    assert "There is none." in Page(render(result([answer(1, failure="E")]))).text


def test_a_folder_belongs_to_questions_and_not_to_paths_or_steering(tmp_path: Path) -> None:
    questions = Questions(model="m", sampling=SamplingParams(max_tokens=1))

    def folder(data: str = "d", **given: object) -> Path:
        parameters = BatchParameters.model_validate({"input_path": "x.jsonl", **given})
        return batch_directory(tmp_path, questions, parameters, data)

    assert folder() == folder(batch_size=3, cache_mode="replay", output_path="y.csv", max_failed_fraction=1)
    assert len({folder(), folder(temperature=1), folder("other"), folder(system="s"), folder(n=2)}) == 5


def test_the_report_shows_what_servers_held_where_something_was_read() -> None:
    quiet = result([answer(1)])
    assert "held meanwhile" not in render(quiet)
    watched = result([answer(1)])
    for at, use in enumerate((0.25, 0.5)):
        server = ServerReading(server=f"http://{HARM}", kv_cache_usage=use, requests_waiting=3)
        watched.samples.add(float(at), Readings(servers=(server,)))
    html = render(watched)
    assert "held meanwhile" in html
    assert "Use of the KV cache over time" in html
    assert '<td class="number">37.5</td><td class="number">50.0</td>' in html
    assert HARM not in html
