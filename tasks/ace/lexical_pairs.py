"""Pairs of texts that are alike in words and letters, found without comparing the letters of all with all.

Words come first: they are few, and rule most pairs out, by their cosine or since each text has one that the
other lacks. Weights are whole numbers, so sums are exact whatever stands beside a text.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from math import sqrt
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA
from rapidfuzz.process import cdist

from tasks.ace.claim_words import STOP_WORDS
from tasks.ace.claims import Claims, stem

Matrix: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Key = TypeVar("Key", bound=Hashable)

WORDS_SHARE = 0.5
"""Of words in the lexical score; the rest is that of shingles."""
WORD_WEIGHT, STOP_WORD_WEIGHT = 10, 3
SHINGLE = 4
"""Characters."""
SLIP_LETTERS, MOST_SLIP_LETTERS = 5, 60
"""Of a word, at least and at most, in which a slip of the pen is taken for one."""
DECIMALS = 5
"""Of scores that are compared: sums in another order differ in the last digits."""
BLOCK = 512
"""Rows of a matrix of scores that are held at once."""


def lexical_score(one: Claims, other: Claims) -> float:
    """Return how alike two texts are in words and letters, from 0 to 1, whatever they claim."""
    words = _cosine(word_weights(one), word_weights(other))
    return WORDS_SHARE * words + (1 - WORDS_SHARE) * _cosine(shingle_counts(one), shingle_counts(other))


def word_weights(text: Claims) -> dict[str, int]:
    """Return {stem of a word: its weight}."""
    return {stem(one): STOP_WORD_WEIGHT if one in STOP_WORDS else WORD_WEIGHT for one in text.folded}


def shingle_counts(text: Claims) -> Counter[str]:
    """Return {run of four characters: how often it is there}."""
    line = f" {' '.join(text.folded)} "
    return Counter(line[at : at + SHINGLE] for at in range(max(1, len(line) - SHINGLE + 1)))


def _cosine(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    lengths = _squares(one) * _squares(other)
    return (
        sum(weight * other.get(name, 0) for name, weight in one.items()) / sqrt(lengths) if lengths else 0.0
    )


def _squares(row: Mapping[str, int]) -> int:
    return sum(one * one for one in row.values())


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
        and max(len(one), len(other)) <= MOST_SLIP_LETTERS
        and (one[0], one[-1]) == (other[0], other[-1])
        and OSA.distance(one, other, score_cutoff=1) <= 1
    )


def scored(texts: Sequence[Claims], threshold: float, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (i, j) of texts that reach a score and of which not each has a word that the other lacks.

    Args:
        texts: Claims of which the keys are equal.
        threshold: Of the score.
        rows: The i; a pair of two of them comes once.
    """
    words = _dense([word_weights(text) for text in texts])
    squares = np.sqrt(np.square(words, dtype=np.float64).sum(axis=1))
    content = _Content(texts)
    shingles = _Shingles(texts)
    # No score reaches the threshold with less, however alike the letters are.
    least = max((threshold - (1 - WORDS_SHARE)) / WORDS_SHARE, 0.0) - 10.0**-DECIMALS
    is_row, done = np.isin(np.arange(len(texts)), rows), np.zeros(len(texts), dtype=bool)
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(rows[start : start + BLOCK])
        lengths = np.maximum(squares[block][:, None] * squares[None, :], 1.0)
        cosines = (words[block] @ words.T) / lengths
        near = (cosines >= least) & (cosines > 0) & content.may_be_the_same(block)
        for at, place in enumerate(block):
            done[place] = True
            found = np.flatnonzero(near[at] & ~(is_row & done))
            if len(found):
                letters = shingles.cosines(int(place), found)
                score = WORDS_SHARE * cosines[at, found] + (1 - WORDS_SHARE) * letters
                for other in found[np.round(score, DECIMALS) >= threshold]:
                    if not content.is_exchanged(int(place), int(other)):
                        yield int(place), int(other)


class _Content:
    """Tells which texts have words that others lack; slips are looked at only where they matter."""

    def __init__(self, texts: Sequence[Claims]) -> None:
        self._texts = texts
        counts = [Counter(text.content) for text in texts]
        slips = _with_slips({word for one in counts for word in one})
        rows = [{(word, nth): 1 for word, many in one.items() for nth in range(many)} for one in counts]
        self._all = _dense(rows)
        self._firm = _dense([{key: 1 for key in row if key[0] not in slips} for row in rows])

    def may_be_the_same(self, rows: Ints) -> NDArray[np.bool_]:
        """Return, for each of some texts and all, whether `is_exchanged` may be false."""
        return _is_within(self._firm, rows)

    def is_exchanged(self, one: int, other: int) -> bool:
        """Say so of two texts."""
        shared = self._all[one] @ self._all[other]
        if shared in (self._sizes[one], self._sizes[other]):
            return False
        return is_exchanged(self._texts[one], self._texts[other])

    @cached_property
    def _sizes(self) -> Matrix:
        return self._all.sum(axis=1)


def _is_within(matrix: Matrix, rows: Ints) -> NDArray[np.bool_]:
    """Say for each of some rows, and all, whether one of the two sets holds the other."""
    sizes = matrix.sum(axis=1)
    shared = matrix[rows] @ matrix.T
    return (shared == sizes[rows][:, None]) | (shared == sizes[None, :])


def _with_slips(words: Collection[str]) -> set[str]:
    """Return those that are a slip of the pen away from another."""
    by_ends: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for word in words:
        if SLIP_LETTERS <= len(word) <= MOST_SLIP_LETTERS:
            by_ends[word[0], word[-1]].append(word)
    found: set[str] = set()
    for alike in by_ends.values():
        distances = cdist(alike, alike, scorer=OSA.distance, score_cutoff=1, dtype=np.uint8)
        found.update(alike[at] for at in np.flatnonzero((distances <= 1).sum(axis=1) > 1))
    return found


class _Shingles:
    """The shingles of texts, of which only those are looked up that are asked for."""

    def __init__(self, texts: Sequence[Claims]) -> None:
        self._texts = texts
        self._names: dict[str, int] = {}
        self._known: dict[int, tuple[Ints, Ints, float]] = {}

    def cosines(self, place: int, others: Ints) -> NDArray[np.float64]:
        """Return the cosines of a text with some."""
        names, counts, length = self._of(place)
        found = [self._of(int(other)) for other in others]
        weights = np.zeros(len(self._names), dtype=np.int64)
        weights[names] = counts
        starts = np.cumsum([0, *(len(one) for one, _, _ in found[:-1])])
        products = weights[np.concatenate([one for one, _, _ in found])]
        products *= np.concatenate([one for _, one, _ in found])
        return np.add.reduceat(products, starts) / (length * np.array([one for _, _, one in found]))

    def _of(self, place: int) -> tuple[Ints, Ints, float]:
        if place not in self._known:
            row = shingle_counts(self._texts[place])
            names = np.array([self._names.setdefault(name, len(self._names)) for name in row])
            self._known[place] = names, np.array(list(row.values())), sqrt(_squares(row))
        return self._known[place]


def _dense(rows: Sequence[Mapping[Key, int]]) -> Matrix:
    """Return a matrix of rows; what only one of them has still counts for its length."""
    names = {name: at for at, name in enumerate(dict.fromkeys(name for row in rows for name in row))}
    found = np.zeros((len(rows), len(names)), dtype=np.float32)
    for at, row in enumerate(rows):
        found[at, [names[name] for name in row]] = list(row.values())
    return found
