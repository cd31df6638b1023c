"""Which lessons say the same: by their words and letters, or by the embeddings of a small local model.

Both ways compare only texts that agree in their claims (claims.py): numbers, units, negations, names,
opposites, directions. Neither knows the other texts of a playbook, so whether two lessons are the same
does not depend on what stands beside them, nor on their order.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.ace.claims import Claims, claims_of
from tasks.ace.lexical_pairs import BLOCK, DECIMALS, scored

Floats: TypeAlias = NDArray[np.float32]
Pairs: TypeAlias = list[tuple[int, int]]

LEXICAL_THRESHOLD = 0.8
EMBEDDED_THRESHOLD = 0.9
"""For WordLlama's vectors; another model has another scale. At both, the pairs of lessons in the tests part;
of those in the bench, 0.87 merged two more that are the same and three times as many that are not."""


class Similarity(Protocol):
    """Tells which texts are alike."""

    @property
    def default_threshold(self) -> float:
        """From which score on two texts are alike, where a caller does not say."""
        ...

    def pairs(self, texts: Sequence[str], threshold: float) -> Pairs:
        """Return (i, j) with i < j, sorted, of all texts that are alike.

        Args:
            texts: Of any kind; those without a word are like no other.
            threshold: From 0 to 1.
        """
        ...


class Embedder(Protocol):
    """A model that makes vectors of texts."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return an array (n, d) whose rows have length 1; of a text without a word, 0."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Lexical:
    """Compares words and letters; needs no model.

    The score is the mean of two cosines: of stems of words, in which those that say little weigh less, and of
    runs of four characters, which also see the order of words and survive slips of the pen. Two texts may
    differ in endings, order, small words, slips or in what one of them adds. Where each has a word that the
    other lacks they are not alike, since "students" for "seniors" looks just like "uses" for "applies".
    """

    default_threshold: float = LEXICAL_THRESHOLD

    def pairs(self, texts: Sequence[str], threshold: float, fresh: Collection[int] | None = None) -> Pairs:
        """Return (i, j) of texts that are alike, and of which one is fresh; see `Similarity.pairs`."""
        found: Pairs = []
        for places, claims, rows in comparable(texts, fresh):
            found += [
                _in_order(places[i], places[j])
                for i, j in scored(claims, threshold, rows)
                if claims[i].agree(claims[j])
            ]
        return sorted(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Compares the embeddings of a model by their cosines."""

    embedder: Embedder
    default_threshold: float = EMBEDDED_THRESHOLD

    def pairs(self, texts: Sequence[str], threshold: float, fresh: Collection[int] | None = None) -> Pairs:
        """Return (i, j) of texts that are alike, and of which one is fresh; see `Similarity.pairs`."""
        found: Pairs = []
        for places, claims, rows in comparable(texts, fresh):
            vectors = self.embedder.embed([texts[place] for place in places])
            found += [
                _in_order(places[i], places[j])
                for i, j in _near(vectors, threshold, rows)
                if claims[i].agree(claims[j])
            ]
        return sorted(found)


def comparable(
    texts: Sequence[str], fresh: Collection[int] | None = None
) -> list[tuple[list[int], list[Claims], list[int]]]:
    """Sort texts by the claims that have to be equal.

    Returns:
        [(places, claims, rows)] of two texts or more; rows say which of the places are fresh, one at least.
    """
    claims = [claims_of(text) for text in texts]
    by_key: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(claims):
        by_key[one.key].append(place)
    found: list[tuple[list[int], list[Claims], list[int]]] = []
    for places in by_key.values():
        rows = [row for row, place in enumerate(places) if fresh is None or place in fresh]
        if rows and len(places) > 1:
            found.append((places, [claims[place] for place in places], rows))
    return found


def _in_order(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _near(vectors: Floats, threshold: float, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (i, j) of vectors that are near, i of rows; a pair of two rows comes once."""
    is_row = np.isin(np.arange(len(vectors)), rows)
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(rows[start : start + BLOCK])
        near, others = np.nonzero(np.round(vectors[block] @ vectors.T, DECIMALS) >= threshold)
        for i, j in zip(block[near], others, strict=True):
            if i != j and (i < j or not is_row[j]):
                yield int(i), int(j)
