import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import ContextOverflowError
from tasks.extraction.budgets import Budget, balanced_size, chunk_count, fitted


@pytest.mark.parametrize(
    ("total", "size", "overlap", "count", "balanced"),
    [
        (28_000, 28_000, 2_800, 1, 28_000),
        (28_001, 28_000, 2_800, 2, 15_401),
        (35_000, 28_000, 2_800, 2, 18_900),
        (53_200, 28_000, 2_800, 2, 28_000),
        (53_201, 28_000, 2_800, 3, 19_601),
        (54_477, 28_000, 1_523, 2, 28_000),
        (100_000, 12_000, 1_200, 10, 11_080),
        (1, 10, 0, 1, 1),
        (0, 10, 0, 1, 0),
    ],
)
def test_the_vectors(total: int, size: int, overlap: int, count: int, balanced: int) -> None:
    assert (chunk_count(total, size, overlap), balanced_size(total, size, overlap)) == (count, balanced)


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.data())
def test_that_many_balanced_chunks_cover_and_one_less_does_not(
    total: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    count, balanced = chunk_count(total, size, overlap), balanced_size(total, size, overlap)

    def covered(chunks: int, each: int) -> int:
        return chunks * each - (chunks - 1) * overlap

    assert balanced <= size
    assert covered(count, balanced) >= total
    assert count == 1 or covered(count - 1, size) < total


@pytest.mark.parametrize(("size", "overlap"), [(10, 10), (10, 11), (10, -1), (0, 0)])
def test_an_overlap_as_large_as_a_chunk_is_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap of"):
        chunk_count(100, size, overlap)


def test_a_prompt_over_the_limit_is_refused_with_its_excess() -> None:
    with pytest.raises(ContextOverflowError) as caught:
        Budget().completion_budget(35_000)

    assert (caught.value.estimated_tokens, caught.value.limit_tokens) == (35_000, 28_000)
    assert caught.value.excess_tokens == 7_000
    assert "35,000 tokens, 7,000 more than the 28,000" in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [(0, 4_096), (28_000, 4_096), (28_672, 4_096), (28_673, 4_095), (32_668, 100)],
)
def test_the_answer_is_shortened_down_to_a_hundred(prompt: int, answer: int) -> None:
    assert Budget(max_prompt_tokens=32_768).completion_budget(prompt) == answer


def test_less_than_a_hundred_is_refused() -> None:
    with pytest.raises(ContextOverflowError) as caught:
        Budget(max_prompt_tokens=32_768).completion_budget(32_669)
    assert (caught.value.limit_tokens, caught.value.excess_tokens) == (32_668, 1)


def test_who_wants_a_short_answer_gets_it() -> None:
    budget = Budget(max_completion_tokens=10, max_prompt_tokens=32_768)

    assert budget.completion_budget(32_758) == 10
    with pytest.raises(ContextOverflowError):
        budget.completion_budget(32_759)


@given(st.integers(1, 40_000), st.integers(1, 40_000), st.integers(2, 40_000), st.integers(0, 50_000))
def test_prompt_and_answer_always_fit(prompt_limit: int, answer: int, context: int, prompt: int) -> None:
    if answer >= context:
        return
    budget = Budget(max_prompt_tokens=prompt_limit, max_completion_tokens=answer, context=context)
    if prompt > budget.longest_prompt:
        with pytest.raises(ContextOverflowError, match=f"{prompt - budget.longest_prompt:,} more"):
            budget.completion_budget(prompt)
        return
    tokens = budget.completion_budget(prompt)
    assert min(100, answer) <= tokens <= answer
    assert prompt + tokens <= context
    assert prompt <= prompt_limit


@pytest.mark.parametrize(
    ("served", "prompt", "answer"),
    [
        (131_072, 28_000, 4_096),
        (32_768, 28_000, 4_096),
        (32_000, 27_904, 4_096),
        (8_192, 6_144, 2_048),
        (2_048, 1_536, 512),
        (200, 100, 100),
    ],
)
def test_a_budget_shrinks_to_what_is_served(served: int, prompt: int, answer: int) -> None:
    budget = fitted(Budget(), served)

    assert (budget.max_prompt_tokens, budget.max_completion_tokens) == (prompt, answer)
    assert budget.context == min(served, 32_768)


def test_a_context_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="context of 199 tokens, which holds no question"):
        fitted(Budget(), 199)


@pytest.mark.parametrize(
    "wrong", [{"context": 0}, {"max_prompt_tokens": -1}, {"max_completion_tokens": 32_768}]
)
def test_a_budget_without_room_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Budget(**wrong)
