import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.bullets import MAX_TEXT_CHARACTERS, Bullet, likeness_key
from tasks.ace.duplicates import greedy, groups
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse
from tasks.ace.similarity import Embedded, Floats, Lexical, Pairs
from tests.tasks.ace.lessons import DIFFERENT, SAME
from tests.tasks.ace.playbooks import playbooks
from tests.tasks.ace.vectors import PATH, needs_vectors

LESSONS = [text for pairs in (SAME, DIFFERENT) for pair in pairs for text in pair]


class Angles:
    """Embeds texts as the angles that it was given for them, in degrees."""

    def __init__(self, degrees: Sequence[float]) -> None:
        self.degrees = {chr(ord("a") + place): angle for place, angle in enumerate(degrees)}

    def embed(self, texts: Sequence[str]) -> Floats:
        radians = np.radians([self.degrees[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


class Never:
    """Finds nothing alike."""

    default_threshold = 0.5

    def pairs(self, texts: Sequence[str], threshold: float) -> Pairs:  # noqa: ARG002
        return []


def playbook_of(*texts: str, section: str = "OTHERS") -> Playbook:
    playbook = Playbook()
    for text in texts:
        playbook, _ = playbook.add(section, text)
    return playbook


def by_angles(degrees: Sequence[float]) -> list[list[int]]:
    angles = Angles(degrees)
    found = groups(playbook_of(*angles.degrees), Embedded(embedder=angles), threshold=0.9)
    return [[int(one.removeprefix("misc-")) - 1 for one in group] for group in found]


@needs_vectors
def test_groups_of_angles_are_those_wanted() -> None:
    vectors = json.loads(PATH.read_text(encoding="utf-8"))["dedupe"]
    given = {angles: [int(one) for one in angles.split(",")] for angles in vectors["angles_deg_to_groups"]}
    found = {angles: by_angles(degrees) for angles, degrees in given.items()}
    wanted = vectors["angles_deg_to_groups"] | {"0,30,15": [[0, 2]]}  # marked as a bug
    assert vectors["threshold"] == 0.9
    assert found == wanted


def test_a_member_of_one_group_leads_no_other() -> None:
    assert by_angles([0, 20, 40, 60]) == [[0, 1], [2, 3]]
    assert by_angles([20, 0, 40]) == [[0, 1, 2]]
    assert greedy(4, [(0, 1), (1, 2), (2, 3)]) == [[0, 1], [2, 3]]


def test_nothing_is_alike_across_sections() -> None:
    playbook, _ = playbook_of(SAME[0][0]).add("FORMULAS & CALCULATIONS", SAME[0][1])
    assert groups(playbook, Lexical()) == []
    playbook, _ = playbook.add("OTHERS", SAME[0][1])
    assert groups(playbook, Lexical()) == [("misc-00001", "misc-00003")]


def test_two_sections_of_one_name_are_two() -> None:
    text = "## A\n[a-1] helpful=0 harmful=0 :: x\n## A\n[a-2] helpful=0 harmful=0 :: X"
    assert groups(parse(text).playbook, Lexical()) == []


IMPORTED = """## OTHERS
[b-9] helpful=1 harmful=0 :: Same  Text
[a-2] helpful=0 harmful=0 :: same text
[no number] helpful=0 harmful=0 :: SAME TEXT
[c-3] helpful=0 harmful=0 ::
[c-4] helpful=0 harmful=0 ::
[c-5] helpful=0 harmful=0 :: !!!
[c-6] helpful=0 harmful=0 :: ???"""


def test_exact_duplicates_are_always_one_group_and_the_oldest_leads() -> None:
    assert groups(parse(IMPORTED).playbook, Never()) == [("no number", "a-2", "b-9")]
    assert groups(parse(IMPORTED).playbook, Lexical()) == [("no number", "a-2", "b-9")]


def test_what_is_too_long_for_a_bullet_is_only_like_its_twin() -> None:
    long = "word " * MAX_TEXT_CHARACTERS
    lines = [
        f"[a-{number}] helpful=0 harmful=0 :: {text}"
        for number, text in enumerate([long, long, long + "word"])
    ]
    assert groups(parse("\n".join(["## OTHERS", *lines])).playbook, Lexical()) == [("a-0", "a-1")]


def test_the_threshold_is_the_callers() -> None:
    playbook = playbook_of(*SAME[0])
    assert groups(playbook, Lexical(), threshold=0.99) == []
    assert groups(playbook, Lexical(default_threshold=0.99)) == []


@st.composite
def learnt(draw: st.DrawFn) -> Playbook:
    """Return a playbook with some lessons that say the same, and the texts that edits can make."""
    playbook = draw(playbooks())
    for text in draw(st.lists(st.sampled_from(LESSONS), unique_by=likeness_key, max_size=15)):
        if text not in {bullet.text for bullet in playbook.bullets.values()}:
            playbook, _ = playbook.add(draw(st.sampled_from(["OTHERS", "FORMULAS & CALCULATIONS"])), text)
    return playbook


@given(learnt(), st.sampled_from([0.4, 0.8]))
def test_groups_are_disjoint_within_a_section_and_by_age(playbook: Playbook, threshold: float) -> None:
    found = groups(playbook, Lexical(), threshold=threshold)
    members = [one for group in found for one in group]
    ages = {bullet.id: age for age, bullet in enumerate(playbook.by_age)}
    assert len(members) == len(set(members))
    assert set(members) <= set(playbook.bullets)
    for group in found:
        assert len(group) > 1
        assert len({playbook.section_names[one] for one in group}) == 1
        assert [ages[one] for one in group] == sorted(ages[one] for one in group)


@given(learnt(), st.randoms())
def test_the_order_of_the_file_does_not_matter(playbook: Playbook, random: Random) -> None:
    def mixed(lines: tuple[Bullet | str, ...]) -> tuple[Bullet | str, ...]:
        listed = list(lines)
        random.shuffle(listed)
        return tuple(listed)

    other = replace(
        playbook, sections=tuple(replace(one, lines=mixed(one.lines)) for one in playbook.sections)
    )
    assert groups(other, Lexical()) == groups(playbook, Lexical())


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_any_threshold_gives_groups(threshold: float) -> None:
    playbook = playbook_of("one lesson", "one other lesson", "a third thing")
    assert isinstance(groups(playbook, Lexical(), threshold=threshold), list)
