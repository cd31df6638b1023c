"""How much room a playbook has, and what goes for want of it; tokens are characters here."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Outcome
from backends.messages import Message, Request, Response, SamplingParams
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from flows.ace_models import Roles
from flows.ace_parameters import AceParameters
from flows.ace_room import REVIEW_TOKENS, TokenRoom, contexts_of, find_room, longest_of
from flows.ace_tidying import Tidying, open_tidying
from flows.answering import Answerer
from flows.model_serving import Serving
from flows.run import Run
from flows.settings import Settings, SettingsError
from tasks.ace.answers import Reflected
from tasks.ace.bullets import Bullet, Counts
from tasks.ace.playbook import Playbook, Section
from tasks.ace.playbook_text import parse
from tasks.ace.prompts import CURATOR, curator_messages, generator_messages, reflection_text
from tasks.ace.rendering import RENDERINGS, Rendering, in_tags
from tasks.ace.roles import Role
from tasks.ace.values import Question
from tasks.generate import Generator
from tests.tasks.ace.world import TASK, Asker, rows, tier

QUESTIONS = [row.question for row in rows(12)]
LONGEST = max(QUESTIONS, key=lambda one: len(one.text))
ANSWER = 300
LEAST = 4_500
"""Characters that the prompts need without a playbook, about."""


class Characters:
    """Satisfies TokenCounter."""

    async def count_text(self, text: str) -> int:
        return len(text)

    async def count_messages(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)


def nobody(request: Request) -> Outcome:
    raise AssertionError(request)


def role(name: str, *tokens: int, asker: Asker | None = None) -> Role:
    ask = asker or Asker(script=nobody)
    tiers = [
        tier(ask, f"m{number}" if number else "m", sampling=SamplingParams(max_tokens=most))
        for number, most in enumerate(tokens)
    ]
    return Role(name=name, tiers=tuple(tiers))


ROLES = Roles(
    generator=role("generator", ANSWER), reflector=role("reflector", 4000), curator=role("curator", ANSWER)
)


def filled(count: int, *, words: int = 8, votes: int = 0) -> Playbook:
    """Make a playbook of lessons in three sections, each with votes."""
    playbook = Playbook()
    for number in range(count):
        name = ("OTHERS", "FORMULAS & CALCULATIONS", "STRATEGIES & INSIGHTS")[number % 3]
        playbook, _ = playbook.add(name, f"lesson {number} says " + "much " * words, step=1)
    return playbook.tagged([(one, "helpful") for one in playbook.bullets] * votes, step=1)


def parameters(**given: Any) -> AceParameters:  # noqa: ANN401 - any field
    return AceParameters.model_validate({"refine": "off", **given})


async def tidying_of(
    given: AceParameters, contexts: Mapping[str, int], roles: Roles = ROLES, start: Playbook | None = None
) -> Tidying:
    counter = Characters()
    start = Playbook() if start is None else start
    room = await find_room(given, counter, roles, contexts, TASK, QUESTIONS, start)
    return Tidying(given, counter, room, roles.curator)


def review_of(characters: int) -> Reflected:
    empty = len(reflection_text(Reflected(key_insight="x"))) - 1
    return Reflected(key_insight="r" * (characters - empty))


async def in_generator(playbook: Playbook, rendering: Rendering) -> int:
    """Return what the longest question takes, asked again after a review, with its answer."""
    shown = in_tags(RENDERINGS[rendering](playbook))
    asked = generator_messages(TASK, shown, LONGEST, review=review_of(REVIEW_TOKENS - 100))
    return await Characters().count_messages(asked) + ANSWER


async def in_curator(playbook: Playbook, rendering: Rendering, room: str = "") -> int:
    """Return what one review takes, with the answer, after ten more votes for each bullet."""
    voted = playbook.tagged([(one, "helpful") for one in playbook.bullets] * 10, step=3)
    shown = in_tags(RENDERINGS[rendering](voted))
    reviews = [(LONGEST, review_of(REVIEW_TOKENS))]
    asked = curator_messages(TASK, shown, voted, reviews, room=room)
    return await Characters().count_messages(asked) + ANSWER


# --- Every prompt fits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rendering", ["append-only", "reference"])
@pytest.mark.parametrize("context", [LEAST, 6_000, 12_000, 24_000])
@pytest.mark.parametrize("votes", [0, 9])
async def test_whoever_is_shown_the_playbook_has_room_for_it(
    rendering: Rendering, context: int, votes: int
) -> None:
    tidying = await tidying_of(parameters(rendering=rendering), {"m": context})
    playbook, gone = await tidying(filled(400, votes=votes), 2)
    assert gone
    assert len(playbook) > (context - LEAST) / 200
    assert await in_generator(playbook, rendering) <= context
    curated = await in_curator(playbook, rendering, await tidying.room(playbook))
    assert 0.75 * context < curated <= context


@pytest.mark.parametrize("rendering", ["append-only", "reference"])
async def test_the_budget_is_of_what_is_shown(rendering: Rendering) -> None:
    tidying = await tidying_of(parameters(rendering=rendering, playbook_tokens=5_000), {})
    playbook, _ = await tidying(filled(300), 2)
    shown = len(RENDERINGS[rendering](playbook)) + 1
    assert 4_900 < shown <= 5_000
    assert await tidying.total(playbook) == shown


async def test_counts_cost_no_more_than_is_shown_of_them() -> None:
    """A list of counts is cut at a length, so that many short bullets may stay."""
    tidying = await tidying_of(parameters(), {"m": 24_000})
    playbook, _ = await tidying(filled(600, words=1, votes=9), 2)
    each = len('"misc-00001": [999, 999], ')
    assert len(playbook) * each > 1.5 * 6_000
    assert 22_000 < await in_curator(playbook, "append-only") <= 24_000


async def test_sections_take_room_in_the_prompts_of_the_curator() -> None:
    names = [f"A SECTION WITH QUITE A LONG NAME {number}" for number in range(12)]
    start = Playbook(sections=tuple(Section(heading=f"## {name}") for name in names))
    tidying = await tidying_of(parameters(), {"m": 9_000}, start=start)
    for number in range(200):
        start, _ = start.add(names[number % 12], f"lesson {number} of many", step=1)
    playbook, _ = await tidying(start, 2)
    assert len(playbook) > 12
    assert await in_curator(playbook, "append-only", await tidying.room(playbook)) <= 9_000


# --- Whose context it is --------------------------------------------------------------------------------


async def test_the_least_room_of_all_tiers_holds() -> None:
    usual = (await tidying_of(parameters(), {"m": 9_000})).max_tokens

    async def room(contexts: Mapping[str, int], **roles: Role) -> int:
        return (await tidying_of(parameters(), contexts, replace(ROLES, **roles))).max_tokens

    long_answers = role("curator", ANSWER, ANSWER + 500)
    assert await room({"m": 9_000, "m1": 9_000}, curator=long_answers) == usual - 500
    assert await room({"m": 9_000, "m1": 8_000}, curator=role("curator", ANSWER, ANSWER)) == usual - 1_000
    assert await room({"m": 9_000, "m1": 5_000}, generator=role("generator", ANSWER, ANSWER)) < usual
    assert await room({"m": 9_000}, curator=long_answers) == usual  # nothing is known of the other
    assert await room({"m": 9_000, "m1": 5_000}, reflector=role("reflector", 4_000, 4_000)) == usual


async def test_a_review_is_no_longer_than_its_reviewer_may_write() -> None:
    usual = (await tidying_of(parameters(), {"m": 9_000})).max_tokens
    short = replace(ROLES, reflector=role("reflector", 100))
    assert (await tidying_of(parameters(), {"m": 9_000}, short)).max_tokens == usual + REVIEW_TOKENS - 100
    free = await tidying_of(parameters(structured_output=False), {"m": 9_000})
    assert free.max_tokens == usual - 1_200


@pytest.mark.parametrize(
    ("context", "who"),
    [(1_000, "question .row r10. takes .* for the generator"), (2_900, "review .* the curator")],
)
async def test_a_context_that_holds_no_playbook_is_refused(context: int, who: str) -> None:
    with pytest.raises(SettingsError, match=rf"'m' has {context:,} tokens.*{who}.*no room for a playbook"):
        await tidying_of(parameters(), {"m": context})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    contexts = {"m": 9_000, "m1": 5_000, "adapter": None}

    async def said(run: Run) -> Serving | None:
        found = contexts.get(run.model, -1)
        return None if found == -1 else Serving(root="elsewhere", max_model_len=found)

    async def counter(run: Run, serving: Serving | None) -> Characters:
        del run, serving
        return Characters()

    for module in ("flows.ace_room", "flows.ace_tidying"):
        monkeypatch.setattr(f"{module}.serving_of", said)
    monkeypatch.setattr("flows.ace_tidying.token_counter", counter)
    monkeypatch.setattr("flows.ace_tidying.get_run_logger", lambda: logging.getLogger("a run"))
    server = VLLMServer("http://127.0.0.1:9")
    with closing(DiskStore(tmp_path / "store")) as store:
        yield Run(
            parameters=parameters(),
            settings=Settings(),
            model="m",
            revision="r",
            generator=Generator(backend=server, lookup=Lookup(store, CacheMode.USE)),
            prices={},
            store=store,
            answerer=Answerer(model="m", revision="r"),
        )


async def test_contexts_are_those_of_the_models_of_this_server(run: Run) -> None:
    given = parameters(
        model="m",
        generator=[{"model": "adapter"}, {"model": "m1"}],
        curator=[{}, {"model": "openai:m2"}],
    )
    own = Serving(root="elsewhere", max_model_len=9_000)
    assert await contexts_of(given, run, own) == {"m": 9_000, "adapter": 9_000, "m1": 5_000}
    unknown = replace(own, max_model_len=None)
    assert await contexts_of(given, run, unknown) == {"m1": 5_000}


async def test_opening_asks_for_the_contexts_and_says_what_they_leave(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="a run")
    two = replace(ROLES, curator=role("curator", ANSWER, ANSWER))
    given = parameters(model="m", curator=[{}, {"model": "m1"}])
    tidying = await open_tidying(given, run, two, TASK, QUESTIONS)
    assert tidying.max_tokens == (await tidying_of(given, {"m": 9_000, "m1": 5_000}, two)).max_tokens
    assert caplog.messages == [
        f"the playbook may have {tidying.max_tokens:,} tokens, since the context has 5,000"
    ]
    named = Playbook(sections=(Section(heading="## " + "A NAME " * 50),))
    other = await open_tidying(given, run, two, TASK, QUESTIONS, named)
    assert other.max_tokens == (await tidying_of(given, {"m1": 5_000}, two, named)).max_tokens
    small = await open_tidying(given.model_copy(update={"playbook_tokens": 9}), run, two, TASK, QUESTIONS)
    assert (small.max_tokens, len(caplog.messages)) == (9, 2)


# --- The playbook to begin with -------------------------------------------------------------------------


async def test_a_playbook_to_begin_with_is_made_to_fit_and_that_is_said() -> None:
    tidying = await tidying_of(parameters(playbook_tokens=2_000), {})
    start = filled(300).tagged([("misc-00001", "helpful")], step=1)
    left, note = await tidying.fit(start)
    assert await tidying.total(left) <= 2_000
    assert "misc-00001" in left.bullets
    gone = 300 - len(left)
    assert note
    assert note.startswith(f"{gone} of the 300 bullets of the playbook to begin with were left out")
    assert f"{await tidying.total(start):,} tokens" in note
    assert "room for 2,000" in note
    assert await tidying.fit(left) == (left, None)


async def test_the_curators_room_holds_for_a_playbook_to_begin_with() -> None:
    tidying = await tidying_of(parameters(), {"m": LEAST})
    left, note = await tidying.fit(filled(300, votes=3))
    assert note
    assert len(left) > 0
    assert await in_curator(left, "append-only", await tidying.room(left)) <= LEAST


async def test_what_is_given_is_not_judged_before_anything_was_seen() -> None:
    start = parse("## OTHERS\n[misc-00001] helpful=0 harmful=9 :: Perhaps.\n").playbook
    tidying = await tidying_of(parameters(max_harmful=1), {})
    assert await tidying.fit(start) == (start, None)
    assert [change.by for change in (await tidying(start, 1))[1]] == ["harmful"]


# --- In place of a playbook -----------------------------------------------------------------------------


async def test_what_is_shown_in_place_of_a_playbook_has_the_generators_room() -> None:
    tidying = await tidying_of(parameters(playbook_tokens=10), {"m": 6_000})
    alone = generator_messages(TASK, in_tags(""), LONGEST)
    most = 6_000 - ANSWER - await Characters().count_messages(alone)
    assert await tidying.fits_instead("x" * most)
    assert not await tidying.fits_instead("x" * (most + 1))
    assert await (await tidying_of(parameters(), {})).fits_instead("x" * 10**6)


# --- What is told, merged and pruned --------------------------------------------------------------------


async def test_the_curator_is_told_of_a_playbook_that_is_nearly_full() -> None:
    tidying = await tidying_of(parameters(playbook_tokens=1_000), {})
    full = (await tidying(filled(100), 2))[0]
    total = await tidying.total(full)
    assert await tidying.room(full) == (
        f"The playbook has {total:,} of at most 1,000 tokens: prefer UPDATE, MERGE and REMOVE to ADD."
    )
    assert await tidying.room(filled(3)) == ""


async def test_counts_that_fill_a_curators_context_are_told_of_too() -> None:
    room = TokenRoom(playbook=10_000, curated=1_000, counts=6_000)
    tidying = Tidying(parameters(), Characters(), room, ROLES.curator)
    playbook = filled(11)
    total = await tidying.total(playbook)
    beside = 11 * len('"misc-00001": [99, 99], ')
    said = await tidying.room(playbook)
    assert f"has {total:,} of at most" in said
    assert abs(int(said.split("at most ")[1].split(" ")[0]) - (1_000 - beside)) < 20


SAME = ("Always check the units of the answer.", "Always check the unit of the answer.")


def twins() -> Playbook:
    bullets = tuple(Bullet(id=f"misc-{number:05d}", text=text) for number, text in enumerate(SAME, 1))
    counts = {bullet.id: Counts(helpful=1) for bullet in bullets}
    return Playbook(sections=(Section(heading="## OTHERS", lines=bullets),), counts=counts, next_number=3)


@dataclass(frozen=True)
class Merging:
    given: Mapping[str, Any]
    left: int


@pytest.mark.parametrize(
    "case",
    [
        Merging({"refine": "eager"}, 1),
        Merging({"refine": "off"}, 2),
        Merging({"refine": "lazy"}, 2),
        Merging({"refine": "lazy", "playbook_tokens": 115}, 1),
        Merging({"refine": "eager", "similarity_threshold": 1.0}, 2),
    ],
    ids=lambda case: str(case.given),
)
async def test_duplicates_are_merged_when_the_parameters_say(case: Merging) -> None:
    tidying = await tidying_of(parameters(**case.given), {})
    playbook, changes = await tidying(twins(), 2)
    assert len(playbook) == case.left
    assert {change.by for change in changes} == ({"duplicate"} if case.left == 1 else set())
    assert sum(counts.helpful for counts in playbook.counts.values()) == 2


async def test_the_curator_merges_where_it_is_to() -> None:
    def merge(request: Request) -> Outcome:
        assert CURATOR not in str(request.messages)
        said = {"same": [["misc-00001", "misc-00002"]], "content": "Check units."}
        return Response(text=json.dumps(said), finish_reason="stop")

    asker = Asker(script=merge)
    roles = replace(ROLES, curator=role("curator", ANSWER, asker=asker))
    tidying = await tidying_of(parameters(refine="eager", merge_by="curator"), {}, roles)
    await tidying(twins(), 2)
    [(purpose, [request])] = asker.asked
    assert purpose.startswith("curator: ")
    assert (request.model, request.sampling.max_tokens) == ("m", ANSWER)


@pytest.mark.parametrize(("most", "left"), [(3, 0), (4, 1)])
async def test_how_much_harm_is_too_much_is_a_parameter(most: int, left: int) -> None:
    playbook = filled(1)
    harmed = playbook.tagged([(name, "harmful") for name in playbook.bullets] * 3, step=1)
    tidying = await tidying_of(parameters(max_harmful=most), {})
    assert len((await tidying(harmed, 2))[0]) == left


async def test_bullets_of_the_present_step_stay_before_older_ones() -> None:
    playbook, new = filled(3).add("others", "lesson that is new " * 3, step=7)
    most = 2 * len(f"[{new.id}] {new.text}\n")
    tidying = await tidying_of(parameters(playbook_tokens=most), {})
    assert new.id in (await tidying(playbook, 7))[0].bullets


async def test_the_longest_question_is_the_one_with_the_most_tokens() -> None:
    class Digits(Characters):
        """A tokenizer to which a digit is a token, and five letters are."""

        async def count_messages(self, messages: Sequence[Message]) -> int:
            text = "".join(message.content for message in messages)
            return sum(one.isdigit() for one in text) + len(text) // 5

    prose = [Question(id=f"p{n}", text="a long question in words " * 40) for n in range(20)]
    digits = Question(id="d", text="0123456789" * 50)
    assert len(digits.text) < len(prose[0].text)
    assert (await longest_of(Digits(), TASK, [*prose, digits])).id == "d"
    assert (await longest_of(Characters(), TASK, [*prose, digits])).id == "p0"
