from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.claims import claims_of
from tasks.ace.embeddings import LocalEmbedder
from tasks.ace.lexical_pairs import is_exchanged, is_slip, lexical_score
from tasks.ace.similarity import Embedded, Floats, Lexical, Similarity
from tests.tasks.ace.lessons import DIFFERENT, OTHER_WORDS, SAME
from tests.tasks.ace.playbooks import texts

LESSONS = sorted({text for pairs in (SAME, OTHER_WORDS, DIFFERENT) for pair in pairs for text in pair})


class Angles:
    """Embeds the names of angles."""

    DEGREES = {"north": 0, "east": 20, "south": 40, "west": 90}  # noqa: RUF012

    def embed(self, texts: Sequence[str]) -> Floats:
        radians = np.radians([self.DEGREES[text.split()[0]] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def embedded() -> Embedded:
    return Embedded(embedder=LocalEmbedder())


def alike(similarity: Similarity, pair: Sequence[str]) -> bool:
    return bool(similarity.pairs(pair, similarity.default_threshold))


@pytest.mark.parametrize("pair", SAME)
def test_lessons_that_differ_in_form_are_the_same(pair: tuple[str, str]) -> None:
    assert alike(Lexical(), pair)
    assert alike(Lexical(), pair[::-1])


@pytest.mark.parametrize("pair", DIFFERENT)
def test_lessons_that_differ_in_what_they_say_are_not(pair: tuple[str, str], embedded: Embedded) -> None:
    assert not alike(Lexical(), pair)
    assert not alike(embedded, pair)


def test_words_do_not_tell_lessons_in_other_words() -> None:
    assert [alike(Lexical(), pair) for pair in OTHER_WORDS] == [False] * len(OTHER_WORDS)


def test_embeddings_tell_some_of_them(embedded: Embedded) -> None:
    assert [alike(embedded, pair) for pair in OTHER_WORDS] == [False, False, False, True, False, False]
    assert sum(alike(embedded, pair) for pair in SAME) == 11


def test_pairs_are_places_in_order() -> None:
    given = [SAME[0][0], SAME[1][0], SAME[0][1], "", "!!!", "!!!", SAME[1][1], SAME[0][0]]
    assert Lexical().pairs(given, 0.8) == [(0, 2), (0, 7), (1, 6), (2, 7)]
    assert Lexical().pairs([], 0.8) == []


def test_a_pair_does_not_depend_on_what_stands_beside_it() -> None:
    together = {(LESSONS[i], LESSONS[j]) for i, j in Lexical().pairs(LESSONS, 0.8)}
    alone = {
        (one, other)
        for place, one in enumerate(LESSONS)
        for other in LESSONS[place + 1 :]
        if alike(Lexical(), (one, other))
    }
    assert together == alone
    assert {tuple(sorted(pair)) for pair in SAME} <= together


WORDS = ("internationalisation", "standardisation", "ab", "cd", "the", "of")


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=6), st.integers(0, 20))
def test_the_index_finds_all_that_reach_the_threshold(given: list[str], twentieths: int) -> None:
    claims = [claims_of(text) for text in given]
    scores = {
        (i, j): lexical_score(claims[i], claims[j])
        for j in range(len(given))
        for i in range(j)
        if claims[i].agree(claims[j])
        and not is_exchanged(claims[i], claims[j])
        and set(claims[i].words) & set(claims[j].words)
    }
    threshold = twentieths / 20 + 0.0007  # of these words, no score is as near
    assert Lexical().pairs(given, threshold) == sorted(one for one in scores if scores[one] >= threshold)


def test_letters_may_be_more_alike_than_words() -> None:
    one, other = "internationalisation standardisation", "internationalisation of standardisation ab cd"
    assert lexical_score(claims_of(one), claims_of(other)) == pytest.approx(0.79, abs=0.01)
    assert Lexical().pairs([one, other], 0.78) == [(0, 1)]


def test_a_slip_is_neither_at_the_start_nor_at_the_end() -> None:
    assert is_slip("seperator", "separator")
    assert is_slip("recieve", "receive")
    assert not is_slip("employer", "employee")
    assert not is_slip("affect", "effect")
    assert not is_slip("cost", "cast")


def test_cosines_are_those_of_the_embedder() -> None:
    names = ["north", "south", "east", "west"]
    assert Embedded(embedder=Angles()).pairs(names, 0.9) == [(0, 2), (1, 2)]
    assert Embedded(embedder=Angles()).pairs(names, 0.7) == [(0, 1), (0, 2), (1, 2)]


def test_numbers_and_negations_part_what_an_embedder_takes_for_one() -> None:
    given = ["north 5", "north five", "north 6", "north not", "north 5 km", "north 5 kilometres"]
    assert Embedded(embedder=Angles()).pairs(given, 0.9) == [(0, 1), (4, 5)]


@given(st.lists(st.one_of(st.sampled_from(LESSONS), texts()), max_size=12), st.randoms())
def test_order_does_not_matter(given: list[str], random: Random) -> None:
    order = list(range(len(given)))
    random.shuffle(order)
    found = Lexical().pairs(given, 0.7)
    again = Lexical().pairs([given[place] for place in order], 0.7)
    assert sorted((min(order[i], order[j]), max(order[i], order[j])) for i, j in again) == found
    assert all(i < j for i, j in found)


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "no by 5 " * 20_000, "\ud800 \udfff ok", "\u200b" * 999, "-" * 999]
)
def test_hostile_texts_are_like_their_twin_or_like_nothing(text: str) -> None:
    assert Lexical().pairs([text, "another lesson", text], 0.8) in ([], [(0, 2)])
