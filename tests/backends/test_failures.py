"""A refusal that speaks of the context's length says by how much a prompt is too long."""

import pytest

from backends.errors import BadRequestError, ContextOverflowError
from backends.failures import overflow_error, status_error

VLLM = (
    "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input "
    "tokens, which exceeds this limit even without any output tokens."
)
OPENAI = (
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."
)


@pytest.mark.parametrize(("words", "tokens", "limit"), [(VLLM, 8193, 8192), (OPENAI, 130_000, 128_000)])
def test_what_a_server_says_of_its_context_is_read(words: str, tokens: int, limit: int) -> None:
    error = status_error(400, words, {})
    assert isinstance(error, ContextOverflowError)
    assert (error.estimated_tokens, error.limit_tokens) == (tokens, limit)
    assert error.excess_tokens == tokens - limit
    assert error.status_code == 400
    assert words in str(error)


def test_characters_are_no_tokens() -> None:
    error = overflow_error(
        "This model's maximum context length is 64 tokens. However, your prompt contains 9000 characters"
    )
    assert error is not None
    assert (error.estimated_tokens, error.limit_tokens, error.excess_tokens) == (None, 64, None)


@pytest.mark.parametrize(("status", "words"), [(400, "max_tokens must be at least 1"), (404, VLLM)])
def test_any_other_refusal_stays_what_it_was(status: int, words: str) -> None:
    error = status_error(status, words, {})
    assert isinstance(error, BadRequestError)
    assert not isinstance(error, ContextOverflowError)
