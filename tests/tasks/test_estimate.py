"""An estimate counts what a run would send, sends nothing, and leaves nothing."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendConnectionError
from backends.messages import Label, Request, Response, prompt_text
from backends.scripted import Scripted
from backends.vllm_server import VLLMServer
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from cache.overlay_store import OverlayStore
from tasks.estimate import SAMPLE_PROMPTS, Estimator, common_prefix, made_up
from tasks.generate import Generator
from tests.fake_vllm import FakeVLLM
from tests.helpers import chat, completion, completions, sampling, scoring

LABELS = (Label(text="True", token_ids=(1,)), Label(text="False", token_ids=(2,)))


def real() -> Scripted:
    return Scripted(lambda _: Response(text="real", finish_reason="stop"))


async def test_only_what_is_not_stored_is_counted_and_nothing_is_sent_or_kept(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    backend = real()
    await Generator(backend=backend, lookup=Lookup(store))(completions(3))
    estimator = Estimator(asked=backend)
    generator = Generator(backend=estimator, lookup=Lookup(OverlayStore(store)))
    answers = await generator(completions(10))
    await generator(completions(10))  # what is asked again later costs nothing
    assert [answer.text for answer in answers] == ["real"] * 3 + [""] * 7
    assert (generator.tally.sent, generator.tally.requests) == (7, 0)
    assert generator.tally.hits == 13
    assert len(backend.asked) == 3
    assert len(list(store.keys())) == 3
    assert estimator.usage.output_tokens == 7 * 8
    store.close()


async def counted(estimator: Estimator, requests: Sequence[Request]) -> Estimator:
    async for _ in estimator.answer(requests):
        pass
    return estimator


async def test_some_prompts_are_counted_exactly_and_the_rest_is_like_them() -> None:
    asked: list[Request] = []

    async def count(request: Request) -> int:
        asked.append(request)
        return 30 + len(prompt_text(request)) // 2

    estimator = await counted(Estimator(asked=real(), count_tokens=count), completions(80))
    assert estimator.usage.input_tokens == pytest.approx(
        sum([await count(one) for one in completions(80)]), abs=40
    )
    assert len(asked) - 80 == SAMPLE_PROMPTS
    longer = completion("x" * 1000)
    await counted(estimator, [longer])
    assert len(asked) - 80 == SAMPLE_PROMPTS


async def test_what_a_chat_template_adds_is_counted_whatever_the_length() -> None:
    async def count(request: Request) -> int:
        return 30 + len(prompt_text(request)) // 5

    requests = [chat("x" * length) for length in range(5, 505)]
    estimator = await counted(Estimator(asked=real(), count_tokens=count), requests)
    assert estimator.usage.input_tokens == pytest.approx(
        sum([await count(one) for one in requests]), rel=0.02
    )


async def test_without_a_tokenizer_there_is_a_rule_of_thumb() -> None:
    async def no_server(request: Request) -> int:
        raise BackendConnectionError(f"no connection for {request.model}")

    for count in (None, no_server):
        estimator = await counted(Estimator(asked=real(), count_tokens=count), [chat("x" * 400)] * 3)
        assert estimator.usage.input_tokens == 3 * 104


async def test_shared_beginnings_are_computed_once_in_whole_blocks() -> None:
    head = "x" * 4000
    estimator = await counted(Estimator(asked=real()), [completion(head + f"{n:04d}") for n in range(10)])
    assert estimator.usage.input_tokens == 10 * 1001
    assert estimator.computed_tokens == 1001 + 9 * (1001 - 992)
    short = await counted(Estimator(asked=real()), [completion(f"{n:040d}") for n in range(10)])
    assert short.computed_tokens == short.usage.input_tokens  # no block is whole


async def test_a_server_counts_prompts_and_conversations() -> None:
    with FakeVLLM() as fake:
        async with VLLMServer(fake.base_url) as server:
            assert await server.count_tokens(completion("one two three")) == 5  # the blanks are apart
            assert await server.count_tokens(chat("one two three")) > 5
        assert fake.stats()["prompts"] == 0


def test_made_up_scores_are_probabilities_that_depend_on_the_prompt_alone() -> None:
    one, same, other = (made_up(scoring(prompt, LABELS)) for prompt in ("a", "a", "b"))
    assert one == same
    assert one.label_logprobs != other.label_logprobs
    assert sum(math.exp(value) for value in one.label_logprobs.values()) == pytest.approx(1)
    assert made_up(completion("a", sampling=sampling(5))).text == ""


@given(st.text("ab", max_size=30), st.text("ab", max_size=30), st.text("ab", max_size=30))
def test_the_common_prefix_is_the_common_prefix(head: str, left: str, right: str) -> None:
    one, other = head + left, head + right
    shared = common_prefix(one, other)
    assert one[:shared] == other[:shared]
    assert one[shared : shared + 1] != other[shared : shared + 1] or shared == len(one) == len(other)
