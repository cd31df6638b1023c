"""An estimate counts what a run would send, sends nothing, and leaves nothing."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.messages import Label, Response
from backends.scripted import Scripted
from cache.disk_store import DiskStore
from cache.lookup import Lookup
from cache.overlay_store import OverlayStore
from tasks.estimate import Estimator, common_prefix, made_up
from tasks.generate import Generator
from tests.helpers import completion, completions, sampling, scoring

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


async def test_tokens_are_counted_by_the_tokenizer_and_then_by_what_it_found() -> None:
    estimator = Estimator(asked=real(), count_tokens=lambda text: len(text) // 2)
    async for _ in estimator.answer([completion(f"{number:010d}") for number in range(80)]):
        pass
    assert estimator.usage.input_tokens == 80 * 5


async def test_shared_beginnings_are_computed_once() -> None:
    estimator = Estimator(asked=real())
    head = "x" * 4000
    async for _ in estimator.answer([completion(head + f"{n:04d}") for n in range(10)]):
        pass
    assert estimator.usage.input_tokens == 10 * 1001
    assert 1001 <= estimator.computed_tokens <= 1001 + 9 * 2


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
