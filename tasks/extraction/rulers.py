"""Measures a text in characters or tokens, up to any place in it: once for a document, not once a cut."""

import bisect
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import anyio

from tasks.tokens.counting import TokenCounter, pieces

PIECE_CHARACTERS = 16_000
"""Counted by one request to a server; between two of these places a length is an estimate."""
REQUESTS_AT_ONCE = 8


@runtime_checkable
class KnowsTokens(Protocol):
    """A counter that can say where each token begins; `LocalCounter`."""

    async def token_starts(self, text: str) -> Sequence[int]:
        """Return the character where each token of a text begins, in order."""
        ...


class Ruler(Protocol):
    """How long a text is up to a place in it, and where it is so long."""

    slack: float
    """How far the length of a part may be off, by its length."""

    def length(self, place: int) -> int:
        """Return the length of what is before a place."""
        ...

    def place(self, length: int) -> int:
        """Return the last place before which there is no more than a length."""
        ...


class Characters:
    """Measures in characters."""

    slack = 0.0

    def __init__(self, text: str) -> None:
        self._end = len(text)

    def length(self, place: int) -> int:
        """Return the characters before a place."""
        return place

    def place(self, length: int) -> int:
        """Return the place behind so many characters."""
        return min(length, self._end)


class TokenStarts:
    """Measures by the tokens of the whole document; a part that is tokenized by itself may have some more."""

    slack = 0.02

    def __init__(self, starts: Sequence[int], end: int) -> None:
        self._starts = starts
        self._end = end

    def length(self, place: int) -> int:
        """Return the tokens that begin before a place."""
        return bisect.bisect_left(self._starts, place)

    def place(self, length: int) -> int:
        """Return where the token behind so many begins."""
        return self._starts[length] if length < len(self._starts) else self._end


class Knots:
    """Measures by straight lines between places up to which the tokens are known.

    Args:
        places: Ascending, from 0 to the text's end.
        lengths: Tokens before each; ascending, too.
    """

    slack = 0.1

    def __init__(self, places: Sequence[int], lengths: Sequence[int]) -> None:
        self._places = places
        self._lengths = lengths

    def length(self, place: int) -> int:
        """Return about how many tokens are before a place."""
        return _between(place, self._places, self._lengths, up=True)

    def place(self, length: int) -> int:
        """Return about where so many tokens end."""
        return _between(length, self._lengths, self._places, up=False)


def _between(value: int, from_: Sequence[int], to: Sequence[int], *, up: bool) -> int:
    if value >= from_[-1]:
        return to[-1]
    right = bisect.bisect_right(from_, value)
    begin, width = from_[right - 1], from_[right] - from_[right - 1]
    scaled = (value - begin) * (to[right] - to[right - 1])
    return to[right - 1] + (-(-scaled // width) if up else scaled // width)


async def ruler_for(text: str, counter: TokenCounter | None) -> Ruler:
    """Return what measures a text: characters without a counter, exact tokens with one on this machine.

    Where only a server can count, it is asked once for every 16,000 characters.

    Raises:
        BackendError: The server cannot be asked.
    """
    if counter is None:
        return Characters(text)
    if isinstance(counter, KnowsTokens):
        return TokenStarts(await counter.token_starts(text), len(text))
    places = [0, *(end for _, end in pieces(text, PIECE_CHARACTERS))]
    counts = [0] * len(places)
    limiter = anyio.CapacityLimiter(REQUESTS_AT_ONCE)

    async def count(number: int) -> None:
        async with limiter:
            counts[number] = await counter.count_text(text[places[number - 1] : places[number]])

    async with anyio.create_task_group() as group:
        for number in range(1, len(places)):
            group.start_soon(count, number)
    lengths = [0]
    for each in counts[1:]:
        lengths.append(lengths[-1] + max(each, 1))
    return Knots(places, lengths)
