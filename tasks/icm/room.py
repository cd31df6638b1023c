"""Whether a pool fits into a model's context, found out before anything is sent."""

from collections.abc import Awaitable, Callable, Sequence

from backends.messages import Request
from tasks.icm.claims import Claim, DataError
from tasks.icm.prompts import Prompter, claim_prompt

CountTokens = Callable[[Request], Awaitable[int]]


async def require_room(
    prompter: Prompter,
    count_tokens: CountTokens,
    *,
    max_tokens: int,
    group_size: int,
    test: Sequence[Claim] = (),
) -> None:
    """Make sure that the prompts of a fully labelled pool fit, and those of a test that shows all of it.

    Those of the pool all hold every claim once and every label but one, so that one of them says it for all.
    Those of a test hold a claim more, the longest of which need not be in the pool.

    Args:
        prompter: Of the search.
        count_tokens: The model's own tokenizer.
        max_tokens: What a prompt and its answer may have together.
        group_size: Only whole groups are drawn.
        test: The claims that are asked about behind the whole pool; the one of most characters is counted.

    Raises:
        DataError: They do not fit; the message says how many claims do.
        BackendError: The tokenizer cannot be asked.
    """
    longest = max(test, key=lambda claim: len(claim_prompt(claim)), default=None)

    def asked(claims: int) -> Request:
        labels = dict.fromkeys(range(claims), 0)
        if longest is None:
            return prompter.about([0], labels)[0]
        return prompter.ask_about(longest, "".join(text for _, text in prompter.demonstrations(labels)))

    async def needed(claims: int) -> int:
        request = asked(claims)
        return await count_tokens(request) + request.sampling.max_tokens

    claims = len(prompter.claims)
    tokens = await needed(claims)
    if tokens <= max_tokens:
        return
    fits = await _most(claims // group_size, lambda groups: needed(groups * group_size), max_tokens)
    what = f"all {claims} claims" + ("" if longest is None else " and the longest test claim")
    lower = f"lower num_claims to {fits * group_size}" if fits else "shorten the claims"
    raise DataError(
        f"a prompt with {what} has {tokens:,} tokens, and the model takes {max_tokens:,}; {lower}, or serve "
        "the model with a longer context (--max-model-len)"
    )


async def _most(too_many: int, needed: Callable[[int], Awaitable[int]], max_tokens: int) -> int:
    """Return the most groups whose prompt fits; that of `too_many` does not."""
    fits = 0
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if await needed(middle) <= max_tokens:
            fits = middle
        else:
            too_many = middle
    return fits
