"""A pool that is too long for the model is refused before anything is sent, with what would fit."""

from dataclasses import replace

import pytest

from backends.messages import Request
from tasks.icm.claims import DataError
from tasks.icm.prompts import Prompter
from tasks.icm.room import require_room
from tests.tasks.icm.made_up import LABELS, made_claims

PROMPTER = Prompter(claims=made_claims(10), model="m", labels=LABELS)


async def words(request: Request) -> int:
    return len((request.prompt or "").split())


async def longest() -> int:
    labels = dict.fromkeys(range(40), 1)
    return max([await words(request) + 1 for request in PROMPTER.leave_one_out(labels).values()])


async def test_a_pool_that_just_fits_is_taken() -> None:
    await require_room(PROMPTER, words, max_tokens=await longest(), group_size=4)


@pytest.mark.parametrize("group_size", [2, 4])
async def test_of_a_pool_that_is_too_long_the_message_says_what_fits(group_size: int) -> None:
    limit = await longest() // 2
    with pytest.raises(
        DataError, match=f"has {await longest()} tokens, and the model takes {limit};"
    ) as caught:
        await require_room(PROMPTER, words, max_tokens=limit, group_size=group_size)
    fits = int(str(caught.value).split("num_claims to ")[1].split(",")[0])
    assert fits % group_size == 0

    async def needed(claims: int) -> int:
        labels = dict.fromkeys(range(claims), 1)
        return await words(PROMPTER.about([0], labels)[0]) + 1

    assert await needed(fits) <= limit < await needed(fits + group_size)


async def test_the_longest_test_claim_is_counted_behind_the_whole_pool() -> None:
    limit = await longest() + 30
    short = made_claims(3)
    long = replace(short[0], choice="word " * 100)
    await require_room(PROMPTER, words, max_tokens=limit, group_size=4, test=short)
    with pytest.raises(DataError, match="all 40 claims and the longest test claim has") as caught:
        await require_room(PROMPTER, words, max_tokens=limit, group_size=4, test=[short[1], long, short[2]])
    fits = int(str(caught.value).split("num_claims to ")[1].split(",")[0])
    assert fits % 4 == 0

    def request(claims: int) -> Request:
        shown = PROMPTER.demonstrations(dict.fromkeys(range(claims), 1))
        return PROMPTER.ask_about(long, "".join(text for _, text in shown))

    assert await words(request(fits)) + 1 <= limit < await words(request(fits + 4)) + 1


async def test_of_claims_of_which_no_group_fits_none_is_told_to_be_left() -> None:
    with pytest.raises(DataError, match="the model takes 5; shorten the claims, or serve the model with"):
        await require_room(PROMPTER, words, max_tokens=5, group_size=4)
