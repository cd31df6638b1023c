"""Of all ways to give the items of a list places in order, the one that places most text."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Span = tuple[int, int]


class Option(NamedTuple):
    """A span that an item may get, and what it is worth."""

    span: Span
    weight: int


class _Link(NamedTuple):
    weight: int
    item: int
    span: Span
    before: "_Link | None"


def best_chain(options: Mapping[int, Sequence[Option]], *, may_overlap: bool) -> dict[int, Span]:
    """Give items spans in the order of the text, so that the weights have the highest sum.

    Takes O(n log n) for n options but for moving memory.

    Args:
        options: {item: its options}, in the items' order.
        may_overlap: Each span has to start behind the start of the one before, not behind its end.

    Returns:
        {item: span} of the items that got one. Of sums that are equal the one that ends first.
    """
    marks: list[int] = []  # where chains end; behind each of them none is found that weighs less
    links: list[_Link] = []
    for item, choices in options.items():
        grown: list[tuple[int, _Link]] = []
        for choice in choices:
            start, end = choice.span
            at = bisect_left(marks, start) if may_overlap else bisect_right(marks, start)
            before = links[at - 1] if at else None
            weight = choice.weight + (before.weight if before else 0)
            grown.append((start if may_overlap else end, _Link(weight, item, choice.span, before)))
        for mark, link in grown:
            _insert(marks, links, mark, link)
    return _walk(links[-1]) if links else {}


def _insert(marks: list[int], links: list[_Link], mark: int, link: _Link) -> None:
    at = bisect_right(marks, mark)
    if at and links[at - 1].weight >= link.weight:
        return
    first = at - 1 if at and marks[at - 1] == mark else at
    last = at
    while last < len(links) and links[last].weight <= link.weight:
        last += 1
    marks[first:last] = [mark]
    links[first:last] = [link]


def _walk(link: _Link | None) -> dict[int, Span]:
    found: dict[int, Span] = {}
    while link:
        found[link.item] = link.span
        link = link.before
    return found
