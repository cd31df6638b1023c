"""The room of a context: what surely fits is not counted, what may not is, and the rest is refused."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.errors import ContextOverflowError
from backends.messages import Message
from tasks.extraction.budgets import Budget
from tasks.extraction.prompting import Prompting
from tasks.extraction.rooms import Room
from tasks.extraction.spec import read_spec
from tasks.extraction.values import Window
from tasks.tokens.counting import TURN_TOKENS

EXAMPLE = {"text": "Ada spoke.", "entities": [{"label": "x", "text": "Ada"}]}
SPEC = read_spec({"name": "a", "description": "Find.", "labels": [{"name": "x"}], "examples": [EXAMPLE]})
PROMPTING = Prompting(SPEC)


class Words:
    """Counts words, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def count_text(self, text: str) -> int:
        return len(text.split())

    async def count_messages(self, messages: Sequence[Message]) -> int:
        self.asked += 1
        return sum([await self.count_text(one.content) for one in messages])


class Bytes(Words):
    """The worst tokenizer and template that there are: a token a byte, and many around a turn."""

    async def count_text(self, text: str) -> int:
        return len(text.encode())

    async def count_messages(self, messages: Sequence[Message]) -> int:
        return await super().count_messages(messages) + 15 * len(messages)


def about(text: str) -> Sequence[Message]:
    return PROMPTING.messages(text, whole(text))


def again(text: str, answer: str) -> Sequence[Message]:
    return PROMPTING.again(text, whole(text), answer, "it is no JSON")


def whole(text: str) -> Window:
    return Window(start=0, end=len(text), context_start=0, context_end=len(text))


async def room(words: Words, **budget: int) -> Room:
    return await Room.measured(Budget(**budget), words, PROMPTING)


TEXTS = st.builds(str.__mul__, st.sampled_from("aé日"), st.integers(0, 400))


@given(
    TEXTS,
    st.none() | TEXTS,
    st.integers(100, 600),
    st.integers(-60, 60) | st.just(10_000),
    st.integers(-60, 60) | st.just(10_000),
)
@example("日" * 100, None, 200, -5, 10_000)  # not as many tokens as characters
@example("", "a" * 300, 200, 10_000, -5)  # not the last turn alone
async def test_prompt_and_answer_always_fit_together(
    text: str, answer: str | None, max_completion_tokens: int, prompt_room: int, answer_room: int
) -> None:
    """Just so, where the one or the other is at its limit."""
    counter = Bytes()
    messages = about(text) if answer is None else again(text, answer)
    prompt = await counter.count_messages(messages)
    max_prompt_tokens, context = prompt + prompt_room, prompt + max_completion_tokens + answer_room
    budget = {"max_prompt_tokens": max_prompt_tokens, "max_completion_tokens": max_completion_tokens}
    measured = await room(counter, **budget, context=context)
    if prompt > min(max_prompt_tokens, context - 100):
        with pytest.raises(ContextOverflowError):
            await measured.answer_tokens(messages)
    else:
        assert await measured.answer_tokens(messages) == min(max_completion_tokens, context - prompt)


async def test_what_surely_fits_is_not_counted() -> None:
    words = Words()
    measured = await room(words)
    assert await measured.answer_tokens(about("word " * 100)) == 4096
    assert await measured.answer_tokens(again("word " * 100, "no")) == 4096
    assert words.asked == 1


async def test_instructions_and_examples_are_counted_once_and_exactly() -> None:
    words = Words()
    fixed = await words.count_messages(about(""))
    asked = about("x" * 100)
    at_most = fixed + len(asked[-1].content.encode()) + TURN_TOKENS
    for context, counted in ((at_most + 200, 0), (at_most + 199, 1)):
        measured = await room(words, max_completion_tokens=200, context=context)
        words.asked = 0
        assert await measured.answer_tokens(asked) == 200
        assert words.asked == counted


async def test_what_may_not_fit_is_counted_and_its_answer_shortened() -> None:
    words = Words()
    measured = await room(words, max_prompt_tokens=2000, max_completion_tokens=500, context=1200)
    fixed = await words.count_messages(about(""))
    assert await measured.answer_tokens(about("word " * 900)) == 1200 - 900 - fixed
    with pytest.raises(ContextOverflowError):
        await measured.answer_tokens(about("word " * 1150))


async def test_a_chunk_has_what_instructions_context_and_answer_leave() -> None:
    words = Words()
    fixed = await words.count_messages(about(""))
    measured = await room(words, max_prompt_tokens=2000, max_completion_tokens=500, context=1200)
    assert measured.chunk_tokens() == 700 - fixed
    assert measured.chunk_tokens(context_characters=50) == 600 - fixed
    with pytest.raises(ContextOverflowError, match="examples and context_characters take"):
        measured.chunk_tokens(context_characters=540)
    short = await room(words, max_prompt_tokens=600, max_completion_tokens=500, context=1200)
    assert short.chunk_tokens() == 600 - fixed


async def test_room_for_a_few_words_only_is_no_room() -> None:
    counter = Bytes()
    fixed = await counter.count_messages(about(""))
    measured = await room(counter, max_prompt_tokens=fixed + 16)
    assert measured.chunk_tokens() == 16
    with pytest.raises(ContextOverflowError, match=f"examples take {fixed:,} of the") as raised:
        (await room(counter, max_prompt_tokens=fixed + 15)).chunk_tokens()
    assert raised.value.limit_tokens == fixed + 15
    assert raised.value.estimated_tokens == fixed + 16


async def test_where_a_whole_answer_leaves_no_room_chunk_and_answer_share_it() -> None:
    words = Words()
    fixed = await words.count_messages(about(""))
    measured = await room(words, max_prompt_tokens=2000, max_completion_tokens=1100, context=1200)
    assert measured.chunk_tokens() == (1100 - fixed) // 2
    assert await measured.answer_tokens(about("word " * measured.chunk_tokens())) >= 100
