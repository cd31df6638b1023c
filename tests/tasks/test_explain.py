"""Of every call it can be said why it was no hit: in which fields the nearest stored request differs."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Outcome
from backends.errors import BadRequestError
from backends.messages import Label, Request, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.journal import Row
from cache.lookup import CacheMode, Lookup
from tasks import explain as explaining
from tasks.explain import Explained, explain
from tasks.generate import Generator
from tasks.keys import key_requests, request_key
from tests.helpers import chat, completion, completions, sampling, scoring

LABELS = (Label(text="True", token_ids=(1,)), Label(text="False", token_ids=(2,)))
ASK = completion("What is the colour of the sky?", sampling=sampling(8, temperature=0.0))


class RowList:
    """A journal in a list."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def write(self, rows: Iterable[Row]) -> None:
        self.rows += rows


class Place:
    """A store, and runs on it."""

    def __init__(self, directory: Path) -> None:
        self.store = DiskStore(directory)

    async def run(self, *requests: Request, mode: CacheMode = CacheMode.USE) -> list[Explained]:
        """Ask in one call, as a run of its own, and explain it."""
        return await self.run_calls([requests], mode=mode)

    async def run_calls(
        self, calls: Sequence[Sequence[Request]], *, mode: CacheMode = CacheMode.USE
    ) -> list[Explained]:
        journal = RowList()
        journal.rows.append({"event": "run", "time": 0.0, "cache_mode": str(mode)})
        generate = Generator(backend=Scripted(_answer), lookup=Lookup(self.store, mode), journal=journal)
        for requests in calls:
            await generate.outcomes(key_requests(requests), "looking")
        return list(explain(journal.rows, self.store))

    def rewrite(self, request: Request, change: dict[str, str]) -> None:
        """Give a stored entry other digests, as another version of the keys would."""
        key = request_key(request)
        [written] = self.store.get([key]).entries.values()
        entry = json.loads(zlib.decompress(written))
        entry["digests"] = change
        self.store.put({key: zlib.compress(json.dumps(entry).encode())})

    def digests(self, request: Request) -> dict[str, str]:
        [written] = self.store.get([request_key(request)]).entries.values()
        return dict(json.loads(zlib.decompress(written))["digests"])


def _answer(request: Request) -> Outcome:
    if request.prompt == "bad":
        return BadRequestError("the prompt 'bad' is bad", status_code=400)
    return Response(text="blue", finish_reason="stop")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store")


async def why_not(place: Place, before: Request, now: Request) -> str:
    """Ask one thing in a run, another in a second run, and return why the second was no hit."""
    await place.run(before)
    [call] = await place.run(now)
    assert (call.outcome, call.key, call.task) == ("computed", request_key(now), "looking")
    assert call.nearest in {request_key(before), None}
    return call.reason


async def test_a_hit_a_repetition_and_a_failure_are_named(place: Place) -> None:
    await place.run(ASK)
    calls = await place.run(ASK, completion("new"), completion("new"), completion("bad"))
    assert {(one.outcome, one.reason) for one in calls} == {
        ("hit", "its answer was stored"),
        ("computed", "no request with this prompt was stored"),
        ("shared", "the same question was on its way already"),
        ("failed", "BadRequestError (HTTP 400)"),
    }
    assert len(calls) == 4


async def test_the_first_run_of_all_finds_nothing_like_it(place: Place) -> None:
    calls = await place.run(*completions(3))
    assert {one.reason for one in calls} == {"no request with this prompt was stored"}


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (
            replace(ASK, sampling=sampling(8, temperature=0.7)),
            "same prompt, other temperature (0.0 before, 0.7 now)",
        ),
        (replace(ASK, model="other"), 'same prompt, other model ("fake-model" before, "other" now)'),
        (replace(ASK, revision="v2"), 'same prompt, other revision (null before, "v2" now)'),
        (
            replace(ASK, sampling=sampling(8, stop=("\n",))),
            'same prompt, other stop ([] before, ["\\n"] now)',
        ),
        (replace(ASK, sample_index=3), "same prompt, other sample_index (0 before, 3 now)"),
        (replace(ASK, logprobs=2), "same prompt, other logprobs (null before, 2 now)"),
        (replace(ASK, json_schema="{}"), "same prompt, other json_schema"),
        (replace(ASK, labels=LABELS), "same prompt, other labels"),
        (
            replace(ASK, sampling=sampling(9, extra_body={"top_k": 5})),
            'same prompt, other max_tokens (8 before, 9 now), other extra_body ({} before, {"top_k": 5} now)',
        ),
        (chat("What is the colour of the sky?"), "no request with this prompt was stored"),
        (completion("What is the colour of the sky? "), "no request with this prompt was stored"),
    ],
    ids=lambda value: None if isinstance(value, Request) else value[:40],
)
async def test_the_field_that_differs_is_named_with_its_values(
    place: Place, now: Request, reason: str
) -> None:
    assert await why_not(place, ASK, now) == reason


async def test_a_label_score_whose_text_is_not_kept_is_explained_with_values_too(place: Place) -> None:
    before = scoring("Claim: green. True or False?", LABELS)
    now = replace(before, sampling=sampling(1, temperature=1.0), revision="v2")
    assert await why_not(place, before, now) == (
        'same prompt, other revision (null before, "v2" now), other temperature (0.0 before, 1.0 now)'
    )


async def test_conversations_are_compared_like_prompts(place: Place) -> None:
    now = chat("Hello", sampling=sampling(8, seed=1))
    assert await why_not(place, chat("Hello"), now) == "same prompt, other seed (0 before, 1 now)"


async def test_a_long_value_is_cut(place: Place) -> None:
    reason = await why_not(place, ASK, replace(ASK, sampling=sampling(8, stop=("x" * 5000,))))
    assert len(reason) < 150
    assert "..." in reason


async def test_the_nearest_differs_in_the_fewest_fields(place: Place) -> None:
    near, far = replace(ASK, model="other"), replace(ASK, model="other", revision="v9", sample_index=4)
    await place.run(near)
    await place.run(far)
    [call] = await place.run(ASK)
    assert call.nearest == request_key(near)
    assert call.reason == 'same prompt, other model ("other" before, "fake-model" now)'


async def test_what_was_there_before_the_run_is_nearer_than_what_the_run_asked_itself(place: Place) -> None:
    """Samples of one prompt are drawn one after another; what changed is the temperature, not the sample."""
    await place.run(ASK)
    warm = replace(ASK, sampling=sampling(8, temperature=0.7))
    calls = await place.run_calls([[warm], [replace(warm, sample_index=1)]])
    assert [call.nearest for call in calls] == [request_key(ASK)] * 2
    assert "other temperature" in calls[1].reason


async def test_what_was_stored_later_explains_nothing(place: Place) -> None:
    journal_of_the_first = RowList()
    generate = Generator(backend=Scripted(_answer), lookup=Lookup(place.store), journal=journal_of_the_first)
    await generate([ASK])
    await place.run(replace(ASK, model="later"))
    [call] = explain(journal_of_the_first.rows, place.store)
    assert call.reason == "no request with this prompt was stored"


async def test_a_damaged_entry_is_the_reason(place: Place) -> None:
    await place.run(ASK)
    connection = sqlite3.connect(place.store.directory / "cache.db")
    with connection:
        connection.execute("UPDATE Cache SET value = CAST(value || x'00' AS BLOB)")
    connection.close()
    [call] = await place.run(ASK)
    assert (call.outcome, call.reason) == ("computed", "its stored answer was damaged")


@pytest.mark.parametrize("mode", [CacheMode.REFRESH, CacheMode.OFF])
async def test_a_run_that_did_not_look_is_explained_by_its_mode(place: Place, mode: CacheMode) -> None:
    await place.run(ASK)
    [call] = await place.run(ASK, mode=mode)
    assert call.outcome == "computed"
    assert call.reason.startswith(f"cache_mode was {mode}, which")


async def test_an_answer_that_is_gone_cannot_be_compared(place: Place) -> None:
    journal = RowList()
    await Generator(backend=Scripted(_answer), lookup=Lookup(place.store), journal=journal)([ASK])
    place.store.delete([request_key(ASK)])
    [call] = explain(journal.rows, place.store)
    assert call.reason == "its answer is not stored any more, so nothing can be compared"


async def test_an_entry_of_an_older_version_of_the_keys_is_recognised(place: Place) -> None:
    old = replace(ASK, model="fake-model-as-it-was-named-then")
    await place.run(old)
    digests = place.digests(old)
    place.rewrite(
        old, {name: one for name, one in digests.items() if name not in {"logprobs", "json_schema"}}
    )
    [call] = await place.run(ASK)
    assert call.reason == (
        "the same prompt is stored under an older version of the keys (json_schema, logprobs, model)"
    )


async def test_a_request_that_is_equal_in_all_fields_was_named_by_another_version(place: Place) -> None:
    other = replace(ASK, model="other")
    await place.run(other, completion("another"))
    await place.run(ASK)
    digests = place.digests(ASK)
    place.store.delete([request_key(ASK)])
    place.rewrite(other, digests)
    [call] = await place.run(ASK)
    assert call.reason == "the same request is stored under another version of the keys"


async def test_entries_of_another_kind_and_unknown_rows_are_passed_over(place: Place) -> None:
    generate = Generator(backend=Scripted(_answer), lookup=Lookup(place.store))
    await generate.find_labels("tiny", ["True", "False"])
    [call] = await place.run(ASK)
    assert call.reason == "no request with this prompt was stored"
    assert list(explain([{"event": "news"}, {"time": 1.0}], place.store)) == []


async def test_many_calls_are_explained_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "CHUNK", 7)
    monkeypatch.setattr(explaining, "BLOCK", 3)
    monkeypatch.setattr(explaining, "MAX_WAYS", 2)
    before = [replace(one, model=model) for one in completions(20) for model in ("a", "b", "c")]
    await place.run(*before)
    calls = await place.run(*completions(20))
    assert [call.key for call in calls] == [request_key(one) for one in completions(20)]
    assert {call.reason for call in calls} == {'same prompt, other model ("c" before, "fake-model" now)'}
