"""From answers to entities: with their places, and without a vote of what has no answer."""

import json
from collections.abc import Callable, Sequence

import pytest

from backends.base import Outcome
from backends.errors import BadRequestError, ServerGoneError
from backends.messages import Message, Request, Response, SamplingParams
from tasks.extraction.asking import Asker, Settings
from tasks.extraction.extracting import Extracted, Extractor
from tasks.extraction.prompting import Prompting
from tasks.extraction.spec import read_spec
from tasks.extraction.values import Document, Window

SPEC = read_spec(
    {
        "name": "people",
        "description": "Find people.",
        "labels": [{"name": "person", "normalizer": "upper"}, {"name": "place"}],
        "examples": [
            {"text": "Zoe Quill left.", "entities": [{"label": "person", "text": "Zoe Quill"}]},
            {"text": "Max Born stayed.", "entities": [{"label": "person", "text": "Max Born"}]},
        ],
    }
)
TEXT = "Ada Lovelace met Alan Turing in London, where Grace Hopper was."
EXAMPLE_TURNS = Prompting(SPEC).constant[1:]
Answer = Callable[[Request, int], Outcome]


def said(*names: str, label: str = "person") -> Response:
    items = [{"label": label, "text": name} for name in names]
    return Response(text=json.dumps({"entities": items}), finish_reason="stop")


async def extracted(
    answer: Answer,
    *,
    windows: Sequence[Sequence[tuple[int, int]]] = (((0, 63),),),
    min_votes: int = 1,
    max_items: int | None = None,
    fuzzy: bool = True,
) -> Extracted:
    """Extract with an answer for each (request, pass) and windows for each pass."""

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        del purpose
        return [answer(one, one.sampling.seed) for one in requests]

    async def cut(text: str, number: int) -> list[Window]:
        del text
        return [Window(start=a, end=b, context_start=a, context_end=b) for a, b in windows[number]]

    async def enough(messages: Sequence[Message]) -> int:
        del messages
        return 100

    settings = Settings(
        spec=SPEC,
        model="m",
        revision=None,
        sampling=SamplingParams(max_tokens=100),
        json_schema=None,
        max_items=max_items,
        passes=len(windows),
    )
    asker = Asker(settings=settings, ask=ask, windows=cut, max_tokens=enough)
    extractor = Extractor(asker=asker, spec=SPEC, passes=len(windows), min_votes=min_votes, fuzzy=fuzzy)
    return await extractor.extract(Document(id="d", text=TEXT))


async def test_what_a_model_says_is_looked_for_in_the_text() -> None:
    found = await extracted(
        lambda _request, _pass: said("ada lovelace", "Alan Turing", "Kurt Goedel", "Max Born", "Zoe Quill")
    )
    assert [(one.text, one.start, one.status, one.normalized) for one in found.entities] == [
        ("Ada Lovelace", 0, "normalized", "ADA LOVELACE"),
        ("Alan Turing", 17, "exact", "ALAN TURING"),
        ("Max Born", None, "leaked", None),
        ("Zoe Quill", None, "leaked", None),
        ("Kurt Goedel", None, "ungrounded", None),
    ]
    assert (found.coverage, found.failed, found.missed) == (1.0, (), ())


async def test_a_label_without_a_normalizer_gives_no_value() -> None:
    found = await extracted(lambda _request, _pass: said("London", label="place"))
    assert [(one.label, one.text, one.normalized) for one in found.entities] == [("place", "London", None)]


async def test_of_two_labels_for_one_span_the_first_of_the_spec_wins() -> None:
    for labels in (("person", "place"), ("place", "person")):
        items = [{"label": label, "text": "London"} for label in labels]
        answer = Response(text=json.dumps({"entities": items}), finish_reason="stop")
        [entity] = (await extracted(lambda _request, _pass, answer=answer: answer)).entities
        assert (entity.label, entity.conflict) == ("person", True)


async def test_an_entity_says_which_answers_it_is_from() -> None:
    found = await extracted(
        lambda request, _: (
            said("Nobody", "Alan Turing") if "Alan" in request.messages[-1].content else said()
        ),
        windows=(((0, 16), (10, 63)), ((0, 40), (30, 63))),
    )
    [entity] = [one for one in found.entities if one.start is not None]
    seen = [(one.pass_number, one.chunk, one.index) for one in entity.provenance]
    assert seen == [(0, 1, 1), (1, 0, 1)]


async def test_what_a_pass_has_not_found_where_it_looked_loses_votes() -> None:
    def answer(_: Request, number: int) -> Outcome:
        return said("Ada Lovelace", "Alan Turing") if number == 0 else said("Ada Lovelace")

    both = (((0, 63),), ((0, 63),))
    found = await extracted(answer, windows=both)
    assert [(one.text, one.confidence) for one in found.entities] == [
        ("Ada Lovelace", 1.0),
        ("Alan Turing", 0.5),
    ]
    assert [one.text for one in (await extracted(answer, windows=both, min_votes=2)).entities] == [
        "Ada Lovelace"
    ]


async def test_what_failed_is_in_the_order_of_the_text_and_of_the_passes() -> None:
    def answer(request: Request, number: int) -> Outcome:
        is_left = "Ada" in request.messages[-1].content
        if is_left:
            return said() if number == 0 else BadRequestError("no")
        # What is no JSON is asked for again, and so it fails after what is refused.
        return Response(text="no", finish_reason="stop") if number == 0 else BadRequestError("no")

    found = await extracted(answer, windows=(((0, 28), (17, 63)), ((0, 28), (17, 63))))
    assert [(one.start, one.pass_number) for one in found.failed] == [(0, 1), (17, 0), (17, 1)]
    assert (found.missed, found.coverage) == (((28, 63),), 28 / 63)
    assert (found.chunks, found.asked) == (4, 5)


async def test_questions_and_what_is_odd_in_answers_are_counted_over_all_passes() -> None:
    items = [{"label": "nobody", "text": "a"}, {"label": "person"}, {"label": "person", "text": "Ada"}]
    whole = Response(text=json.dumps({"entities": items}), finish_reason="stop")

    def answer(request: Request, number: int) -> Outcome:
        is_first = number == 0 and len(request.messages) == len(EXAMPLE_TURNS) + 2
        return Response(text="no", finish_reason="stop") if is_first else whole

    found = await extracted(answer, windows=(((0, 28), (17, 63)), ((0, 63),)), max_items=3)
    assert (found.chunks, found.asked) == (3, 5)
    assert (found.invalid_items, found.full_answers) == (6, 3)


async def test_a_pass_without_an_answer_has_no_vote() -> None:
    def answer(_: Request, number: int) -> Outcome:
        return said("Ada Lovelace") if number == 0 else BadRequestError("no")

    found = await extracted(answer, windows=(((0, 63),), ((0, 63),)), min_votes=2)
    assert [(one.text, one.votes, one.confidence) for one in found.entities] == [("Ada Lovelace", 1, 1.0)]
    assert [one.pass_number for one in found.failed] == [1]
    assert found.coverage == 1.0


async def test_an_answer_that_was_never_one_has_no_vote_either() -> None:
    def answer(_: Request, number: int) -> Outcome:
        return said("Ada Lovelace") if number == 0 else Response(text="I cannot.", finish_reason="stop")

    found = await extracted(answer, windows=(((0, 63),), ((0, 63),)), min_votes=2)
    assert [(one.text, one.confidence) for one in found.entities] == [("Ada Lovelace", 1.0)]


async def test_an_answer_that_broke_off_counts_up_to_its_last_item() -> None:
    broken = '{"entities": [{"label": "person", "text": "Ada Lovelace"}, {"label": "person", "text": "Al'

    def answer(_: Request, number: int) -> Outcome:
        return (
            said("Ada Lovelace", "Grace Hopper")
            if number == 0
            else Response(text=broken, finish_reason="stop")
        )

    found = await extracted(answer, windows=(((0, 63),), ((0, 63),)), min_votes=2)
    assert [(one.text, one.votes, one.confidence) for one in found.entities] == [
        ("Ada Lovelace", 2, 1.0),
        ("Grace Hopper", 1, 1.0),
    ]
    assert len(found.failed) == 1


async def test_an_answer_that_broke_off_has_looked_up_to_the_furthest_of_its_items() -> None:
    items = '[{"label": "person", "text": "Grace Hopper"}, {"label": "person", "text": "Nobody"}, {"text": "A'

    def answer(_: Request, number: int) -> Outcome:
        return said("Alan Turing") if number == 0 else Response(text=items, finish_reason="stop")

    found = await extracted(answer, windows=(((0, 63),), ((0, 63),)))
    spans = [(one.text, one.confidence) for one in found.entities if one.start is not None]
    assert spans == [("Alan Turing", 0.5), ("Grace Hopper", 0.5)]

    alone = await extracted(lambda _request, _pass: Response(text=items, finish_reason="stop"))
    assert [one.text for one in alone.entities] == ["Grace Hopper", "Nobody"]
    assert (alone.coverage, alone.missed) == (0.0, ((0, 63),))  # what is behind them was not looked for


async def test_a_window_without_an_answer_takes_nothing_from_its_neighbour() -> None:
    """The edge rule is for what a neighbour has looked at, and not found."""

    def answer(request: Request, _: int) -> Outcome:
        is_left = "Ada" in request.messages[-1].content
        return said("Alan Turing") if is_left else Response(text="no", finish_reason="stop")

    found = await extracted(answer, windows=(((0, 28), (17, 63)),))
    assert [one.text for one in found.entities] == ["Alan Turing"]
    assert found.missed == ((28, 63),)
    assert 0 < found.coverage < 1


async def test_a_document_whose_tokens_cannot_be_counted_has_failed() -> None:
    async def refused(text: str, number: int) -> list[Window]:
        raise BadRequestError(f"{len(text)} {number}")

    async def gone(text: str, number: int) -> list[Window]:
        raise ServerGoneError(f"{len(text)} {number}")

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        raise AssertionError(f"{purpose}: {len(requests)}")

    async def enough(messages: Sequence[Message]) -> int:
        return len(messages)

    settings = Settings(
        spec=SPEC, model="m", revision=None, sampling=SamplingParams(max_tokens=9), json_schema=None
    )
    for windows in (refused, gone):
        asker = Asker(settings=settings, ask=ask, windows=windows, max_tokens=enough)
        extractor = Extractor(asker=asker, spec=SPEC)
        try:
            found = await extractor.extract(Document(id="d", text=TEXT))
        except ServerGoneError:
            assert windows is gone
            continue
        assert windows is refused
        [failed] = found.failed
        assert (failed.start, failed.end, found.coverage) == (0, len(TEXT), 0.0)
        assert "BadRequestError" in failed.reason


@pytest.mark.parametrize("fuzzy", [True, False])
async def test_a_slip_has_a_span_that_says_how_alike_it_is_or_none_if_that_is_wanted(*, fuzzy: bool) -> None:
    found = await extracted(lambda _request, _pass: said("Alan Turing", "Grace Hoppper"), fuzzy=fuzzy)
    exact, slip = found.entities
    assert (exact.status, exact.similarity) == ("exact", 1.0)
    if fuzzy:
        assert (slip.status, slip.text) == ("fuzzy", "Grace Hopper")
        assert slip.similarity == pytest.approx(0.96, abs=0.01)
    else:
        assert (slip.status, slip.start, slip.similarity) == ("ungrounded", None, None)
