"""Which lessons say the same: by their words and letters, or by the embeddings of a small local model.

Both ways compare only texts that agree in their claims (claims.py): numbers, units, negations, names,
opposites, directions. Neither knows the other texts of a playbook, so whether two lessons are the same
does not depend on what stands beside them, nor on their order.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA

from tasks.ace.claim_words import STOP_WORDS
from tasks.ace.claims import Claims, claims_of, stem

Floats: TypeAlias = NDArray[np.float32]
Pairs: TypeAlias = list[tuple[int, int]]

LEXICAL_THRESHOLD = 0.8
EMBEDDED_THRESHOLD = 0.9
"""For WordLlama's vectors; another model has another scale. At both, the pairs of lessons in the tests part;
of those in the bench, 0.87 merged two more that are the same and three times as many that are not."""

WORDS_SHARE = 0.5
"""Of words in the lexical score; the rest is that of shingles."""
STOP_WORD_WEIGHT = 0.3
SHINGLE = 4
"""Characters."""
SLIP_LETTERS = 5
"""Of a word, at least, in which a slip of the pen is taken for one."""
DECIMALS = 5
"""Of scores that are compared: sums in another order differ in the last digits."""
BLOCK = 512
"""Rows of a matrix of scores that are held at once."""


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

    def pairs(self, texts: Sequence[str], threshold: float) -> Pairs:
        """Return (i, j) of texts that are alike; see `Similarity.pairs`."""
        found: Pairs = []
        for places, claims in comparable(texts):
            found += [
                (places[i], places[j])
                for i, j in _scored(claims, threshold)
                if claims[i].agree(claims[j]) and not is_exchanged(claims[i], claims[j])
            ]
        return sorted(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Compares the embeddings of a model by their cosines."""

    embedder: Embedder
    default_threshold: float = EMBEDDED_THRESHOLD

    def pairs(self, texts: Sequence[str], threshold: float) -> Pairs:
        """Return (i, j) of texts that are alike; see `Similarity.pairs`."""
        found: Pairs = []
        for places, claims in comparable(texts):
            vectors = self.embedder.embed([texts[place] for place in places])
            found += [
                (places[i], places[j]) for i, j in _near(vectors, threshold) if claims[i].agree(claims[j])
            ]
        return sorted(found)


def comparable(texts: Sequence[str]) -> list[tuple[list[int], list[Claims]]]:
    """Sort texts by the claims that have to be equal: [(places, claims)] of two texts or more."""
    claims = [claims_of(text) for text in texts]
    by_key: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(claims):
        by_key[one.key].append(place)
    return [(places, [claims[place] for place in places]) for places in by_key.values() if len(places) > 1]


def lexical_score(one: Claims, other: Claims) -> float:
    """Return how alike two texts are in words and letters, from 0 to 1, whatever they claim."""
    words = _cosine(word_weights(one), word_weights(other))
    return WORDS_SHARE * words + (1 - WORDS_SHARE) * _cosine(shingle_weights(one), shingle_weights(other))


def word_weights(text: Claims) -> dict[str, float]:
    """Return {stem of a word: its weight}, with 1 for the sum of squares."""
    return _normal({stem(one): STOP_WORD_WEIGHT if one in STOP_WORDS else 1.0 for one in text.folded})


def shingle_weights(text: Claims) -> dict[str, float]:
    """Return {run of four characters: its weight}, with 1 for the sum of squares."""
    line = f" {' '.join(text.folded)} "
    return _normal(Counter(line[at : at + SHINGLE] for at in range(max(1, len(line) - SHINGLE + 1))))


def _normal(weights: Mapping[str, float]) -> dict[str, float]:
    length = sqrt(sum(one * one for one in weights.values()))
    return {name: one / length for name, one in weights.items()} if length else {}


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return sum(weight * other.get(name, 0.0) for name, weight in one.items())


def is_exchanged(one: Claims, other: Claims) -> bool:
    """Say whether each of two texts has a word in the place of which the other has another."""
    mine, others = Counter(one.content), Counter(other.content)
    more, less = mine - others, others - mine
    slips = [(a, b) for a in more for b in less if is_slip(a, b)]
    return bool(more.keys() - {a for a, _ in slips}) and bool(less.keys() - {b for _, b in slips})


def is_slip(one: str, other: str) -> bool:
    """Say whether two words differ by one slip of the pen, which is seldom at either end.

    >>> is_slip("seperator", "separator"), is_slip("employer", "employee")
    (True, False)
    """
    return (
        min(len(one), len(other)) >= SLIP_LETTERS
        and (one[0], one[-1]) == (other[0], other[-1])
        and OSA.distance(one, other, score_cutoff=1) <= 1
    )


class _Index:
    """An inverted index: the texts that have a feature, and its weight in each."""

    def __init__(self, rows: Sequence[Mapping[str, float]]) -> None:
        self._rows = rows
        places: defaultdict[str, list[int]] = defaultdict(list)
        weights: defaultdict[str, list[float]] = defaultdict(list)
        for place, row in enumerate(rows):
            for name, weight in row.items():
                places[name].append(place)
                weights[name].append(weight)
        self._postings = {
            name: (np.array(found), np.array(weights[name]))
            for name, found in places.items()
            if len(found) > 1
        }

    def cosines(self, place: int) -> NDArray[np.float64]:
        """Return the cosines of a text with all."""
        found = np.zeros(len(self._rows))
        for name, weight in self._rows[place].items():
            if name in self._postings:
                places, weights = self._postings[name]
                found[places] += weight * weights
        return found


def _scored(texts: Sequence[Claims], threshold: float) -> Pairs:
    words = _Index([word_weights(text) for text in texts])
    # No score reaches the threshold with less, however alike the letters are.
    least = max((threshold - (1 - WORDS_SHARE)) / WORDS_SHARE, 0.0) - 10.0**-DECIMALS
    by_words: dict[int, NDArray[np.float64]] = {}
    for place in range(len(texts)):
        cosines = words.cosines(place)
        cosines[: place + 1] = 0.0
        cosines[cosines < least] = 0.0
        if cosines.any():
            by_words[place] = cosines
    asked = sorted(by_words.keys() | {int(one) for row in by_words.values() for one in np.flatnonzero(row)})
    place_of = {place: row for row, place in enumerate(asked)}
    shingles = _Index([shingle_weights(texts[place]) for place in asked])
    found: Pairs = []
    for place, cosines in by_words.items():
        candidates = cosines[asked]
        score = WORDS_SHARE * candidates + (1 - WORDS_SHARE) * shingles.cosines(place_of[place])
        alike = (np.round(score, DECIMALS) >= threshold) & (candidates > 0)
        found += [(place, asked[other]) for other in np.flatnonzero(alike)]
    return found


def _near(vectors: Floats, threshold: float) -> Pairs:
    found: Pairs = []
    for start in range(0, len(vectors), BLOCK):
        cosines = np.round(vectors[start : start + BLOCK] @ vectors.T, DECIMALS)
        rows, others = np.nonzero(cosines >= threshold)
        found += [(start + int(i), int(j)) for i, j in zip(rows, others, strict=True) if start + i < j]
    return found
