from collections.abc import Collection, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.refining import refine
from tasks.ace.remembering import REMEMBERED, Remembering
from tasks.ace.similarity import Embedded, Floats, Lexical, Pairs
from tests.tasks.ace.lessons import DIFFERENT, SAME
from tests.tasks.ace.test_duplicates import playbook_of

LESSONS = sorted({text for pair in (*SAME, *DIFFERENT[:4]) for text in pair})
THRESHOLD = 0.8


class Watched:
    """Compares as Lexical does, and notes how many texts were fresh."""

    default_threshold = THRESHOLD

    def __init__(self) -> None:
        self.fresh: list[int] = []

    def pairs(self, texts: Sequence[str], threshold: float, fresh: Collection[int] | None = None) -> Pairs:
        self.fresh.append(len(texts if fresh is None else fresh))
        return Lexical().pairs(texts, threshold, fresh)


class North:
    """Embeds every text in one way."""

    def embed(self, texts: Sequence[str]) -> Floats:
        return np.array([[1, 0]] * len(texts), dtype=np.float32)


@given(st.lists(st.sampled_from(LESSONS), max_size=12), st.sets(st.integers(0, 11)))
def test_pairs_of_fresh_texts_are_those_of_all_with_a_fresh_one(given: list[str], fresh: set[int]) -> None:
    for similarity in (Lexical(), Embedded(embedder=North())):
        wanted = [pair for pair in similarity.pairs(given, THRESHOLD) if fresh & set(pair)]
        assert similarity.pairs(given, THRESHOLD, fresh) == wanted


@given(st.lists(st.lists(st.sampled_from([*LESSONS, "", "!"]), max_size=8), max_size=5))
def test_what_is_remembered_changes_no_pair(lists: list[list[str]]) -> None:
    remembering = Remembering(Lexical())
    for texts in lists:
        for threshold in (THRESHOLD, 0.5):
            assert remembering.pairs(texts, threshold) == Lexical().pairs(texts, threshold)


def test_only_new_texts_are_compared() -> None:
    watched = Watched()
    remembering = Remembering(watched)
    assert remembering.default_threshold == THRESHOLD
    remembering.pairs(LESSONS[:10], THRESHOLD)
    remembering.pairs(["another", "section"], THRESHOLD)
    remembering.pairs(LESSONS[2:12], THRESHOLD)
    remembering.pairs(LESSONS[2:12], THRESHOLD)
    remembering.pairs(["section", "another", "new"], THRESHOLD)
    assert watched.fresh == [10, 2, 2, 1]


def test_lists_that_are_not_asked_for_are_forgotten() -> None:
    watched = Watched()
    remembering = Remembering(watched)
    for number in range(REMEMBERED + 1):
        remembering.pairs([f"first {number}", "x" * (number + 1)], THRESHOLD)
    remembering.pairs(["first 0", "x"], THRESHOLD)
    assert watched.fresh[-1] == 2


def test_a_playbook_is_refined_as_without_it() -> None:
    remembering = Remembering(Lexical())
    for size in range(2, len(LESSONS)):
        playbook = playbook_of(*LESSONS[:size])
        assert refine(playbook, remembering) == refine(playbook, Lexical())
