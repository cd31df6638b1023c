"""Reviews are curated in chunks, and in halves of chunks that no context holds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tasks.ace.answers import Reflected
from tasks.ace.curating import Curation, Review
from tasks.ace.playbook import Playbook
from tasks.ace.roles import Role
from tasks.ace.values import Question
from tests.tasks.ace.world import TASK, Asker, Narrow, tier


def curating(most: int, **changes: Any) -> tuple[Curation, Narrow]:  # noqa: ANN401 - any field
    """Return a Curator that holds so many reviews, and adds a bullet for each."""

    def added(_: str, lessons: Sequence[str]) -> object:
        return {"operations": [{"type": "ADD", "section": "OTHERS", "content": one} for one in lessons]}

    narrow = Narrow(most=most, pattern=r"lesson-\d+", answer=added)
    role = Role(name="curator", tiers=(tier(Asker(script=narrow)),))
    return replace(Curation(task=TASK, curator=role), **changes), narrow


def reviews_of(count: int) -> list[Review]:
    return [(Question(id=str(n), text="?"), Reflected(key_insight=f"lesson-{n}")) for n in range(count)]


@pytest.mark.parametrize(
    ("reviews", "most", "asked"),
    [
        (20, 20, [20]),
        (20, 10, [20, 10, 10]),
        (20, 5, [20, 10, 10, 5, 5, 5, 5]),
        (20, 3, [20, 10, 10, *[5] * 4, *[3, 2] * 4]),
        (25, 4, [20, 5, 10, 10, 3, 2, *[5] * 4, *[3, 2] * 4]),
    ],
)
async def test_every_review_is_curated_however_often_chunks_are_halved(
    reviews: int, most: int, asked: list[int]
) -> None:
    curation, narrow = curating(most, max_operations=64)
    playbook, changes = await curation.edit(Playbook(), reviews_of(reviews), step=1, name="batch")
    assert narrow.seen == asked
    assert [one.text for one in playbook.by_age] == [f"lesson-{n}" for n in range(reviews)]
    assert len(changes) == reviews


async def test_a_review_that_no_context_holds_is_a_refused_change() -> None:
    curation, narrow = curating(0)
    playbook, changes = await curation.edit(Playbook(), reviews_of(3), step=1, name="batch")
    assert narrow.seen == [3, 2, 1, 1, 1]
    assert len(playbook) == 0
    assert ["too long" in (change.refused or "") for change in changes] == [True] * 3


async def test_a_curator_may_want_only_so_many_edits_also_where_no_schema_holds_it_to_that() -> None:
    curation, _ = curating(20, max_operations=2, structured=False)
    playbook, changes = await curation.edit(Playbook(), reviews_of(5), step=1, name="batch")
    assert [bullet.text for bullet in playbook.by_age] == ["lesson-0", "lesson-1"]
    assert [change.refused for change in changes] == [None, None, "3 operations more than 2 were left out"]
