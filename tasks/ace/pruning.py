"""What goes from a playbook: bullets that harm, and those worth least where there is no room for all.

The reference names a budget to the Curator, in a sentence, and never takes a bullet out.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from tasks.ace.bullets import Bullet
from tasks.ace.deltas import Change, removal
from tasks.ace.markup import one_line
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import bullet_line
from tasks.ace.rendering import Rendering, reference_lines, shown_line

MAX_HARMFUL = 3

COUNTED_AT_ONCE = 16
"""Lines that are being counted at a time, of which each may be a request to a server."""


class PlaybookTokens:
    """Counts a playbook's tokens as it is shown to a model, every line but once.

    A line is counted with its newline. Tokenizers of bytes split behind a newline that a bracket follows, so
    that for them the sum over lines is what the whole append-only playbook has; else it is rather too many.

    Args:
        count: Of the model's tokenizer, the tokens of a text by itself: `TokenCounter.count_text`.
        rendering: How the playbook is shown.
    """

    def __init__(self, count: Callable[[str], Awaitable[int]], rendering: Rendering = "append-only") -> None:
        self._count = count
        self._rendering: Rendering = rendering
        self._known: dict[str, int] = {}

    async def of_bullets(self, playbook: Playbook) -> dict[str, int]:
        """Return {id of a bullet: tokens of its line}.

        Raises:
            Exception: Whatever the counter raises; the lines that were counted by then are remembered.
        """
        return await self._counted(
            {bullet.id: self._line(playbook, bullet) + "\n" for bullet in playbook.by_age}
        )

    async def of_headings(self, playbook: Playbook) -> int:
        """Return the tokens of all that is shown and is no bullet.

        Raises:
            Exception: Whatever the counter raises.
        """
        if self._rendering == "append-only":
            return 0
        lines = [f"{line}\n" for line in reference_lines(playbook.remove(playbook.bullets))]
        known = await self._counted({line: line for line in lines})
        return sum(known[line] for line in lines)

    async def of_counts(self, playbook: Playbook) -> dict[str, int]:
        """Return {id of a bullet: tokens of its counts, as a Curator is shown them beside the playbook}.

        Raises:
            Exception: Whatever the counter raises.
        """
        return await self._counted(
            {
                name: f"{json.dumps(name)}: {json.dumps([one.helpful, one.harmful])}, "
                for name, one in playbook.counts.items()
            }
        )

    async def total(self, playbook: Playbook) -> int:
        """Return the tokens of the playbook as it is shown, and a newline at its end.

        Raises:
            Exception: Whatever the counter raises.
        """
        return sum((await self.of_bullets(playbook)).values()) + await self.of_headings(playbook)

    def _line(self, playbook: Playbook, bullet: Bullet) -> str:
        if self._rendering == "append-only":
            return shown_line(bullet)
        return bullet_line(playbook, replace(bullet, text=one_line(bullet.text)))

    async def _counted(self, lines: Mapping[str, str]) -> dict[str, int]:
        await self._learn(line for line in lines.values() if line not in self._known)
        return {name: self._known[line] for name, line in lines.items()}

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
        max_tokens: Of the bullets afterwards, if that means that it is empty.
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
