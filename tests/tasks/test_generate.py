"""A question is asked once, its answer is never lost, and a failure is never kept."""

import logging
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.base import Outcome
from backends.batching import ListBounds
from backends.errors import BackendError, BadRequestError, RateLimitError
from backends.messages import Label, Request, Response, Usage
from backends.scripted import Script, Scripted
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.errors import CacheMissError, CorruptEntryError
from cache.lookup import CacheMode, Lookup
from tasks.codec import encode_entry, encode_labels, encode_note, read_entry
from tasks.generate import Generator
from tasks.keys import request_digests, request_key
from tests.fake_vllm import FakeVLLM
from tests.helpers import Naps, chat, completion, completions, sampling, scoring

LABELS = (Label(text="True", token_ids=(1,)), Label(text="False", token_ids=(2,)))
RECIPE = "The secret ingredient is cinnamon"


def echo(request: Request) -> Response:
    scores = {label.text: -0.5 for label in request.labels}
    return Response(text=f"to {request.prompt}", finish_reason="stop", label_logprobs=scores)


def texts(responses: Sequence[Response]) -> list[str]:
    return [response.text for response in responses]


class Workplace:
    """A store that lasts, and generators on it as different runs would make them."""

    def __init__(self, directory: Path) -> None:
        self.store = DiskStore(directory)

    def run(
        self, script: Script = echo, mode: CacheMode = CacheMode.USE, *, max_prompts: int = 32
    ) -> tuple[Generator, Scripted]:
        backend = Scripted(script, max_prompts=max_prompts)
        return Generator(backend=backend, lookup=Lookup(self.store, mode)), backend

    def stored(self, requests: Sequence[Request]) -> list[bool]:
        entries = self.store.get([request_key(request) for request in requests]).entries
        return [request_key(request) in entries for request in requests]

    def damage(self, request: Request) -> None:
        connection = sqlite3.connect(self.store.directory / "cache.db")
        with connection:
            statement = "UPDATE Cache SET value = CAST(value || x'00' AS BLOB) WHERE key = ?"
            assert connection.execute(statement, [request_key(request)]).rowcount == 1
        connection.close()

    def bytes_on_disk(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.store.directory.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "store")


# --- asked once -----------------------------------------------------------------------------------------


async def test_a_second_call_asks_nobody(place: Workplace) -> None:
    first, asked = place.run()
    answers = await first(completions(5), purpose="test")
    second, asked_again = place.run()
    assert await second(completions(5), purpose="another purpose") == answers
    assert len(asked.asked) == 5
    assert asked_again.asked == []
    assert (second.tally.prompts, second.tally.hits, second.tally.sent) == (5, 5, 0)


async def test_only_what_is_missing_is_asked(place: Workplace) -> None:
    first, _ = place.run()
    await first(completions(3))
    second, backend = place.run()
    assert texts(await second(completions(5))) == [f"to question {number}" for number in range(5)]
    assert backend.asked == completions(5)[3:]


async def test_equal_requests_in_one_call_are_asked_once(place: Workplace) -> None:
    generate, backend = place.run()
    requests = [completion(text) for text in ("a", "b", "a", "a", "b")]
    assert texts(await generate(requests)) == ["to a", "to b", "to a", "to a", "to b"]
    assert [request.prompt for request in backend.asked] == ["a", "b"]
    assert generate.tally.sent == 2


async def test_answers_come_in_the_order_of_the_questions_whatever_comes_first(place: Workplace) -> None:
    with FakeVLLM() as server:
        server.faults([{"kind": "hang", "seconds": 0.3, "match": "question 0"}])
        async with VLLMServer(
            server.base_url, bounds=ListBounds(max_prompts=1), retrier=Naps().retrier()
        ) as backend:
            generate = Generator(backend=backend, lookup=Lookup(place.store))
            together = await generate(completions(4))
            alone = [
                (await Generator(backend=backend, lookup=Lookup(place.store, CacheMode.OFF))([request]))[0]
                for request in completions(4)
            ]
    assert together == alone
    assert len(set(texts(together))) == 4


async def test_no_questions_ask_nobody(place: Workplace) -> None:
    generate, backend = place.run()
    assert await generate([]) == []
    assert backend.asked == []


async def test_the_tally_counts_what_was_asked_and_what_it_cost(place: Workplace) -> None:
    generate, _ = place.run(max_prompts=2)
    await generate(completions(3))
    await generate(completions(5))
    tally = generate.tally
    assert (tally.prompts, tally.hits, tally.sent, tally.failed) == (8, 3, 5, 0)
    assert tally.requests == 3  # lists of 2 and 1, then one of 2
    assert tally.usage == Usage()


# --- failures -------------------------------------------------------------------------------------------


def failing(*prompts: str, error: BackendError | None = None) -> Script:
    def script(request: Request) -> Outcome:
        return (error or RateLimitError("slow down")) if request.prompt in prompts else echo(request)

    return script


@pytest.mark.parametrize("max_prompts", [1, 2, 32])
async def test_a_partial_failure_names_all_failures_and_keeps_the_other_answers(
    place: Workplace, max_prompts: int
) -> None:
    def script(request: Request) -> Outcome:
        reasons = {"question 1": RateLimitError("slow down"), "question 3": BadRequestError("too long")}
        return reasons.get(str(request.prompt)) or echo(request)

    generate, _ = place.run(script, max_prompts=max_prompts)
    with pytest.raises(ExceptionGroup, match=r"2 of 5 prompts have no answer \(first look\)") as caught:
        await generate(completions(5), purpose="first look")
    assert [type(error) for error in caught.value.exceptions] == [RateLimitError, BadRequestError]
    assert place.stored(completions(5)) == [True, False, True, False, True]
    assert (generate.tally.sent, generate.tally.failed) == (3, 2)


async def test_a_failure_is_never_stored_and_asked_again(place: Workplace) -> None:
    first, _ = place.run(failing("question 1", error=BadRequestError("too long")))
    with pytest.raises(ExceptionGroup):
        await first(completions(3))
    second, backend = place.run()
    assert texts(await second(completions(3))) == [f"to question {number}" for number in range(3)]
    assert backend.asked == completions(3)[1:2]


async def test_a_run_that_fails_may_go_on_asking(place: Workplace) -> None:
    generate, _ = place.run(failing("question 1"))
    with pytest.raises(ExceptionGroup):
        await generate(completions(2))
    assert texts(await generate([completion("another")])) == ["to another"]


class PulledPlugError(Exception):
    """The machine is gone."""


@pytest.mark.parametrize("call", [0, 1, 5, 11])
@pytest.mark.parametrize("max_prompts", [1, 3])
async def test_an_interrupted_run_resumes(place: Workplace, call: int, max_prompts: int) -> None:
    requests = completions(12)

    def dying(request: Request) -> Response:
        if request.prompt == f"question {call}":
            raise PulledPlugError
        return echo(request)

    first, _ = place.run(dying, max_prompts=max_prompts)
    with pytest.raises(PulledPlugError):
        await first(requests)
    whole_lists = call // max_prompts * max_prompts
    assert place.stored(requests) == [number < whole_lists for number in range(12)]

    second, backend = place.run(max_prompts=max_prompts)
    answers = await second(requests)
    assert backend.asked == requests[whole_lists:]
    assert answers == [echo(request) for request in requests]


# --- modes ----------------------------------------------------------------------------------------------


def unplugged(request: Request) -> Response:
    raise AssertionError(f"{request.prompt!r} was asked")


async def test_replay_needs_no_backend(place: Workplace) -> None:
    first, _ = place.run()
    answers = await first(completions(3))
    replay, _ = place.run(unplugged, CacheMode.REPLAY)
    assert await replay(completions(3)) == answers


async def test_replay_asks_nobody_for_what_is_missing(place: Workplace) -> None:
    first, _ = place.run()
    await first(completions(3))
    replay, _ = place.run(unplugged, CacheMode.REPLAY)
    with pytest.raises(CacheMissError, match="2 of 5 answers are not stored"):
        await replay(completions(5))


async def test_refresh_asks_once_and_replaces(place: Workplace) -> None:
    first, _ = place.run()
    await first(completions(2))
    refresh, backend = place.run(
        lambda request: Response(text=f"newly to {request.prompt}", finish_reason="stop"), CacheMode.REFRESH
    )
    for _ in range(2):
        assert texts(await refresh(completions(2))) == ["newly to question 0", "newly to question 1"]
    assert len(backend.asked) == 2
    replay, _ = place.run(unplugged, CacheMode.REPLAY)
    assert texts(await replay(completions(2))) == ["newly to question 0", "newly to question 1"]


async def test_off_leaves_no_trace(place: Workplace) -> None:
    off, backend = place.run(mode=CacheMode.OFF)
    await off(completions(2))
    await off(completions(2))
    assert len(backend.asked) == 4
    assert list(place.store.keys()) == []


async def test_a_damaged_entry_is_asked_again(place: Workplace, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = place.run()
    answers = await first(completions(3))
    place.damage(completions(3)[1])
    second, backend = place.run()
    with caplog.at_level(logging.WARNING):
        assert await second(completions(3)) == answers
    assert backend.asked == completions(3)[1:2]
    assert "is damaged and will be asked again" in caplog.text
    replay, _ = place.run(unplugged, CacheMode.REPLAY)
    assert await replay(completions(3)) == answers


OTHER_KINDS = [encode_labels(LABELS), encode_note("canary", []), encode_note("weights", "w"), b"[[]]"]


@pytest.mark.parametrize("entry", [*OTHER_KINDS, zlib.compress(b"{}"), zlib.compress(b"[]")])
async def test_an_entry_of_another_kind_under_an_answers_key_is_asked_again(
    place: Workplace, caplog: pytest.LogCaptureFixture, entry: bytes
) -> None:
    [request] = completions(1)
    place.store.put({request_key(request): entry})
    replay, _ = place.run(mode=CacheMode.REPLAY)
    with pytest.raises(CorruptEntryError, match="is damaged; run without replay"):
        await replay([request])
    generate, backend = place.run()
    assert texts(await generate([request])) == ["to question 0"]
    assert backend.asked == [request]
    assert "is damaged and will be asked again" in caplog.text
    assert texts(await replay([request])) == ["to question 0"]


@pytest.mark.parametrize("entry", [encode_note("canary", []), b"[5]", zlib.compress(b"{}")])
async def test_an_entry_of_another_kind_under_the_key_of_labels_is_asked_again(
    place: Workplace, entry: bytes
) -> None:
    generate, _ = place.run()
    found = await generate.find_labels("m", ["True"])
    place.store.put(dict.fromkeys(place.store.keys(), entry))
    again, _ = place.run()
    assert await again.find_labels("m", ["True"]) == found
    replay, _ = place.run(mode=CacheMode.REPLAY)
    assert await replay.find_labels("m", ["True"]) == found


async def test_an_answer_that_comes_late_gives_way_to_the_one_that_is_stored(place: Workplace) -> None:
    def overtaken(request: Request) -> Outcome:
        """Answer after another process has done so, that took this one for dead."""
        digests = request_digests(request)
        place.store.put({request_key(request): encode_entry(request, digests, echo(request), keep_text=True)})
        return Response(text="late", finish_reason="stop")

    async def answer(mode: CacheMode) -> str:
        late, _ = place.run(overtaken, mode)
        [response] = await late(completions(1))
        assert late.tally.sent == 1
        return response.text

    assert await answer(CacheMode.USE) == "to question 0"
    replay, _ = place.run(mode=CacheMode.REPLAY)
    assert texts(await replay(completions(1))) == ["to question 0"]
    assert await answer(CacheMode.REFRESH) == "late"
    assert texts(await replay(completions(1))) == ["late"]


async def test_a_damaged_entry_is_an_error_in_replay(place: Workplace) -> None:
    first, _ = place.run()
    await first(completions(3))
    place.damage(completions(3)[1])
    replay, _ = place.run(unplugged, CacheMode.REPLAY)
    with pytest.raises(CorruptEntryError, match=request_key(completions(3)[1])):
        await replay(completions(3))


# --- what is kept ---------------------------------------------------------------------------------------


async def test_a_scored_prompt_leaves_no_text_in_the_store(place: Workplace) -> None:
    generate, _ = place.run(lambda _: Response(text=" True", finish_reason="length"))
    request = scoring(RECIPE, LABELS)
    await generate([request])
    (entry,) = place.store.get([request_key(request)]).entries.values()
    assert "cinnamon" not in str(read_entry(entry))
    place.store.close()
    assert b"cinnamon" not in place.bytes_on_disk()


async def test_a_scored_prompt_is_kept_where_asked_for(place: Workplace) -> None:
    generate, _ = place.run()
    generate.keep_text = True
    request = scoring(RECIPE, LABELS)
    await generate([request])
    (entry,) = place.store.get([request_key(request)]).entries.values()
    assert read_entry(entry).get("request", {}).get("prompt") == RECIPE


@pytest.mark.parametrize("request_kept", [completion(RECIPE), chat(RECIPE, sampling=sampling(1))])
async def test_a_generation_is_kept_with_its_text(place: Workplace, request_kept: Request) -> None:
    generate, _ = place.run()
    await generate([request_kept])
    (entry,) = place.store.get([request_key(request_kept)]).entries.values()
    assert RECIPE in str(read_entry(entry).get("request"))


# --- labels ---------------------------------------------------------------------------------------------


class CountingLabels(Scripted):
    """Counts how often it was asked how to score labels."""

    looked = 0

    async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
        self.looked += 1
        return await super().find_labels(model, texts)


async def test_how_labels_are_scored_is_asked_once_and_stored(place: Workplace) -> None:
    backend = CountingLabels(echo)
    for generate in (Generator(backend=backend, lookup=Lookup(place.store)) for _ in range(3)):
        labels = await generate.find_labels("tiny", ["True", "False"])
        assert labels == (Label(text="True", token_ids=(0,)), Label(text="False", token_ids=(1,)))
    assert backend.looked == 1
    generate = Generator(backend=backend, lookup=Lookup(place.store))
    await generate.find_labels("tiny", ["False", "True"])
    await generate.find_labels("other", ["True", "False"])
    assert backend.looked == 3


async def test_labels_without_token_ids_are_not_stored_since_a_newer_server_may_do_better(
    place: Workplace,
) -> None:
    class OlderServer(CountingLabels):
        async def find_labels(self, model: str, texts: Sequence[str]) -> tuple[Label, ...]:
            exact = await super().find_labels(model, texts)
            return exact if self.looked > 1 else tuple(Label(text=text) for text in texts)

    generate = Generator(backend=(backend := OlderServer(echo)), lookup=Lookup(place.store))
    assert await generate.find_labels("tiny", ["True"]) == (Label(text="True"),)
    assert list(place.store.keys()) == []
    assert await generate.find_labels("tiny", ["True"]) == (Label(text="True", token_ids=(0,)),)
    await generate.find_labels("tiny", ["True"])
    assert backend.looked == 2


async def test_labels_by_text_ask_nobody(place: Workplace) -> None:
    backend = CountingLabels(echo)
    generate = Generator(backend=backend, lookup=Lookup(place.store))
    assert await generate.find_labels("tiny", ["True"], exact=False) == (Label(text="True"),)
    assert backend.looked == 0


async def test_labels_are_replayed_without_a_backend(place: Workplace) -> None:
    backend = CountingLabels(echo)
    await Generator(backend=backend, lookup=Lookup(place.store)).find_labels("tiny", ["True"])
    replay = Generator(backend=backend, lookup=Lookup(place.store, CacheMode.REPLAY))
    assert await replay.find_labels("tiny", ["True"])
    with pytest.raises(CacheMissError):
        await replay.find_labels("other", ["True"])
    assert backend.looked == 1


async def test_what_has_to_be_ready_is_awaited_before_anything_is_sent_and_only_then(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    backend = Scripted(echo)
    generator = Generator(backend=backend, lookup=Lookup(store))
    await generator(completions(2))

    async def refuse() -> None:
        raise ValueError("not ready")

    generator.prepare = refuse
    assert len(await generator(completions(2))) == 2  # both are stored
    with pytest.raises(ValueError, match="not ready"):
        await generator(completions(3))
    assert len(backend.asked) == 2
    store.close()
