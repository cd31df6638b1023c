"""Reviews are curated in chunks, and in halves of chunks that no context holds."""

import json
import re
from collections.abc import Sequence

import pytest

from backends.base import Outcome
from backends.errors import ContextOverflowError
from backends.messages import Request, Response, SamplingParams
from tasks.ace.answers import Reflected
from tasks.ace.curating import Curation
from tasks.ace.playbook import Playbook
from tasks.ace.roles import Role, Tier
from tasks.ace.values import Question
from tests.tasks.ace.world import TASK


class Narrow:
    """A Curator that holds so many reviews, and adds a bullet for each."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []
        """Reviews in each prompt."""

    async def ask(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        del purpose
        return [self._answer(request.messages[-1].content) for request in requests]

    def _answer(self, prompt: str) -> Outcome:
        lessons = re.findall(r"lesson-\d+", prompt)
        self.asked.append(len(lessons))
        if len(lessons) > self.most:
            return ContextOverflowError("too long")
        operations = [{"type": "ADD", "section": "OTHERS", "content": one} for one in lessons]
        return Response(text=json.dumps({"operations": operations}), finish_reason="stop")


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
    narrow = Narrow(most)
    tier = Tier(ask=narrow.ask, model="m", sampling=SamplingParams(max_tokens=512))
    curation = Curation(task=TASK, curator=Role(name="curator", tiers=(tier,)), max_operations=64)
    given = [(Question(id=str(n), text="?"), Reflected(key_insight=f"lesson-{n}")) for n in range(reviews)]
    playbook, changes = await curation.edit(Playbook(), given, step=1, name="batch")
    assert narrow.asked == asked
    assert [one.text for one in playbook.by_age] == [f"lesson-{n}" for n in range(reviews)]
    assert len(changes) == reviews


async def test_a_review_that_no_context_holds_is_a_refused_change() -> None:
    narrow = Narrow(0)
    tier = Tier(ask=narrow.ask, model="m", sampling=SamplingParams(max_tokens=512))
    curation = Curation(task=TASK, curator=Role(name="curator", tiers=(tier,)))
    given = [(Question(id=str(n), text="?"), Reflected(key_insight=f"lesson-{n}")) for n in range(3)]
    playbook, changes = await curation.edit(Playbook(), given, step=1, name="batch")
    assert narrow.asked == [3, 2, 1, 1, 1]
    assert len(playbook) == 0
    assert ["too long" in (change.refused or "") for change in changes] == [True] * 3


async def test_a_curator_may_want_only_so_many_edits_also_where_no_schema_holds_it_to_that() -> None:
    narrow = Narrow(20)
    tier = Tier(ask=narrow.ask, model="m", sampling=SamplingParams(max_tokens=512))
    curation = Curation(
        task=TASK, curator=Role(name="curator", tiers=(tier,)), max_operations=2, structured=False
    )
    given = [(Question(id=str(n), text="?"), Reflected(key_insight=f"lesson-{n}")) for n in range(5)]
    playbook, changes = await curation.edit(Playbook(), given, step=1, name="batch")
    assert [bullet.text for bullet in playbook.by_age] == ["lesson-0", "lesson-1"]
    assert [change.refused for change in changes] == [None, None, "3 operations more than 2 were left out"]
