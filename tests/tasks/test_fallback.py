"""Another model answers only if asked to, only when the server is gone, and under its own name."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Outcome
from backends.errors import BadRequestError, ServerGoneError
from backends.messages import Label, Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from tasks.generate import Fallback, Generator
from tests.helpers import completion, completions, scoring


def to_other(request: Request) -> Request:
    labels = tuple(Label(text=label.text) for label in request.labels)
    return replace(request, model="other", revision="api", labels=labels)


def says(name: str) -> Scripted:
    return Scripted(lambda _: Response(text=name, finish_reason="stop"))


def goes_after(count: int) -> Scripted:
    """Answers some requests, then is gone."""
    backend: Scripted

    def script(request: Request) -> Outcome:
        if backend.asked.index(request) < count:
            return Response(text="vllm", finish_reason="stop")
        return ServerGoneError("away")

    backend = Scripted(script)
    return backend


async def test_without_a_fallback_what_the_server_did_not_answer_fails(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    with pytest.raises(ExceptionGroup, match="away"):
        await Generator(backend=goes_after(2), lookup=Lookup(store))(completions(5))
    store.close()


async def test_the_fallback_answers_the_rest_under_its_own_key(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    other = Generator(backend=says("other"), lookup=Lookup(store))
    fallback = Fallback(name="openai:other", generator=other, translate=to_other)
    generator = Generator(backend=goes_after(2), lookup=Lookup(store), fallback=fallback)
    answers = await generator(completions(5))
    assert [one.text for one in answers] == ["vllm"] * 2 + ["other"] * 3
    assert [one.stand_in for one in answers] == [None] * 2 + ["openai:other"] * 3
    assert generator.tally.stand_ins == {"openai:other": 3}
    assert other.tally.sent == 3
    # The server is back: nothing of the other model is taken for its answer.
    back = says("vllm")
    assert {one.text for one in await Generator(backend=back, lookup=Lookup(store))(completions(5))} == {
        "vllm"
    }
    assert len(back.asked) == 3
    store.close()


async def test_answers_of_the_fallback_are_stored_too(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    backend = says("other")
    for _ in range(2):
        fallback = Fallback(
            name="openai:other",
            generator=Generator(backend=backend, lookup=Lookup(store)),
            translate=to_other,
        )
        await Generator(backend=goes_after(0), lookup=Lookup(store), fallback=fallback)(completions(5))
    assert len(backend.asked) == 5
    store.close()


async def test_a_bad_question_is_not_passed_on(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    other = says("other")
    fallback = Fallback(
        name="openai:other", generator=Generator(backend=other, lookup=Lookup(store)), translate=to_other
    )
    backend = Scripted(lambda _: BadRequestError("too long"))
    with pytest.raises(ExceptionGroup, match="too long"):
        await Generator(backend=backend, lookup=Lookup(store), fallback=fallback)([completion("a")])
    assert other.asked == []
    store.close()


async def test_labels_reach_the_fallback_as_it_can_score_them(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    other = says("other")
    fallback = Fallback(
        name="openai:other", generator=Generator(backend=other, lookup=Lookup(store)), translate=to_other
    )
    exact = (Label(text="True", token_ids=(1,)), Label(text="False", token_ids=(2,)))
    await Generator(backend=goes_after(0), lookup=Lookup(store), fallback=fallback)([scoring("a", exact)])
    assert other.asked[0].labels == (Label(text="True"), Label(text="False"))
    store.close()
