"""Asking about documents: what broke is asked again in smaller parts, and no window is lost silently."""

import json
import re
from collections.abc import Callable, Sequence

import pytest

from backends.base import Outcome
from backends.errors import BadRequestError, ContextOverflowError, ServerGoneError
from backends.messages import Message, Request, Response, SamplingParams
from tasks.extraction.asking import LEAST_CHARACTERS, Answers, Asker, Settings
from tasks.extraction.spec import read_spec
from tasks.extraction.values import Document, Window
from tasks.extraction.windows import coverage

SPEC = read_spec({"name": "words", "description": "Find words.", "labels": [{"name": "word"}]})
TEXT = " ".join(f"word{number:04}" for number in range(200))  # 1,799 characters
CHUNK = re.compile(r"<text>\n(.*)\n</text>", re.DOTALL)

Write = Callable[[str, Request], Outcome]


def answered(text: str, finish_reason: str = "stop") -> Response:
    return Response(text=text, finish_reason=finish_reason)


def listing(chunk: str, *_: object) -> Response:
    """Answer with every word of the chunk."""
    items = [{"label": "word", "text": word} for word in chunk.split()]
    return answered(json.dumps({"entities": items}))


class Model:
    """Answers by a function of the chunk; remembers what it was asked."""

    def __init__(self, write: Write = listing) -> None:
        self.write = write
        self.rounds: list[list[Request]] = []
        self.purposes: list[str] = []

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        self.rounds.append(list(requests))
        self.purposes.append(purpose)
        return [self.write(chunk_of(one), one) for one in requests]

    @property
    def chunks(self) -> list[str]:
        return [chunk_of(one) for some in self.rounds for one in some]


def chunk_of(request: Request) -> str:
    users = [one.content for one in request.messages if one.role == "user" and CHUNK.search(one.content)]
    found = CHUNK.search(users[-1])
    assert found
    return found[1]


def whole(start: int, end: int) -> Window:
    return Window(start=start, end=end, context_start=start, context_end=end)


async def in_quarters(text: str, number: int) -> list[Window]:
    del number
    step = len(text) // 4 + 1
    return [whole(start, min(len(text), start + step + 20)) for start in range(0, len(text), step)]


async def in_one(text: str, number: int) -> list[Window]:
    del number
    return [whole(0, len(text))]


async def answers_of(  # noqa: PLR0913 - by keyword, and few are ever given
    model: Model,
    *,
    windows: Callable[..., object] = in_quarters,
    passes: int = 1,
    max_tokens: Callable[..., object] | None = None,
    retries: bool = True,
    text: str = TEXT,
    max_items: int | None = None,
    max_halvings: int = 2,
    overflowed: Callable[[], None] = lambda: None,
    document: str = "d",
) -> Answers:
    async def enough(messages: Sequence[Message]) -> int:
        del messages
        return 512

    settings = Settings(
        spec=SPEC,
        model="m",
        revision="r",
        sampling=SamplingParams(max_tokens=512, seed=7, temperature=0.1),
        json_schema="{}",
        max_items=max_items,
        max_halvings=max_halvings,
        passes=passes,
        overlap_characters=40,
    )
    asker = Asker(
        settings=settings,
        ask=model,
        windows=windows,  # pyright: ignore[reportArgumentType]
        max_tokens=max_tokens or enough,  # pyright: ignore[reportArgumentType]
        retries=retries,
        overflowed=overflowed,
    )
    return await asker.answers(Document(id=document, text=text))


def found(answers: Answers) -> set[str]:
    return {item.text for items in answers.items.values() for item in items}


def missed_by(answers: Answers) -> float:
    """Return the share of the text about which there is neither an answer nor a failure."""
    return 1 - coverage(TEXT, [*answers.answered, *(whole(one.start, one.end) for one in answers.failed)])


async def test_every_window_is_asked_about_once_and_all_at_a_time() -> None:
    model = Model()
    answers = await answers_of(model)
    assert [len(some) for some in model.rounds] == [4]
    assert found(answers) == set(TEXT.split()) | {word for chunk in model.chunks for word in chunk.split()}
    assert (answers.chunks, answers.asked, answers.failed) == (4, 4, [])
    assert coverage(TEXT, answers.answered) == 1.0
    assert model.purposes == ["d: 4 chunks"]


async def test_requests_are_those_of_the_settings_and_passes_differ() -> None:
    model = Model()
    await answers_of(model, passes=3)
    [requests] = model.rounds
    assert {(one.model, one.revision, one.json_schema, one.sampling.max_tokens) for one in requests} == {
        ("m", "r", "{}", 512)
    }
    drawn = [(one.sampling.seed, one.sampling.temperature) for one in requests[::4]]
    assert drawn == [(7, 0.1), (8, 0.7), (9, 0.7)]
    assert len({one.group for one in requests}) == 12


async def test_the_questions_about_different_documents_are_of_different_groups() -> None:
    model = Model()
    for document in ("d", "e"):
        await answers_of(model, document=document)
    groups = [{one.group for one in some} for some in model.rounds]
    assert not groups[0] & groups[1]


@pytest.mark.parametrize(
    "spoiled", ['{"entities": [{"label": "word", "text": "wor', '{"entities": [' + " \n" * 100]
)
async def test_an_answer_that_ran_into_its_limit_is_asked_for_in_halves(spoiled: str) -> None:
    model = Model(lambda chunk, _: answered(spoiled, "length") if len(chunk) > 600 else listing(chunk))
    answers = await answers_of(model, windows=in_one)
    assert [len(some) for some in model.rounds] == [1, 2, 4]
    assert found(answers) >= set(TEXT.split())
    assert (answers.failed, coverage(TEXT, answers.answered)) == ([], 1.0)
    assert answers.chunks == 1
    assert answers.asked == 7
    assert len(answers.windows) == 4
    assert model.purposes[1] == "d: 2 again"


async def test_every_question_of_a_pass_has_a_number_of_its_own_and_halves_stay_in_their_pass() -> None:
    model = Model(lambda chunk, _: answered("", "length") if len(chunk) > 1000 else listing(chunk))
    answers = await answers_of(model, windows=in_one, passes=2)
    assert sorted(answers.windows) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert sorted(answers.items) == sorted(answers.windows)


async def test_items_that_are_none_are_counted_in_all_answers() -> None:
    bad = '{"entities": [{"label": "nobody", "text": "a"}, {"label": "word", "text": "b"}]}'
    answers = await answers_of(Model(lambda _chunk, _: answered(bad)))
    assert answers.invalid == 4


async def test_halves_overlap_so_that_no_word_is_lost_at_the_cut() -> None:
    model = Model(lambda chunk, _: answered("", "length") if len(chunk) > 1000 else listing(chunk))
    await answers_of(model, windows=in_one)
    [left, right] = [chunk_of(one) for one in model.rounds[1]]
    assert set(left.split()) & set(right.split())
    assert set(left.split()) | set(right.split()) == set(TEXT.split())


async def test_an_answer_that_is_no_json_is_asked_for_once_more_with_what_was_wrong() -> None:
    model = Model(lambda chunk, one: listing(chunk) if len(one.messages) > 2 else answered("I cannot. \n\n"))
    answers = await answers_of(model)
    assert [len(some) for some in model.rounds] == [4, 4]
    [*_, said, complaint] = model.rounds[1][0].messages
    assert said.content == "I cannot."
    assert "no JSON" in complaint.content
    assert (answers.failed, coverage(TEXT, answers.answered)) == ([], 1.0)


async def test_of_a_long_answer_that_was_of_no_use_the_beginning_is_shown() -> None:
    model = Model(lambda _chunk, one: answered("[]" if len(one.messages) > 2 else "word " * 1000))
    await answers_of(model)
    [*_, said, _] = model.rounds[1][0].messages
    assert said.content == "word " * 400


async def test_a_chunk_that_always_fails_is_written_down_and_the_others_stay() -> None:
    model = Model(lambda chunk, _: answered("no") if "word0000" in chunk else listing(chunk))
    answers = await answers_of(model)
    [failed] = answers.failed
    assert (failed.start, failed.pass_number) == (0, 0)
    assert "no JSON" in failed.reason
    assert len(answers.answered) == 3
    assert sorted(answers.windows) == [(0, 1), (0, 2), (0, 3)]
    assert 0.7 < coverage(TEXT, answers.answered) < 0.8
    assert answers.asked == 5


async def test_what_is_complete_in_a_broken_answer_is_kept_when_nothing_else_comes() -> None:
    cut_off = '{"entities": [{"label": "word", "text": "word0001"}, {"label": "word", "text": "wor'
    model = Model(lambda _chunk, _: answered(cut_off, "length"))
    answers = await answers_of(model, windows=in_one)
    assert found(answers) == {"word0001"}
    assert answers.answered == []
    assert {one.reason for one in answers.failed} == {"the answer was cut off before its end"}
    assert [len(some) for some in model.rounds] == [1, 2, 4, 4]  # in quarters, and these once more
    assert len(answers.failed) == 4


@pytest.mark.parametrize("better", [2, 4])
async def test_of_two_broken_answers_the_one_with_more_complete_items_is_kept(better: int) -> None:
    one, two = (
        '[{"label": "word", "text": "c"}, {"text":',
        '[{"label": "word", "text": "a"}, {"label": "word", "text": "b"}, {"text":',
    )
    model = Model(lambda _, asked: answered(two if len(asked.messages) == better else one))
    answers = await answers_of(model)
    assert found(answers) == {"a", "b"}
    assert len(answers.failed) == 4


async def test_an_answer_as_long_as_it_may_be_is_counted() -> None:
    first = await answers_of(Model())
    longest = max(len(items) for items in first.items.values())
    kept = await answers_of(Model(), max_items=longest, max_halvings=0)
    assert kept.full > 0
    assert found(kept) == found(first)
    assert (await answers_of(Model(), max_items=longest + 1, max_halvings=0)).full == 0
    assert first.full == 0  # they may have as many as they like
    bad = Model(
        lambda _chunk, _: answered('[{"label": "nobody", "text": "a"}, {"label": "word", "text": "b"}]')
    )
    assert (await answers_of(bad, max_items=2)).full == 4


async def test_an_answer_as_long_as_it_may_be_is_asked_for_in_halves_so_that_nothing_is_lost() -> None:
    def write(chunk: str, _: Request) -> Outcome:
        items = [{"label": "word", "text": word} for word in chunk.split()]
        return answered(json.dumps({"entities": items[:60]}))

    model = Model(write)
    answers = await answers_of(model, windows=in_one, max_items=60)
    assert [len(some) for some in model.rounds] == [1, 2, 4]
    assert found(answers) >= set(TEXT.split())
    assert (answers.full, answers.failed, coverage(TEXT, answers.answered)) == (0, [], 1.0)
    assert answers.asked == 7
    estimate = Model(write)
    await answers_of(estimate, windows=in_one, max_items=60, retries=False)
    assert len(estimate.rounds) == 1


@pytest.mark.parametrize("words", [["elsewhere"], ["word0001"], ["word0001", "elsewhere", "nowhere"]])
async def test_an_answer_that_goes_on_about_nothing_is_not_asked_for_in_halves(words: list[str]) -> None:
    items = [{"label": "word", "text": words[n % len(words)]} for n in range(60)]
    model = Model(lambda _chunk, _: answered(json.dumps({"entities": items})))
    answers = await answers_of(model, windows=in_one, max_items=60)
    assert [len(some) for some in model.rounds] == [1]
    assert (answers.full, coverage(TEXT, answers.answered)) == (1, 1.0)


async def test_a_window_is_not_cut_into_less_than_an_entity_needs() -> None:
    model = Model(lambda _chunk, _: answered("", "length"))
    await answers_of(model, windows=in_one, text=TEXT[: 2 * LEAST_CHARACTERS])
    assert [len(some) for some in model.rounds] == [1, 1]


async def test_what_never_fits_is_cut_down_to_parts_in_which_an_entity_has_room() -> None:
    model = Model(lambda _chunk, _: ContextOverflowError("no"))
    answers = await answers_of(model, windows=in_one)
    assert all(200 <= one.end - one.start < 400 for one in answers.failed)
    assert missed_by(answers) == 0.0


async def test_a_question_that_the_server_refuses_is_a_failed_window() -> None:
    model = Model(lambda chunk, _: BadRequestError("no") if "word0000" in chunk else listing(chunk))
    answers = await answers_of(model)
    assert [one.reason for one in answers.failed] == ["BadRequestError: no"]
    assert answers.asked == 4


async def test_of_a_long_reason_the_beginning_is_told() -> None:
    answers = await answers_of(Model(lambda _chunk, _: BadRequestError("because " * 1000)))
    assert {len(one.reason) for one in answers.failed} == {300}
    assert all(one.reason.startswith("BadRequestError: because ") for one in answers.failed)


async def test_a_prompt_that_the_server_finds_too_long_is_asked_for_in_halves() -> None:
    model = Model(lambda chunk, _: ContextOverflowError("no") if len(chunk) > 600 else listing(chunk))
    answers = await answers_of(model, windows=in_one)
    assert [len(some) for some in model.rounds] == [1, 2, 4]
    assert (answers.failed, coverage(TEXT, answers.answered)) == ([], 1.0)


async def test_when_nobody_answers_it_ends_after_what_is_on_its_way() -> None:
    model = Model(lambda chunk, _: ServerGoneError("gone") if "word0000" in chunk else listing(chunk))
    with pytest.raises(ServerGoneError):
        await answers_of(model)
    assert len(model.rounds) == 1


async def test_a_prompt_that_does_not_fit_is_cut_before_it_is_sent() -> None:
    async def room_for_few(messages: Sequence[Message]) -> int:
        tokens = len(messages[-1].content)
        if tokens > 600:
            raise ContextOverflowError(f"{tokens} tokens")
        return 512

    def overflowed() -> None:
        nonlocal overflows
        overflows += 1

    model, overflows = Model(), 0
    answers = await answers_of(model, windows=in_one, max_tokens=room_for_few, overflowed=overflowed)
    assert 0 < max(map(len, model.chunks)) <= 600
    assert (answers.failed, coverage(TEXT, answers.answered)) == ([], 1.0)
    assert overflows == 3  # the whole text, and both of its halves


async def test_a_prompt_that_never_fits_is_a_failed_window_and_nothing_is_sent() -> None:
    async def no_room(messages: Sequence[Message]) -> int:
        raise ContextOverflowError(f"{len(messages)} tokens")

    model = Model()
    answers = await answers_of(model, max_tokens=no_room)
    assert model.rounds == []
    assert coverage(TEXT, answers.answered) == 0.0
    assert missed_by(answers) == 0.0
    assert all("tokens" in one.reason for one in answers.failed)


async def test_a_prompt_whose_tokens_cannot_be_counted_is_a_failed_window_and_the_others_are_sent() -> None:
    async def count(messages: Sequence[Message]) -> int:
        if "word0000" in messages[-1].content:
            raise BadRequestError("no")
        return 512

    model = Model()
    answers = await answers_of(model, max_tokens=count)
    assert [one.reason for one in answers.failed] == ["BadRequestError: no"]
    assert (len(answers.answered), answers.asked, model.purposes) == (3, 3, ["d: 3 chunks"])


async def test_a_document_that_cannot_be_cut_has_failed_as_a_whole() -> None:
    async def refused(text: str, number: int) -> list[Window]:
        raise BadRequestError(f"no: {len(text)} {number}")

    model = Model()
    answers = await answers_of(model, windows=refused)
    [failed] = answers.failed
    assert (failed.start, failed.end, failed.pass_number) == (0, len(TEXT), 0)
    assert (failed.reason, model.rounds) == (f"BadRequestError: no: {len(TEXT)} 0", [])


@pytest.mark.parametrize("what", ["windows", "max_tokens"])
async def test_when_nobody_counts_tokens_any_more_it_ends(what: str) -> None:
    async def gone(*_: object) -> None:
        raise ServerGoneError("gone")

    model = Model()
    with pytest.raises(ServerGoneError):
        await (answers_of(model, windows=gone) if what == "windows" else answers_of(model, max_tokens=gone))
    assert model.rounds == []


async def test_an_estimate_asks_nothing_again() -> None:
    model = Model(lambda _chunk, _: answered("", "length"))
    answers = await answers_of(model, retries=False)
    assert answers.asked == 4
    assert len(model.rounds) == 1


async def test_a_document_without_a_window_asks_nothing() -> None:
    async def none(text: str, number: int) -> list[Window]:
        del text, number
        return []

    model = Model()
    assert (await answers_of(model, windows=none, text="  ")).asked == 0
    assert model.rounds == []
