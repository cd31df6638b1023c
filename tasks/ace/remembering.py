"""A similarity that remembers what it compared, so that a playbook that grew is cheap to look over."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.ace.similarity import Pairs, Similarity

REMEMBERED = 64
"""Lists of texts; a playbook has one for each section."""


class Incremental(Similarity, Protocol):
    """A similarity that can leave out pairs that are known: Lexical, Embedded."""

    def pairs(self, texts: Sequence[str], threshold: float, fresh: Collection[int] | None = None) -> Pairs:
        """Return (i, j) with i < j, sorted, of texts that are alike and of which one is fresh; None: all."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compared:
    """Texts of which each was compared with each."""

    threshold: float
    alike: Mapping[str, Collection[str]]
    """{text: those that are like it}, with an entry for every text."""


class Remembering:
    """Gives the pairs that a similarity would give, and compares only texts that are new in their list.

    One that lives as long as a run makes `refine` after each batch cheap. It relies on likeness being a
    matter of two texts alone, as it is for Lexical and Embedded.

    Args:
        similarity: Compares.
    """

    def __init__(self, similarity: Incremental) -> None:
        self._similarity = similarity
        self._lists: list[_Compared] = []

    @property
    def default_threshold(self) -> float:
        """That of the similarity."""
        return self._similarity.default_threshold

    def pairs(self, texts: Sequence[str], threshold: float) -> Pairs:
        """Return (i, j) of texts that are alike; see `Similarity.pairs`."""
        before = self._nearest(texts, threshold)
        first: dict[str, int] = {}
        for place, text in enumerate(texts):
            first.setdefault(text, place)
        fresh = {at for at, text in enumerate(texts) if text not in before.alike or first[text] != at}
        found = set(self._similarity.pairs(texts, threshold, fresh)) if fresh else set[tuple[int, int]]()
        for text, place in first.items():
            others = [first[one] for one in before.alike.get(text, ()) if one in first]
            found.update((min(place, other), max(place, other)) for other in others)
        self._remember(before, texts, sorted(found), threshold)
        return sorted(found)

    def _nearest(self, texts: Sequence[str], threshold: float) -> _Compared:
        """Return the list that has most of these texts."""
        fitting = [one for one in self._lists if one.threshold == threshold]
        shared = [len(one.alike.keys() & set(texts)) for one in fitting]
        most = max(shared, default=0)
        return fitting[shared.index(most)] if most else _Compared(threshold=threshold, alike={})

    def _remember(self, before: _Compared, texts: Sequence[str], found: Pairs, threshold: float) -> None:
        alike: defaultdict[str, set[str]] = defaultdict(set, {text: set() for text in texts})
        for one, other in found:
            if texts[one] != texts[other]:
                alike[texts[one]].add(texts[other])
        kept = [one for one in self._lists if one is not before]
        self._lists = [_Compared(threshold=threshold, alike=dict(alike)), *kept][:REMEMBERED]
