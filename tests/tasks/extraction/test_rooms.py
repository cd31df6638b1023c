"""The room of a context: what surely fits is not counted, what may not is, and the rest is refused."""

from collections.abc import Sequence

import pytest

from backends.errors import ContextOverflowError
from backends.messages import Message
from tasks.extraction.budgets import Budget
from tasks.extraction.prompting import Prompting
from tasks.extraction.rooms import Room
from tasks.extraction.spec import read_spec
from tasks.extraction.values import Window

SPEC = read_spec({"name": "a", "description": "Find.", "labels": [{"name": "x"}]})
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


def about(text: str) -> Sequence[Message]:
    return PROMPTING.messages(text, Window(start=0, end=len(text), context_start=0, context_end=len(text)))


async def room(words: Words, **budget: int) -> Room:
    return await Room.measured(Budget(**budget), words, PROMPTING)


async def test_what_surely_fits_is_not_counted() -> None:
    words = Words()
    measured = await room(words)
    assert await measured.answer_tokens(about("word " * 100)) == 4096
    assert words.asked == 1


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
    with pytest.raises(ContextOverflowError, match="context_characters"):
        measured.chunk_tokens(context_characters=540)


async def test_where_a_whole_answer_leaves_no_room_chunk_and_answer_share_it() -> None:
    words = Words()
    fixed = await words.count_messages(about(""))
    measured = await room(words, max_prompt_tokens=2000, max_completion_tokens=1100, context=1200)
    assert measured.chunk_tokens() == (1100 - fixed) // 2
    assert await measured.answer_tokens(about("word " * measured.chunk_tokens())) >= 100
