"""How many tokens a question and its answer may have, and into how many chunks a document goes."""

from dataclasses import dataclass

from backends.errors import ContextOverflowError

MAX_PROMPT_TOKENS = 28_000
MAX_COMPLETION_TOKENS = 4_096
CONTEXT = 32_768
MIN_COMPLETION_TOKENS = 100
"""Room for less than this is no room for an answer."""
ANSWER_SHARE = 4
"""Of a context smaller than wanted, one part in four is for the answer."""


def _overflow(estimated: int, limit: int) -> ContextOverflowError:
    return ContextOverflowError(
        f"the prompt has {estimated:,} tokens, {estimated - limit:,} more than the {limit:,} that fit; "
        "make the chunks smaller, or serve the model with a longer context (--max-model-len)",
        estimated_tokens=estimated,
        limit_tokens=limit,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How a model's context is shared between prompt and answer, in tokens of its own tokenizer."""

    max_prompt_tokens: int = MAX_PROMPT_TOKENS
    max_completion_tokens: int = MAX_COMPLETION_TOKENS
    context: int = CONTEXT

    def __post_init__(self) -> None:
        """Refuse a budget that holds no question and answer.

        Raises:
            ValueError: A number is not positive, or the answer leaves nothing of the context to the prompt.
        """
        for name in ("max_prompt_tokens", "max_completion_tokens", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a positive number of tokens")
        if self.max_completion_tokens >= self.context:
            raise ValueError(
                f"max_completion_tokens is {self.max_completion_tokens:,} of a context of {self.context:,}, "
                "which leaves no room for a prompt; lower it"
            )

    @property
    def longest_prompt(self) -> int:
        """Tokens that a prompt may have: the answer can be shortened, but not to less than its least."""
        least = min(MIN_COMPLETION_TOKENS, self.max_completion_tokens)
        return min(self.max_prompt_tokens, self.context - least)

    def completion_budget(self, prompt_tokens: int) -> int:
        """Return how many tokens the answer to a prompt may have.

        All of `max_completion_tokens` where they fit, else what the prompt leaves of the context.

        Raises:
            ContextOverflowError: The prompt is longer than allowed, or leaves less than 100 tokens.
        """
        if prompt_tokens > self.longest_prompt:
            raise _overflow(prompt_tokens, self.longest_prompt)
        return min(self.max_completion_tokens, self.context - prompt_tokens)


def fitted(budget: Budget, max_model_len: int) -> Budget:
    """Return a budget for the context that a server really has.

    A longer one changes nothing. Of a shorter one the answer gets a quarter, though not more than it wanted:
    a list of entities is up to half as long as its text, so that it needs a greater share than the eighth it
    has of a long context. The prompt gets the rest, though not more than it was allowed.

    Raises:
        ValueError: The context is too short for any question and answer.
    """
    if max_model_len >= budget.context:
        return budget
    answer = min(budget.max_completion_tokens, max(max_model_len // ANSWER_SHARE, MIN_COMPLETION_TOKENS))
    if max_model_len < 2 * answer:
        raise ValueError(
            f"the model is served with a context of {max_model_len:,} tokens, which holds no question and "
            f"answer; serve it with a longer one (--max-model-len)"
        )
    return Budget(
        max_prompt_tokens=min(budget.max_prompt_tokens, max_model_len - answer),
        max_completion_tokens=answer,
        context=max_model_len,
    )


def chunk_count(total: int, size: int, overlap: int) -> int:
    """Return the least number of chunks of at most `size` that cover `total`, neighbours sharing `overlap`.

    Raises:
        ValueError: The overlap is negative, or not smaller than the size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"an overlap of {overlap} in chunks of {size}; give one from 0 to {size - 1}")
    return 1 if total <= size else _divided_up(total - overlap, size - overlap)


def balanced_size(total: int, size: int, overlap: int) -> int:
    """Return the size of that many chunks if all were alike, rounded up; of a single one, its own.

    Raises:
        ValueError: As `chunk_count`.
    """
    count = chunk_count(total, size, overlap)
    return _divided_up(total + (count - 1) * overlap, count)


def _divided_up(number: int, by: int) -> int:
    return -(-number // by)
