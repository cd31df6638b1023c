import re

import pytest
from hypothesis import given, settings

from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse, to_text
from tasks.ace.votes import SectionStatistics, read_tags, statistics
from tests.tasks.ace.playbooks import junk, playbooks
from tests.tasks.ace.vectors import needs_vectors, vector, vectors


@needs_vectors
def test_votes_are_counted_as_is_wanted() -> None:
    for one in vectors("counts"):
        playbook = parse(one["in"]["playbook"]).playbook.tagged(read_tags(one["in"]["tags"]))
        if "want" in one:
            wanted = dict(re.findall(r"(helpful|harmful)=([0-9]+)", one["want"]))
            counts = f"helpful={wanted['helpful']} harmful={wanted.get('harmful', 0)}"
            first, second = one["in"]["playbook"].split("[bbb", 1)
            expected = first.replace("helpful=0 harmful=0", counts) + "[bbb" + second
        else:
            expected = one["ref_out"]
        assert to_text(playbook) == expected


@needs_vectors
def test_statistics_are_those_of_the_reference() -> None:
    one = vector("stats")
    found, wanted = statistics(parse(one["in"]).playbook), one["ref_out"]

    sections = {name: SectionStatistics(**sums) for name, sums in wanted.pop("by_section").items()}
    assert found.by_section == sections
    assert {name: getattr(found, name) for name in wanted} == wanted


@given(playbooks())
def test_sections_add_up_to_the_whole(playbook: Playbook) -> None:
    found = statistics(playbook)
    assert sum(one.count for one in found.by_section.values()) == found.total_bullets == len(playbook)
    assert sum(one.helpful for one in found.by_section.values()) == sum(
        one.helpful for one in playbook.counts.values()
    )


@pytest.mark.parametrize(
    ("written", "votes"),
    [
        ([{"id": "a-1", "tag": "helpful"}, {"id": "a-1", "tag": "helpful"}], [("a-1", "helpful")] * 2),
        (
            [{"bullet_id": " [a-1] ", "tag": " HARMFUL "}, {"bullet": "(b)", "tag": "neutral"}],
            [("a-1", "harmful"), ("b", "neutral")],
        ),
        ({"id": "a-1", "tag": "helpful"}, [("a-1", "helpful")]),
        ({"a-1": "helpful", "[b-2]": "Harmful"}, [("a-1", "helpful"), ("b-2", "harmful")]),
        ([{"id": True, "bullet_id": "a", "tag": "helpful"}], [("a", "helpful")]),
        ([{"id": "", "tag": "helpful"}, {"id": 5, "tag": "helpful"}, {"tag": "helpful"}], []),
        ([{"id": "a", "tag": None}, {"id": "a", "tag": True}, {"id": "a", "tag": ["helpful"]}], []),
        ([{"id": "a", "tag": 10**5_000}, {"id": "a"}, "a", None, 5, ["a", "helpful"]], []),
        ("helpful", []),
        (None, []),
    ],
)
def test_tags_are_read_however_they_are_written(written: object, votes: list[tuple[str, str]]) -> None:
    assert read_tags(written) == votes


def test_a_tag_nested_without_end_is_no_vote() -> None:
    deep: object = "helpful"
    for _ in range(3_000):
        deep = [deep]
    assert read_tags([{"id": "a", "tag": deep}, {"id": "b", "tag": "helpful"}]) == [("b", "helpful")]


@settings(max_examples=60)
@given(junk())
def test_anything_can_be_read_as_votes(written: object) -> None:
    playbook, _ = Playbook().add("others", "a")
    after = playbook.tagged(read_tags([written, {"id": "misc-00001", "tag": "helpful"}]))
    assert after.counts["misc-00001"].helpful >= 1
    playbook.tagged(read_tags(written))
