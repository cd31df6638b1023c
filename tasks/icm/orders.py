"""In which order a context shows its demonstrations, which decides how much of it prompts can share.

The leave-one-out prompts of an evaluation differ in one demonstration each. In the reference's order a prompt
shares with the others what stands before the one left out: half on average, so that n prompts hold about
n**2/2 demonstrations that are computed anew. Built by divide and conquer they hold n log2(n): the claims are
the leaves of a tree, and the context of one is, from the root down, the other half at each fork. All claims
below a fork share what has been shown before it.
"""

import random
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

OrderName = Literal["reference", "tree", "tree-tail"]


@dataclass(frozen=True, slots=True)
class Context:
    """What is shown before one claim."""

    uid: int
    text: str
    branch: str = ""
    """Where the claim is in the tree, as a path of "0" and "1"; those with a common beginning share text."""


class ContextOrder(ABC):
    """Arranges demonstrations. A context is a function of order, demonstrations and target alone."""

    @abstractmethod
    def contexts(
        self, shown: Mapping[int, str], targets: Sequence[int], recent: Sequence[int] = ()
    ) -> Iterator[Context]:
        """Yield the context of each target: all that is shown but the target itself, each once.

        Args:
            shown: {uid: demonstration}.
            targets: Whose contexts are wanted, shown themselves or not; each once.
            recent: Those of `shown` that changed lately, the latest last; only "tree-tail" looks at it.

        Yields:
            Neighbours share the longest beginnings.
        """


class ReferenceOrder(ContextOrder):
    """The reference's: ascending uids, the target's left out."""

    def contexts(
        self, shown: Mapping[int, str], targets: Sequence[int], recent: Sequence[int] = ()
    ) -> Iterator[Context]:
        """Yield the contexts in the order of the uids."""
        del recent
        uids = sorted(shown)
        texts = [shown[uid] for uid in uids]
        whole = "".join(texts)
        starts = [0]
        for text in texts:
            starts.append(starts[-1] + len(text))
        for uid in sorted(targets):
            place = bisect_left(uids, uid)
            if uid in shown:
                yield Context(uid, whole[: starts[place]] + whole[starts[place + 1] :])
            else:
                yield Context(uid, whole)


class TreeOrder(ContextOrder):
    """Divide and conquer over a fixed tree: the claims of a run in random order are its leaves.

    In random order, since in that of the uids the claims of one question would always be the last that are
    shown before each other; so they are spread as in the reference's. The tree is over all claims of the
    run, with a label or not, so that a new label moves nothing.

    Args:
        number: Claims of the run.
        seed: Of the run.
    """

    def __init__(self, number: int, seed: int) -> None:
        self._leaves = list(range(number))
        random.Random(f"{seed}/leaves").shuffle(self._leaves)
        self._place = {uid: place for place, uid in enumerate(self._leaves)}

    def contexts(
        self, shown: Mapping[int, str], targets: Sequence[int], recent: Sequence[int] = ()
    ) -> Iterator[Context]:
        """Yield the contexts in the order in which the tree is walked."""
        del recent
        places = sorted(self._place[uid] for uid in shown)
        wanted = sorted(self._place[uid] for uid in targets)
        texts = {self._place[uid]: text for uid, text in shown.items()}
        yield from self._walk(0, len(self._leaves), places, wanted, texts, "", "")

    def _walk(
        self,
        low: int,
        high: int,
        places: Sequence[int],
        wanted: Sequence[int],
        texts: Mapping[int, str],
        context: str,
        branch: str,
    ) -> Iterator[Context]:
        """Walk what is below one fork; `places` and `wanted` are the leaves there."""
        if not wanted:
            return
        if high - low == 1:
            yield Context(self._leaves[low], context, branch)
            return
        middle = (low + high) // 2
        left, right = _split(places, middle)
        first, second = _split(wanted, middle)
        if first:
            beside = context + "".join(texts[place] for place in right)
            yield from self._walk(low, middle, left, first, texts, beside, f"{branch}0")
        if second:
            beside = context + "".join(texts[place] for place in left)
            yield from self._walk(middle, high, right, second, texts, beside, f"{branch}1")


class TreeTailOrder(ContextOrder):
    """The tree's, with what changed lately at the end: a change leaves all that stands before it alone.

    Needs a server that can keep a path of its own for every claim. What changed lately is the search's
    history, so equal labels may be shown in different orders at different times, and asked about twice.
    """

    def __init__(self, tree: TreeOrder) -> None:
        self._tree = tree

    def contexts(
        self, shown: Mapping[int, str], targets: Sequence[int], recent: Sequence[int] = ()
    ) -> Iterator[Context]:
        """Yield the contexts in the order in which the tree is walked."""
        last = set(recent)
        settled = {uid: text for uid, text in shown.items() if uid not in last}
        tail = "".join(shown[uid] for uid in recent)
        for one in self._tree.contexts(settled, targets):
            if one.uid in last:
                own = "".join(shown[uid] for uid in recent if uid != one.uid)
                yield Context(one.uid, one.text + own, one.branch)
            else:
                yield Context(one.uid, one.text + tail, one.branch)


def make_order(name: OrderName, number: int, seed: int) -> ContextOrder:
    """Make the order of a run.

    Args:
        name: What the user chose.
        number: Claims of the run.
        seed: Of the run.
    """
    if name == "reference":
        return ReferenceOrder()
    tree = TreeOrder(number, seed)
    return tree if name == "tree" else TreeTailOrder(tree)


def _split(places: Sequence[int], middle: int) -> tuple[Sequence[int], Sequence[int]]:
    cut = bisect_left(places, middle)
    return places[:cut], places[cut:]
