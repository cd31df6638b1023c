"""Whether a pool fits into a model's context, found out before anything is sent."""

from collections.abc import Awaitable, Callable

from backends.messages import Request
from tasks.icm.claims import DataError
from tasks.icm.prompts import Prompter

CountTokens = Callable[[Request], Awaitable[int]]


async def require_room(
    prompter: Prompter, count_tokens: CountTokens, *, max_tokens: int, group_size: int
) -> None:
    """Make sure that the prompts of a fully labelled pool fit.

    They all hold every claim once and every label but one, so that one of them says it for all.

    Args:
        prompter: Of the search.
        count_tokens: The model's own tokenizer.
        max_tokens: What a prompt and its answer may have together.
        group_size: Only whole groups are drawn.

    Raises:
        DataError: They do not fit; the message says how many claims do.
        BackendError: The tokenizer cannot be asked.
    """

    async def needed(claims: int) -> int:
        asked = prompter.about([0], dict.fromkeys(range(claims), 0))[0]
        return await count_tokens(asked) + asked.sampling.max_tokens

    claims = len(prompter.claims)
    tokens = await needed(claims)
    if tokens <= max_tokens:
        return
    fits, too_many = 0, claims // group_size
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if await needed(middle * group_size) <= max_tokens:
            fits = middle
        else:
            too_many = middle
    raise DataError(
        f"a prompt with all {claims} claims has {tokens:,} tokens, and the model takes {max_tokens:,}; lower "
        f"num_claims to {fits * group_size}, or serve the model with a longer context (--max-model-len)"
    )
