"""The canary tells weights apart by more than rounding, and is not fooled by what a server loses."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from backends.canary import ATTEMPTS, PROMPTS, TOLERANCE, Canary, ask_canary, distance
from backends.errors import BadRequestError, ResponseFormatError, UnknownModelError
from backends.vllm_server import VLLMServer
from tests.fake_vllm import FakeVLLM
from tests.helpers import MODEL, Naps, until

LIST = {token: -1.0 - 0.3 * token for token in range(20)}


def canary(*changes: dict[int, float]) -> Canary:
    """Make answers that differ from LIST in the first prompts."""
    return tuple(LIST | (changes[number] if number < len(changes) else {}) for number in range(len(PROMPTS)))


def everywhere(change: dict[int, float]) -> Canary:
    return canary(*[change] * len(PROMPTS))


# --- distance -------------------------------------------------------------------------------------------


def test_equal_answers_are_at_no_distance() -> None:
    assert distance(canary(), canary()) == 0.0


def test_a_shift_of_every_logprob_is_its_size() -> None:
    shifted = everywhere({token: value - 0.25 for token, value in LIST.items()})
    assert distance(canary(), shifted) == pytest.approx(0.25)
    assert distance(shifted, canary()) == pytest.approx(0.25)


def test_likely_tokens_count_more_than_unlikely_ones() -> None:
    assert distance(canary(), everywhere({0: LIST[0] - 1})) > 10 * distance(
        canary(), everywhere({18: LIST[18] - 1})
    )


def test_one_prompt_counts_for_its_share() -> None:
    whole = distance(canary(), everywhere({0: -3.0}))
    assert distance(canary(), canary({0: -3.0})) == pytest.approx(whole / len(PROMPTS))


def test_a_token_at_the_end_of_one_list_may_be_just_below_the_others() -> None:
    other = tuple({**{t: v for t, v in LIST.items() if t != 19}, 77: LIST[19]} for _ in PROMPTS)
    assert distance(canary(), other) == 0.0


def test_a_likely_token_that_is_missing_on_one_side_is_a_difference() -> None:
    other = tuple({**{t: v for t, v in LIST.items() if t != 0}, 77: LIST[0]} for _ in PROMPTS)
    assert distance(canary(), other) > 1.0


def test_a_shorter_list_is_compared_as_far_as_it_goes() -> None:
    short = tuple({token: LIST[token] for token in range(5)} for _ in PROMPTS)
    assert distance(canary(), short) == 0.0


def test_a_token_alone_is_enough() -> None:
    assert distance(tuple({1: -0.1} for _ in PROMPTS), tuple({2: -0.1} for _ in PROMPTS)) == 0.0
    assert math.isfinite(distance(everywhere({0: 0.0}), everywhere({0: -40.0})))


# --- asking ---------------------------------------------------------------------------------------------


async def asked(server: FakeVLLM, naps: Naps) -> Canary | None:
    async with VLLMServer(server.base_url, retrier=naps.retrier()) as backend:
        return await backend.canary(MODEL)


async def test_all_prompts_go_in_one_request() -> None:
    with FakeVLLM() as server:
        found = await asked(server, Naps())
        assert found is not None
        assert [len(one) for one in found] == [20] * len(PROMPTS)
        stats = server.stats()
    assert (stats["requests"], stats["prompts"]) == (1, len(PROMPTS))


async def test_weights_that_differ_are_beyond_the_tolerance_and_a_restart_is_not() -> None:
    found: list[Canary | None] = []
    for noise in (0.0, 0.0, 0.05, 0.5):
        with FakeVLLM(weight_noise=noise) as server:
            found.append(await asked(server, Naps()))
    first, restarted, rounded, changed = found
    assert first
    assert restarted
    assert rounded
    assert changed
    assert distance(first, restarted) == 0.0
    assert 0 < distance(first, rounded) < TOLERANCE < distance(first, changed)


async def test_only_prompts_whose_logprobs_were_lost_are_asked_again() -> None:
    with FakeVLLM() as server:
        whole = await asked(server, Naps())
        server.reset()
        lost = {"kind": "minus_9999", "match": PROMPTS[3]}
        server.faults([lost, lost])
        naps = Naps()
        assert await asked(server, naps) == whole
        stats = server.stats()
    assert (stats["requests"], stats["prompts"]) == (3, len(PROMPTS) + 2)
    assert len(naps.seconds) == 2


async def test_logprobs_that_are_lost_every_time_are_an_error_that_says_why() -> None:
    with FakeVLLM() as server:
        server.faults([{"kind": "minus_9999", "times": -1}])
        with pytest.raises(ResponseFormatError, match="scores labels for another run; wait"):
            await asked(server, Naps())
        assert server.stats()["requests"] == ATTEMPTS


async def test_a_server_with_a_low_limit_is_asked_for_less() -> None:
    with FakeVLLM(max_logprobs=5) as server:
        few = await asked(server, Naps())
    assert few is not None
    assert [len(one) for one in few] == [5] * len(PROMPTS)
    with FakeVLLM(max_logprobs=2) as server:
        assert await asked(server, Naps()) is None


async def test_an_unknown_model_is_no_question_of_limits() -> None:
    bodies: list[dict[str, object]] = []

    async def post(body: dict[str, object]) -> object:
        bodies.append(body)
        raise UnknownModelError("no such model")

    with pytest.raises(UnknownModelError):
        await ask_canary("m", post, Naps())
    assert len(bodies) == 1


@pytest.mark.parametrize("reply", [None, [], {"choices": []}, {"choices": [{"index": 0, "logprobs": None}]}])
async def test_an_unreadable_reply_is_no_answer(reply: object) -> None:
    async def post(body: dict[str, object]) -> object:
        assert isinstance(body["prompt"], Sequence)
        return reply

    with pytest.raises(ResponseFormatError):
        await ask_canary("m", post, Naps())


async def test_refused_logprobs_are_no_canary() -> None:
    async def post(body: dict[str, object]) -> object:
        raise BadRequestError(f"no logprobs: {body['logprobs']}")

    assert await ask_canary("m", post, Naps()) is None


async def test_the_canary_is_not_asked_while_label_scores_are_with_the_server() -> None:
    with FakeVLLM() as server:
        async with VLLMServer(server.base_url, retrier=Naps().retrier()) as backend:
            styles = backend._styles  # pyright: ignore[reportPrivateUsage]
            async with styles.only("ids"):
                asking = asyncio.ensure_future(backend.canary(MODEL))
                await until(lambda: asking.done() or bool(styles._waiting))  # pyright: ignore[reportPrivateUsage]
                assert server.stats()["requests"] == 0
            assert await asking
