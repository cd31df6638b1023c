import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from tasks.ace.bullets import Bullet, Counts
from tasks.ace.deltas import Change, removal
from tasks.ace.playbook import EditError, Playbook, Section
from tasks.ace.pruning import COUNTED_AT_ONCE, PlaybookTokens, prune
from tasks.ace.rendering import Rendering, append_only, reference_lines, shown_line
from tasks.tokens.counting import LocalCounter
from tests.tasks.ace.playbooks import playbooks, read_playbooks
from tests.tasks.extraction.made_tokens import SPOKEN, small_tokenizer

MODEL = os.environ.get("VLLM_TEST_MODEL")
"""A folder with a tokenizer, as `make test` names it; read here since tests do not see the environment."""

AS_LATER_MODELS = Regex(
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 and Qwen cut a text: unlike GPT-2, they join a newline to the sign before it."""


def later_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(AS_LATER_MODELS, "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f"{SPOKEN.strip()}\n[misc-00001] (Inc.)\n"] * 5, trainer)
    assert ".Ċ" in tokenizer.get_vocab()
    return tokenizer


def tokenizer_of_the_model() -> Tokenizer:
    if not MODEL:
        pytest.skip("needs a model's tokenizer; `make test` names its folder")
    return Tokenizer.from_file(str(Path(MODEL) / "tokenizer.json"))


@pytest.mark.parametrize("make", [small_tokenizer, later_tokenizer, tokenizer_of_the_model])
def test_the_sum_over_lines_is_what_the_whole_has(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    counter = LocalCounter(tokenizer)
    shared = PlaybookTokens(counter.count_text)

    @settings(deadline=None)
    @given(st.one_of(playbooks(), read_playbooks()), st.sampled_from([SPOKEN, "1,000.", "a  -", "“Höhe”"]))
    def check(playbook: Playbook, text: str) -> None:
        with suppress(EditError):
            playbook, _ = playbook.add("others", text)
        whole = f"{append_only(playbook)}\n" if playbook.bullets else ""
        wanted = len(tokenizer.encode(whole, add_special_tokens=False))
        for tokens in (shared, PlaybookTokens(counter.count_text)):
            assert asyncio.run(tokens.total(playbook)) == wanted

    check()


class Characters:
    """Counts characters, and remembers what it was asked and how much of it at a time."""

    def __init__(self) -> None:
        self.asked = list[str]()
        self.now = self.most = 0

    async def count(self, text: str) -> int:
        self.asked.append(text)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return len(text)


def many(count: int, playbook: Playbook | None = None) -> Playbook:
    playbook = playbook or Playbook()
    for _ in range(count):
        playbook, _ = playbook.add("others", f"lesson {playbook.next_number}", step=1)
    return playbook


async def test_a_line_is_counted_once_whatever_else_changes() -> None:
    characters = Characters()
    tokens = PlaybookTokens(characters.count)
    before = many(20)
    found = await tokens.of_bullets(before)

    assert found == {bullet.id: len(shown_line(bullet)) + 1 for bullet in before.by_age}
    assert len(characters.asked) == 20
    after = many(3, before.remove(["misc-00004"])).update("misc-00002", "another", step=2)
    assert await tokens.total(after) == len(append_only(after)) + 1
    assert len(characters.asked) == 24
    await tokens.total(before.tagged([("misc-00001", "helpful")], step=3))
    assert len(characters.asked) == 24


async def test_lines_are_counted_together_but_not_all_of_them() -> None:
    characters = Characters()
    await PlaybookTokens(characters.count).total(many(3 * COUNTED_AT_ONCE))
    assert characters.most == COUNTED_AT_ONCE


async def test_what_a_counter_raises_is_raised_and_nothing_goes_on_behind_it() -> None:
    characters = Characters()
    playbook = many(3 * COUNTED_AT_ONCE)

    async def broken(text: str) -> int:
        if text.startswith("[misc-00003]"):
            raise ConnectionError("nobody there")
        return await characters.count(text)

    tokens = PlaybookTokens(broken)
    with pytest.raises(ConnectionError, match="nobody there"):
        await tokens.total(playbook)
    assert len(asyncio.all_tasks()) == 1
    assert await PlaybookTokens(characters.count).total(Playbook()) == 0


def playbook_of(**counts: Counts) -> Playbook:
    """Make a playbook of bullets named by a letter, the first the oldest, each of ten tokens."""
    named = {f"{name}-{number:05d}": one for number, (name, one) in enumerate(counts.items(), 1)}
    bullets = tuple(Bullet(id=name, text=name) for name in reversed(named))
    return Playbook(
        sections=(Section(heading="## OTHERS", lines=bullets),), counts=named, next_number=len(named) + 1
    )


def pruned(
    playbook: Playbook, *, max_tokens: int = 10**6, step: int = 9, max_harmful: int = 3
) -> tuple[str, list[tuple[str, str]]]:
    tokens = dict.fromkeys(playbook.bullets, 10)
    after, changes = prune(playbook, tokens, max_tokens=max_tokens, step=step, max_harmful=max_harmful)
    return "".join(bullet.id[0] for bullet in after.by_age), [
        ((one.bullet_id or "")[0], one.by) for one in changes
    ]


HARM = {
    "a": Counts(helpful=2, harmful=3),
    "b": Counts(helpful=3, harmful=3),
    "c": Counts(helpful=0, harmful=2),
    "d": Counts(helpful=0, harmful=9),
}


def test_what_harms_goes_though_there_is_room() -> None:
    assert pruned(playbook_of(**HARM)) == ("bc", [("a", "harmful"), ("d", "harmful")])


@pytest.mark.parametrize(("max_harmful", "left"), [(1, "b"), (2, "b"), (4, "abc"), (10, "abcd")])
def test_how_much_harm_is_too_much_can_be_said(max_harmful: int, left: str) -> None:
    assert pruned(playbook_of(**HARM), max_harmful=max_harmful)[0] == left


WORTH = {
    "a": Counts(helpful=1, harmful=2, born=1, used=8),  # least net help
    "n": Counts(born=9, used=9),  # made in this step
    "u": Counts(born=1, used=12),  # used later than anything
    "o": Counts(born=2, used=4),  # used longest ago, and older than the next
    "p": Counts(born=3, used=4),
    "h": Counts(helpful=1, born=1, used=1),  # helpful, though never used since
    "z": Counts(helpful=2, harmful=1, born=9, used=9),  # as helpful, and made in this step
}


def test_what_is_worth_least_goes_first() -> None:
    _, gone = pruned(playbook_of(**WORTH), max_tokens=0)
    assert "".join(name for name, _ in gone) == "aopunhz"
    assert {by for _, by in gone} == {"budget"}


@pytest.mark.parametrize(
    ("max_tokens", "left"), [(70, "anuophz"), (69, "nuophz"), (60, "nuophz"), (45, "nuhz"), (0, "")]
)
def test_no_more_goes_than_has_to(max_tokens: int, left: str) -> None:
    assert pruned(playbook_of(**WORTH), max_tokens=max_tokens)[0] == left


def test_harm_makes_room_before_anything_useful_goes() -> None:
    counts = {"a": Counts(), "b": Counts(harmful=3), "c": Counts()}
    assert pruned(playbook_of(**counts), max_tokens=20) == ("ac", [("b", "harmful")])
    assert pruned(playbook_of(**counts), max_tokens=10) == ("c", [("b", "harmful"), ("a", "budget")])


def test_what_went_is_told_as_it_was() -> None:
    playbook = many(2)
    after, changes = prune(playbook, dict.fromkeys(playbook.bullets, 5), max_tokens=9, step=2)

    assert changes == [removal(playbook, "misc-00001", by="budget")]
    assert changes[0].replaced == (("misc-00001", "lesson 1"),)
    assert after == playbook.remove(["misc-00001"])


def test_ids_that_went_are_not_used_again() -> None:
    playbook = many(3)
    empty, changes = prune(playbook, dict.fromkeys(playbook.bullets, 5), max_tokens=-1, step=1)

    assert (len(empty), len(changes)) == (0, 3)
    assert empty.add("others", "lesson 1")[1].id == "misc-00004"


@given(
    st.one_of(playbooks(), read_playbooks()),
    st.data(),
    st.integers(0, 60),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_a_playbook_ends_within_its_budget_and_loses_no_more(
    playbook: Playbook, data: st.DataObject, max_tokens: int, step: int, max_harmful: int
) -> None:
    tokens = {name: data.draw(st.integers(0, 20)) for name in playbook.bullets}

    def again(tokens: Mapping[str, int]) -> tuple[Playbook, list[Change]]:
        return prune(playbook, tokens, max_tokens=max_tokens, step=step, max_harmful=max_harmful)

    after, changes = again(tokens)
    assert again(dict(reversed(tokens.items()))) == (after, changes)
    left = sum(tokens[name] for name in after.bullets)
    assert left <= max_tokens
    budget = [one.bullet_id or "" for one in changes if one.by == "budget"]
    if budget:
        assert left + tokens[budget[-1]] > max_tokens
    gone = [one.bullet_id or "" for one in changes]
    assert after == playbook.remove(gone)
    assert len(set(gone)) == len(gone)
    assert prune(after, tokens, max_tokens=max_tokens, step=step, max_harmful=max_harmful) == (after, [])


@settings(deadline=None)
@given(st.one_of(playbooks(), read_playbooks()))
def test_with_the_reference_rendering_headings_and_counters_are_counted(playbook: Playbook) -> None:
    tokens = PlaybookTokens(Characters().count, "reference")
    assert asyncio.run(tokens.total(playbook)) == sum(len(line) + 1 for line in reference_lines(playbook))


async def test_a_vote_is_counted_where_it_is_shown() -> None:
    playbook = many(1)
    often = playbook.tagged([("misc-00001", "helpful")] * 1000, step=1)
    more_of: dict[Rendering, int] = {"append-only": 0, "reference": 3}
    for rendering, more in more_of.items():
        tokens = PlaybookTokens(Characters().count, rendering)
        assert await tokens.total(often) - await tokens.total(playbook) == more


async def test_counts_are_counted_as_a_curator_is_shown_them() -> None:
    playbook = many(3).tagged([("misc-00002", "helpful")], step=1)
    of_counts = await PlaybookTokens(Characters().count).of_counts(playbook)
    assert of_counts == dict.fromkeys(playbook.bullets, len('"misc-00001": [0, 0], '))
