"""What goes from a playbook: bullets that harm, and those worth least where there is no room for all.

The reference names a budget to the Curator, in a sentence, and never takes a bullet out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from tasks.ace.bullets import Bullet
from tasks.ace.deltas import Change, removal
from tasks.ace.playbook import Playbook
from tasks.ace.rendering import shown_line

MAX_HARMFUL = 3

COUNTED_AT_ONCE = 16
"""Lines that are being counted at a time, of which each may be a request to a server."""


class PlaybookTokens:
    """Counts a playbook's tokens as it is shown to a model, every line but once.

    A line is counted with its newline. Tokenizers of bytes split behind a newline that a bracket follows, so
    that for them the sum over lines is what the whole playbook has; for others, rather too many.

    Args:
        count: Of the model's tokenizer, the tokens of a text by itself: `TokenCounter.count_text`.
    """

    def __init__(self, count: Callable[[str], Awaitable[int]]) -> None:
        self._count = count
        self._known: dict[str, int] = {}

    async def of_bullets(self, playbook: Playbook) -> dict[str, int]:
        """Return {id of a bullet: tokens of its line}.

        Raises:
            Exception: Whatever the counter raises; the lines that were counted by then are remembered.
        """
        lines = {bullet.id: shown_line(bullet) + "\n" for bullet in playbook.by_age}
        await self._learn(line for line in lines.values() if line not in self._known)
        return {bullet_id: self._known[line] for bullet_id, line in lines.items()}

    async def total(self, playbook: Playbook) -> int:
        """Return the tokens of `append_only` and a newline at its end.

        Raises:
            Exception: Whatever the counter raises.
        """
        return sum((await self.of_bullets(playbook)).values())

    async def _learn(self, lines: Iterable[str]) -> None:
        waiting = iter(list(dict.fromkeys(lines)))

        async def count_on() -> None:
            for line in waiting:  # shared: whoever is free takes the next
                self._known[line] = await self._count(line)

        counting = [asyncio.ensure_future(count_on()) for _ in range(COUNTED_AT_ONCE)]
        try:
            await asyncio.gather(*counting)
        finally:
            for one in counting:
                one.cancel()
            await asyncio.gather(*counting, return_exceptions=True)


def prune(
    playbook: Playbook,
    tokens: Mapping[str, int],
    *,
    max_tokens: int,
    step: int,
    max_harmful: int = MAX_HARMFUL,
) -> tuple[Playbook, list[Change]]:
    """Take out what harms, whether there is room or not, and then what there is no room for.

    Args:
        playbook: Before.
        tokens: Of every bullet, by its id: `PlaybookTokens.of_bullets`.
        max_tokens: Of the playbook afterwards, if that means that it is empty.
        step: The present one; what it added had no time to be of use.
        max_harmful: So many harmful votes, where they are more than the helpful ones, are too many.

    Returns:
        The playbook, and what went, in order: by "harmful", the oldest first, then by "budget", that which
        is worth least first.
    """
    without, harmful = _without(playbook, _harmful(playbook, max_harmful), by="harmful")
    within, least = _without(without, _least(without, tokens, max_tokens, step), by="budget")
    return within, [*harmful, *least]


def _harmful(playbook: Playbook, max_harmful: int) -> list[str]:
    counts = ((bullet.id, playbook.counts[bullet.id]) for bullet in playbook.by_age)
    return [name for name, one in counts if one.harmful >= max_harmful and one.net < 0]


def _least(playbook: Playbook, tokens: Mapping[str, int], max_tokens: int, step: int) -> list[str]:
    def worth(bullet: Bullet) -> tuple[int, bool, int]:
        counts = playbook.counts[bullet.id]
        return counts.net, counts.born == step, counts.used

    excess = sum(tokens[name] for name in playbook.bullets) - max_tokens
    gone: list[str] = []
    for bullet in sorted(playbook.by_age, key=worth):  # a stable sort: of equals, the oldest first
        if excess <= 0:
            break
        excess -= tokens[bullet.id]
        gone.append(bullet.id)
    return gone


def _without(playbook: Playbook, bullet_ids: list[str], *, by: str) -> tuple[Playbook, list[Change]]:
    return playbook.remove(bullet_ids), [removal(playbook, one, by=by) for one in bullet_ids]
