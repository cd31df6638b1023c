import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.duplicates import Group, groups
from tasks.ace.merging import Merges
from tasks.ace.playbook import EditError, Playbook
from tasks.ace.similarity import Lexical
from tests.tasks.ace.playbooks import texts
from tests.tasks.ace.test_duplicates import learnt, playbook_of


def one_by_one(playbook: Playbook, found: list[Group], written: list[str]) -> tuple[Playbook, list[str]]:
    said: list[str] = []
    for group, text in zip(found, written, strict=False):
        try:
            playbook = playbook.merge(group, text)
        except EditError as error:
            said.append(str(error))
    return playbook, said


@given(learnt(), st.data())
def test_many_merges_are_those_of_the_playbook_one_after_the_other(
    playbook: Playbook, data: st.DataObject
) -> None:
    found = groups(playbook, Lexical(), threshold=0.3)
    known = st.sampled_from([bullet.text for bullet in playbook.bullets.values()] or ["x"])
    written = data.draw(st.lists(st.one_of(known, texts()), min_size=len(found), max_size=len(found)))
    merges = Merges(playbook)
    said: list[str] = []
    for group, text in zip(found, written, strict=True):
        try:
            change = merges.merge(group, text, by="duplicate")
        except EditError as error:
            said.append(str(error))
        else:
            assert merges.playbook().bullets[group[0]].text == change.text
    assert (merges.playbook(), said) == one_by_one(playbook, found, written)


def test_a_text_of_a_bullet_that_is_merged_already_is_free() -> None:
    playbook = playbook_of("one", "two", "three", "four")
    merges = Merges(playbook)
    merges.merge(("misc-00001", "misc-00002"), "five", by="duplicate")
    with pytest.raises(EditError, match=r"the same as \[misc-00001\]"):
        merges.merge(("misc-00003", "misc-00004"), "FIVE", by="duplicate")
    merges.merge(("misc-00003", "misc-00004"), "two", by="duplicate")
    assert [bullet.text for bullet in merges.playbook().by_age] == ["five", "two"]


def test_nothing_merged_is_the_same_playbook() -> None:
    playbook = playbook_of("one", "two")
    merges = Merges(playbook)
    with pytest.raises(EditError, match="empty"):
        merges.merge(("misc-00001", "misc-00002"), " ", by="duplicate")
    assert merges.playbook() is playbook
